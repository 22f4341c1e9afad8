#include "models/group_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>

#include "io/parallel.h"
#include "models/gradients.h"
#include "models/kernels/choose.h"
#include "models/kernels/floating_type.h"
#include "models/kernels/group_norm.h"
#include "models/kernels/group_norm_shape.h"
#include "models/operation.h"

namespace tiller {
namespace {

using kernels::Affine;
using kernels::BFloat16Bits;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Pixels that one call of a kernel sums up in float32; their sums are added in float64.
constexpr int64_t kChunk = 256;
/// Values that are worth a thread.
constexpr int64_t kNormGrain = 1 << 16;

constexpr auto norm_kernels = kernels::chosen<kernels::group_norm_baseline,
                                              kernels::group_norm_avx2, kernels::group_norm_avx512>;

template <class T>
const kernels::GroupNormKernels<T>& kernels_for() {
  if constexpr (std::is_same_v<T, float>)
    return norm_kernels().float32;
  else
    return norm_kernels().bfloat16;
}

struct Shape {
  int64_t rows, channels, pixels, groups;
  int64_t chunks() const { return (pixels + kChunk - 1) / kChunk; }
  int64_t group_channels() const { return channels / groups; }
  int64_t padded() const {
    return (channels + kernels::kChannelPadding - 1) / kernels::kChannelPadding *
           kernels::kChannelPadding;
  }
};

Shape shape_of(const Tensor& x, int64_t groups) {
  return {x.size(0), x.size(1), x.size(2) * x.size(3), groups};
}

/// Calls f(row) for each row: in parallel where there are enough rows, else leaving the threads to
/// `each_chunk`.
template <class F>
void each_row(const Shape& shape, const F& f) {
  const int64_t grain = shape.rows >= at::get_num_threads()
                            ? std::max<int64_t>(1, kNormGrain / (shape.pixels * shape.channels))
                            : shape.rows;
  parallel_for(0, shape.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

/// Calls f(chunk, first value, pixels) for each chunk of a row.
template <class F>
void each_chunk(const Shape& shape, int64_t row, const F& f) {
  const int64_t grain = std::max<int64_t>(1, kNormGrain / (kChunk * shape.channels));
  parallel_for(0, shape.chunks(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      f(chunk, (row * shape.pixels + first) * shape.channels,
        std::min(kChunk, shape.pixels - first));
    }
  });
}

/// Arrays of a float a channel, padded with zeros.
class Channels {
 public:
  Channels(const Shape& shape, int64_t arrays)
      : padded_(shape.padded()), values_(padded_ * arrays) {}
  float* operator[](int64_t array) { return values_.data() + array * padded_; }

 private:
  int64_t padded_;
  std::vector<float> values_;
};

/// Sums over the chunks of two arrays a chunk: (value of the first, of the second) of a channel.
std::pair<double, double> total(Channels& partial, const Shape& shape, int64_t channel) {
  std::pair<double, double> sums;
  for (int64_t chunk = 0; chunk < shape.chunks(); ++chunk) {
    sums.first += partial[2 * chunk][channel];
    sums.second += partial[2 * chunk + 1][channel];
  }
  return sums;
}

float as_float(float value) { return value; }
float as_float(BFloat16Bits bits) { return c10::BFloat16(bits, c10::BFloat16::from_bits()); }

struct Statistics {
  float *mean, *rstd;  ///< One a group.
};

/// Mean and 1 / standard deviation of each group from sums around a value of each channel. added:
/// null, or what x lacks of the values.
void combine_moments(const Shape& shape, Channels& partial, const float* center, const float* added,
                     double eps, Statistics out) {
  const int64_t size = shape.group_channels();
  const auto pixels = static_cast<double>(shape.pixels);
  std::vector<double> means(size);
  for (int64_t group = 0; group < shape.groups; ++group) {
    double mean = 0, deviation = 0;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t channel = group * size + i;
      const auto [sum, squares] = total(partial, shape, channel);
      means[i] = center[channel] + sum / pixels + (added ? added[channel] : 0);
      mean += means[i] / size;
      deviation += squares - sum * sum / pixels;
    }
    for (const double m : means) deviation += pixels * (m - mean) * (m - mean);
    out.mean[group] = static_cast<float>(mean);
    out.rstd[group] =
        static_cast<float>(1 / std::sqrt(std::max(deviation, 0.0) / (pixels * size) + eps));
  }
}

/// What the kernels read of the parameters. modulation: null, or scales and shifts of a row. added:
/// null, or a row's.
struct Parameters {
  const float *weight, *bias, *modulation, *added;
  float scale(int64_t channel) const { return modulation ? 1 + modulation[channel] : 1; }
  float shift(int64_t channel, int64_t channels) const {
    return modulation ? modulation[channels + channel] : 0;
  }
  float offset(int64_t channel) const { return added ? added[channel] : 0; }
};

void affine_of(const Shape& shape, Statistics statistics, const Parameters& parameters,
               float* slope, float* intercept) {
  for (int64_t c = 0; c < shape.channels; ++c) {
    const int64_t group = c / shape.group_channels();
    const float scale = parameters.scale(c);
    slope[c] = statistics.rstd[group] * parameters.weight[c] * scale;
    intercept[c] = parameters.bias[c] * scale + parameters.shift(c, shape.channels) +
                   (parameters.offset(c) - statistics.mean[group]) * slope[c];
  }
}

struct Saved {
  Tensor x, weight, bias, modulation, added, mean, rstd;
  Shape shape;
  bool silu;
  Statistics statistics(int64_t row) const {
    const int64_t at = row * shape.groups;
    return {mean.mutable_data_ptr<float>() + at, rstd.mutable_data_ptr<float>() + at};
  }
  Parameters parameters(int64_t row) const {
    const auto own = [row](const Tensor& terms) {
      return terms.defined() ? terms.const_data_ptr<float>() + row * terms.size(1) : nullptr;
    };
    return {weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), own(modulation),
            own(added)};
  }
};

template <class T>
const T* data_of(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
void forward_row(const Saved& saved, double eps, int64_t row, T* y) {
  const Shape& shape = saved.shape;
  const auto& kernel = kernels_for<T>();
  const T* x = data_of<T>(saved.x);
  Channels partial(shape, 2 * shape.chunks()), own(shape, 3);
  float *center = own[0], *slope = own[1], *intercept = own[2];
  for (int64_t c = 0; c < shape.channels; ++c)
    center[c] = as_float(x[row * shape.pixels * shape.channels + c]);
  each_chunk(shape, row, [&](int64_t chunk, int64_t first, int64_t pixels) {
    kernel.moments(x + first, pixels, shape.channels, center, partial[2 * chunk],
                   partial[2 * chunk + 1]);
  });
  const Parameters parameters = saved.parameters(row);
  combine_moments(shape, partial, center, parameters.added, eps, saved.statistics(row));
  affine_of(shape, saved.statistics(row), parameters, slope, intercept);
  each_chunk(shape, row, [&](int64_t, int64_t first, int64_t pixels) {
    kernel.apply(x + first, y + first, pixels, shape.channels, {slope, intercept, saved.silu});
  });
}

/// sums: of dz and of dz * xhat over the pixels of a row, a float a channel each.
struct GradientSums {
  float *plain, *normalised;
};

/// dx = rstd * (dz k - mean(dz k) - xhat mean(dz k xhat)) as dz a + x b + c, k being weight *
/// scale.
void combine_gradients(const Shape& shape, Statistics statistics, const Parameters& parameters,
                       GradientSums sums, Channels& own) {
  const int64_t size = shape.group_channels();
  const double count = static_cast<double>(shape.pixels) * size;
  for (int64_t group = 0; group < shape.groups; ++group) {
    const double mean = statistics.mean[group], rstd = statistics.rstd[group];
    double plain = 0, normalised = 0;
    for (int64_t c = group * size; c < (group + 1) * size; ++c) {
      const double gain = parameters.weight[c] * parameters.scale(c);
      plain += gain * sums.plain[c] / count;
      normalised += gain * sums.normalised[c] / count;
      own[0][c] = static_cast<float>(rstd * gain);
    }
    for (int64_t c = group * size; c < (group + 1) * size; ++c) {
      own[1][c] = static_cast<float>(-rstd * rstd * normalised);
      own[2][c] = static_cast<float>(rstd * (mean * rstd * normalised - plain));
    }
  }
}

template <class T>
void backward_row(const Saved& saved, const T* dy, T* dx, int64_t row, GradientSums sums) {
  const Shape& shape = saved.shape;
  const auto& kernel = kernels_for<T>();
  const T* x = data_of<T>(saved.x);
  const Statistics statistics = saved.statistics(row);
  Channels partial(shape, 2 * shape.chunks()), own(shape, 6);
  const Affine affine{own[3], own[4], saved.silu};
  affine_of(shape, statistics, saved.parameters(row), own[3], own[4]);
  for (int64_t c = 0; c < shape.channels; ++c)
    own[5][c] = statistics.mean[c / shape.group_channels()];
  each_chunk(shape, row, [&](int64_t chunk, int64_t first, int64_t pixels) {
    kernel.gradient_sums(x + first, dy + first, pixels, shape.channels, affine, own[5],
                         partial[2 * chunk], partial[2 * chunk + 1]);
  });
  for (int64_t c = 0; c < shape.channels; ++c) {
    const auto [plain, centered] = total(partial, shape, c);
    sums.plain[c] = static_cast<float>(plain);
    sums.normalised[c] = static_cast<float>(centered * statistics.rstd[c / shape.group_channels()]);
  }
  if (!dx) return;
  combine_gradients(shape, statistics, saved.parameters(row), sums, own);
  each_chunk(shape, row, [&](int64_t, int64_t first, int64_t pixels) {
    kernel.gradient(x + first, dy + first, dx + first, pixels, shape.channels, affine, own[0],
                    own[1], own[2]);
  });
}

/// Calls f with a value of the type that the kernels read x as.
template <class F>
void with_type(const Tensor& x, const F& f) {
  if (x.scalar_type() == at::kFloat)
    f(float{});
  else
    f(BFloat16Bits{});
}

/// Fills saved.mean and saved.rstd too.
Tensor forward_fused(Saved& saved, double eps) {
  const Shape& shape = saved.shape;
  const auto real = saved.weight.options();
  saved.mean = at::empty({shape.rows, shape.groups}, real);
  saved.rstd = at::empty({shape.rows, shape.groups}, real);
  Tensor y = at::empty(saved.x.sizes(), saved.x.options(), at::MemoryFormat::ChannelsLast);
  with_type(saved.x, [&]<class T>(T) {
    T* out = static_cast<T*>(y.mutable_data_ptr());
    each_row(shape, [&](int64_t row) { forward_row<T>(saved, eps, row, out); });
  });
  return y;
}

/// Gradients of x, weight, bias and modulation.
variable_list backward_fused(const Saved& saved, const Tensor& dy, bool wants_dx) {
  const Shape& shape = saved.shape;
  const Tensor sums = at::empty({2, shape.rows, shape.channels}, saved.weight.options());
  Tensor dx;
  if (wants_dx) dx = at::empty(saved.x.sizes(), saved.x.options(), at::MemoryFormat::ChannelsLast);
  with_type(saved.x, [&]<class T>(T) {
    T* out = wants_dx ? static_cast<T*>(dx.mutable_data_ptr()) : nullptr;
    each_row(shape, [&](int64_t row) {
      float* own = sums.mutable_data_ptr<float>() + row * shape.channels;
      backward_row<T>(saved, data_of<T>(dy), out, row, {own, own + sums.stride(0)});
    });
  });
  const Tensor plain = sums[0], normalised = sums[1];
  if (!saved.modulation.defined()) return {dx, normalised.sum(0), plain.sum(0), Tensor()};
  const Tensor scale = 1 + saved.modulation.narrow(1, 0, shape.channels);
  const Tensor dscale = normalised * saved.weight + plain * saved.bias;
  return {dx, (normalised * scale).sum(0), (plain * scale).sum(0), at::cat({dscale, plain}, 1)};
}

struct FusedGroupNorm : torch::autograd::Function<FusedGroupNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, const std::optional<Tensor>& modulation, int64_t groups,
                        double eps, bool silu) {
    Saved saved{.x = x,
                .weight = weight,
                .bias = bias,
                .modulation = modulation.value_or(Tensor()),
                .shape = shape_of(x, groups),
                .silu = silu};
    Tensor y = forward_fused(saved, eps);
    context->save_for_backward({x, weight, bias, saved.modulation, saved.mean, saved.rstd});
    context->saved_data["groups"] = groups;
    context->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "group_norm has no second derivatives");
    const auto tensors = context->get_saved_variables();
    const int64_t groups = context->saved_data["groups"].toInt();
    const Saved saved{.x = tensors[0],
                      .weight = tensors[1],
                      .bias = tensors[2],
                      .modulation = tensors[3],
                      .mean = tensors[4],
                      .rstd = tensors[5],
                      .shape = shape_of(tensors[0], groups),
                      .silu = context->saved_data["silu"].toBool()};
    const Tensor dy =
        gradients[0].to(saved.x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    variable_list result = backward_fused(saved, dy, context->needs_input_grad(0));
    result.resize(7);
    return result;
  }
};

