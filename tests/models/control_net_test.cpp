#include <unistd.h>

#include "io/error.h"
#include "io/safetensors.h"
#include "models/control_net_file.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

/// Of 32 groups and 8 heads, as what a single file's config is derived to.
Json control_config() {
  return {{"_class_name", "ControlNetModel"},
          {"block_out_channels", {32, 64}},
          {"down_block_types", {"CrossAttnDownBlock2D", "DownBlock2D"}},
          {"layers_per_block", 2},
          {"cross_attention_dim", 24},
          {"conditioning_embedding_out_channels", {8, 8, 12, 16}}};
}

Json unet_config() {
  Json config = control_config();
  config.erase("conditioning_embedding_out_channels");
  config["_class_name"] = "UNet2DConditionModel";
  config["up_block_types"] = {"UpBlock2D", "CrossAttnUpBlock2D"};
  return config;
}

NamedTensors control_tensors() {
  Weights weights(uint64_t{0});
  ControlNet(control_config(), weights);
  NamedTensors tensors = weights.finish();
  fill_by_formula(tensors);
  return tensors;
}

/// The name that lllyasviel's files have for a tensor of this net: two resnets a stage.
std::string original_name(const std::string& name) {
  static const std::vector<std::pair<std::string, std::string>> names = {
      {"controlnet_cond_embedding.conv_in", "input_hint_block.0"},
      {"controlnet_cond_embedding.conv_out", "input_hint_block.14"},
      {"controlnet_cond_embedding.blocks.0", "input_hint_block.2"},
      {"controlnet_cond_embedding.blocks.1", "input_hint_block.4"},
      {"controlnet_cond_embedding.blocks.2", "input_hint_block.6"},
      {"controlnet_cond_embedding.blocks.3", "input_hint_block.8"},
      {"controlnet_cond_embedding.blocks.4", "input_hint_block.10"},
      {"controlnet_cond_embedding.blocks.5", "input_hint_block.12"},
      {"controlnet_mid_block", "middle_block_out.0"},
      {"controlnet_down_blocks.0", "zero_convs.0.0"},
      {"controlnet_down_blocks.1", "zero_convs.1.0"},
      {"controlnet_down_blocks.2", "zero_convs.2.0"},
      {"controlnet_down_blocks.3", "zero_convs.3.0"},
      {"controlnet_down_blocks.4", "zero_convs.4.0"},
      {"controlnet_down_blocks.5", "zero_convs.5.0"},
      {"conv_in", "input_blocks.0.0"},
      {"time_embedding.linear_1", "time_embed.0"},
      {"time_embedding.linear_2", "time_embed.2"},
      {"down_blocks.0.resnets.0", "input_blocks.1.0"},
      {"down_blocks.0.attentions.0", "input_blocks.1.1"},
      {"down_blocks.0.resnets.1", "input_blocks.2.0"},
      {"down_blocks.0.attentions.1", "input_blocks.2.1"},
      {"down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"},
      {"down_blocks.1.resnets.0", "input_blocks.4.0"},
      {"down_blocks.1.resnets.1", "input_blocks.5.0"},
      {"mid_block.resnets.0", "middle_block.0"},
      {"mid_block.attentions.0", "middle_block.1"},
      {"mid_block.resnets.1", "middle_block.2"}};
  static const std::vector<std::pair<std::string, std::string>> inside = {
      {".norm1.", ".in_layers.0."},          {".conv1.", ".in_layers.2."},
      {".time_emb_proj.", ".emb_layers.1."}, {".norm2.", ".out_layers.0."},
      {".conv2.", ".out_layers.3."},         {".conv_shortcut.", ".skip_connection."}};
  for (const auto& [ours, theirs] : names) {
    if (!name.starts_with(ours + ".")) continue;
    std::string rest = name.substr(ours.size());
    if (ours.find("resnets") != std::string::npos)
      for (const auto& [a, b] : inside)
        if (rest.starts_with(a)) rest = b + rest.substr(a.size());
    return theirs + rest;
  }
  throw std::runtime_error("no original name for " + name);
}

class ControlNetFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("tiller-control-" + std::to_string(getpid()));
    fs::create_directories(folder / "net");
    write_file(folder / "net" / "config.json", control_config().dump());
    save_safetensors(folder / "net" / "model.safetensors", control_tensors());
  }
  void TearDown() override { fs::remove_all(folder); }

  std::vector<Tensor> residuals(const std::string& path) const {
    const auto net = load_control_net(folder / path, unet_config(), at::kFloat, at::kCPU);
    const Conditioning text{{}, formula_tensor("context", {1, 5, 24})};
    const Branch branch{&text};
    Rows rows({&branch, 1}, 1);
    const Tensor hint = net->embed(formula_tensor("image", {1, 3, 64, 80}) * 0.5 + 0.5);
    return net->residuals(formula_tensor("x", {1, 4, 8, 10}), at::tensor({601.f}), hint, rows);
  }

  fs::path folder;
};

