# The CUDA kernels (.cu files beside the .cpp that they serve) become libtiller_cuda.so, which the
# program loads where there is a GPU: the program itself links no CUDA, and a machine without nvcc
# builds everything else. nvcc is called directly: CMake 3.25 has no C++20 for CUDA. The CUDA runtime is
# linked statically and kept to the library, so that nvcc's version may differ from that of LibTorch's
# runtime.
set(TILLER_CUDA_ARCHITECTURES
  -gencode arch=compute_80,code=sm_80
  -gencode arch=compute_90,code=[sm_90,compute_90])

function(tiller_cuda_compile reason)
  if(NOT TILLER_CUDA)
    set(${reason} "TILLER_CUDA is off" PARENT_SCOPE)
    return()
  endif()
  find_program(TILLER_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  file(GLOB own ${TORCH_ROOT}/../nvidia/*/bin/nvcc)
  set(candidates ${TILLER_NVCC} ${own})
  list(REMOVE_ITEM candidates TILLER_NVCC-NOTFOUND)
  if(NOT candidates)
    set(${reason} "nvcc was not found" PARENT_SCOPE)
    return()
  endif()
  if(NOT EXISTS "${TORCH_ROOT}/lib/libc10_cuda.so")
    set(${reason} "LibTorch was built without CUDA" PARENT_SCOPE)
    return()
  endif()
  if(TILLER_NVCC_WORKS IN_LIST candidates)
    return()
  endif()
  set(probe "${CMAKE_BINARY_DIR}/CMakeFiles/tiller_nvcc_probe")
  file(WRITE "${probe}.cu" "#include <c10/cuda/CUDAStream.h>\n__global__ void probe() {}\n")
  foreach(nvcc ${candidates})
    execute_process(COMMAND ${nvcc} -std=c++20 ${TILLER_CUDA_ARCHITECTURES} -E
      -isystem ${TORCH_ROOT}/include ${probe}.cu -o ${probe}.ii
      RESULT_VARIABLE result OUTPUT_FILE ${probe}.log ERROR_FILE ${probe}.log)
    if(result EQUAL 0)
      set(TILLER_NVCC_WORKS "${nvcc}" CACHE INTERNAL "The nvcc that was tried and works")
      return()
    endif()
  endforeach()
  list(JOIN candidates ", " tried)
  set(${reason} "LibTorch's headers can't be compiled by ${tried}, see ${probe}.log" PARENT_SCOPE)
endfunction()

tiller_cuda_compile(TILLER_CUDA_REASON)
file(GLOB TILLER_CUDA_SOURCES CONFIGURE_DEPENDS */*.cu)
if(TILLER_CUDA_REASON OR NOT TILLER_CUDA_SOURCES)
  message(STATUS "CUDA kernels: not compiled (${TILLER_CUDA_REASON})")
  return()
endif()
message(STATUS "CUDA kernels: ${TILLER_NVCC_WORKS}")

# NCCL's code is in LibTorch's libraries, or loaded by them; its header comes in the wheel
# nvidia-nccl-cu13 or Debian's libnccl-dev.
find_path(NCCL_INCLUDE nccl.h HINTS ${TORCH_ROOT}/../nvidia/nccl/include)
set(TILLER_NCCL_REASON "")
if(NCCL_INCLUDE)
  execute_process(COMMAND grep -qF 16ProcessGroupNCCLC1E ${TORCH_ROOT}/lib/libtorch_cuda.so
    RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    set(TILLER_NCCL_REASON "LibTorch was built without it")
  endif()
else()
  set(TILLER_NCCL_REASON "nccl.h was not found")
endif()
if(TILLER_NCCL_REASON)
  message(STATUS "NCCL: not used, gradients go by way of the CPU (${TILLER_NCCL_REASON})")
else()
  message(STATUS "NCCL: ${NCCL_INCLUDE}")
endif()

# nvcc reads LibTorch's long headers once for the host and once for each kind of GPU, 40 seconds of a
# kernel's 50: so all kernels are one file to it. Their names outside functions must differ.
set(TILLER_KERNELS ${TILLER_CUDA_SOURCES})
list(REMOVE_ITEM TILLER_KERNELS ${CMAKE_SOURCE_DIR}/io/nccl.cu)
list(TRANSFORM TILLER_KERNELS REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
string(CONCAT includes ${includes})
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/cuda/kernels.cu CONTENT "${includes}" @ONLY)

set(TILLER_NVCC_FLAGS -std=c++20 -O3 -DNDEBUG -Xcompiler=-fPIC,-Wall,-Wextra,-Wno-unused-parameter
  -isystem ${TORCH_ROOT}/include -isystem ${TORCH_ROOT}/include/torch/csrc/api/include -I ${CMAKE_SOURCE_DIR})
if(TILLER_WERROR)
  list(APPEND TILLER_NVCC_FLAGS -Werror all-warnings -Xcompiler=-Werror)
endif()

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)
set(TILLER_CUDA_OBJECTS "")
function(tiller_cuda_object name source)
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  add_custom_command(OUTPUT ${object}
    COMMAND ${TILLER_NVCC_WORKS} ${TILLER_NVCC_FLAGS} ${ARGN} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d VERBATIM COMMENT "Compiling CUDA's ${name}")
  set(TILLER_CUDA_OBJECTS ${TILLER_CUDA_OBJECTS} ${object} PARENT_SCOPE)
endfunction()
tiller_cuda_object(kernels ${CMAKE_BINARY_DIR}/generated/cuda/kernels.cu ${TILLER_CUDA_ARCHITECTURES} --threads 2)
if(NOT TILLER_NCCL_REASON)  # no kernels are in it
  tiller_cuda_object(nccl ${CMAKE_SOURCE_DIR}/io/nccl.cu -x c++ -DUSE_C10D_NCCL -Xcompiler=-idirafter,${NCCL_INCLUDE})
endif()

set(TILLER_CUDA_LIBRARY ${CMAKE_BINARY_DIR}/libtiller_cuda.so)
add_custom_command(OUTPUT ${TILLER_CUDA_LIBRARY}
  COMMAND ${TILLER_NVCC_WORKS} -shared ${TILLER_CUDA_ARCHITECTURES} ${TILLER_CUDA_OBJECTS}
    -L${TORCH_ROOT}/lib -lc10_cuda -ltorch_cpu -lc10
    -Xlinker --exclude-libs,ALL -Xlinker -rpath,${TORCH_ROOT}/lib
    -o ${TILLER_CUDA_LIBRARY}
  DEPENDS ${TILLER_CUDA_OBJECTS} VERBATIM COMMENT "Linking libtiller_cuda.so")
add_custom_target(tiller_cuda ALL DEPENDS ${TILLER_CUDA_LIBRARY})
add_dependencies(program tiller_cuda)
install(PROGRAMS ${TILLER_CUDA_LIBRARY} DESTINATION lib/tiller)
