#pragma once
/// LoRA files: low-rank changes of a network's weights, merged into them and taken out again.
#include <map>
#include <string>

#include "io/tensor_file.h"

namespace tiller {

/// By name: down, up, mid of LoRA and LoCon, hada_w1_a and so on of LoHa, lokr_w1 and so on of
/// LoKr, diff (models/lora_factors.h).
using LoraFactors = std::map<std::string, Tensor>;

/// The shape of P below as a matrix.
struct LoraShape {
  int64_t rows = 0;     ///< The weight's outputs.
  int64_t columns = 0;  ///< The weight's inputs, times the pixels of its kernel.
  int64_t rank = 0;     ///< 0: nothing is factored.
};

/// A change of a weight W (out, in[, k, k]): W + scale * P, where P is what the factors make. With
/// `magnitude` the rows (or columns) of that get these lengths. Source: DoRA (arXiv 2402.09353).
struct LoraDelta {
  LoraFactors factors;
  LoraShape shape;
  double scale = 1;  ///< alpha / r; 1 where nothing is factored.
  Tensor magnitude;  ///< (out, 1, 1) or (1, in, 1); or undefined.
};

/// A file's changes by part (unet, text_encoder, text_encoder_2) and module. Modules have the names
/// of the file with '_' for each '.', since files in the style of kohya have no others; names in
/// the original layout of SDXL stay as they are. Changes of biases stand under MODULE.bias.
struct Lora {
  std::string file;
  std::map<std::string, std::map<std::string, LoraDelta>> parts;
};

/// Reads names in the style of kohya, LyCORIS, diffusers (old and new) and PEFT. Throws Error
/// naming the file and what is in it for another adapter (OFT, IA3...), for names that are unknown
/// and for factors that don't fit each other.
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

/// Adds the changes of all LoRAs, P times the weight, to the parameters of one part, in place,
/// summed in float32 and rounded once. A DoRA's weight scales P before the magnitude applies, as in
/// PEFT, and each is of the weight that the model has without the others. A LoRA without that part,
/// or of weight 0, changes nothing. Throws Error, before anything is changed, naming LoRAs of
/// another family and modules that match no parameter.
Originals merge_loras(const NamedTensors& parameters, const std::string& part,
                      const std::vector<WeightedLora>&);
/// Brings back the very bytes.
void remove_loras(const Originals&);

}  // namespace tiller
