// The ops tiller::fp8_rows and tiller::compute_capability on CUDA; the schemas and the first one's
// LibTorch reference stand in fp8.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "models/kernels/floating_type.h"
#include "models/kernels/fp8.cuh"

namespace tiller {
namespace {

using at::Tensor;

constexpr unsigned kRows = 4;  ///< A warp each.

std::tuple<Tensor, Tensor> fp8_rows_cuda(const Tensor& x) {
  TORCH_CHECK(x.dim() == 2, "fp8_rows: got ", x.sizes(), ", expected rows and columns.");
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = x.contiguous();
  const int64_t rows = x.size(0), columns = x.size(1);
  Tensor values = at::empty({rows, columns}, x.options().dtype(at::kFloat8_e4m3fn));
  Tensor scales = at::empty({rows, 1}, x.options().dtype(at::kFloat));
  const auto blocks = static_cast<unsigned>((rows + kRows - 1) / kRows);
  if (blocks == 0) return {values, scales};
  kernels::with_floating_type(x.scalar_type(), "fp8_rows", [&]<class T>(T) {
    kernels::fp8_rows_kernel<T><<<blocks, dim3(32, kRows), 0, c10::cuda::getCurrentCUDAStream()>>>(
        from.const_data_ptr<T>(), values.mutable_data_ptr<c10::Float8_e4m3fn>(),
        scales.mutable_data_ptr<float>(), rows, columns);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {values, scales};
}

/// Ten times the major number and the minor: 90 is Hopper.
int64_t compute_capability_cuda(const Tensor& x) {
  int major = 0, minor = 0;
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, x.device().index()));
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, x.device().index()));
  return 10 * major + minor;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) {
  m.impl("fp8_rows", fp8_rows_cuda);
  m.impl("compute_capability", compute_capability_cuda);
}

}  // namespace tiller
