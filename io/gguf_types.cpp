#include "io/gguf_types.h"

#include <map>
#include <vector>

#include "io/error.h"
#include "io/gguf_blocks.h"

namespace tiller {
namespace {

constexpr at::ScalarType kBlocks = at::ScalarType::Undefined;

const std::vector<GgmlType>& ggml_types() {
  static const std::vector<GgmlType> types = {
      {0, "F32", at::kFloat, 1, 4},
      {1, "F16", at::kHalf, 1, 2},
      {30, "BF16", at::kBFloat16, 1, 2},
      {28, "F64", at::kDouble, 1, 8},
      {24, "I8", at::kChar, 1, 1},
      {25, "I16", at::kShort, 1, 2},
      {26, "I32", at::kInt, 1, 4},
      {27, "I64", at::kLong, 1, 8},
      {8, "Q8_0", kBlocks, 32, 34, decode_q8_0},
      {2, "Q4_0", kBlocks, 32, 18, decode_q4_0},
      {3, "Q4_1", kBlocks, 32, 20, decode_q4_1},
      {6, "Q5_0", kBlocks, 32, 22, decode_q5_0},
      {7, "Q5_1", kBlocks, 32, 24, decode_q5_1},
      {10, "Q2_K", kBlocks, 256, 84, decode_q2_k},
      {11, "Q3_K", kBlocks, 256, 110, decode_q3_k},
      {12, "Q4_K", kBlocks, 256, 144, decode_q4_k},
      {13, "Q5_K", kBlocks, 256, 176, decode_q5_k},
      {14, "Q6_K", kBlocks, 256, 210, decode_q6_k},
      {20, "IQ4_NL", kBlocks, 32, 18, decode_iq4_nl},
      {23, "IQ4_XS", kBlocks, 256, 136, decode_iq4_xs},
  };
  return types;
}

/// Those that are told by name and not read.
const std::map<uint32_t, const char*>& other_ggml_types() {
  static const std::map<uint32_t, const char*> names = {
      {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
      {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {29, "IQ1_M"},  {34, "TQ1_0"},
      {35, "TQ2_0"}, {39, "MXFP4"}, {40, "NVFP4"},   {41, "Q1_0"}};
  return names;
}

}  // namespace

const GgmlType* ggml_type(uint32_t id) {
  for (const auto& type : ggml_types())
    if (type.id == id) return &type;
  return nullptr;
}

std::string ggml_type_text(uint32_t id) {
  const auto found = other_ggml_types().find(id);
  return found == other_ggml_types().end() ? "type number " + std::to_string(id)
                                           : std::string("type ") + found->second;
}

std::string ggml_type_names() {
  std::vector<std::string> names;
  for (const auto& type : ggml_types()) names.push_back(type.name);
  return enumerate(names, names.size());
}

}  // namespace tiller