TEST_F(ControlNetFiles, SingleFilesEqualTheFolder) {
  at::NoGradGuard guard;
  const auto expected = residuals("net");
  ASSERT_EQ(expected.size(), 7u);
  NamedTensors original, whole;
  for (const auto& [name, tensor] : control_tensors()) {
    original.emplace_back("control_model." + original_name(name), tensor);
    whole.push_back(original.back());
  }
  whole.emplace_back("model.diffusion_model.input_blocks.0.0.weight", at::zeros({1, 1, 3, 3}));
  save_safetensors(folder / "diffusers.safetensors", control_tensors());
  save_safetensors(folder / "original.safetensors", original);
  save_safetensors(folder / "whole.safetensors", whole);
  write_file(folder / "config.json", R"({"_class_name": "CLIPTextModel"})");  // another part's
  for (const std::string file : {"diffusers", "original", "whole"}) {
    SCOPED_TRACE(file);
    const auto got = residuals(file + ".safetensors");
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_LT(relative_error(got[i], expected[i]), 1e-6) << i;
  }
}

TEST_F(ControlNetFiles, FamiliesAreNamed) {
  for (const auto& [own, model, text] :
       {std::tuple(768, 2048, "this ControlNet is SD1.5, the model is SDXL."),
        std::tuple(2048, 1024, "this ControlNet is SDXL, the model is SD2.")}) {
    Json config = control_config(), unet = unet_config();
    config["cross_attention_dim"] = own;
    unet["cross_attention_dim"] = model;
    write_file(folder / "net" / "config.json", config.dump());
    try {
      load_control_net(folder / "net", unet, at::kFloat, at::kCPU);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
}

TEST_F(ControlNetFiles, OtherWeightsAreRefused) {
  save_safetensors(folder / "other.safetensors", {{"input_blocks.0.0.weight", at::zeros({2, 2})}});
  EXPECT_THROW(residuals("other.safetensors"), Error);
  EXPECT_THROW(residuals("nowhere"), Error);
  NamedTensors differences = control_tensors();
  differences.emplace_back("difference", at::ones({}));
  save_safetensors(folder / "differences.safetensors", differences);
  EXPECT_THROW(residuals("differences.safetensors"), Error);
}

TEST(ControlNets, ActOnWholeStepsWithinTheirInterval) {
  const auto acts = [](double from, double to, int step, int steps) {
    return !acting({{.from = from, .to = to}}, step, steps).empty();
  };
  EXPECT_TRUE(acts(0, 1, 0, 10));
  EXPECT_TRUE(acts(0, 1, 9, 10));
  EXPECT_FALSE(acts(0.2, 1, 1, 10));
  EXPECT_TRUE(acts(0.2, 1, 2, 10));
  EXPECT_TRUE(acts(0, 0.5, 4, 10));
  EXPECT_FALSE(acts(0, 0.5, 5, 10));
  EXPECT_FALSE(acts(0, 0.55, 5, 10));
}

/// Residuals at two skips belong to the branches that they were made for, whatever forks when.
TEST(ControlNets, SharedBranchesEqualSeparateEvaluations) {
  at::NoGradGuard guard;
  const auto unet = build_unet2d(unet_config());
  Weights weights(uint64_t{0});
  auto net = std::make_shared<ControlNet>(control_config(), weights);
  fill_by_formula(weights.finish());
  const Tensor x = formula_tensor("x", {2, 4, 8, 10}), t = at::tensor({801.f, 33.f});
  const std::vector<Control> controls = {{net, net->embed(at::full({1, 3, 64, 80}, 0.3)), 0.7},
                                         {net, net->embed(at::full({1, 3, 64, 80}, 0.9)), -0.2}};
  Conditioning prompt{{}, formula_tensor("prompt", {2, 5, 24})}, other = prompt;
  prompt.controls = other.controls = controls;
  other.context = formula_tensor("other", {2, 5, 24});
  const std::vector<Branch> branches = {{&prompt}, {&other}, {&prompt}};
  const Answers shared = evaluate(*unet.network, x, t, branches);
  const Answers separate = evaluate(*unet.network, x, t, branches, false);
  for (size_t i = 0; i < branches.size(); ++i)
    EXPECT_LT(relative_error(shared.outputs[i], separate.outputs[i]), 1e-5) << i;
  EXPECT_GT(relative_error(shared.outputs[0], shared.outputs[1]), 1e-3);
  EXPECT_NEAR(shared.flops.unshared / separate.flops.spent, 1, 1e-9);
  EXPECT_LT(shared.flops.spent, 0.7 * separate.flops.spent);
}

}  // namespace
}  // namespace tiller::test
