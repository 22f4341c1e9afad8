#include <ATen/ATen.h>

#include <cmath>

#include "guidance/cfg_form.h"

namespace tiller {
namespace {

/// A scale's share of its way from `least`, at the share f of the run; p is the option `power`.
struct Course {
  const char* name;
  double (*at)(double f, double p);
};

constexpr double kHalfPi = 1.5707963267948966;

const std::vector<Course>& courses() {
  static const std::vector<Course> all = {
      {"constant", [](double, double) { return 1.0; }},
      {"linear-down", [](double f, double) { return 1 - f; }},
      {"half-cosine-down", [](double f, double) { return std::cos(f); }},
      {"cosine-down", [](double f, double) { return std::cos(kHalfPi * f); }},
      {"linear-up", [](double f, double) { return f; }},
      {"half-cosine-up", [](double f, double) { return 1 - std::cos(f); }},
      {"cosine-up", [](double f, double) { return 1 - std::cos(kHalfPi * f); }},
      {"power-up", [](double f, double p) { return std::pow(f, p); }},
      {"power-down", [](double f, double p) { return 1 - std::pow(f, p); }},
      {"linear-repeating",
       [](double f, double p) { return std::abs(2 * std::fmod(f * p, 1) - 1); }},
      {"cosine-repeating",
       [](double f, double p) { return 0.5 * std::cos(4 * kHalfPi * f * p) + 0.5; }},
      {"sawtooth", [](double f, double p) { return std::fmod(f * p, 1); }}};
  return all;
}

struct Scale {
  double most = 7, least = 0, power = 1;
  const Course* course = nullptr;
  double at(const StepContext& step) const {
    const double share = step.steps > 1 ? double(step.step) / (step.steps - 1) : 0;
    return (most - least) * course->at(share, power) + least;
  }
};

struct ThresholdOptions {
  Scale scale, mimic;
  double quantile = 1, phi = 1;
  bool separate = true, by_std = false, from_zero = false;
  /// What is wanted then is what is found, but for a quantile of it.
  bool changes_equal_scales() const { return quantile < 1 && from_zero && !by_std; }
};

/// Dynamic thresholding (mcmonkey4eva's CFG scale fix), after Imagen's, arXiv 2205.11487:
/// guidance at a high scale, with the spread of x_0 brought back to what the scale `mimic` has.
class DynamicThreshold final : public CfgForm {
 public:
  explicit DynamicThreshold(const ThresholdOptions& options)
      : CfgForm(Space::sample, false), options_(options) {}

 private:
  Tensor combine(const GuidanceStep& step, const Tensor& c, const Tensor& u) override {
    const double scale = options_.scale.at(step.context), mimic = options_.mimic.at(step.context);
    const Tensor guided = u + scale * (c - u);
    if (scale == mimic && !options_.changes_equal_scales()) return guided;
    const Tensor mimicked = u + mimic * (c - u);
    return options_.phi * brought_back(guided, mimicked) + (1 - options_.phi) * guided;
  }

  Tensor brought_back(const Tensor& guided, const Tensor& mimicked) const {
    const Tensor mean = guided.mean({2, 3}, true), centred = guided - mean;
    const Tensor wanted = spread(mimicked - mimicked.mean({2, 3}, true), 1);
    const Tensor found = spread(centred, options_.quantile);
    if (options_.from_zero) return guided * (wanted / found.clamp_min(1e-12));
    if (options_.by_std) return centred / found.clamp_min(1e-12) * wanted + mean;
    const Tensor limit = at::maximum(wanted, found).clamp_min(1e-12);
    return centred.clamp(-limit, limit) / limit * wanted + mean;
  }

  /// The largest value or a quantile of them, or the standard deviation: (B, C, 1, 1) or, over all
  /// channels, (B, 1, 1, 1).
  Tensor spread(const Tensor& centred, double quantile) const {
    const Tensor values = centred.flatten(options_.separate ? 2 : 1);
    const Tensor result = options_.by_std ? values.std(-1, /*unbiased=*/true)
                          : quantile == 1 ? values.abs().amax(-1)
                                          : at::quantile(values.abs(), quantile, -1);
    return result.reshape({centred.size(0), -1, 1, 1});
  }

  ThresholdOptions options_;
};

Scale scale_from(const Options& options, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& course : courses()) names.push_back(course.name);
  Scale scale;
  scale.most = options.number(name);
  scale.least = options.number(name + "_min");
  scale.power = options.number("power", 0);
  const std::string chosen = options.choice(name + "_mode", names);
  scale.course = &courses()[std::find(names.begin(), names.end(), chosen) - names.begin()];
  return scale;
}

std::unique_ptr<Guidance> make_dynthresh(const Options& options, GuidanceContext) {
  ThresholdOptions threshold;
  threshold.scale = scale_from(options, "scale");
  threshold.mimic = scale_from(options, "mimic");
  threshold.quantile = options.number("quantile", 0, 1);
  threshold.phi = options.number("phi", 0, 1);
  threshold.separate = options.flag("separate");
  threshold.by_std = options.choice("spread", {"max", "std"}) == "std";
  threshold.from_zero = options.choice("start", {"mean", "zero"}) == "zero";
  return std::make_unique<DynamicThreshold>(threshold);
}

}  // namespace

GuidanceEntry dynthresh_guidance() {
  return {.name = "dynthresh",
          .description = "Dynamic thresholding: cfg at a high scale, with a low one's contrast",
          .paper = "2205.11487",
          .options = {{"scale", "12", "guidance scale"},
                      {"mimic", "7", "the scale whose spread of values to keep"},
                      {"quantile", "1", "of the guided values that sets their spread"},
                      {"spread", "max", "max: largest value; std: standard deviation"},
                      {"start", "mean", "spread about each channel's mean or about zero"},
                      {"separate", "true", "each channel by itself"},
                      {"phi", "1", "share of the thresholded prediction, 0 to 1"},
                      {"scale_mode", "constant", "course of the scale, e.g. cosine-down, power-up"},
                      {"scale_min", "0", "where that course begins or ends"},
                      {"mimic_mode", "constant", "course of mimic"},
                      {"mimic_min", "0", "where that course begins or ends"},
                      {"power", "1", "of the power courses; repeats of the others"}},
          .needs_negative = true,
          .family = "cfg",
          .make = make_dynthresh};
}

}  // namespace tiller
