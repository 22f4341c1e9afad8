#include <cstdlib>
#include <functional>
#include <map>

#include "io/error.h"
#include "models/autoencoder.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

const Json& reference() {
  static const Json file = fixture("autoencoder.json");
  return file;
}

template <typename Model>
struct Built {
  Model model;
  NamedTensors tensors;
};

template <typename Model>
Built<Model> build(const Json& config, at::Device device = at::kCPU) {
  Weights weights(0, device);
  Model model(config, weights);
  Built<Model> built{std::move(model), weights.finish()};
  if (!device.is_meta()) fill_by_formula(built.tensors);
  return built;
}

struct Input {
  Tensor images, latents;
};

Input input_of(const Json& test, int64_t channels, int64_t factor) {
  const int64_t batch = test.at("size")[0], height = test.at("size")[1], width = test.at("size")[2];
  return {formula_tensor("images", {batch, 3, height * factor, width * factor}),
          2 * formula_tensor("latents", {batch, channels, height, width})};
}

Input input_of(const Json& test, const AutoencoderKLConfig& config) {
  return input_of(test, config.latent_channels, config.downscale());
}

void expect_equal(const Tensor& got, const Json& expected) {
  EXPECT_LT(relative_error(got, tensor_from(expected)), 1e-5);
}

TEST(AutoencoderKL, EqualsDiffusersWholeSlicedAndTiled) {
  at::NoGradGuard guard;
  ASSERT_EQ(reference().at("kl").size(), 5u);
  for (const Json& test : reference().at("kl")) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const AutoencoderKL vae = build<AutoencoderKL>(test.at("config")).model;
    const Input input = input_of(test, vae.config());
    for (const bool slicing : {false, true}) {
      const VaeOptions options{.slicing = slicing, .tiling = test.at("tiled")};
      const LatentDistribution found = vae.encode(input.images, options);
      expect_equal(found.mean, test.at("mean"));
      expect_equal(found.logvar, test.at("logvar"));
      expect_equal(vae.decode(input.latents, options), test.at("decoded"));
    }
  }
}

const Json& case_of(const std::string& name) {
  for (const Json& test : reference().at("kl"))
    if (test.at("name") == name) return test;
  throw std::runtime_error("no case " + name);
}

TEST(AutoencoderKL, TilesOfAnySizeCoverTheImage) {
  at::NoGradGuard guard;
  const AutoencoderKL vae = build<AutoencoderKL>(case_of("sd").at("config")).model;
  const Tensor latents = formula_tensor("latents", {1, 4, 13, 9});
  const Tensor images = formula_tensor("images", {1, 3, 52, 36});
  for (const int64_t tile : {8, 17, 20, 28, 44, 52}) {
    const VaeOptions options{.tiling = true, .tile_size = tile, .overlap = 0.3};
    EXPECT_EQ(vae.decode(latents, options).sizes(), images.sizes()) << tile;
    EXPECT_EQ(vae.encode(images, options).mean.sizes(), latents.sizes()) << tile;
  }
  const VaeOptions one_tile{.tiling = true, .tile_size = 52};
  EXPECT_TRUE(vae.decode(latents, one_tile).equal(vae.decode(latents)));
}

TEST(RunTiled, JoinsWhatDoesNotDependOnNeighboursExactly) {
  const Tensor x = at::rand({2, 3, 23, 31}, at::kDouble);
  const auto enlarge = [](const Tensor& tile) {
    return at::upsample_nearest2d(tile, {4 * tile.size(2), 4 * tile.size(3)});
  };
  const auto shrink = [](const Tensor& tile) { return tile.slice(2, 0, {}, 2).slice(3, 0, {}, 2); };
  for (const double overlap : {0., 0.25, 0.6}) {
    EXPECT_TRUE(run_tiled(x, tile_grid(8, overlap, 4, 1), enlarge).allclose(enlarge(x)));
    EXPECT_TRUE(run_tiled(x, tile_grid(8, overlap, 1, 2), shrink).allclose(shrink(x)));
  }
  EXPECT_THROW(tile_grid(8, 1, 4, 1), Error);
  EXPECT_THROW(tile_grid(7, 0.25, 1, 4), Error);
}

