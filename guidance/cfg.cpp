#include <ATen/ATen.h>

#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

/// Classifier-free guidance, arXiv 2207.12598: D_c + (s - 1)(D_c - D_u), which is
/// D_u + s (D_c - D_u). The unconditional branch sees the negative prompt or the null label.
/// Of models that edit an image, arXiv 2211.09800: with D_u of the image and the negative prompt
/// and D_0 of the negative prompt alone, D_0 + s (D_c - D_u) + s_i (D_u - D_0).
class ClassifierFree final : public Guidance {
 public:
  ClassifierFree(double scale, double image_scale) : scale_(scale), image_scale_(image_scale) {}
  bool is_idle() const override { return scale_ == 1; }

  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (is_idle() || !answers.empty()) return {};
    std::vector<Request> requests = {{.branch = {step.negative, nullptr}}};
    if (image_scale_ != 1) requests.push_back({.branch = {without_image(step), nullptr}});
    return requests;
  }

  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (is_idle()) return {};
    Combination sum = (scale_ - 1) * difference(answers[0], answers[1]);
    if (image_scale_ != 1) sum.add(difference(answers[1], answers[2]), image_scale_ - 1);
    return sum;
  }

 private:
  static const Conditioning* without_image(const GuidanceStep& step) {
    if (!step.without_image)
      throw UsageError("guidance cfg: image_scale: got no image, expected one that is edited.");
    return step.without_image;
  }

  double scale_, image_scale_;
};

double image_scale_of(const Options& options, const Model& model) {
  if (model.edits())
    return options.has("image_scale") ? options.number("image_scale", 1, 1000) : usual_image_scale;
  if (options.has("image_scale"))
    throw UsageError("image_scale: got '" + options.text("image_scale") +
                     "', expected none: the model doesn't edit images (InstructPix2Pix).");
  return 1;
}

}  // namespace

GuidanceEntry cfg_guidance() {
  return {.name = "cfg",
          .description = "Classifier-free: away from the unconditional or negative prediction",
          .paper = "2207.12598",
          .options = {{"scale", "7.5", "guidance scale; 1: off"},
                      {"image_scale", "",
                       "weight of the image that InstructPix2Pix edits; default 1.5, 1: off"}},
          .needs_negative = true,
          .family = "cfg",
          .make = [](const Options& options, GuidanceContext context) -> std::unique_ptr<Guidance> {
            return std::make_unique<ClassifierFree>(options.number("scale"),
                                                    image_scale_of(options, context.model));
          }};
}

}  // namespace tiller
