#pragma once
/// The factors that adapters keep of a weight's change, and the change that they make.
#include "models/lora.h"

namespace tiller {

/// Throws Error that begins with `where` when a factor is missing, isn't finite or doesn't fit the
/// others.
LoraShape check_factors(const LoraFactors&, const std::string& where);

/// The change (rows, columns) without its scale, in float32, of factors that were checked:
/// - LoRA (arXiv 2106.09685), LoCon (LyCORIS, arXiv 2309.14859): `up` (out, r[, 1, 1]) times `down`
///   (r, in[, k, k]), or with `mid` (r, r, k, k) between the two, then `down` is (r, in, 1, 1).
/// - LoHa (arXiv 2108.06098): the elementwise product of two matrices, `hada_w1_a` (out, r) times
///   `hada_w1_b` (r, in * k * k) and the same of w2, or with cores `hada_t1`, `hada_t2` (r, r, k,
///   k) between (r, out) and (r, in).
/// - LoKr (arXiv 2309.14859): the Kronecker product of `lokr_w1` and `lokr_w2`, each a matrix or
/// two
///   factors `_a` and `_b`, the second also with a core `lokr_t2`.
/// - `diff`: the whole change, also of a bias or a norm, (out).
Tensor lora_product(const LoraFactors&);

}  // namespace tiller
