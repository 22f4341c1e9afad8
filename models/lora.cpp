#include "models/lora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "io/error.h"
#include "io/json.h"
#include "models/family.h"
#include "models/lora_factors.h"
#include "models/lora_names.h"

namespace tiller {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// alpha and how it scales, where a file says it once for all modules: PEFT's config, in
/// adapter_config.json or (diffusers) in the metadata.
struct SharedScale {
  std::optional<double> alpha;
  double rank = 1;  ///< Of modules of which nothing is factored.
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
  const auto number = [&](const std::string& key) {
    const auto found = config.find(prefix + key);
    return found != config.end() && found->is_number() ? std::optional(found->get<double>())
                                                       : std::nullopt;
  };
  scale.alpha = number("lora_alpha");
  if (!scale.alpha) scale.alpha = number("alpha");
  scale.rank = std::max(1.0, number("r").value_or(1));
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

/// alpha: the module's own; path: the module as the file names it.
double scale_of(const LoraShape& shape, std::optional<double> alpha, const SharedScale& shared,
                const std::string& path) {
  if (shape.rank == 0) return !alpha && shared.alpha ? *shared.alpha / shared.rank : 1;
  const double rank = static_cast<double>(shape.rank);
  if (alpha) return *alpha / rank;
  const auto pattern =
      std::find_if(shared.patterns.begin(), shared.patterns.end(),
                   [&](const auto& entry) { return fits_pattern(path, entry.first); });
  alpha = pattern != shared.patterns.end() ? pattern->second : shared.alpha.value_or(rank);
  return *alpha / (shared.by_root ? std::sqrt(rank) : rank);
}

double alpha_of(const Tensor& tensor, const std::string& where) {
  const double alpha = tensor.numel() == 1 ? tensor.to(at::kDouble).item<double>() : NAN;
  if (!std::isfinite(alpha)) throw Error(where + ": got no finite number, expected one.");
  return alpha;
}

/// In three dimensions: (out, 1, 1) or (1, in, 1).
Tensor magnitude_from(const Tensor& given, const LoraName& name, const std::string& where) {
  const bool plain = given.is_floating_point() && given.dim() > 0 && given.numel() > 0;
  if (!plain || !given.isfinite().all().item<bool>())
    throw Error(where + ": got no finite lengths, expected (out, 1).");
  if (name.factor == "lora_magnitude_vector" || given.size(0) == given.numel())
    return given.reshape({-1, 1, 1});
  if (given.size(1) != given.numel())
    throw Error(where + ": got lengths of an unknown shape, expected (out, 1) or (1, in).");
  return given.reshape({1, -1, 1});
}

void check_magnitude(const LoraDelta& delta, const std::string& where) {
  const Tensor& lengths = delta.magnitude;
  if (lengths.defined() && lengths.size(0) > 1 && lengths.size(0) != delta.shape.rows)
    throw Error(where + ": got " + std::to_string(lengths.size(0)) + " lengths, expected " +
                std::to_string(delta.shape.rows) + ".");
}

/// What a file says of a module beside its factors.
struct Described {
  std::string path;  ///< The module as the file names it.
  std::optional<double> alpha;
};

void add(LoraDelta& delta, Described& described, const LoraName& name, const Tensor& tensor,
         const std::string& where) {
  if (name.factor == "alpha")
    described.alpha = alpha_of(tensor, where);
  else if (name.factor == "dora_scale" || name.factor == "lora_magnitude_vector")
    delta.magnitude = magnitude_from(tensor, name, where);
  else
    delta.factors[name.factor] = tensor;
}

/// The width of the inputs of a module whose name ends so; 0 when there is none.
int64_t input_width(const Lora& lora, const std::string& part, const std::string& ending) {
  const auto modules = lora.parts.find(part);
  if (modules == lora.parts.end()) return 0;
  for (const auto& [name, delta] : modules->second)
    if (name.ends_with(ending)) return delta.shape.columns;
  return 0;
}

}  // namespace

Lora load_lora(const fs::path& path) {
  const TensorFile file = load_tensors(path);
  Lora lora{path.string(), {}};
  std::map<LoraDelta*, Described> described;
  for (const auto& [name, tensor] : file.tensors) {
    const LoraName parsed = parse_lora_name(name, lora.file);
    LoraDelta& delta = lora.parts[parsed.part][parsed.module];
    described[&delta].path = parsed.path;
    add(delta, described[&delta], parsed, tensor, lora.file + ": '" + printable(name) + "'");
  }
  auto shared = shared_scales(path, file);
  for (auto& [part, modules] : lora.parts)
    for (auto& [module, delta] : modules) {
      const std::string where = lora.file + ": '" + printable(module) + "'";
      delta.shape = check_factors(delta.factors, where);
      check_magnitude(delta, where);
      const auto& [file_path, alpha] = described[&delta];
      delta.scale = scale_of(delta.shape, alpha, shared[shared.count(part) ? part : ""], file_path);
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
