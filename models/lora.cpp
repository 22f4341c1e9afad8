#include "models/lora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "io/error.h"
#include "io/json.h"
#include "models/family.h"
#include "models/lora_names.h"

namespace tiller {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// alpha and how it scales, where a file says it once for all modules: PEFT's config, in
/// adapter_config.json or (diffusers) in the metadata.
struct SharedScale {
  std::optional<double> alpha;
  std::vector<std::pair<std::string, double>> patterns;  ///< The first that fits counts.
  bool by_root = false;                                  ///< alpha / sqrt(r) (rsLoRA).
};

/// Modules called NAME or ending in .NAME, or with "^NAME" the one. PEFT takes any expression of
/// Python's; those of strangers could take for ever.
void require_name(const std::string& pattern, const std::string& file) {
  const auto plain = [](char c) { return std::isalnum(uint8_t(c)) || c == '_' || c == '.'; };
  if (!std::all_of(pattern.begin() + pattern.starts_with('^'), pattern.end(), plain))
    throw Error(file + ": got the alpha_pattern '" + printable(pattern) +
                "', expected names of modules.");
}

bool fits_pattern(const std::string& path, const std::string& pattern) {
  return pattern.starts_with('^') ? path == pattern.substr(1)
                                  : ("." + path).ends_with("." + pattern);
}

SharedScale shared_scale(const OrderedJson& config, const std::string& prefix,
                         const std::string& file) {
  SharedScale scale;
  const auto alpha = config.find(prefix + "lora_alpha");
  if (alpha != config.end() && alpha->is_number()) scale.alpha = alpha->get<double>();
  const auto patterns = config.find(prefix + "alpha_pattern");
  if (patterns != config.end() && patterns->is_object())
    for (const auto& [module, value] : patterns->items()) {
      if (!value.is_number()) continue;
      require_name(module, file);
      scale.patterns.emplace_back(module, value);
    }
  const auto root = config.find(prefix + "use_rslora");
  scale.by_root = root != config.end() && *root == true;
  return scale;
}

/// By part; "" stands for all.
std::map<std::string, SharedScale> shared_scales(const fs::path& path, const TensorFile& file) {
  const fs::path beside = path.parent_path() / "adapter_config.json";
  std::map<std::string, SharedScale> scales;
  if (path.stem() == "adapter_model" && fs::is_regular_file(beside)) {
    const OrderedJson config = parse_json<OrderedJson>(read_file(beside, size_t{1} << 24));
    if (config.is_object()) scales[""] = shared_scale(config, "", beside.string());
  }
  const auto metadata = file.metadata.find("lora_adapter_metadata");
  if (metadata == file.metadata.end()) return scales;
  const OrderedJson config = parse_json<OrderedJson>(metadata->second);
  if (config.is_object())
    for (const std::string part : {"unet", "text_encoder", "text_encoder_2"})
      scales[part] = shared_scale(config, part + ".", path.string());
  return scales;
}

/// path: the module as the file names it.
double scale_of(const SharedScale& shared, const std::string& path, double rank) {
  const auto pattern =
      std::find_if(shared.patterns.begin(), shared.patterns.end(),
                   [&](const auto& entry) { return fits_pattern(path, entry.first); });
  const double alpha =
      pattern != shared.patterns.end() ? pattern->second : shared.alpha.value_or(rank);
  return alpha / (shared.by_root ? std::sqrt(rank) : rank);
}

bool is_factor(const Tensor& tensor) {
  return tensor.defined() && tensor.is_floating_point() &&
         (tensor.dim() == 2 || tensor.dim() == 4) && tensor.numel() > 0;
}

void check_factors(const LoraDelta& delta, const std::string& where) {
  for (const auto& [name, factor] : {std::pair("down", delta.down), std::pair("up", delta.up)})
    if (!factor.defined())
      throw Error(where + ": got no " + name + " factor, expected down and up.");
  const bool mid = delta.mid.defined();
  const auto fits = [&](int64_t rank) {
    return !mid || (delta.mid.dim() == 4 && delta.mid.size(0) == rank);
  };
  if (!is_factor(delta.down) || !is_factor(delta.up) || !fits(delta.up.size(1)) ||
      (mid ? delta.mid.size(1) : delta.up.size(1)) != delta.down.size(0) ||
      delta.up.numel() != delta.up.size(0) * delta.up.size(1))
    throw Error(where + ": got factors that don't fit each other, expected (r, in) and (out, r).");
  for (const auto& factor : {delta.down, delta.up, delta.mid})
    if (factor.defined() && !factor.isfinite().all().item<bool>())
      throw Error(where + ": got factors that aren't finite, expected numbers.");
}

double alpha_of(const Tensor& tensor, const std::string& where) {
  const double alpha = tensor.numel() == 1 ? tensor.to(at::kDouble).item<double>() : NAN;
  if (!std::isfinite(alpha)) throw Error(where + ": got no finite number, expected one.");
  return alpha;
}

Tensor& factor(LoraDelta& delta, LoraRole role) {
  return role == LoraRole::down ? delta.down : role == LoraRole::up ? delta.up : delta.mid;
}

/// The width of the inputs of a module whose name ends so; 0 when there is none.
int64_t input_width(const Lora& lora, const std::string& part, const std::string& ending) {
  const auto modules = lora.parts.find(part);
  if (modules == lora.parts.end()) return 0;
  for (const auto& [name, delta] : modules->second)
    if (name.ends_with(ending)) return delta.down.size(1);
  return 0;
}

}  // namespace

Lora load_lora(const fs::path& path) {
  const TensorFile file = load_tensors(path);
  Lora lora{path.string(), {}};
  std::map<LoraDelta*, double> alphas;
  std::map<LoraDelta*, std::string> paths;
  for (const auto& [name, tensor] : file.tensors) {
    const LoraName parsed = parse_lora_name(name, lora.file);
    LoraDelta& delta = lora.parts[parsed.part][parsed.module];
    paths[&delta] = parsed.path;
    if (parsed.role == LoraRole::alpha)
      alphas[&delta] = alpha_of(tensor, lora.file + ": '" + printable(name) + "'");
    else
      factor(delta, parsed.role) = tensor;
  }
  auto shared = shared_scales(path, file);
  for (auto& [part, modules] : lora.parts)
    for (auto& [module, delta] : modules) {
      check_factors(delta, lora.file + ": '" + printable(module) + "'");
      const double rank = static_cast<double>(delta.down.size(0));
      const auto alpha = alphas.find(&delta);
      const SharedScale& scale = shared.count(part) ? shared[part] : shared[""];
      delta.scale =
          alpha == alphas.end() ? scale_of(scale, paths[&delta], rank) : alpha->second / rank;
    }
  return lora;
}

std::string lora_family(const Lora& lora) {
  const int64_t context = input_width(lora, "unet", "attn2_to_k");
  if (context) return family_of_context(context);
  if (lora.parts.count("text_encoder_2")) return family_name(Family::sdxl);
  return family_of_context(input_width(lora, "text_encoder", "self_attn_q_proj"));
}

}  // namespace tiller
