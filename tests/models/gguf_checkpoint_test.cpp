#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"
#include "io/quantized.h"
#include "models/components.h"
#include "models/unet2d_condition.h"
#include "tests/gguf_file.h"
#include "tests/models/ldm_checkpoint.h"

namespace tiller {
namespace {

using test::TemporaryFile;

/// OpenCLIP's name as stable-diffusion.cpp's converter writes it (name_conversion.cpp).
std::string peer_clip_name(const std::string& name) {
  static const std::vector<std::pair<std::string, std::string>> words = {
      {"transformer.resblocks.", "encoder.layers."},
      {".ln_1.", ".layer_norm1."},
      {".ln_2.", ".layer_norm2."},
      {".mlp.c_fc.", ".mlp.fc1."},
      {".mlp.c_proj.", ".mlp.fc2."},
      {".attn.out_proj.", ".self_attn.out_proj."},
      {".attn.in_proj_", ".self_attn.in_proj."},
      {"token_embedding.weight", "embeddings.token_embedding.weight"},
      {"positional_embedding", "embeddings.position_embedding.weight"},
      {"ln_final.", "final_layer_norm."}};
  std::string result = name;
  for (const auto& [from, to] : words)
    if (const size_t at = result.find(from); at != result.npos) result.replace(at, from.size(), to);
  return "transformer.text_model." + result;
}

std::string peer_name(const std::string& name) {
  const std::string first = "conditioner.embedders.0.", second = "conditioner.embedders.1.model.",
                    only = "cond_stage_model.model.", stage = "cond_stage_model.";
  if (name.starts_with(first)) return stage + name.substr(first.size());
  if (name.starts_with(second)) return stage + "1." + peer_clip_name(name.substr(second.size()));
  if (name.starts_with(only)) return stage + peer_clip_name(name.substr(only.size()));
  return name;
}

NamedTensors peer_named(NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) name = peer_name(name);
  std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with("logit_scale"); });
  return tensors;
}

Components stored(const NamedTensors& tensors) {
  const TemporaryFile file("peer.safetensors");
  save_safetensors(file.path, tensors);
  return single_file_components(file.path);
}

void expect_same_part(const Component& found, const Component& expected) {
  EXPECT_EQ(found.config, expected.config);
  const std::map<std::string, Tensor> values(expected.tensors.begin(), expected.tensors.end());
  ASSERT_EQ(found.tensors.size(), values.size());
  for (const auto& [name, tensor] : found.tensors) {
    ASSERT_TRUE(values.contains(name)) << name;
    EXPECT_TRUE(tensor.equal(values.at(name))) << name;
  }
}

TEST(GgufCheckpoint, HasSdxlsTextEncodersUnderThePeersNames) {
  const NamedTensors tensors = test::ldm_tensors(test::ldm_case("tiny_sdxl"));
  const Components expected = stored(tensors), found = stored(peer_named(tensors));
  EXPECT_EQ(found.index, expected.index);
  ASSERT_EQ(found.parts.size(), expected.parts.size());
  for (const auto& [part, component] : expected.parts)
    expect_same_part(found.parts.at(part), component);
}

/// SD2 reads the layer before the last of its 24, which older converters left out.
TEST(GgufCheckpoint, HasSd2sTextEncoderUnderThePeersNames) {
  const auto test = test::ldm_case("sd2");
  for (const bool whole : {true, false}) {
    auto renamed = test;
    renamed["tensors"].clear();
    for (const auto& entry : test.at("tensors")) {
      const std::string name = peer_name(entry[0]);
      if (whole || name.find("encoder.layers.23.") == name.npos)
        renamed["tensors"].push_back({name, entry[1]});
    }
    const TemporaryFile file("sd2.safetensors"), peers("sd2_peer.safetensors");
    test::write_sparse(file.path, test);
    test::write_sparse(peers.path, renamed);
    const Component expected = single_file_components(file.path).parts.at("text_encoder"),
                    found = single_file_components(peers.path).parts.at("text_encoder");
    EXPECT_EQ(found.config, expected.config);
    EXPECT_EQ(found.config.at("hidden_act"), "gelu");
    std::set<std::string> names, expected_names;
    for (const auto& [name, tensor] : found.tensors) names.insert(name);
    for (const auto& [name, tensor] : expected.tensors) expected_names.insert(name);
    EXPECT_EQ(names, expected_names);
  }
}

class GgufFamily : public testing::TestWithParam<const char*> {};

/// What is quantized stays so until a network takes it, in whichever dtype.
TEST_P(GgufFamily, GivesNetworksWhatItsBlocksSay) {
  const TemporaryFile quantized("tiny.gguf"), plain("tiny.safetensors");
  test::save_gguf(quantized.path, peer_named(test::ldm_tensors(test::ldm_case(GetParam()))));
  save_safetensors(plain.path, load_tensors(quantized.path).tensors);
  const Components found = single_file_components(quantized.path),
                   expected = single_file_components(plain.path);
  ASSERT_EQ(found.parts.size(), expected.parts.size());
  int64_t lazy = 0;
  for (const auto& [part, component] : expected.parts) {
    const Component& other = found.parts.at(part);
    EXPECT_EQ(other.config, component.config) << part;
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      Weights a({other.tensors, {}}, "a", dtype), b({component.tensors, {}}, "b", dtype);
      for (const auto& [name, tensor] : other.tensors) {
        const Tensor value = a.take(name, tensor.sizes());
        EXPECT_FALSE(value.is_meta()) << name;
        EXPECT_EQ(value.scalar_type(), dtype);
        EXPECT_TRUE(value.equal(b.take(name, tensor.sizes()))) << part << " " << name;
        lazy += !quantization_of(tensor).empty();
      }
    }
  }
  EXPECT_GT(lazy, 10);
}

INSTANTIATE_TEST_SUITE_P(Tiny, GgufFamily, testing::Values("tiny_sd1", "tiny_sdxl"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GgufCheckpoint, IsDescribedWithoutItsValues) {
  const TemporaryFile file("tiny.gguf");
  test::save_gguf(file.path, test::ldm_tensors(test::ldm_case("tiny_sdxl")));
  const Component unet = single_file_components(file.path).parts.at("unet");
  Weights weights({unet.tensors, {}}, unet.file, at::ScalarType::Undefined);
  unet2d_condition(unet.config, weights);
  std::set<std::string> kinds;
  for (const auto& [name, tensor] : weights.finish()) kinds.insert(quantization_of(tensor));
  EXPECT_EQ(kinds, (std::set<std::string>{"", "Q8_0"}));
}

}  // namespace
}  // namespace tiller
