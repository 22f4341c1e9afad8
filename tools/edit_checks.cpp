#include "tools/edit_checks.h"

#include <algorithm>
#include <cmath>

#include "guidance/edit_controls.h"
#include "io/error.h"
#include "io/file.h"

namespace tiller {
namespace {

constexpr double greatest_weight = 100;

bool needs_pairs(const EditRequest& edit) {
  return !edit.control.empty() || !edit.mask.empty() || !edit.blend_words.empty();
}

/// The flag that makes the source's rows stand beside the edit's.
std::string pairing_flag(const EditRequest& edit) {
  return !edit.control.empty() ? "--edit-control"
         : edit.mask.empty()   ? "--blend-word"
                               : "--blend-mask";
}

void check_subjects(const GenerateRequest& request, const EditRequest& edit) {
  if (!edit.prompt && edit.label.empty() && edit.model.empty() && edit.guidances.empty())
    throw UsageError(
        "--edit-prompt: got none, expected what the image is to become (or --edit-class, "
        "--edit-model or --edit-guidance).");
  const auto require_one = [](const std::string& flag, size_t count) {
    if (count != 1)
      throw UsageError("--" + flag + ": got " + (count ? std::to_string(count) : "none") +
                       ", expected one: what the image shows.");
  };
  if (!edit.label.empty() && !request.text.prompts.empty())
    throw UsageError("--edit-class: got --prompt too, expected --edit-prompt, or --class of both.");
  if (edit.prompt || !request.text.prompts.empty())
    require_one("prompt", request.text.prompts.size());
  if (!edit.label.empty() && request.classes.empty())
    throw UsageError(
        "--class: got none, expected one: what the image shows. A model that reads text takes "
        "--prompt and --edit-prompt.");
  if (!request.classes.empty()) require_one("class", request.classes.size());
}

}  // namespace

void check_pairing(const EditRequest& edit) {
  if (!edit.mask.empty() && !edit.blend_words.empty())
    throw UsageError("--blend-word: got --blend-mask too, expected one of them.");
  if (!edit.words.empty() && edit.control.substr(0, edit.control.find(':')) != "p2p")
    throw UsageError("--edit-word: got no --edit-control p2p with it, expected it.");
  if (!needs_pairs(edit)) return;
  const std::string other = !edit.model.empty()       ? "--edit-model"
                            : !edit.guidances.empty() ? "--edit-guidance"
                                                      : "";
  if (!other.empty())
    throw UsageError(pairing_flag(edit) + ": got " + other +
                     " too, expected one of them: the source is regenerated beside the edit.");
}

std::string idle_reconstruction(const EditRequest& edit) {
  if (edit.reconstruct || !needs_pairs(edit)) return "";
  return "With " + pairing_flag(edit) +
         " the source is regenerated beside the edit: nothing changes by --reconstruct off.";
}

void check_control_nets(const std::vector<std::string>& nets) {
  for (const auto& net : nets)
    for (const auto& control : edit_controls())
      if (net.substr(0, net.find(':')) == control.name && !fs::exists(control.name))
        throw UsageError("--control: got '" + net +
                         "', expected a ControlNet's folder. Did you mean --edit-control " + net +
                         "?");
}

void check_requests(const GenerateRequest& request, const EditRequest& edit) {
  if (!request.compare.empty())
    throw UsageError("--compare: got it with edit, expected --guidance.");
  check_subjects(request, edit);
  check_pairing(edit);
}

Generation prepare_source(GenerateRequest request, const EditRequest& edit) {
  const auto guidances = request.guidances;
  if (edit.model.empty())
    request.guidances.insert(request.guidances.end(), edit.guidances.begin(), edit.guidances.end());
  Generation generation = prepare(std::move(request));
  generation.request.guidances = guidances;
  return generation;
}

void require_one_image(const Generation& generation) {
  const Model& model = generation.model;
  if (model.classes && generation.images.size() != 1)
    throw UsageError("--class: got " + std::to_string(generation.images.size()) + " of the " +
                     std::to_string(model.classes) +
                     " classes, expected one: what the image shows.");
}

void require_fitting(const Generation& source, const Generation& target) {
  const Network &a = *source.model.network, &b = *target.model.network;
  const auto refuse = [&](const std::string& got, const std::string& expected) {
    throw UsageError("--edit-model: got " + target.request.model + " with " + got + ", expected " +
                     expected + " as the first has.");
  };
  if (a.out_channels() != b.out_channels() || a.in_channels() != b.in_channels())
    refuse(std::to_string(b.in_channels()) + " channels", std::to_string(a.in_channels()));
  if (source.model.pixel_scale != target.model.pixel_scale)
    refuse(std::to_string(target.model.pixel_scale) + " pixels a latent",
           std::to_string(source.model.pixel_scale));
  const auto &from = source.trajectory.levels, &to = target.trajectory.levels;
  const auto alike = [](const NoiseLevel& x, const NoiseLevel& y) {
    return std::abs(x.alpha - y.alpha) < 1e-6 && std::abs(x.sigma - y.sigma) < 1e-6 * (1 + x.sigma);
  };
  if (!std::equal(from.begin(), from.end(), to.begin(), to.end(), alike))
    refuse("another noise schedule", "the levels");
}

int64_t edited_label(const Model& model, const std::string& name) {
  if (model.classes == 0)
    throw UsageError("--edit-class: got '" + name +
                     "', expected none: the model knows no classes.");
  try {
    return class_index(model, name);
  } catch (const UsageError& error) {
    throw UsageError(std::string("--edit-") + error.what());
  }
}

std::vector<std::pair<std::string, double>> word_weights(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, double>> weights;
  for (const auto& text : texts) {
    const size_t equals = text.rfind('=');
    const std::string number = equals == std::string::npos ? "" : text.substr(equals + 1);
    char* end = nullptr;
    const double weight = std::strtod(number.c_str(), &end);
    if (equals == 0 || number.empty() || *end || !(std::abs(weight) <= greatest_weight))
      throw UsageError("--edit-word: got '" + text + "', expected WORD=WEIGHT, such as fox=2.");
    weights.emplace_back(text.substr(0, equals), weight);
  }
  return weights;
}

void require_blend_words(const Editing& editing) {
  if (editing.request.blend_words.empty()) return;
  const Model& model = editing.source.model;
  if (!model.text)
    throw UsageError("--blend-word: got '" + editing.request.blend_words.front() +
                     "', expected none: the model reads no text. --blend-mask takes a file.");
  const auto& sites = model.network->sites();
  if (std::none_of(sites.begin(), sites.end(), AttentionMaps::reads))
    throw UsageError(
        "--blend-word: got a model without cross-attention at its latent's size, a half or a "
        "quarter of it, expected one with. --blend-mask takes a file.");
}

}  // namespace tiller