bool fusible(const Tensor& x) {
  const auto dtype = x.scalar_type();
  const bool known = dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
  return x.is_cpu() && x.dim() == 4 && known && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor plus(const Tensor& x, const Tensor& added) {
  return added.defined() ? x + added.unsqueeze(-1).unsqueeze(-1) : x;
}

Tensor fused(const Tensor& x, const Tensor& weight, const Tensor& bias,
             const GroupNormOptions& options, const RowTerms& terms) {
  if (x.scalar_type() == at::kHalf)
    return fused(x.to(at::kFloat), weight, bias, options, terms).to(at::kHalf);
  const auto real = [](const Tensor& t) { return t.defined() ? t.to(at::kFloat).contiguous() : t; };
  const Tensor modulation = real(terms.modulation), added = real(terms.added);
  if (wants_gradients({x, weight, bias, modulation, added}))
    return FusedGroupNorm::apply(plus(x, terms.added), real(weight), real(bias),
                                 present(modulation), options.groups, options.eps, options.silu);
  Saved saved{.x = x,
              .weight = real(weight),
              .bias = real(bias),
              .modulation = modulation,
              .added = added,
              .shape = shape_of(x, options.groups),
              .silu = options.silu};
  return forward_fused(saved, options.eps);
}

/// The operator's kernel where there is none of its own.
Tensor reference_operator(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const std::optional<Tensor>& modulation,
                          const std::optional<Tensor>& added, const std::optional<Tensor>& offset,
                          int64_t groups, double eps, bool silu) {
  const auto own = [](const std::optional<Tensor>& t) { return t.value_or(Tensor()); };
  return group_norm_reference(x, weight, bias, {groups, eps, silu},
                              {own(modulation), own(added), own(offset)});
}

/// The same without an offset.
RowTerms folded(const RowTerms& terms, int64_t rows) {
  if (!terms.offset.defined()) return terms;
  return {terms.modulation, terms.added.defined()
                                ? terms.added + terms.offset
                                : terms.offset.expand({rows, terms.offset.size(0)})};
}

bool fits_cuda(const Tensor& x, const GroupNormOptions& options) {
  return x.is_cuda() && x.dim() == 4 && kernels::is_kernel_type(x.scalar_type()) && x.numel() > 0 &&
         kernels::group_norm_fits(x.size(0), x.size(1), options.groups);
}

Tensor group_norm_operator(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const GroupNormOptions& options, const RowTerms& terms) {
  using Signature =
      Tensor(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
             const std::optional<Tensor>&, const std::optional<Tensor>&, int64_t, double, bool);
  static const auto kernel = operation<Signature>("tiller::group_norm");
  return kernel.call(x, weight, bias, present(terms.modulation), present(terms.added),
                     present(terms.offset), options.groups, options.eps, options.silu);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def(
      "group_norm(Tensor x, Tensor weight, Tensor bias, Tensor? modulation, Tensor? added, "
      "Tensor? offset, int groups, float eps, bool silu) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("group_norm", reference_operator);
}

Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const GroupNormOptions& options, const RowTerms& terms) {
  if (fusible(x)) return fused(x, weight, bias, options, folded(terms, x.size(0)));
  if (fits_cuda(x, options) &&
      !wants_gradients({x, weight, bias, terms.modulation, terms.added, terms.offset}))
    return group_norm_operator(x, weight, bias, options, terms);
  return group_norm_reference(x, weight, bias, options, terms);
}

Tensor group_norm_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const GroupNormOptions& options, const RowTerms& terms) {
  const Tensor added = folded(terms, x.size(0)).added;
  Tensor y = at::group_norm(plus(x, added), options.groups, weight, bias, options.eps);
  if (terms.modulation.defined()) {
    const auto parts = terms.modulation.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
    y = y * (1 + parts[0]) + parts[1];
  }
  return options.silu ? at::silu(y) : y;
}

}  // namespace tiller
