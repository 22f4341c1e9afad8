#include "io/quantized.h"

#include <ATen/ATen.h>

#include "io/parallel.h"

namespace tiller {
namespace {

constexpr int64_t kValuesAtATime = 1 << 14;  ///< A multiple of every block's.

struct QuantizedBytes {
  std::shared_ptr<MappedFile> file;
  const uint8_t* blocks;
  const GgmlType* type;
};

void release_quantized(void* bytes) { delete static_cast<QuantizedBytes*>(bytes); }

/// What lies behind a tensor; null where it isn't quantized.
const QuantizedBytes* quantized_bytes(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_meta() || !tensor.has_storage()) return nullptr;
  const at::DataPtr& data = tensor.storage().data_ptr();
  return data.get_deleter() == release_quantized
             ? static_cast<const QuantizedBytes*>(data.get_context())
             : nullptr;
}

/// The place of a view's last value in its storage.
int64_t last_value(const Tensor& view) {
  int64_t last = view.storage_offset();
  for (int64_t d = 0; d < view.dim(); ++d) last += (view.size(d) - 1) * view.stride(d);
  return last;
}

/// The values of `count` blocks, in parallel, to memory for numbers of this dtype. Threads write to
/// tensors of their own: `out` may be one of inference mode, which they aren't in.
void decode_blocks(const GgmlType& type, const uint8_t* blocks, int64_t count, const Tensor& out) {
  const int64_t each = kValuesAtATime / type.block;
  auto* start = static_cast<std::byte*>(out.mutable_data_ptr());
  parallel_for(0, (count + each - 1) / each, 1, [&](int64_t begin, int64_t end) {
    const Tensor floats = at::empty({kValuesAtATime});
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = part * each, here = std::min(each, count - first);
      type.decode(blocks + first * type.bytes, here, floats.data_ptr<float>());
      at::from_blob(start + first * type.block * int64_t(out.element_size()), {here * type.block},
                    out.scalar_type())
          .copy_(floats.narrow(0, 0, here * type.block));
    }
  });
}

}  // namespace

Tensor quantized_tensor(const std::shared_ptr<MappedFile>& file, uint64_t begin,
                        at::IntArrayRef shape, const GgmlType& type) {
  const auto* blocks = reinterpret_cast<const uint8_t*>(file->bytes().data()) + begin;
  return at::for_blob(nullptr, shape)
      .context(new QuantizedBytes{file, blocks, &type}, release_quantized)
      .target_device(at::kMeta)
      .options(at::TensorOptions(at::kMeta).dtype(at::kFloat))
      .make_tensor();
}

std::string quantization_of(const Tensor& tensor) {
  const QuantizedBytes* bytes = quantized_bytes(tensor);
  return bytes ? bytes->type->name : "";
}

Tensor dequantized(const Tensor& tensor, at::ScalarType dtype) {
  const QuantizedBytes* bytes = quantized_bytes(tensor);
  if (!bytes) return tensor;
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), dtype);
  const GgmlType& type = *bytes->type;
  const int64_t first = tensor.storage_offset() / type.block;
  const int64_t count = last_value(tensor) / type.block + 1 - first;
  const Tensor values = at::empty({count * type.block}, dtype);
  decode_blocks(type, bytes->blocks + first * type.bytes, count, values);
  return values.as_strided(tensor.sizes(), tensor.strides(),
                           tensor.storage_offset() - first * type.block);
}

}  // namespace tiller
