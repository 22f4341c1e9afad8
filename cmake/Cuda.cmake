# The CUDA kernels live in a library of their own, loaded when there is a device, so that the program
# links no CUDA and a machine without nvcc builds the rest.
find_program(TILLER_NVCC nvcc HINTS ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin)
if(NOT TILLER_CUDA OR NOT TILLER_NVCC OR NOT TARGET tiller::torch_cuda)
  message(STATUS "CUDA kernels: not compiled")
  return()
endif()
message(STATUS "CUDA kernels: ${TILLER_NVCC}")
