#pragma once
#include <c10/core/Device.h>

#include <string>

namespace tiller {

/// Whether there is an NVIDIA GPU and LibTorch's CUDA part loads. The first call loads it, and our
/// kernels with it. It must come before anything that asks LibTorch for CUDA (at::manual_seed
/// does): LibTorch remembers the first answer.
bool cuda_available();

/// Why `cuda_available` is false, as half a sentence; "" when it is true.
const std::string& cuda_problem();

/// Why our CUDA kernels (libtiller_cuda.so) aren't loaded; "" when they are. Without them a GPU
/// still works, on the LibTorch reference of each.
const std::string& cuda_kernels_problem();

/// "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:INDEX". Throws UsageError on any other
/// name, and Error with the reason when the GPU asked for isn't there.
at::Device choose_device(const std::string& name);

}  // namespace tiller
