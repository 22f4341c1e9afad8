#pragma once
/// LoRA files: low-rank changes of a network's weights, merged into them and taken out again.
#include <map>
#include <string>

#include "io/tensor_file.h"

namespace tiller {

/// The change `scale * up * down` of a weight (out, in[, k, k]). Source: LoRA (arXiv 2106.09685),
/// LoCon (LyCORIS, arXiv 2309.14859).
struct LoraDelta {
  Tensor down;       ///< (r, in[, k, k]).
  Tensor up;         ///< (out, r[, 1, 1]).
  Tensor mid;        ///< (r, r, k, k) between the two, then down is (r, in, 1, 1); or undefined.
  double scale = 1;  ///< alpha / r.
};

/// A file's changes by part (unet, text_encoder, text_encoder_2) and module. Modules have the names
/// of the file with '_' for each '.', since files in the style of kohya have no others; names in
/// the original layout of SDXL stay as they are.
struct Lora {
  std::string file;
  std::map<std::string, std::map<std::string, LoraDelta>> parts;
};

/// Reads names in the style of kohya, LyCORIS, diffusers (old and new) and PEFT. Throws Error
/// naming the file and what is in it for another adapter (DoRA, LoHa, LoKr...), for names that are
/// unknown and for factors that don't fit each other.
Lora load_lora(const fs::path&);

/// "SD1.5", "SDXL" and so on by the text that cross-attention reads, or in text encoders' LoRAs by
/// those; "" when it can't be told.
std::string lora_family(const Lora&);

struct WeightedLora {
  const Lora* lora;
  double weight;
};

/// Parameters that LoRAs were merged into, each with a copy of what it was.
using Originals = std::vector<std::pair<Tensor, Tensor>>;

/// Adds `weight * scale * up * down` of all LoRAs to the parameters of one part, in place, summed
/// in float32 and rounded once. A LoRA without that part changes nothing. Throws Error, before
/// anything is changed, naming LoRAs of another family and modules that match no parameter.
Originals merge_loras(const NamedTensors& parameters, const std::string& part,
                      const std::vector<WeightedLora>&);
/// Brings back the very bytes.
void remove_loras(const Originals&);

}  // namespace tiller
