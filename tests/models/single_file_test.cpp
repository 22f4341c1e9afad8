#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "io/error.h"
#include "models/components.h"
#include "models/unet2d_condition.h"
#include "tests/models/ldm_checkpoint.h"

namespace tiller {
namespace {

using test::Json;
using test::TemporaryFile;

/// [count, CRC-32 of the sorted lines], as make_ldm.py sums a part up.
Json digest(const NamedTensors& tensors, bool values) {
  std::vector<std::string> lines;
  for (const auto& [name, tensor] : tensors) {
    std::string line = name + " [";
    for (int64_t d = 0; d < tensor.dim(); ++d)
      line += (d ? ", " : "") + std::to_string(tensor.size(d));
    const Tensor whole = tensor.contiguous();
    const std::string bytes(static_cast<const char*>(whole.const_data_ptr()),
                            values ? whole.nbytes() : 0);
    lines.push_back(line + "]" + (values ? " " + std::to_string(test::crc_of(bytes)) : "") + "\n");
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const auto& line : lines) text += line;
  return {lines.size(), test::crc_of(text)};
}

Components components_of(const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata = {}) {
  const TemporaryFile file("checkpoint.safetensors");
  save_safetensors(file.path, tensors, metadata);
  return single_file_components(file.path);
}

Components components_of(const Json& test) {
  if (test.at("has_values")) return components_of(test::ldm_tensors(test));
  const TemporaryFile file("full.safetensors");
  test::write_sparse(file.path, test);
  return single_file_components(file.path);
}

std::string prediction_of(const Components& components) {
  return components.parts.at("scheduler").config.at("prediction_type");
}

class EveryCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(EveryCheckpoint, HasTheTensorsThatDiffusersConverts) {
  const Json test = test::ldm_case(GetParam());
  const Components components = components_of(test);
  for (const auto& [part, expected] : test.at("parts").items()) {
    ASSERT_TRUE(components.parts.count(part)) << part;
    EXPECT_EQ(digest(components.parts.at(part).tensors, test.at("has_values")), expected) << part;
  }
  EXPECT_EQ(components.parts.size(), test.at("parts").size() + 1) << "those and a scheduler";
}

TEST_P(EveryCheckpoint, HasTheConfigThatDiffusersDerives) {
  const Json test = test::ldm_case(GetParam());
  const Components components = components_of(test);
  for (const auto& [part, config] : test.at("configs").items())
    for (const auto& [key, expected] : config.items()) {
      const Json& found = components.parts.at(part).config;
      ASSERT_TRUE(found.contains(key)) << part << ": " << key;
      EXPECT_EQ(found.at(key), expected) << part << ": " << key;
    }
}

TEST_P(EveryCheckpoint, BuildsAUNetThatTakesEveryTensor) {
  const Components components = components_of(test::ldm_case(GetParam()));
  const Component& unet = components.parts.at("unet");
  Weights weights({unet.tensors, {}}, unet.file, at::kFloat, at::kMeta);
  const auto network = unet2d_condition(unet.config, weights);
  EXPECT_NO_THROW(weights.finish());
  EXPECT_FALSE(network->sites().empty());
}

INSTANTIATE_TEST_SUITE_P(Layouts, EveryCheckpoint,
                         testing::Values("tiny_sd1", "tiny_sd1_inpainting", "tiny_sd2", "tiny_sdxl",
                                         "tiny_refiner", "sd1", "sd2", "sdxl", "refiner"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SingleFile, NamesThePipeline) {
  const auto pipeline = [](const char* name) {
    return components_of(test::ldm_case(name)).index.at("_class_name").get<std::string>();
  };
  EXPECT_EQ(pipeline("tiny_sd1"), "StableDiffusionPipeline");
  EXPECT_EQ(pipeline("tiny_sd1_inpainting"), "StableDiffusionInpaintPipeline");
  EXPECT_EQ(pipeline("tiny_sdxl"), "StableDiffusionXLPipeline");
  EXPECT_EQ(pipeline("tiny_refiner"), "StableDiffusionXLImg2ImgPipeline");
}

/// InstructPix2Pix's checkpoints, told by the eight channels of their first convolution.
TEST(SingleFile, TellsModelsThatEditImages) {
  const auto editing = [](const char* name) {
    NamedTensors tensors = test::ldm_tensors(test::ldm_case(name));
    for (auto& [tensor_name, tensor] : tensors)
      if (tensor_name == "model.diffusion_model.input_blocks.0.0.weight")
        tensor = at::cat({tensor, tensor}, 1);
    return components_of(tensors);
  };
  const Components sd1 = editing("tiny_sd1");
  EXPECT_EQ(sd1.index.at("_class_name"), "StableDiffusionInstructPix2PixPipeline");
  EXPECT_EQ(sd1.parts.at("unet").config.at("in_channels"), 8);
  EXPECT_EQ(prediction_of(sd1), "epsilon");
  EXPECT_EQ(prediction_of(editing("tiny_sd2")), "epsilon");
  const Components sdxl = editing("tiny_sdxl");
  EXPECT_EQ(sdxl.index.at("_class_name"), "StableDiffusionXLInstructPix2PixPipeline");
  EXPECT_EQ(sdxl.index.at("force_zeros_for_empty_prompt"), true);
}

TEST(SingleFile, DescribesTheTextEncodersOfPublishedModels) {
  const Components sd2 = components_of(test::ldm_case("sd2"));
  const Json& h = sd2.parts.at("text_encoder").config;
  EXPECT_EQ(h.at("num_hidden_layers"), 23);
  EXPECT_EQ(h.at("num_attention_heads"), 16);
  EXPECT_EQ(h.at("hidden_act"), "gelu");
  const Components sdxl = components_of(test::ldm_case("sdxl"));
  const Json& l = sdxl.parts.at("text_encoder").config;
  EXPECT_EQ(l.at("num_attention_heads"), 12);
  EXPECT_EQ(l.at("hidden_act"), "quick_gelu");
  EXPECT_EQ(l.at("architectures")[0], "CLIPTextModel");
  const Json& g = sdxl.parts.at("text_encoder_2").config;
  EXPECT_EQ(g.at("num_hidden_layers"), 32);
  EXPECT_EQ(g.at("num_attention_heads"), 20);
  EXPECT_EQ(g.at("projection_dim"), 1280);
  EXPECT_EQ(g.at("architectures")[0], "CLIPTextModelWithProjection");
  EXPECT_EQ(sdxl.parts.at("vae").config.at("scaling_factor"), 0.13025);
}

TEST(SingleFile, CopiesNothing) {
  const TemporaryFile file("views.safetensors");
  save_safetensors(file.path, test::ldm_tensors(test::ldm_case("tiny_sd2")));
  const Components components = single_file_components(file.path);
  std::map<std::string, Tensor> text;
  for (const auto& [name, tensor] : components.parts.at("text_encoder").tensors)
    text[name] = tensor;
  const std::string layer = "text_model.encoder.layers.0.self_attn.";
  const Tensor q = text.at(layer + "q_proj.weight"), v = text.at(layer + "v_proj.weight");
  EXPECT_TRUE(q.is_alias_of(v));
}

TEST(SingleFile, PredictsWhatTheMarkersSay) {
  NamedTensors sdxl = test::ldm_tensors(test::ldm_case("tiny_sdxl"));
  const Components marked = components_of(sdxl);
  EXPECT_EQ(prediction_of(marked), "v_prediction");
  EXPECT_EQ(marked.parts.at("scheduler").config.at("rescale_betas_zero_snr"), true);
  std::erase_if(sdxl, [](const auto& entry) { return entry.second.numel() == 0; });
  EXPECT_EQ(prediction_of(components_of(sdxl)), "epsilon");
  EXPECT_EQ(prediction_of(components_of(sdxl, {{"modelspec.predict_key", "v"}})), "v_prediction");
}

TEST(SingleFile, PredictsVForSd2UnlessATrainedBiasSaysOtherwise) {
  const TemporaryFile file("sd2.safetensors");
  const uint64_t place =
      test::write_sparse(file.path, test::ldm_case("sd2"))
          .at("model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias");
  const Tensor signs = at::arange(320).remainder(2) * 2 - 1;
  for (const auto& [spread, expected] : {std::pair(0.0, "v_prediction"), std::pair(0.05, "epsilon"),
                                         std::pair(0.2, "v_prediction")}) {
    const Tensor bias = (signs * spread).to(at::kHalf);
    std::fstream out(file.path, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(std::streamoff(place));
    out.write(static_cast<const char*>(bias.const_data_ptr()), std::streamsize(bias.nbytes()));
    out.close();
    EXPECT_EQ(prediction_of(single_file_components(file.path)), expected) << spread;
  }
}

/// The tensors under `prefix`, under another one.
NamedTensors moved(const NamedTensors& tensors, const std::string& prefix, const std::string& to) {
  NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) result.emplace_back(to + name.substr(prefix.size()), tensor);
  return result;
}

TEST(SingleFile, TakesAUNetAlone) {
  const Json test = test::ldm_case("tiny_sdxl");
  const NamedTensors all = test::ldm_tensors(test);
  const Components original = components_of(all);
  for (const std::string prefix : {"model.diffusion_model.", "diffusion_model.", ""}) {
    const Components alone = components_of(moved(all, "model.diffusion_model.", prefix));
    EXPECT_EQ(alone.parts.size(), 2u);
    EXPECT_EQ(digest(alone.parts.at("unet").tensors, true), test.at("parts").at("unet"));
    EXPECT_EQ(alone.index, original.index);
  }
  const Components again = components_of(original.parts.at("unet").tensors);
  EXPECT_EQ(digest(again.parts.at("unet").tensors, true), test.at("parts").at("unet"))
      << "under diffusers' names";
}

TEST(SingleFile, TakesAVaeAlone) {
  const Json test = test::ldm_case("tiny_sd1");
  const NamedTensors all = test::ldm_tensors(test);
  for (const std::string prefix : {"first_stage_model.", "vae.", ""}) {
    const Components alone = components_of(moved(all, "first_stage_model.", prefix));
    EXPECT_EQ(alone.parts.size(), 1u);
    EXPECT_EQ(digest(alone.parts.at("vae").tensors, true), test.at("parts").at("vae"));
  }
}

TEST(SingleFile, TakesAPickle) {
  const fs::path path = fs::path(TILLER_FIXTURES) / "tensor_files" / "ldm_vae.ckpt";
  const Components alone = single_file_components(path);
  const Component& vae = alone.parts.at("vae");
  EXPECT_EQ(vae.config.at("block_out_channels"), Json({4, 4}));
  EXPECT_EQ(vae.config.at("norm_num_groups"), 4);
  const std::map<std::string, Tensor> tensors(vae.tensors.begin(), vae.tensors.end());
  const Tensor q = test::formula_weight("encoder.mid.attn_1.q.weight", {4, 4, 1, 1});
  EXPECT_TRUE(
      tensors.at("encoder.mid_block.attentions.0.to_q.weight").equal(q.to(at::kHalf).flatten(1)));
}

TEST(SingleFile, TakesConfigsOfAFolder) {
  const test::TemporaryFile folder("configs");
  Components components = components_of(test::ldm_case("tiny_sd2"));
  EXPECT_THROW(take_configs(components, folder.path), Error);
  write_file(folder.path / "scheduler" / "scheduler_config.json",
             R"({"prediction_type": "epsilon"})");
  fs::create_directory(folder.path / "tokenizer");
  const Json unet = components.parts.at("unet").config;
  take_configs(components, folder.path);
  EXPECT_EQ(prediction_of(components), "epsilon");
  EXPECT_EQ(components.parts.at("unet").config, unet) << "the folder has none";
  EXPECT_EQ(components.tokenizer, folder.path / "tokenizer");
}

/// Files of strangers: whatever shapes their tensors have, the answer is a network or one line.
TEST(SingleFile, SurvivesAnyShapes) {
  for (const char* name : {"tiny_sd1", "tiny_sd2", "tiny_sdxl"}) {
    const NamedTensors good = test::ldm_tensors(test::ldm_case(name));
    const auto survives = [&](size_t begin, size_t step, at::IntArrayRef shape) {
      NamedTensors tensors = good;
      for (size_t i = begin; i < tensors.size(); i += step) tensors[i].second = at::zeros(shape);
      try {
        const Components components = components_of(tensors);
        const Component& unet = components.parts.at("unet");
        Weights weights({unet.tensors, {}}, unet.file, at::kFloat, at::kMeta);
        unet2d_condition(unet.config, weights);
        weights.finish();
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    };
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{}, {0}, {3}, {2, 3}, {0, 5, 1}, {1, 1, 1, 1}, {2, 2, 2, 2, 2}}) {
      survives(0, 1, shape);
      for (size_t i = 0; i < 40; i += 13) survives(i, 40, shape);
    }
  }
}

TEST(SingleFile, RefinerReadsFiveTimeIds) {
  const Component unet = components_of(test::ldm_case("tiny_refiner")).parts.at("unet");
  Weights weights({unet.tensors, {}}, unet.file);
  const auto network = unet2d_condition(unet.config, weights);
  Conditioning conditioning;
  conditioning.context = at::randn({1, 5, 24});
  conditioning.pooled = at::randn({1, 24});
  conditioning.time_ids = at::randn({1, 5});
  const Branch branch{&conditioning, nullptr};
  const at::NoGradGuard guard;
  const Tensor x = at::randn({1, 4, 8, 8}), t = at::tensor({500.f});
  const auto answers = evaluate(*network, x, t, {&branch, 1});
  EXPECT_TRUE(answers.outputs.front().isfinite().all().item<bool>());
  conditioning.time_ids = at::randn({1, 6});
  EXPECT_THROW(evaluate(*network, x, t, {&branch, 1}), Error);
}

TEST(SingleFile, TakesProjectionsOfEitherRank) {
  NamedTensors tensors = test::ldm_tensors(test::ldm_case("tiny_sd1"));
  for (auto& [name, tensor] : tensors)
    if (name.ends_with("input_blocks.1.1.proj_in.weight")) tensor = tensor.flatten(1);
  const Component unet = components_of(tensors).parts.at("unet");
  EXPECT_EQ(unet.config.at("use_linear_projection"), true);
  EXPECT_EQ(unet.config.at("attention_head_dim"), 8);
  Weights weights({unet.tensors, {}}, unet.file, at::kFloat, at::kMeta);
  const auto network = unet2d_condition(unet.config, weights);
  EXPECT_NO_THROW(weights.finish());
}

TEST(SingleFile, TakesTheOldestNamesOfClip) {
  const Json test = test::ldm_case("tiny_sd1");
  NamedTensors tensors = test::ldm_tensors(test);
  const std::string prefix = "cond_stage_model.transformer.";
  for (auto& [name, tensor] : tensors)
    if (name.starts_with(prefix + "text_model.")) name.erase(prefix.size(), 11);
  EXPECT_EQ(digest(components_of(tensors).parts.at("text_encoder").tensors, true),
            test.at("parts").at("text_encoder"));
}

std::string single_file_message(const NamedTensors& tensors) {
  try {
    components_of(tensors);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

NamedTensors marked(const char* test, const NamedTensors& marks) {
  NamedTensors tensors = test::ldm_tensors(test::ldm_case(test));
  tensors.insert(tensors.end(), marks.begin(), marks.end());
  return tensors;
}

TEST(SingleFile, KnowsPlaygroundByItsLatents) {
  const Components playground =
      components_of(marked("tiny_sdxl", {{"edm_mean", at::full({1, 4, 1, 1}, -1.5)},
                                         {"edm_std", at::full({1, 4, 1, 1}, 8.25)}}));
  const Json& scheduler = playground.parts.at("scheduler").config;
  EXPECT_EQ(scheduler.at("_class_name"), "EDMDPMSolverMultistepScheduler");
  EXPECT_EQ(scheduler.at("sigma_max"), 80);
  const Json& vae = playground.parts.at("vae").config;
  EXPECT_EQ(vae.at("latents_mean"), Json(std::vector<double>(4, -1.5)));
  EXPECT_EQ(vae.at("latents_std"), Json(std::vector<double>(4, 8.25)));
  EXPECT_EQ(vae.at("scaling_factor"), 0.5);
}

TEST(SingleFile, KnowsCosXlByItsSigmas) {
  const Components cosxl =
      components_of(marked("tiny_sdxl", {{"edm_vpred.sigma_max", at::scalar_tensor(110.0)},
                                         {"edm_vpred.sigma_min", at::scalar_tensor(0.25)}}));
  const Json& scheduler = cosxl.parts.at("scheduler").config;
  EXPECT_EQ(scheduler.at("_class_name"), "EDMEulerScheduler");
  EXPECT_EQ(scheduler.at("prediction_type"), "v_prediction");
  EXPECT_EQ(scheduler.at("sigma_max"), 110);
  EXPECT_EQ(scheduler.at("sigma_min"), 0.25);
  EXPECT_FALSE(cosxl.parts.at("vae").config.contains("latents_mean"));
  const Tensor none = at::full({}, NAN);
  EXPECT_NE(single_file_message(marked("tiny_sdxl", {{"edm_vpred.sigma_max", none}}))
                .find("edm_vpred.sigma_max"),
            std::string::npos);
}

TEST(SingleFile, SaysWhatAnotherFileIs) {
  const Tensor x = at::zeros({1});
  const auto says = [&](const std::string& name, const std::string& what) {
    EXPECT_NE(single_file_message({{name, x}}).find(what), std::string::npos)
        << single_file_message({{name, x}});
  };
  says("double_blocks.0.img_attn.qkv.weight", "Flux");
  says("joint_blocks.0.x", "Stable Diffusion 3");
  says("lora_unet_mid.lora_down.weight", "a LoRA");
  says("control_model.time_embed.0.weight", "a ControlNet");
  says("something.else", "'something.else'");
}

}  // namespace
}  // namespace tiller
