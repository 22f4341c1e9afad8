#include "tools/attention_maps.h"

#include <ATen/ATen.h>

#include <set>
#include <sstream>

#include "io/error.h"
#include "io/grid.h"
#include "io/heat_map.h"
#include "io/safetensors.h"
#include "tools/conditioning.h"

namespace tiller {
namespace {

constexpr int64_t most_effect_steps = 1'000'000;
constexpr std::string_view punctuation = ".,;:!?()[]{}\"'";

std::vector<int64_t> positions(const Generation& generation, const std::string& prompt,
                               const std::string& word) {
  return word_positions(*generation.model.text, prompt, prompt_options(generation), word);
}

/// The words of "fox, red snow,fox", each once.
std::vector<std::string> words_from(const Flags& flags, const std::string& flag) {
  std::vector<std::string> words;
  for (const auto& value : flags.all(flag)) {
    std::istringstream parts(value + ",");
    for (std::string word; std::getline(parts, word, ',');) {
      word.erase(0, word.find_first_not_of(' '));
      word.erase(word.find_last_not_of(' ') + 1);
      if (word.empty())
        throw UsageError("--" + flag + ": got '" + value +
                         "', expected words of the prompt, such as fox or fox,snow.");
      if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
    }
  }
  return words;
}

/// The words of prompts that can be named, each once.
std::vector<std::string> known_words(const Generation& generation,
                                     const std::vector<std::string>& prompts) {
  std::vector<std::string> words;
  for (const auto& prompt : prompts)
    for (const auto& piece : parse_prompt(prompt)) {
      std::istringstream text(piece.text);
      for (std::string word; text >> word;) {
        word.erase(0, word.find_first_not_of(punctuation));
        word.erase(word.find_last_not_of(punctuation) + 1);
        if (std::find(words.begin(), words.end(), word) == words.end() &&
            !positions(generation, prompt, word).empty())
          words.push_back(word);
      }
    }
  return words;
}

/// A word as a part of a file's name.
std::string map_name(const WordMap& map) {
  std::string name;
  for (const char c : map.word) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 128 || std::isalnum(byte))
      name += c;
    else if (!name.empty() && name.back() != '-')
      name += '-';
  }
  return name + (map.effect ? "-effect" : "");
}

/// Two words must not end in one file.
void check_names(const WordsRequest& words) {
  std::set<std::string> names;
  for (const bool effect : {false, true})
    for (const auto& word : effect ? words.effects : words.maps)
      if (!names.insert(map_name({word, effect, {}})).second)
        throw UsageError("--attention-" + std::string(effect ? "effect" : "map") + ": got '" +
                         word +
                         "' beside a word whose file has the same name, expected one of "
                         "them.");
}

std::vector<WordTokens> tokens_of(const Generation& generation,
                                  const std::vector<std::string>& words,
                                  std::span<const ImageSpec> images) {
  std::vector<WordTokens> tokens;
  for (const auto& word : words) {
    tokens.emplace_back();
    for (const auto& image : images)
      tokens.back().push_back(positions(generation, image.prompt, word));
  }
  return tokens;
}

/// Calls visit(word, effect, maps), maps (B, H, W), for every word.
void for_each_word(const WordsRequest& words, const DoneImages& done,
                   const std::function<void(const std::string&, bool, const Tensor&)>& visit) {
  if (done.attention.defined())
    for (size_t i = 0; i < words.maps.size(); ++i)
      visit(words.maps[i], false, done.attention.select(1, int64_t(i)));
  if (done.effects.defined())
    for (size_t i = 0; i < words.effects.size(); ++i)
      visit(words.effects[i], true, done.effects.select(1, int64_t(i)));
}

std::string label_of(const WordMap& map) { return map.effect ? map.word + " (effect)" : map.word; }

}  // namespace

void require_word(const Generation& generation, const std::string& flag, const std::string& word,
                  const std::vector<std::string>& prompts) {
  const auto has_word = [&](const auto& prompt) {
    return !positions(generation, prompt, word).empty();
  };
  if (std::any_of(prompts.begin(), prompts.end(), has_word)) return;
  const auto known = known_words(generation, prompts);
  throw UsageError("--" + flag + ": got '" + word + "', expected " +
                   (known.empty() ? "a word of the prompt, which has none."
                                  : "words of the prompt: " + enumerate(known, 40) + ".") +
                   suggestion(word, known));
}

const std::vector<Flag>& word_flags() {
  static const std::vector<Flag> flags = {
      {"attention-map", "WORD[,WORD...]", "write where attention put words of the prompt, as PNGs",
       Flag::common, true},
      {"attention-effect", "WORD[,WORD...]", "write what would change without words, as PNGs",
       Flag::common, true},
      {"attention-effect-every", "N", "measure that at every N-th step; default 5", Flag::rare}};
  return flags;
}

void apply_word_flags(const Flags& flags, WordsRequest& words) {
  if (flags.has("attention-map")) words.maps = words_from(flags, "attention-map");
  if (flags.has("attention-effect")) words.effects = words_from(flags, "attention-effect");
  if (flags.has("attention-effect-every") && words.effects.empty())
    throw UsageError(
        "--attention-effect-every: got no --attention-effect with it, expected the words.");
  words.effect_every =
      flags.integer("attention-effect-every", 1, most_effect_steps, words.effect_every);
}

