#include "guidance/cfg_form.h"

#include <ATen/ATen.h>

namespace tiller {

std::vector<Request> CfgForm::requests(const GuidanceStep& step, std::span<const Tensor> answers) {
  if (idle_ || !answers.empty()) return {};
  return {{.branch = {step.negative}}};
}

Combination CfgForm::delta(const GuidanceStep& step, std::span<const Tensor> answers) {
  if (idle_) return {};
  const Tensor c = into(space_, step, answers[0]), u = into(space_, step, answers[1]);
  return difference_from(space_, step, combine(step, c, u) - c);
}

Option cfg_scale_option(const std::string& value) {
  return {"scale", value, "guidance scale; 1: off"};
}

}  // namespace tiller
