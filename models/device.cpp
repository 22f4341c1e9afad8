#include "models/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <charconv>
#include <map>
#include <mutex>

#include "io/error.h"
#include "io/processes.h"

namespace tiller {
namespace {

struct CudaState {
  bool has_gpu = false;  ///< By the driver.
  std::string problem;
  std::string kernels_problem;
};

// Asks the driver itself, since LibTorch's CUDA part takes seconds to load.
std::string driver_problem() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (!driver) return "no NVIDIA driver is installed (libcuda.so.1 isn't there)";
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (!init || !count || init(0) != 0 || count(&devices) != 0 || devices == 0)
    return "the NVIDIA driver finds no GPU";
  return "";
}

/// Ten times the major number of a GPU's compute capability and the minor; 0: not known.
int compute_capability(void* driver, int index) {
  const auto attribute_of =
      reinterpret_cast<int (*)(int*, int, int)>(dlsym(driver, "cuDeviceGetAttribute"));
  const auto device_at = reinterpret_cast<int (*)(int*, int)>(dlsym(driver, "cuDeviceGet"));
  constexpr int kMajor = 75, kMinor = 76;  // the driver's numbers of what is asked
  int device = 0, major = 0, minor = 0;
  const bool known = attribute_of && device_at && device_at(&device, index) == 0 &&
                     attribute_of(&major, kMajor, device) == 0 &&
                     attribute_of(&minor, kMinor, device) == 0;
  return known ? 10 * major + minor : 0;
}

/// Operators are registered for all GPUs, so an old one decides for all that LibTorch sees.
std::string capability_problem() {
  constexpr int kLeast = 80;  // of cmake/Cuda.cmake's code
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  for (int i = 0; i < at::detail::getCUDAHooks().deviceCount(); ++i) {
    const int found = compute_capability(driver, i);
    if (found && found < kLeast)
      return "GPU " + std::to_string(i) + " has compute capability " + std::to_string(found / 10) +
             "." + std::to_string(found % 10) +
             ", expected 8.0 or higher. CUDA_VISIBLE_DEVICES hides it from the others";
  }
  return "";
}

// Loaded libraries stay: LibTorch's can't be unloaded.
std::string library_problem(const char* library) {
  if (dlopen(library, RTLD_NOW | RTLD_GLOBAL)) return "";
  return dlerror();
}

std::string torch_problem() {
  const std::string problem = library_problem("libtorch_cuda.so");
  if (!problem.empty()) return "LibTorch's CUDA part doesn't load (" + problem + ")";
  if (!at::globalContext().hasCUDA()) return "LibTorch's CUDA part was loaded too late";
  if (at::detail::getCUDAHooks().deviceCount() == 0)
    return "LibTorch finds no GPU that it supports";
  return "";
}

CudaState load_cuda() {
  CudaState state;
  state.problem = driver_problem();
  state.has_gpu = state.problem.empty();
  if (state.has_gpu) state.problem = torch_problem();
  state.kernels_problem = state.problem;
  if (state.problem.empty()) state.kernels_problem = capability_problem();
  if (state.kernels_problem.empty()) state.kernels_problem = library_problem("libtiller_cuda.so");
  return state;
}

const CudaState& cuda_state() {
  static const CudaState state = load_cuda();
  return state;
}

at::Device cuda_device(const std::string& name, int index) {
  if (!cuda_available())
    throw Error("--device: got '" + name + "', but " + cuda_problem() + ". Use --device cpu.");
  const int devices = at::detail::getCUDAHooks().deviceCount();
  if (index >= devices)
    throw Error("--device: got '" + name + "', expected an index below " + std::to_string(devices) +
                ", the number of GPUs.");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

/// Always the same one: LibTorch keeps a stock of memory for each stream.
c10::Stream second_stream(at::Device device) {
  static std::mutex mutex;
  static std::map<std::string, c10::Stream> streams;
  const std::lock_guard lock(mutex);
  const auto found = streams.find(device.str());
  if (found != streams.end()) return found->second;
  const c10::impl::VirtualGuardImpl of(device.type());
  return streams.emplace(device.str(), of.getStreamFromGlobalPool(device)).first->second;
}

}  // namespace

bool cuda_available() { return cuda_problem().empty(); }

const std::string& cuda_problem() { return cuda_state().problem; }

const std::string& cuda_kernels_problem() { return cuda_state().kernels_problem; }

at::Device choose_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  if (name == "auto") return cuda_available() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cuda") return cuda_device(name, 0);
  if (name.starts_with("cuda:")) {
    int index = -1;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + 5, end, index);
    if (error == std::errc() && stop == end && index >= 0) return cuda_device(name, index);
  }
  throw UsageError(
      "--device: got '" + name + "', expected auto, cpu, cuda or cuda:INDEX." +
      (name == "gpu" ? " Did you mean 'cuda'?" : suggestion(name, {"auto", "cpu", "cuda"})));
}

std::string device_note(const std::string& name, at::Device device) {
  if (device.is_cuda() && !cuda_kernels_problem().empty())
    return "--device " + name + ": LibTorch's operations serve in place of Tiller's own kernels, " +
           "slower, since these aren't there (" + cuda_kernels_problem() + ").";
  if (name == "auto" && device.is_cpu() && cuda_state().has_gpu)
    return "--device auto: there is a GPU, but " + cuda_problem() + ": the CPU computes.";
  return "";
}

std::string device_of_process(const std::string& name, const Launch& launch) {
  if (launch.world == 1) return name;
  const bool any_gpu = name == "cuda" || (name == "auto" && cuda_available());
  if (!any_gpu || !cuda_available()) return name;
  // A launcher may show each process one GPU alone.
  return "cuda:" + std::to_string(launch.local_rank % at::detail::getCUDAHooks().deviceCount());
}

void on_own_stream(at::Device device, const std::function<void()>& work) {
  if (device.is_cpu()) return work();
  const c10::Stream stream = second_stream(device);
  const c10::StreamGuard guard(stream);
  work();
  c10::impl::VirtualGuardImpl(device.type()).synchronizeStream(stream);
}

double free_device_memory(at::Device device) {
  return double(c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

}  // namespace tiller