void check_words(const Flags& flags, const Generation& generation) {
  const auto& sites = generation.model.network->sites();
  for (const std::string flag : {"attention-map", "attention-effect"}) {
    if (!flags.has(flag)) continue;
    const auto words = words_from(flags, flag);
    if (!generation.model.text)
      throw UsageError("--" + flag + ": got '" + words.front() +
                       "', expected none: the model reads no text.");
    if (!generation.request.compare.empty())
      throw UsageError("--" + flag + ": got --compare too, expected one of them.");
    for (const auto& word : words)
      require_word(generation, flag, word, generation.request.text.prompts);
  }
  if (flags.has("attention-map") && std::none_of(sites.begin(), sites.end(), AttentionMaps::reads))
    throw UsageError(
        "--attention-map: got a model without cross-attention at its latent's size, a "
        "half or a quarter of it, expected one with. --attention-effect works.");
  check_names(generation.request.words);
}

void check_effects(const Generation& generation, std::span<const ChosenGuidance> guidances) {
  if (generation.request.words.effects.empty()) return;
  for (const auto& chosen : guidances)
    if (chosen.guidance->alterations().text)
      throw UsageError("--attention-effect: got guidance " + chosen.text +
                       ", whose cross-attention isn't softmax's, expected none such. "
                       "--attention-map works.");
}

WordRecorder::WordRecorder(const Generation& generation, std::span<const ImageSpec> images) {
  const WordsRequest& words = generation.request.words;
  const ImageSize size = latent_size(generation);
  if (!words.maps.empty())
    attention_ = std::make_shared<AttentionMaps>(tokens_of(generation, words.maps, images),
                                                 size.height, size.width);
  if (!words.effects.empty())
    effects_ = std::make_shared<WordEffects>(tokens_of(generation, words.effects, images),
                                             static_cast<int>(words.effect_every));
}

void WordRecorder::attach(GuidedBatch& batch) const {
  if (attention_)
    batch.observer = [attention = attention_](const Site& site, const Tensor& q, const Tensor& k) {
      attention->observe(site, q, k);
    };
  batch.onlooker = effects_;
}

Tensor WordRecorder::attention() const { return attention_ ? attention_->maps() : Tensor(); }
Tensor WordRecorder::effects() const { return effects_ ? effects_->maps() : Tensor(); }

std::vector<WordMap> word_maps(const Generation& generation, const ImageSpec& image,
                               const DoneImages& done, int64_t row) {
  std::vector<WordMap> maps;
  for_each_word(generation.request.words, done,
                [&](const std::string& word, bool effect, const Tensor& images) {
                  if (!positions(generation, image.prompt, word).empty())
                    maps.push_back({word, effect, images[row]});
                });
  return maps;
}

fs::path overlay_path(const fs::path& image, const WordMap& map) {
  return image.parent_path() / (image.stem().string() + "-" + map_name(map) + ".png");
}

void write_overlays(const fs::path& image, const Tensor& pixels, std::span<const WordMap> maps,
                    const PngText& text) {
  for (const auto& map : maps)
    write_png(overlay_path(image, map), heat_overlay(pixels, map.map, label_of(map)), text);
}

void write_overlay_grid(const fs::path& grid, const GenerateRequest& request,
                        const DoneImages& done, int64_t columns) {
  for_each_word(request.words, done, [&](const std::string& word, bool effect, const Tensor& maps) {
    const WordMap named = {word, effect, {}};
    std::vector<Tensor> overlays;
    for (int64_t row = 0; row < maps.size(0); ++row)
      overlays.push_back(heat_overlay(done.pixels[row], maps[row], label_of(named)));
    write_png(overlay_path(grid, named), image_grid(at::stack(overlays), columns));
  });
}

std::vector<fs::path> overlay_paths(const fs::path& image, std::span<const WordMap> maps) {
  std::vector<fs::path> paths;
  for (const auto& map : maps) paths.push_back(overlay_path(image, map));
  return paths;
}

std::vector<fs::path> overlay_paths(const fs::path& grid, const WordsRequest& words) {
  std::vector<WordMap> maps;
  for (const auto& word : words.maps) maps.push_back({word, false, {}});
  for (const auto& word : words.effects) maps.push_back({word, true, {}});
  return overlay_paths(grid, maps);
}

Json maps_json(const fs::path& image, std::span<const WordMap> maps) {
  Json json = Json::object();
  for (const auto& map : maps) {
    const MapSummary found = summary(map.map);
    Json& entry = json[map.effect ? "attention_effect" : "attention_map"][map.word];
    if (!image.empty()) entry["file"] = overlay_path(image, map).string();
    entry.update({{"min", found.least}, {"max", found.greatest}, {"centre", {found.x, found.y}}});
  }
  return json;
}

void save_maps(const fs::path& file, const GenerateRequest& request, const DoneImages& done) {
  NamedTensors tensors;
  for_each_word(request.words, done, [&](const std::string& word, bool effect, const Tensor& maps) {
    tensors.emplace_back(word + (effect ? "-effect" : ""), maps);
  });
  save_safetensors(file, tensors, {{"format", "pt"}});
}

}  // namespace tiller
