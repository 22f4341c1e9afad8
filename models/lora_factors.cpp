#include "models/lora_factors.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

/// A matrix, or two factors of it and perhaps a core between them.
struct Matrix {
  Tensor left;   ///< (rows, r), or undefined.
  Tensor core;   ///< (r, r, k, k), or undefined.
  Tensor right;  ///< (r, columns), or the whole.
};

enum class Joining { sum, elementwise, kronecker };

struct Composition {
  Joining kind = Joining::sum;
  std::vector<Matrix> matrices;
};

class NamedFactors {
 public:
  NamedFactors(const LoraFactors& factors, const std::string& where)
      : factors_(factors), where_(where) {}

  bool has(const std::string& name) const { return factors_.count(name); }

  Tensor optional(const std::string& name) const {
    const auto found = factors_.find(name);
    return found == factors_.end() ? Tensor() : found->second;
  }

  Tensor factor(const std::string& name) const {
    if (!has(name)) throw Error(where_ + ": got no factor " + name + ", expected one.");
    return optional(name);
  }

  /// NAME, or NAME_a and NAME_b with a core that may be called `core`, about which left is (r,
  /// out).
  Matrix matrix(const std::string& name, const std::string& core) const {
    if (has(name)) return {{}, {}, factor(name)};
    const Tensor left = factor(name + "_a"), between = optional(core);
    return {between.defined() ? left.transpose(0, 1) : left, between, factor(name + "_b")};
  }

 private:
  const LoraFactors& factors_;
  const std::string& where_;
};

bool has_any(const NamedFactors& find, const std::string& name) {
  return find.has(name) || find.has(name + "_a") || find.has(name + "_b");
}

Composition composition_of(const NamedFactors& find) {
  if (has_any(find, "hada_w1") || has_any(find, "hada_w2"))
    return {Joining::elementwise,
            {find.matrix("hada_w1", "hada_t1"), find.matrix("hada_w2", "hada_t2")}};
  if (has_any(find, "lokr_w1") || has_any(find, "lokr_w2"))
    return {Joining::kronecker,
            {find.matrix("lokr_w1", "lokr_t1"), find.matrix("lokr_w2", "lokr_t2")}};
  if (find.has("diff")) return {Joining::sum, {{{}, {}, find.factor("diff")}}};
  return {Joining::sum, {{find.factor("up"), find.optional("mid"), find.factor("down")}}};
}

LoraShape shape_of(const Matrix& m) {
  const int64_t columns = m.right.numel() / m.right.size(0);
  if (!m.left.defined()) return {m.right.size(0), columns, 0};
  const int64_t pixels = m.core.defined() ? m.core.size(2) * m.core.size(3) : 1;
  return {m.left.size(0), columns * pixels, m.right.size(0)};
}

LoraShape shape_of(const Composition& change) {
  const LoraShape first = shape_of(change.matrices.front()),
                  last = shape_of(change.matrices.back());
  if (change.kind != Joining::kronecker) return first;
  return {first.rows * last.rows, first.columns * last.columns, last.rank ? last.rank : first.rank};
}

bool fits(const Matrix& m) {
  if (!m.left.defined()) return true;
  if (m.left.numel() != m.left.size(0) * m.left.size(1)) return false;
  if (!m.core.defined()) return m.left.size(1) == m.right.size(0);
  return m.core.dim() == 4 && m.left.size(1) == m.core.size(0) &&
         m.core.size(1) == m.right.size(0) && m.right.numel() == m.right.size(0) * m.right.size(1);
}

bool fits(const Composition& change) {
  for (const auto& matrix : change.matrices)
    if (!fits(matrix)) return false;
  const LoraShape first = shape_of(change.matrices.front()),
                  last = shape_of(change.matrices.back());
  return change.kind == Joining::kronecker ||
         (first.rows == last.rows && first.columns == last.columns);
}

size_t tensors_of(const Composition& change) {
  size_t count = 0;
  for (const auto& matrix : change.matrices)
    for (const auto& tensor : {matrix.left, matrix.core, matrix.right}) count += tensor.defined();
  return count;
}

void check_factor(const std::string& name, const Tensor& factor, const std::string& where) {
  const bool usual =
      factor.dim() == 2 || factor.dim() == 4 || (name == "diff" && factor.dim() == 1);
  if (!usual || !factor.is_floating_point() || factor.numel() == 0)
    throw Error(where + ": got a factor " + name + " that is no matrix, expected one.");
  if (!factor.isfinite().all().item<bool>())
    throw Error(where + ": got factors that aren't finite, expected numbers.");
}

Tensor product(const Matrix& m) {
  const Tensor right = m.right.to(at::kFloat).reshape({m.right.size(0), -1});
  if (!m.left.defined()) return right;
  const Tensor left = m.left.to(at::kFloat).flatten(1);
  if (!m.core.defined()) return at::mm(left, right);
  return at::einsum("oi,ijkl,jc->ockl", {left, m.core.to(at::kFloat), right}).flatten(1);
}

}  // namespace

LoraShape check_factors(const LoraFactors& factors, const std::string& where) {
  for (const auto& [name, factor] : factors) check_factor(name, factor, where);
  const Composition change = composition_of(NamedFactors(factors, where));
  if (tensors_of(change) != factors.size())
    throw Error(where + ": got factors of several kinds of changes, expected those of one.");
  if (!fits(change))
    throw Error(where + ": got factors that don't fit each other, expected (r, in) and (out, r).");
  return shape_of(change);
}

Tensor lora_product(const LoraFactors& factors) {
  const Composition change = composition_of(NamedFactors(factors, "LoRA"));
  const Tensor first = product(change.matrices.front());
  if (change.kind == Joining::sum) return first;
  const Tensor last = product(change.matrices.back());
  return change.kind == Joining::elementwise ? first.mul(last) : at::kron(first, last);
}

}  // namespace tiller
