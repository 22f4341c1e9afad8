#include "models/weights.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <sstream>

#include "io/error.h"
#include "io/quantized.h"

namespace tiller {
namespace {

std::string text_of(at::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

int64_t fan_in_of(at::IntArrayRef shape) {
  int64_t product = 1;
  for (size_t i = 1; i < shape.size(); ++i) product *= shape[i];
  return product;
}

/// Convolutions run fastest on weights in the order of their inputs.
Tensor in_layout(const Tensor& tensor) {
  return tensor.dim() == 4 && quantization_of(tensor).empty()
             ? tensor.contiguous(at::MemoryFormat::ChannelsLast)
             : tensor;
}

}  // namespace

Weights::Weights(TensorFile file, std::string name, at::ScalarType dtype, at::Device device)
    : name_(std::move(name)), dtype_(dtype), device_(device) {
  for (auto& [key, tensor] : file.tensors) file_.emplace(key, std::move(tensor));
}

Weights::Weights(uint64_t seed, at::Device device)
    : fresh_(true), device_(device), generator_(at::detail::createCPUGenerator(seed)) {}

bool Weights::has(const std::string& name) const { return file_.count(name) > 0; }

std::vector<int64_t> Weights::shape(const std::string& name) const {
  const auto found = file_.find(name);
  return found == file_.end() ? std::vector<int64_t>{} : found->second.sizes().vec();
}

Tensor Weights::fresh(at::IntArrayRef shape, Init init, int64_t fan_in) {
  const at::TensorOptions options(at::kFloat);
  if (device_.is_meta()) return at::empty(shape, options.device(device_));
  switch (init) {
    case Init::zeros:
      return at::zeros(shape, options);
    case Init::ones:
      return at::ones(shape, options);
    case Init::normal:
      return at::randn(shape, generator_, options);
    case Init::uniform:
      break;
  }
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in ? fan_in : fan_in_of(shape)));
  return at::empty(shape, options).uniform_(-bound, bound, generator_);
}

Tensor Weights::loaded(const std::string& name, at::IntArrayRef shape) {
  const auto found = file_.find(name);
  if (found == file_.end()) {
    missing_.push_back(name);
    return at::empty(shape, at::TensorOptions(at::kMeta));
  }
  if (found->second.sizes() != shape) {
    misshapen_.push_back(name + " " + text_of(found->second.sizes()) + " instead of " +
                         text_of(shape));
    return at::empty(shape, at::TensorOptions(at::kMeta));
  }
  if (!quantization_of(found->second).empty()) return loaded_quantized(found->second);
  const at::ScalarType stored = found->second.scalar_type();
  if (!at::isFloatingType(stored))
    throw Error(name_ + ": " + printable(name) + ": got numbers of the type " +
                at::toString(stored) + ", expected floats.");
  return found->second.to(device_, dtype_ == at::ScalarType::Undefined ? stored : dtype_);
}

Tensor Weights::loaded_quantized(const Tensor& tensor) const {
  if (dtype_ == at::ScalarType::Undefined) return tensor;
  return device_.is_meta() ? tensor.to(dtype_) : dequantized(tensor, dtype_).to(device_);
}

Tensor Weights::take(const std::string& name, at::IntArrayRef shape, Init init, int64_t fan_in) {
  const Tensor tensor =
      in_layout(fresh_ ? fresh(shape, init, fan_in).to(device_) : loaded(name, shape));
  taken_.emplace_back(name, tensor);
  names_.insert(name);
  return tensor;
}

Tensor Weights::take_float32(const std::string& name, at::IntArrayRef shape, Init init) {
  const at::ScalarType dtype = std::exchange(dtype_, at::kFloat);
  Tensor tensor = take(name, shape, init);
  dtype_ = dtype;
  return tensor;
}

NamedTensors Weights::finish() {
  std::vector<std::string> problems, surplus;
  for (const auto& [name, tensor] : file_)
    if (!names_.count(name)) surplus.push_back(name);
  if (!misshapen_.empty()) problems.push_back("wrong shapes: " + enumerate(misshapen_, 4));
  if (!missing_.empty()) problems.push_back("missing tensors: " + enumerate(missing_, 4));
  if (!surplus.empty()) problems.push_back("surplus tensors: " + enumerate(surplus, 4));
  if (problems.empty()) return std::move(taken_);
  std::string text;
  for (const auto& problem : problems) text += (text.empty() ? "" : "; ") + problem;
  throw Error(name_ + ": got weights that don't fit the config: " + text + ".");
}

}  // namespace tiller
