#pragma once
#include "guidance/word_maps.h"
#include "io/image.h"
#include "tools/generation.h"

namespace tiller {

/// Flags that ask for maps of words.
const std::vector<Flag>& word_flags();
/// Writes the flags given over `words`. Throws UsageError.
void apply_word_flags(const Flags&, WordsRequest& words);
/// Throws UsageError when a word that the flags name is in none of the prompts, whose words it
/// lists, and when the model or the rest of the request has no room for maps.
void check_words(const Flags&, const Generation&);

/// Throws UsageError where a word's effect is asked for beside guidance that replaces softmax.
void check_effects(const Generation&, std::span<const ChosenGuidance>);

/// Throws UsageError, naming the flag and listing words, unless one of the prompts has the word.
void require_word(const Generation&, const std::string& flag, const std::string& word,
                  const std::vector<std::string>& prompts);

/// Records the maps of a batch's images as they are sampled.
class WordRecorder {
 public:
  WordRecorder(const Generation&, std::span<const ImageSpec>);
  void attach(GuidedBatch&) const;
  /// (B, words, H, W) float32, H and W the latent's; undefined: not asked for.
  Tensor attention() const;
  Tensor effects() const;

 private:
  std::shared_ptr<AttentionMaps> attention_;
  std::shared_ptr<WordEffects> effects_;
};

/// A map of one word over one image.
struct WordMap {
  std::string word;
  bool effect = false;
  Tensor map;  ///< (H, W) of the latent.
};
/// Those of the image in `row`, but for words that its prompt lacks.
std::vector<WordMap> word_maps(const Generation&, const ImageSpec&, const DoneImages&, int64_t row);

/// "y.png" to "y-fox.png" or "y-fox-effect.png".
fs::path overlay_path(const fs::path& image, const WordMap&);
/// Writes the overlays of one image beside it. pixels: (3, H, W) uint8.
void write_overlays(const fs::path& image, const Tensor& pixels, std::span<const WordMap>,
                    const PngText&);
/// For each word a grid of all images' overlays, named like the images' own grid.
void write_overlay_grid(const fs::path& grid, const GenerateRequest&, const DoneImages&,
                        int64_t columns);
/// Least and greatest value, centre of mass and the overlay's file, by word, as keys
/// `attention_map` and `attention_effect`; without maps none. image: empty where only a grid is
/// drawn.
Json maps_json(const fs::path& image, std::span<const WordMap>);
/// The overlays of one image, and those of a grid.
std::vector<fs::path> overlay_paths(const fs::path& image, std::span<const WordMap>);
std::vector<fs::path> overlay_paths(const fs::path& grid, const WordsRequest&);
/// Raw maps, a tensor (B, H, W) a word: "fox", "fox-effect".
void save_maps(const fs::path&, const GenerateRequest&, const DoneImages&);

}  // namespace tiller
