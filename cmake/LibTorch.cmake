# Finds LibTorch without its own CMake config, which insists on a CUDA toolkit when LibTorch was built
# for CUDA. Defines the target tiller::torch_cpu and TORCH_ROOT.
#
# Looked for in: Torch_DIR (a variable of CMake or the environment: the root of any LibTorch >= 2.11,
# or its share/cmake/Torch), then the project's .venv.

set(TORCH_ROOT "")
set(Torch_DIR "$ENV{Torch_DIR}" CACHE PATH "LibTorch's root or its share/cmake/Torch; empty: .venv")
if(Torch_DIR)
  get_filename_component(TORCH_ROOT "${Torch_DIR}/../../.." ABSOLUTE)
  if(NOT EXISTS "${TORCH_ROOT}/lib/libtorch_cpu.so")
    get_filename_component(TORCH_ROOT "${Torch_DIR}" ABSOLUTE)
  endif()
else()
  file(GLOB TORCH_WHEELS "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so")
  if(TORCH_WHEELS)
    list(GET TORCH_WHEELS 0 TORCH_ROOT)
    get_filename_component(TORCH_ROOT "${TORCH_ROOT}/../.." ABSOLUTE)
  endif()
endif()
if(NOT EXISTS "${TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found (looked in '${TORCH_ROOT}'). "
    "Run `make` once, which installs it into .venv, or set Torch_DIR to a LibTorch >= 2.11.")
endif()

file(STRINGS "${TORCH_ROOT}/include/torch/headeronly/version.h" TORCH_VERSION_LINES
  REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
string(REGEX MATCH "MAJOR ([0-9]+)" _ "${TORCH_VERSION_LINES}")
set(TORCH_MAJOR "${CMAKE_MATCH_1}")
string(REGEX MATCH "MINOR ([0-9]+)" _ "${TORCH_VERSION_LINES}")
set(TORCH_VERSION "${TORCH_MAJOR}.${CMAKE_MATCH_1}")
if(TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "LibTorch ${TORCH_VERSION} at ${TORCH_ROOT} is too old: Tiller needs >= 2.11.")
endif()
message(STATUS "LibTorch ${TORCH_VERSION}: ${TORCH_ROOT}")

# The wheel's CPU part is linked with the CUDA runtime and CUPTI, which lie in wheels beside it.
file(GLOB TORCH_NEEDS "${TORCH_ROOT}/../nvidia/*/lib")
list(TRANSFORM TORCH_NEEDS PREPEND "-Wl,-rpath-link,")

add_library(tiller::torch_cpu INTERFACE IMPORTED)
set_target_properties(tiller::torch_cpu PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES
    "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include"
  INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
    "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include"
  INTERFACE_LINK_OPTIONS "${TORCH_NEEDS}"
  INTERFACE_LINK_LIBRARIES "${TORCH_ROOT}/lib/libtorch_cpu.so;${TORCH_ROOT}/lib/libc10.so")
