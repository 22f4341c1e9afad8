#include "models/lora_names.h"

#include <algorithm>
#include <regex>

#include "io/error.h"

namespace tiller {
namespace {

struct Ending {
  const char *text, *factor;
  bool bias = false;
};
/// The longer of two that match stands first.
constexpr Ending kEndings[] = {
    {".lora_linear_layer.down.weight", "down"},
    {".lora_linear_layer.up.weight", "up"},
    {".lora_down.weight", "down"},
    {".lora_up.weight", "up"},
    {".lora_mid.weight", "mid"},
    {".lora.down.weight", "down"},
    {".lora.up.weight", "up"},
    {"_lora.down.weight", "down"},
    {"_lora.up.weight", "up"},
    {".lora_A.weight", "down"},
    {".lora_B.weight", "up"},
    {".lora_magnitude_vector.weight", "lora_magnitude_vector"},
    {".lora_magnitude_vector", "lora_magnitude_vector"},
    {".dora_scale", "dora_scale"},
    {".hada_w1_a", "hada_w1_a"},
    {".hada_w1_b", "hada_w1_b"},
    {".hada_w2_a", "hada_w2_a"},
    {".hada_w2_b", "hada_w2_b"},
    {".hada_t1", "hada_t1"},
    {".hada_t2", "hada_t2"},
    {".lokr_w1", "lokr_w1"},
    {".lokr_w1_a", "lokr_w1_a"},
    {".lokr_w1_b", "lokr_w1_b"},
    {".lokr_w2", "lokr_w2"},
    {".lokr_w2_a", "lokr_w2_a"},
    {".lokr_w2_b", "lokr_w2_b"},
    {".lokr_t2", "lokr_t2"},
    {".diff", "diff"},
    {".w_norm", "diff"},
    {".diff_b", "diff", true},
    {".b_norm", "diff", true},
    {".alpha", "alpha"},
};

struct Beginning {
  const char *text, *part;
};
constexpr Beginning kBeginnings[] = {
    {"lora_unet_", "unet"},
    {"lora_te1_", "text_encoder"},
    {"lora_te2_", "text_encoder_2"},
    {"lora_te_", "text_encoder"},
    {"lycoris_", "unet"},
    {"unet.unet.", "unet"},
    {"unet.", "unet"},
    {"text_encoder_2.", "text_encoder_2"},
    {"text_encoder.", "text_encoder"},
    {"text_model.", "text_encoder"},
    {"diffusion_model.", "unet"},
};
/// How modules of a UNet begin where a file names no part.
constexpr const char* kUNetModules[] = {"down_blocks", "mid_block",      "up_blocks",
                                        "conv_in",     "time_embedding", "add_embedding",
                                        "conv_out",    "conv_norm_out"};

struct Rewrite {
  const char *from, *to;
};
/// Spellings of diffusers' attention processors, which name the projections otherwise.
constexpr Rewrite kProcessors[] = {{".processor.", "."}, {"_lora", ""}};
constexpr Rewrite kTextProjections[] = {
    {"to_q", "q_proj"}, {"to_k", "k_proj"}, {"to_v", "v_proj"}, {"to_out", "out_proj"}};

/// Adapters that change weights by another rule, by a part of their tensors' names.
constexpr Rewrite kOtherAdapters[] = {
    {".oft_", "OFT"},        {".boft_", "BOFT"},      {".on_input", "IA3"},
    {".a1.weight", "GLoRA"}, {".b1.weight", "GLoRA"}, {".lora_B.bias", "LoRA with biases"}};
/// Networks that are no UNet.
constexpr const char* kTransformers[] = {"double_blocks", "single_blocks", "joint_blocks",
                                         "single_transformer_blocks", "lora_transformer_"};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  if (place != text.npos) text.replace(place, from.size(), to);
  return text;
}

[[noreturn]] void refuse_lora(const std::string& file, const std::string& found) {
  throw Error(file + ": got " + found + ", expected a LoRA of Stable Diffusion 1, 2 or XL.");
}

void refuse_others(const std::string& name, const std::string& file) {
  for (const auto& [mark, adapter] : kOtherAdapters)
    if ((name + ".").find(mark) != name.npos)
      refuse_lora(file, std::string(adapter) + " ('" + printable(name) + "')");
  for (const char* mark : kTransformers)
    if (name.find(mark) != name.npos || name.starts_with("transformer."))
      refuse_lora(file, "a LoRA of a transformer such as Flux or SD3 ('" + printable(name) + "')");
}

const Ending* ending_of(const std::string& name) {
  for (const auto& ending : kEndings)
    if (name.ends_with(ending.text)) return &ending;
  return nullptr;
}

void split_part(LoraName& result) {
  for (const auto& beginning : kBeginnings) {
    if (!result.module.starts_with(beginning.text)) continue;
    result.part = beginning.part;
    result.module.erase(0, std::string(beginning.text).size());
    return;
  }
  for (const char* module : kUNetModules)
    if (result.module.starts_with(module)) result.part = "unet";
  if (result.module.starts_with("encoder.layers.")) result.part = "text_encoder";
}

/// Old diffusers' files say to_out_lora for to_out.0 and to_q_lora for a text encoder's q_proj.
std::string canonical(std::string module, bool is_text) {
  for (const auto& [from, to] : kProcessors) module = replaced(module, from, to);
  if (is_text)
    for (const auto& [from, to] : kTextProjections) module = replaced(module, from, to);
  if (module.ends_with("to_out")) module += ".0";
  return with_underscores(module);
}

}  // namespace

std::string with_underscores(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

LoraName parse_lora_name(const std::string& name, const std::string& file) {
  refuse_others(name, file);
  static const std::regex adapter("\\.(lora_[AB])\\.[^.]+\\.weight$");
  std::string plain = std::regex_replace(name, adapter, ".$1.weight");
  if (plain.starts_with("base_model.model.")) plain.erase(0, 17);
  LoraName result;
  const Ending* ending = ending_of(plain);
  if (ending) {
    result.module = plain.substr(0, plain.size() - std::string(ending->text).size());
    result.factor = ending->factor;
  }
  split_part(result);
  if (!ending || result.part.empty())
    refuse_lora(file, "a tensor called '" + printable(name) + "'");
  result.path = result.module;
  const bool is_text = result.part != "unet";
  result.module = canonical(result.module, is_text);
  if (is_text) result.module = replaced(result.module, "text_model_", "");
  if (ending->bias) result.module += ".bias";
  return result;
}

}  // namespace tiller
