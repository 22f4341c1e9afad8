#pragma once
#include <ATen/ATen.h>

namespace tiller::test {

/// t on a GPU, in its layout, a value behind an address that packs can be read at.
inline at::Tensor misaligned(const at::Tensor& t) {
  if (!t.defined()) return t;
  const at::Tensor room = at::empty({t.numel() + 1}, t.options().device(at::kCUDA));
  return room.as_strided(t.sizes(), t.strides(), 1).copy_(t);
}

}  // namespace tiller::test
