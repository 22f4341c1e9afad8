#pragma once
#include <c10/core/Device.h>

#include <functional>
#include <string>

namespace tiller {

struct Launch;

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

/// What a user should know where choose_device(name) gave `device`: that a GPU is there and isn't
/// used, or runs without our kernels, as a line; "": nothing.
std::string device_note(const std::string& name, at::Device device);

/// Of several processes on a machine each takes the GPU of its place there, unless the name has an
/// index: the name that this process is to choose by.
std::string device_of_process(const std::string& name, const Launch&);

/// Does the work on a stream of its own where the device has streams, so that another thread's goes
/// on beside it, and waits for it. What it reads must have been computed.
void on_own_stream(at::Device, const std::function<void()>& work);

/// Bytes that nobody holds on a GPU, LibTorch's own stock included. Not for CPUs.
double free_device_memory(at::Device);

}  // namespace tiller