NamedTensors with_old_names(NamedTensors tensors, bool convolutions) {
  const std::vector<std::pair<std::string, std::string>> names = {{".to_q.", ".query."},
                                                                  {".to_k.", ".key."},
                                                                  {".to_v.", ".value."},
                                                                  {".to_out.0.", ".proj_attn."}};
  for (auto& [name, tensor] : tensors)
    for (const auto& [today, old] : names)
      if (const size_t found = name.find(today); found != std::string::npos) {
        if (!convolutions) name.replace(found, today.size(), old);
        if (convolutions && tensor.dim() == 2) tensor = tensor.unsqueeze(2).unsqueeze(3);
      }
  return tensors;
}

AutoencoderKL load(const NamedTensors& tensors, at::ScalarType dtype = at::kFloat) {
  Weights weights({tensors}, "vae.safetensors", dtype);
  AutoencoderKL vae(case_of("sd").at("config"), weights);
  weights.finish();
  return vae;
}

TEST(AutoencoderKL, ReadsOldNamesAndProjectionsStoredAsConvolutions) {
  at::NoGradGuard guard;
  const Json& test = case_of("sd");
  const auto built = build<AutoencoderKL>(test.at("config"));
  for (const bool convolutions : {false, true}) {
    const AutoencoderKL vae = load(with_old_names(built.tensors, convolutions));
    const Input input = input_of(test, vae.config());
    expect_equal(vae.encode(input.images).mean, test.at("mean"));
    expect_equal(vae.decode(input.latents), test.at("decoded"));
  }
}

TEST(AutoencoderKL, FullSizeHasDiffusersTensorsAndShapes) {
  at::NoGradGuard guard;
  const Json& test = reference().at("full_size_kl");
  const auto built = build<AutoencoderKL>(test.at("config"), at::kMeta);
  EXPECT_EQ(inventory_of(built.tensors), test.at("inventory"));
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  const auto found = built.model.encode(at::empty({1, 3, 512, 768}, meta));
  EXPECT_EQ(found.mean.sizes(), at::IntArrayRef({1, 4, 64, 96}));
  EXPECT_EQ(built.model.decode(found.mean).sizes(), at::IntArrayRef({1, 3, 512, 768}));
}

TEST(AutoencoderKL, SamplesWithTheNoiseThatItIsGiven) {
  const LatentDistribution distribution{at::full({1}, 2.f), at::full({1}, std::log(9.f))};
  EXPECT_NEAR(distribution.sample(at::full({1}, -0.5f)).item<float>(), 0.5f, 1e-6);
}

TEST(AutoencoderKL, ScalesLatentsAsDiffusersPipelines) {
  AutoencoderKLConfig config;
  config.latent_channels = 2;
  config.scaling_factor = 0.5;
  config.shift_factor = 1;
  const Tensor x = at::arange(8., at::kFloat).view({1, 2, 2, 2});
  EXPECT_TRUE(scale_latents(x, config).equal((x - 1) * 0.5));
  EXPECT_TRUE(unscale_latents(scale_latents(x, config), config).allclose(x));
  config.latents_mean = {1, -2};
  config.latents_std = {4, 8};
  const Tensor scaled = scale_latents(x, config);
  EXPECT_FLOAT_EQ(scaled[0][0][1][1].item<float>(), (3 - 1) * 0.5f / 4);
  EXPECT_FLOAT_EQ(scaled[0][1][0][0].item<float>(), (4 + 2) * 0.5f / 8);
  EXPECT_TRUE(unscale_latents(scaled, config).allclose(x));
}

TEST(AutoencoderKL, ComputesInAnotherTypeThanThatOfItsWeights) {
  at::NoGradGuard guard;
  const Json& test = case_of("sd");
  const auto built = build<AutoencoderKL>(test.at("config"));
  const AutoencoderKL half = load(built.tensors, at::kBFloat16);
  const Input input = input_of(test, half.config());
  const Tensor expected = tensor_from(test.at("decoded"));
  EXPECT_EQ(half.dtype(), at::kBFloat16);
  const double narrow = relative_error(half.decode(input.latents), expected);
  const double wide = relative_error(half.decode(input.latents, {.dtype = at::kFloat}), expected);
  EXPECT_LT(narrow, 0.1);
  EXPECT_LT(wide, narrow);
  EXPECT_EQ(half.encode(input.images).mean.scalar_type(), at::kFloat);
}

