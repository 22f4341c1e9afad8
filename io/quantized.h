#pragma once
#include <ATen/core/Tensor.h>

#include "io/file.h"
#include "io/gguf_types.h"

namespace tiller {
using at::Tensor;

/// A quantized tensor of a mapped file, by shape alone: a float32 tensor on the meta device whose
/// storage remembers where the blocks lie. Views of it (parts of rows, transposes, reshapes) are
/// quantized too. `begin`: of its first block in the file; the caller has checked that all lie
/// within it.
Tensor quantized_tensor(const std::shared_ptr<MappedFile>&, uint64_t begin, at::IntArrayRef shape,
                        const GgmlType&);

/// "Q8_0" and the like; "" of a tensor that isn't quantized.
std::string quantization_of(const Tensor&);

/// The values of a quantized tensor, or of a view of one, in `dtype`, rounded once from float32;
/// blocks that a view leaves out aren't read. Any other tensor as it is.
Tensor dequantized(const Tensor&, at::ScalarType dtype = at::kFloat);

}  // namespace tiller
