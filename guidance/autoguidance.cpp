#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

/// Autoguidance, arXiv 2406.02507: away from a worse model of the same kind, smaller or less
/// trained, with the same conditioning: D_bad + s (D_c - D_bad).
class Autoguidance final : public Guidance {
 public:
  Autoguidance(double scale, Model worse) : scale_(scale), worse_(std::move(worse)) {}
  bool is_stateless() const override { return true; }

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (scale_ == 1 || !answers.empty()) return {};
    return {{.branch = {step.positive}, .network = worse_.network.get()}};
  }
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 1) return {};
    return (scale_ - 1) * difference(answers[0], answers[1]);
  }

 private:
  double scale_;
  Model worse_;
};

/// Of a pipeline what its scheduler's config says, in that config's words.
std::string prediction_of(const Model& model) {
  if (!model.scheduler.is_object()) return prediction_type_name(model.prediction);
  const auto word = [&](const char* key, const std::string& usual) {
    const auto found = model.scheduler.find(key);
    return found != model.scheduler.end() && found->is_string() ? found->get<std::string>() : usual;
  };
  return word("_class_name", "").starts_with("FlowMatch") ? "flow"
                                                          : word("prediction_type", "epsilon");
}

/// What both models must agree on, in words.
std::vector<std::pair<std::string, std::string>> traits(const Model& model) {
  return {{"kind", model.kind},
          {"input channels", std::to_string(model.network->in_channels())},
          {"output channels", std::to_string(model.network->out_channels())},
          {"classes", std::to_string(model.classes)},
          {"prediction_type", prediction_of(model)},
          {"noise schedule", model.noise_schedule},
          {"diffusion steps", std::to_string(model.diffusion_steps)}};
}

std::unique_ptr<Guidance> make_autoguidance(const Options& options, GuidanceContext context) {
  const std::string path = options.text("model");
  if (path.empty())
    throw UsageError("model: got none, expected model=PATH of a worse model of the same kind.");
  Model worse = context.load(path);
  const auto own = traits(context.model), others = traits(worse);
  for (size_t i = 0; i < own.size(); ++i)
    if (own[i].second != others[i].second)
      throw UsageError("model: got " + path + " with " + others[i].first + " " + others[i].second +
                       ", expected " + own[i].second + " as the guided model has.");
  return std::make_unique<Autoguidance>(options.number("scale"), std::move(worse));
}

}  // namespace

GuidanceEntry autoguidance_guidance() {
  return {.name = "autoguidance",
          .description = "Autoguidance: away from a smaller or less trained model",
          .paper = "2406.02507",
          .options = {{"model", "", "folder or file of the worse model"},
                      {"scale", "2", "guidance scale; 1: off"}},
          .make = make_autoguidance};
}

}  // namespace tiller