TEST(AutoencoderKL, DecodesOnceMoreInFloat32AfterAnOverflow) {
  at::NoGradGuard guard;
  NamedTensors tensors = build<AutoencoderKL>(case_of("sd").at("config")).tensors;
  const Tensor latents = formula_tensor("latents", {1, 4, 3, 4});
  EXPECT_FALSE(load(tensors, at::kHalf).decode_safely(latents).retried);
  for (auto& [name, tensor] : tensors)
    if (name.find("up_blocks.0.resnets.0.conv2") != std::string::npos) tensor = tensor * 60000;
  const AutoencoderKL vae = load(tensors, at::kHalf);
  EXPECT_FALSE(vae.decode(latents).isfinite().all().item<bool>());
  const SafeDecoding decoding = vae.decode_safely(latents);
  EXPECT_TRUE(decoding.retried);
  EXPECT_LT(relative_error(decoding.images, load(tensors).decode(latents)), 2e-2);
  EXPECT_THROW(vae.decode_safely(latents / 0), Error);
  for (auto& [name, tensor] : tensors) tensor = tensor / 0;
  EXPECT_THROW(load(tensors, at::kHalf).decode_safely(latents), Error);
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(AutoencoderKL, WhatDoesNotFitIsAnError) {
  const auto built = build<AutoencoderKL>(case_of("sd").at("config"));
  const auto config_message = [](const char* key, const Json& value) {
    Json config = case_of("sd").at("config");
    config[key] = value;
    return message_of([&] { build<AutoencoderKL>(config); });
  };
  EXPECT_EQ(message_of([&] {
              built.model.decode(at::zeros({1, 16, 4, 4}));
            }),
            "AutoencoderKL: got latents with 16 channels, expected 4.");
  EXPECT_EQ(message_of([&] {
              built.model.encode(at::zeros({1, 3, 3, 40}));
            }),
            "AutoencoderKL: got images of 40 x 3, expected at least 4 each way.");
  EXPECT_EQ(config_message("latents_mean", {1, 2}),
            "config.json: latents_mean: got [1,2], expected a list of 4 numbers.");
  EXPECT_EQ(config_message("norm_num_groups", 3),
            "config.json: block_out_channels: got 8, expected a multiple of norm_num_groups = 3.");
  EXPECT_EQ(config_message("up_block_types", {"UpDecoderBlock2D", "AttnUpDecoderBlock2D"}),
            "config.json: up_block_types: got [\"UpDecoderBlock2D\",\"AttnUpDecoderBlock2D\"], "
            "expected 3 times UpDecoderBlock2D (nothing else is supported).");
  NamedTensors tensors = built.tensors;
  tensors.erase(tensors.begin());
  EXPECT_EQ(message_of([&] { load(tensors); }),
            "vae.safetensors: got weights that don't fit the config: missing tensors: "
            "encoder.conv_in.weight.");
}

TEST(AutoencoderTiny, EqualsDiffusers) {
  at::NoGradGuard guard;
  const Json& test = reference().at("tiny");
  const AutoencoderTiny vae = build<AutoencoderTiny>(test.at("config")).model;
  const Input input = input_of(test, 4, 4);
  expect_equal(vae.encode(input.images), test.at("encoded"));
  expect_equal(vae.decode(input.latents), test.at("decoded"));
}

TEST(Autoencoder, EncodesWithoutScaling) {
  at::NoGradGuard guard;
  const Json &kl = reference().at("kl").at(0), &tiny = reference().at("tiny");
  const auto built = build<AutoencoderKL>(kl.at("config"));
  const Tensor images = input_of(kl, built.model.config()).images;
  const Tensor likeliest = built.model.encode(images).mean;
  EXPECT_TRUE(encode_unscaled({built.model}, images, 0.5).equal(likeliest));
  const Autoencoder rough{build<AutoencoderTiny>(tiny.at("config")).model};
  expect_equal(0.5 * encode_unscaled(rough, input_of(tiny, 4, 4).images, 0.5), tiny.at("encoded"));
}

TEST(AutoencoderTiny, FullSizeHasDiffusersTensorsAndShapes) {
  at::NoGradGuard guard;
  const Json& test = reference().at("full_size_tiny");
  const auto built = build<AutoencoderTiny>(Json::object(), at::kMeta);
  EXPECT_EQ(inventory_of(built.tensors), test.at("inventory"));
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  const Tensor latents = built.model.encode(at::empty({1, 3, 64, 96}, meta));
  EXPECT_EQ(latents.sizes(), at::IntArrayRef({1, 4, 8, 12}));
  EXPECT_EQ(built.model.decode(latents).sizes(), at::IntArrayRef({1, 3, 64, 96}));
}

/// The files that TAESD's author publishes: layers count from 0, in the decoder from a clamp.
TEST(AutoencoderTiny, ReadsTheOriginalNames) {
  const auto built = build<AutoencoderTiny>(Json::object());
  NamedTensors encoder, decoder;
  for (const auto& [name, tensor] : built.tensors) {
    const std::string rest = name.substr(std::string("encoder.layers.").size());
    const size_t dot = rest.find('.');
    const bool encodes = name.starts_with("encoder");
    const int index = std::stoi(rest) + (encodes ? 0 : 1);
    (encodes ? encoder : decoder).emplace_back(std::to_string(index) + rest.substr(dot), tensor);
  }
  Weights weights({taesd_tensors(encoder, decoder)}, "taesd");
  const AutoencoderTiny vae(Json::object(), weights);
  weights.finish();
  const Tensor latents = formula_tensor("latents", {1, 4, 2, 3});
  EXPECT_TRUE(vae.decode(latents).equal(built.model.decode(latents)));
  EXPECT_THROW(taesd_tensors({}, {{"0.weight", latents}}), Error);
  EXPECT_THROW(taesd_tensors({{"layers.0.weight", latents}}, {}), Error);
}

/// Needs TAESD's weights and photographs: tests/reference/make_taesd_photos.py.
TEST(AutoencoderTiny, EqualsDiffusersOnPhotographs) {
  const char *file = std::getenv("TILLER_TAESD_WEIGHTS"),
             *photos = std::getenv("TILLER_TAESD_PHOTOS");
  if (!file || !photos) GTEST_SKIP() << "TILLER_TAESD_WEIGHTS and TILLER_TAESD_PHOTOS aren't set";
  at::NoGradGuard guard;
  Weights weights(load_tensors(file), file);
  const AutoencoderTiny vae(Json::object(), weights);
  weights.finish();
  std::map<std::string, Tensor> expected;
  for (auto& [name, tensor] : load_tensors(photos).tensors) expected[name] = tensor;
  ASSERT_GT(expected.size(), 0u);
  for (size_t i = 0; i < expected.size() / 3; ++i) {
    const std::string number = "." + std::to_string(i);
    SCOPED_TRACE("photo" + number);
    const Tensor photo = expected.at("photo" + number).to(at::kFloat).unsqueeze(0) / 127.5 - 1;
    const Tensor latent = expected.at("latent" + number).unsqueeze(0);
    EXPECT_LT(relative_error(vae.encode(photo), latent), 1e-4);
    EXPECT_LT(relative_error(vae.decode(latent), expected.at("decoded" + number)), 1e-4);
  }
}

TEST(LatentRgb, MapsEachPositionLinearly) {
  const Tensor latents = at::eye(4).view({1, 4, 2, 2});
  const Tensor sd = latent_rgb(latents, LatentFamily::sd);
  EXPECT_EQ(sd.sizes(), at::IntArrayRef({1, 3, 2, 2}));
  EXPECT_FLOAT_EQ(sd[0][2][1][1].item<float>(), -0.7177f);
  const Tensor xl = latent_rgb(latents, LatentFamily::sdxl);
  EXPECT_FLOAT_EQ(xl[0][0][0][0].item<float>(), 0.3651f + 0.1084f);
  EXPECT_TRUE(latent_rgb(100 * latents, LatentFamily::sd).abs().max().item<float>() <= 1);
}

}  // namespace
}  // namespace tiller::test
