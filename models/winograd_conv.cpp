#include "models/winograd_conv.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <algorithm>
#include <atomic>

#include "io/parallel.h"
#include "models/kernels/choose.h"
#include "models/kernels/winograd.h"
#include "models/products.h"

namespace tiller {
namespace {

using kernels::ConvPart;
using kernels::ConvShape;
using kernels::WinogradKernels;

/// Below so many channels the products don't pay for the transforms.
constexpr int64_t kChannels = 32;
/// On smaller images, reading 16 values of a weight takes longer than 9 products.
constexpr int64_t kSide = 4;
/// Tiles that are worked on at once: enough that packed weights are read from the cache, few enough
/// that the tiles themselves stay in it.
constexpr int64_t kTiles = 48;

std::atomic<bool> keep_large_filters = true;

/// oneDNN is as fast in sixteen bits where the processor has instructions for them, and needs less
/// memory.
bool computes(at::ScalarType dtype) {
  static const bool avx2 = at::get_cpu_capability().starts_with("AVX");
  return avx2 && (dtype == at::kFloat || is_widened(dtype));
}

constexpr auto winograd_kernels =
    kernels::chosen<kernels::winograd_baseline, kernels::winograd_avx2, kernels::winograd_avx512>;

int64_t panels_of(int64_t out) {
  return (out + winograd_kernels().panel_width - 1) / winograd_kernels().panel_width;
}

int64_t tiles_of(const ConvShape& shape) {
  return shape.batch * ((shape.height + 1) / 2) * ((shape.width + 1) / 2);
}

/// Blocks of tiles, each for groups of panels.
struct Division {
  int64_t blocks, groups;
};

/// The same number of parts for every thread, in as few groups as that takes, since each transforms
/// its tiles itself.
Division divide(int64_t tiles, int64_t panels) {
  const int64_t threads = at::get_num_threads(), blocks = (tiles + kTiles - 1) / kTiles;
  int64_t groups = 1;
  while (groups < threads && (threads % groups != 0 || blocks * groups < threads)) ++groups;
  const int64_t at_once = threads / groups;
  return {(blocks + at_once - 1) / at_once * at_once, std::min(groups, panels)};
}

template <class T>
const T* values(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <class T>
Tensor packed(const WinogradKernels<T>& kernels, const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), panels = panels_of(out);
  const Tensor to =
      at::empty({panels, winograd_kernels().packed(in)}, at::TensorOptions(at::kFloat));
  parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel)
      kernels.pack(values<T>(weight), in, out, panel, to.data_ptr<float>() + panel * to.size(1));
  });
  return to;
}

template <class T>
void convolve(const WinogradKernels<T>& kernels, const Tensor& x, const Tensor& weight,
              const Tensor& bias, const Tensor& y) {
  const ConvShape shape = {x.size(0), x.size(2), x.size(3), x.size(1), y.size(1)};
  const int64_t tiles = tiles_of(shape), panels = weight.size(0);
  const Division division = divide(tiles, panels);
  const auto part_of = [&](int64_t index) {
    const int64_t block = index % division.blocks, group = index / division.blocks;
    const int64_t tile = tiles * block / division.blocks, panel = panels * group / division.groups;
    return ConvPart{tile, tiles * (block + 1) / division.blocks - tile, panel,
                    panels * (group + 1) / division.groups - panel};
  };
  const ConvPart largest = {0, std::min(tiles, kTiles), 0,
                            (panels + division.groups - 1) / division.groups};
  parallel_for(0, division.blocks * division.groups, 1, [&](int64_t begin, int64_t end) {
    const Tensor work =
        at::empty({winograd_kernels().workspace(shape, largest)}, at::TensorOptions(at::kFloat));
    for (int64_t index = begin; index < end; ++index)
      kernels.convolve(shape, part_of(index), values<T>(x), values<float>(weight),
                       bias.defined() ? values<T>(bias) : nullptr, static_cast<T*>(y.data_ptr()),
                       work.data_ptr<float>());
  });
}

template <class F>
auto as_type(at::ScalarType dtype, const F& f) {
  return dtype == at::kFloat ? f(winograd_kernels().float32) : f(winograd_kernels().bfloat16);
}

}  // namespace

void keep_winograd_weights(bool keep) { keep_large_filters = keep; }

bool winograd_serves(const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding) {
  if (x.dim() != 4 || weight.dim() != 4 || x.numel() == 0) return false;
  const bool computed = x.is_cpu() && weight.is_cpu() && x.scalar_type() == weight.scalar_type() &&
                        computes(x.scalar_type());
  const bool kernel = weight.size(2) == 3 && weight.size(3) == 3 && stride == 1 && padding == 1 &&
                      x.size(1) == weight.size(1) &&
                      std::min(weight.size(0), weight.size(1)) >= kChannels;
  return computed && kernel && std::min(x.size(2), x.size(3)) >= kSide &&
         (keep_large_filters || weight.numel() <= kSmallWeight);
}

Tensor winograd_weight(const Tensor& weight) {
  if (weight.scalar_type() == at::kHalf) return winograd_weight(weight.to(at::kFloat));
  const Tensor plain = weight.detach().contiguous(at::MemoryFormat::ChannelsLast);
  return as_type(weight.scalar_type(), [&]<class T>(const WinogradKernels<T>& kernels) {
    return packed(kernels, plain);
  });
}

Tensor winograd_conv(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t out) {
  if (x.scalar_type() == at::kHalf)
    return winograd_conv(x.to(at::kFloat), packed, bias, out).to(at::kHalf);
  const Tensor y = at::empty({x.size(0), out, x.size(2), x.size(3)}, x.options(),
                             at::MemoryFormat::ChannelsLast);
  TORCH_CHECK(packed.size(0) == panels_of(out) &&
              packed.size(1) == winograd_kernels().packed(x.size(1)) &&
              (!bias.defined() || bias.numel() == out));
  const Tensor pixels = x.contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor added = bias.defined() ? bias.to(x.scalar_type()).contiguous() : bias;
  as_type(x.scalar_type(), [&]<class T>(const WinogradKernels<T>& kernels) {
    convolve(kernels, pixels, packed, added, y);
  });
  return y;
}

}  // namespace tiller
