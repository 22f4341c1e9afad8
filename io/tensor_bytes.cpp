#include "io/tensor_bytes.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

/// Every part begins at a multiple, so that any type can be read in place.
constexpr int64_t alignment = 64;

int64_t aligned(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

/// Type, number of dimensions and sizes of each.
std::vector<int64_t> described(const std::vector<Tensor>& tensors) {
  std::vector<int64_t> words;
  for (const auto& tensor : tensors) {
    words.push_back(int64_t(tensor.defined() ? tensor.scalar_type() : at::kByte));
    words.push_back(tensor.defined() ? tensor.dim() : -1);
    if (tensor.defined()) words.insert(words.end(), tensor.sizes().begin(), tensor.sizes().end());
  }
  words.insert(words.begin(), {std::ssize(tensors), std::ssize(words)});
  return words;
}

Tensor bytes_of(const Tensor& tensor) {
  const Tensor flat = tensor.cpu().contiguous().flatten();
  return flat.view(at::kByte);
}

/// Reads one part after the other.
class Parts {
 public:
  explicit Parts(const Tensor& bytes) : bytes_(bytes) {}
  Tensor next(int64_t count, at::ScalarType type) {
    const int64_t size = count * int64_t(at::elementSize(type));
    if (count < 0 || size > bytes_.numel() - at_)
      throw Error("launch: got tensors that are cut off, expected another process's whole.");
    const Tensor part = bytes_.narrow(0, at_, size).view(type);
    at_ = std::min(at_ + aligned(size), bytes_.numel());
    return part;
  }

 private:
  Tensor bytes_;
  int64_t at_ = 0;
};

}  // namespace

Tensor packed(const std::vector<Tensor>& tensors) {
  const std::vector<int64_t> words = described(tensors);
  std::vector<Tensor> parts = {at::tensor(words, at::kLong).narrow(0, 0, 2).view(at::kByte),
                               at::tensor(words, at::kLong).slice(0, 2).view(at::kByte)};
  for (const auto& tensor : tensors)
    if (tensor.defined()) parts.push_back(bytes_of(tensor));
  int64_t size = 0;
  for (const auto& part : parts) size += aligned(part.numel());
  const Tensor bytes = at::zeros({size}, at::kByte);
  int64_t at = 0;
  for (const auto& part : parts) {
    bytes.narrow(0, at, part.numel()).copy_(part);
    at += aligned(part.numel());
  }
  return bytes;
}

std::vector<Tensor> unpacked(const Tensor& bytes) {
  Parts parts(bytes);
  const Tensor counts = parts.next(2, at::kLong);
  const int64_t tensors = counts[0].item<int64_t>();
  const Tensor description = parts.next(counts[1].item<int64_t>(), at::kLong);
  const auto* word = description.const_data_ptr<int64_t>();
  std::vector<Tensor> unpacked;
  for (int64_t i = 0; i < tensors; ++i) {
    const auto type = at::ScalarType(*word++);
    const int64_t dimensions = *word++;
    if (dimensions < 0) {
      unpacked.emplace_back();
      continue;
    }
    const at::IntArrayRef sizes(word, size_t(dimensions));
    word += dimensions;
    unpacked.push_back(parts.next(c10::multiply_integers(sizes), type).view(sizes));
  }
  return unpacked;
}

}  // namespace tiller
