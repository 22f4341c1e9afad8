#include "io/mapped_tensor.h"

#include <ATen/ATen.h>

#include <cstring>

namespace tiller {

Tensor mapped_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin, at::IntArrayRef shape,
                     at::ScalarType dtype) {
  const auto options = at::TensorOptions().dtype(dtype);
  if (c10::multiply_integers(shape) == 0) return at::empty(shape, options);
  const std::byte* start = file->bytes().data() + begin;
  const Tensor tensor = at::from_blob(
      const_cast<std::byte*>(start), shape, [file](void*) {}, options);
  const size_t alignment = std::min<size_t>(8, c10::elementSize(dtype));
  if (reinterpret_cast<uintptr_t>(start) % alignment == 0) return tensor;
  Tensor copy = at::empty(shape, options);
  std::memcpy(copy.mutable_data_ptr(), start, copy.nbytes());
  return copy;
}

}  // namespace tiller
