#include "models/winograd_conv.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <atomic>

#include "models/kernels/choose.h"
#include "models/kernels/winograd.h"
#include "models/parallel.h"

namespace tiller {
namespace {

using kernels::ConvPart;
using kernels::ConvShape;

/// Below so many channels the products don't pay for the transforms.
constexpr int64_t kChannels = 32;
/// Tiles that are worked on at once: enough that packed weights are read from the cache, few enough
/// that the tiles themselves stay in it.
constexpr int64_t kTiles = 48;

std::atomic<bool> keep_large = true;

bool has_avx2() {
  static const bool has = at::get_cpu_capability().starts_with("AVX");
  return has;
}

constexpr auto table =
    kernels::chosen<kernels::winograd_baseline, kernels::winograd_avx2, kernels::winograd_avx512>;

int64_t panels_of(int64_t out) { return (out + table().panel_width - 1) / table().panel_width; }

/// Blocks of tiles, each for groups of panels.
struct Division {
  int64_t blocks, groups;
};

/// By tiles where there are enough for every thread; else by outputs too, whose tiles are then
/// transformed by each group.
Division divide(int64_t tiles, int64_t panels) {
  const int64_t threads = at::get_num_threads(), blocks = (tiles + kTiles - 1) / kTiles;
  if (blocks >= threads) return {(blocks + threads - 1) / threads * threads, 1};
  return {blocks, std::min(panels, threads)};
}

}  // namespace

void keep_winograd_weights(bool keep) { keep_large = keep; }

bool winograd_serves(const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding) {
  const bool floats = x.is_cpu() && weight.is_cpu() && x.scalar_type() == at::kFloat &&
                      weight.scalar_type() == at::kFloat;
  const bool kernel = weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 &&
                      stride == 1 && padding == 1 &&
                      std::min(weight.size(0), weight.size(1)) >= kChannels;
  return floats && kernel && x.dim() == 4 && x.size(1) == weight.size(1) && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast) && has_avx2() &&
         (keep_large || weight.numel() <= kSmallWeight);
}

Tensor winograd_weight(const Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1), panels = panels_of(out);
  const Tensor plain = weight.detach().contiguous(at::MemoryFormat::ChannelsLast);
  const kernels::FilterSteps steps = {plain.stride(0), plain.stride(1), plain.stride(3)};
  const Tensor packed = at::empty({panels, table().packed(in)}, at::TensorOptions(at::kFloat));
  parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel)
      table().pack(plain.const_data_ptr<float>(), steps, in, out, panel,
                   packed.data_ptr<float>() + panel * packed.size(1));
  });
  return packed;
}

Tensor winograd_conv(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t out) {
  const ConvShape shape = {x.size(0), x.size(2), x.size(3), x.size(1), out};
  const Tensor y = at::empty({shape.batch, out, shape.height, shape.width}, x.options(),
                             at::MemoryFormat::ChannelsLast);
  const Tensor added = bias.defined() ? bias.contiguous() : bias;
  const int64_t tiles = shape.tiles(), panels = packed.size(0);
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
        at::empty({table().workspace(shape, largest)}, at::TensorOptions(at::kFloat));
    for (int64_t index = begin; index < end; ++index)
      table().convolve(shape, part_of(index), x.const_data_ptr<float>(),
                       packed.const_data_ptr<float>(),
                       added.defined() ? added.const_data_ptr<float>() : nullptr,
                       y.data_ptr<float>(), work.data_ptr<float>());
  });
  return y;
}

}  // namespace tiller
