#include "models/recompute.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <mutex>

namespace tiller {
namespace {

at::Generator generator_of(at::Device device) {
  return at::globalContext().defaultGenerator(device);
}

/// What an evaluation depends on beside its inputs.
struct Surroundings {
  at::Device device = at::kCPU;
  bool autocast = false;
  at::ScalarType precision = at::kFloat;
  Tensor random;

  static Surroundings now(at::Device device) {
    at::Generator generator = generator_of(device);
    const std::scoped_lock lock(generator.mutex());
    return {device, at::autocast::is_autocast_enabled(device.type()),
            at::autocast::get_autocast_dtype(device.type()), generator.get_state()};
  }

  void restore() const {
    at::autocast::set_autocast_enabled(device.type(), autocast);
    at::autocast::set_autocast_dtype(device.type(), precision);
    at::Generator generator = generator_of(device);
    const std::scoped_lock lock(generator.mutex());
    generator.set_state(random);
  }
};

/// The surroundings of `then` while it lives.
class Return {
 public:
  explicit Return(const Surroundings& then) : now_(Surroundings::now(then.device)) {
    then.restore();
  }
  ~Return() {
    at::autocast::clear_cache();
    now_.restore();
  }
  Return(const Return&) = delete;

 private:
  Surroundings now_;
};

struct Evaluation : torch::CustomClassHolder {
  BlockFunction block;
  RowOptions options;
  int64_t images = 0;
  Surroundings surroundings;

  Tensor again(const Tensor& x, const Tensor& more) const {
    static const Conditioning nothing;
    const Branch branch{.conditioning = &nothing};
    Rows rows({&branch, 1}, images, options);
    return block(rows, x, more);
  }
};

Tensor leaf_of(const Tensor& x) { return x.detach().requires_grad_(x.requires_grad()); }

struct Recompute : torch::autograd::Function<Recompute> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& more, const BlockFunction& block, Rows* rows) {
    const auto evaluation = c10::make_intrusive<Evaluation>();
    evaluation->block = block;
    evaluation->options = rows->options();
    evaluation->options.recompute = false;
    evaluation->images = rows->images();
    evaluation->surroundings = Surroundings::now(x.device());
    context->saved_data["evaluation"] = c10::IValue::make_capsule(evaluation);
    context->save_for_backward({x, more});
    // As the backward pass will: some kernels round otherwise where nothing is differentiated.
    const c10::AutoGradMode with_grad(true);
    return block(*rows, leaf_of(x), leaf_of(more)).detach();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto evaluation = c10::static_intrusive_pointer_cast<Evaluation>(
        context->saved_data["evaluation"].toCapsule());
    const auto inputs = context->get_saved_variables();
    const Tensor x = leaf_of(inputs[0]), more = leaf_of(inputs[1]);
    Tensor output;
    {
      const Return then(evaluation->surroundings);
      const c10::AutoGradMode with_grad(true);
      output = evaluation->again(x, more);
    }
    torch::autograd::backward({output}, {gradients[0]});
    return {x.grad(), more.grad(), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor recomputed(const BlockFunction& block, Rows& rows, const Tensor& x, const Tensor& more) {
  if (!rows.options().recompute || !at::GradMode::is_enabled()) return block(rows, x, more);
  return Recompute::apply(x, more, block, &rows);
}

}  // namespace tiller
