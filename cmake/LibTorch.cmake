# Finds LibTorch without its own CMake config, which insists on a CUDA toolkit when the wheel was
# built for CUDA. Defines the targets tiller::torch_cpu and, when the files are there, tiller::torch_cuda.
#
# Looked for in: Torch_DIR (any LibTorch >= 2.11), then the project's .venv.

set(TORCH_ROOT "")
if(Torch_DIR)
  get_filename_component(TORCH_ROOT "${Torch_DIR}/../../.." ABSOLUTE)
  if(NOT EXISTS "${TORCH_ROOT}/lib/libtorch_cpu.so")
    set(TORCH_ROOT "${Torch_DIR}")
  endif()
else()
  file(GLOB TORCH_WHEELS "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
  if(TORCH_WHEELS)
    list(GET TORCH_WHEELS 0 TORCH_ROOT)
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

function(tiller_torch_target name)
  add_library(tiller::${name} INTERFACE IMPORTED)
  set(files "")
  foreach(lib ${ARGN})
    list(APPEND files "${TORCH_ROOT}/lib/lib${lib}.so")
  endforeach()
  set_target_properties(tiller::${name} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
      "${TORCH_ROOT}/include;${TORCH_ROOT}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES "${files}")
endfunction()

tiller_torch_target(torch_cpu torch_cpu c10)
if(EXISTS "${TORCH_ROOT}/lib/libtorch_cuda.so")
  tiller_torch_target(torch_cuda torch_cuda c10_cuda torch_cpu c10)
endif()
