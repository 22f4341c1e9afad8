# models/kernels/NAME.cpp is compiled once an instruction set, each into a function NAME_ISA that
# choose.h picks from at run time; elsewhere than on x86 the three are the same. These files have neither
# the precompiled header nor any other that defines functions.
set(TILLER_KERNEL_FLAGS_baseline "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(TILLER_KERNEL_FLAGS_avx2 -mavx2 -mfma)
  set(TILLER_KERNEL_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma)
endif()

foreach(name fp8 group_norm sinkhorn weighted_sum winograd)
  foreach(isa baseline avx2 avx512)
    set(library tiller_kernels_${name}_${isa})
    add_library(${library} OBJECT models/kernels/${name}.cpp)
    target_include_directories(${library} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_options(${library} PRIVATE -O3 -ffp-contract=fast ${TILLER_KERNEL_FLAGS_${isa}})
    target_compile_definitions(${library} PRIVATE TILLER_KERNEL_NAME=${name}_${isa})
    target_sources(tiller_models PRIVATE $<TARGET_OBJECTS:${library}>)
  endforeach()
endforeach()

# Attention in bfloat16 is for one instruction set alone.
add_library(tiller_kernels_bf16_attention OBJECT models/kernels/bf16_attention.cpp)
target_include_directories(tiller_kernels_bf16_attention PRIVATE ${CMAKE_SOURCE_DIR})
target_compile_options(tiller_kernels_bf16_attention PRIVATE -O3 ${TILLER_KERNEL_FLAGS_avx512}
  # GCC 12 finds its own intrinsics uninitialized (its bug 105593).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-uninitialized>)
if(TILLER_KERNEL_FLAGS_avx512)
  target_compile_options(tiller_kernels_bf16_attention PRIVATE -mavx512bf16)
endif()
target_sources(tiller_models PRIVATE $<TARGET_OBJECTS:tiller_kernels_bf16_attention>)
