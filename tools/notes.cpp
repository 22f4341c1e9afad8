#include "tools/notes.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <regex>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

/// A recipe without what decides no more than rounding.
Json settings_of(const PngText& text) {
  const auto own = text.find("tiller");
  const Json recipe = own == text.end() ? Json() : parse_json<Json>(own->second);
  if (!recipe.is_object() || !recipe.contains("request") || !recipe["request"].is_object())
    return {};
  Json settings = recipe["request"];
  for (const char* key : {"model", "device", "threads", "batch", "graphs", "share", "low_memory"})
    settings.erase(key);
  if (recipe.contains("model") && recipe["model"].is_object() && recipe["model"].contains("hash"))
    settings["model"] = recipe["model"]["hash"];
  return settings;
}

/// Those given that a model of this kind doesn't read, as "--crop".
std::vector<std::string> unread_flags(const Flags& flags, const Model& model) {
  const bool refines = model.time_ids == 5;
  const bool tiles = model.vae && !std::holds_alternative<AutoencoderTiny>(model.vae->network);
  const std::map<std::string, bool> reads = {{"plain-prompt", model.text != nullptr},
                                             {"clip-skip", model.text != nullptr},
                                             {"original-size", model.time_ids > 0},
                                             {"crop", model.time_ids > 0},
                                             {"target-size", model.time_ids > 0 && !refines},
                                             {"aesthetic-score", refines},
                                             {"negative-aesthetic-score", refines},
                                             {"embedded-guidance", model.guidance_channels > 0},
                                             {"strength", !model.edits()},
                                             {"vae-tiling", tiles}};
  std::vector<std::string> unread;
  for (const auto& [flag, known] : reads)
    if (!known && flags.has(flag)) unread.push_back("--" + flag);
  return unread;
}

/// Of Automatic1111's, what is read as words: which, and what to do instead.
const std::vector<std::pair<std::regex, std::string>>& syntax_read_as_words() {
  static const std::vector<std::pair<std::regex, std::string>> all = {
      {std::regex("<(?:lora|lyco|hypernet):[^<>]{1,200}>"), "--lora FILE:WEIGHT adds a LoRA"},
      {std::regex(" AND "), "--guidance takes one prompt"},
      {std::regex("\\[[^\\[\\]]{0,200}(?::[^\\[\\]:]{0,200}:|\\|)[^\\[\\]:]{0,200}\\]"),
       "a prompt stays the same in all steps here"}};
  return all;
}

void note_syntax(const TextRequest& text) {
  if (text.plain) return;
  std::vector<std::string> prompts = text.prompts;
  prompts.push_back(text.negative);
  auto syntaxes = syntax_read_as_words();
  if (text.scheduled) syntaxes.pop_back();
  for (const auto& [syntax, instead] : syntaxes)
    for (const auto& prompt : prompts)
      if (std::smatch found; std::regex_search(prompt, found, syntax)) {
        std::cerr << "'" << printable(found.str()) << "' in a prompt is read as words: " << instead
                  << ".\n";
        break;
      }
}

}  // namespace

void note_other_settings(const Flags& flags, const fs::path& path, const PngText& text) {
  if (flags.has("quiet") || flags.has("json")) return;
  Json found;
  try {
    found = settings_of(read_png_text(path));
  } catch (const Error&) {
    return;
  }
  std::vector<std::string> others;
  const Json asked = settings_of(text);
  for (const auto& [key, value] : asked.items())
    if (found.is_object() && found.contains(key) && found[key] != value) others.push_back(key);
  if (!others.empty())
    std::cerr << "--skip-existing: " << path.string() << " was made with other settings ("
              << enumerate(others) << ") and is left as it is.\n";
}

void note_idle_options(const Flags& flags, const Generation& generation) {
  if (flags.has("quiet") || flags.has("json")) return;
  for (const auto& line : generation.idle) std::cerr << line << " It changes nothing.\n";
  if (flags.has("steps") && flags.has("respacing"))
    std::cerr << "--respacing says how many steps there are: nothing changes by --steps.\n";
  note_unread_flags(flags, generation.model);
  if (generation.model.text) note_syntax(generation.request.text);
}

void note_unread_flags(const Flags& flags, const Model& model) {
  if (flags.has("quiet") || flags.has("json")) return;
  const auto unread = unread_flags(flags, model);
  if (!unread.empty())
    std::cerr << "The model doesn't read " << enumerate(unread) << ": nothing changes by "
              << (unread.size() == 1 ? "it" : "them") << ".\n";
}

void note_unread_negative(const Flags& flags,
                          const std::vector<std::span<const ChosenGuidance>>& rows) {
  if (!flags.has("negative-prompt") || flags.has("quiet") || flags.has("json")) return;
  for (const auto& row : rows)
    if (std::ranges::any_of(row, [](const auto& chosen) { return chosen.entry->needs_negative; }))
      return;
  std::cerr << "No guidance reads the negative prompt: cfg does.\n";
}

}  // namespace tiller
