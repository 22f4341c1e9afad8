#pragma once
#include <ATen/core/Generator.h>

#include <map>
#include <set>

#include "io/tensor_file.h"

namespace tiller {

/// How a fresh tensor is drawn; loading ignores it.
enum class Init {
  uniform,  ///< PyTorch's default of linear and convolution: U(-b, b), b = 1 / sqrt(fan_in).
  zeros,
  ones,
  normal  ///< N(0, 1), PyTorch's default of embeddings.
};

/// Where a network takes its tensors from while it is built: a file's, or fresh ones.
class Weights {
 public:
  /// A file's tensors, cast to `dtype` on `device`; Undefined leaves them as stored, quantized ones
  /// without values. `file` is for messages.
  Weights(TensorFile, std::string file, at::ScalarType dtype = at::kFloat,
          at::Device device = at::kCPU);
  /// Fresh float32 tensors from `seed`; on the meta device they have shapes and no values.
  explicit Weights(uint64_t seed, at::Device device = at::kCPU);

  /// Layers that run over tokens are to keep their weights in FP8, fp8.h.
  bool fp8 = false;

  bool has(const std::string& name) const;
  /// The shape of a tensor in the file; empty when it isn't there.
  std::vector<int64_t> shape(const std::string& name) const;
  /// A missing name or a wrong shape is noted, and answered with a tensor without values, so that
  /// `finish` can list all. fan_in is that of the layer, for Init::uniform; 0: the product of the
  /// shape's tail.
  Tensor take(const std::string& name, at::IntArrayRef shape, Init init = Init::uniform,
              int64_t fan_in = 0);
  /// The same in float32, whatever the dtype.
  Tensor take_float32(const std::string& name, at::IntArrayRef shape, Init init = Init::uniform);
  /// Leaves a tensor of the file alone: `finish` won't call it surplus.
  void ignore(const std::string& name) { names_.insert(name); }
  /// Throws Error listing tensors that were missing, of another shape or never taken, and returns
  /// all that were taken, in order.
  NamedTensors finish();

 private:
  Tensor fresh(at::IntArrayRef shape, Init, int64_t fan_in);
  Tensor loaded(const std::string& name, at::IntArrayRef shape);
  Tensor loaded_quantized(const Tensor&) const;

  std::map<std::string, Tensor> file_;
  std::string name_;
  bool fresh_ = false;
  at::ScalarType dtype_ = at::kFloat;
  at::Device device_ = at::kCPU;
  at::Generator generator_;
  NamedTensors taken_;
  std::set<std::string> names_;
  std::vector<std::string> missing_, misshapen_;
};

}  // namespace tiller
