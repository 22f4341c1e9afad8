#include "io/error.h"
#include "models/perturbation.h"
#include "models/prediction.h"
#include "tests/models/edm_networks.h"

namespace tiller::test {
namespace {

struct Filled {
  std::unique_ptr<Network> network;
  NamedTensors parameters;
};

Filled filled(const Json& config, at::ScalarType dtype = at::kFloat) {
  Weights weights(TensorFile{edm_tensors(config), {}}, "test", dtype);
  Filled made{edm_unet(edm_config(config), weights), {}};
  made.parameters = weights.finish();
  return made;
}

Tensor column(const Tensor& values) { return values.reshape({-1, 1, 1, 1}); }

struct Question {
  Tensor x, t, skip, out;
};

/// What a network of PredictionType::edm is asked for x_0, each image at its own sigma.
Question question(const Tensor& x, const std::vector<double>& sigmas) {
  std::vector<double> in, t, skip, out;
  for (const double sigma : sigmas) {
    const EdmPreconditioning by = edm_preconditioning(sigma);
    in.push_back(by.in);
    t.push_back(edm_timestep(sigma));
    skip.push_back(by.skip);
    out.push_back(by.out);
  }
  const auto real = [](const std::vector<double>& v) { return at::tensor(v, at::kFloat); };
  return {x * column(real(in)), real(t), column(real(skip)), column(real(out))};
}

Tensor noisy(const std::vector<double>& sigmas) {
  const Tensor scale = 1 + at::tensor(sigmas, at::kFloat);
  return formula_tensor("x", {2, 3, 16, 16}) * column(scale);
}

/// Names, shapes and estimates of x_0 are the original's, with a class and without, at two sigmas.
TEST(EdmUNet, EqualsTheOriginal) {
  const Json cases = fixture("song.json").at("cases");
  ASSERT_EQ(cases.size(), 8u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("config").dump());
    const c10::InferenceMode guard;
    const Filled made = filled(test.at("config"));
    EXPECT_EQ(digest_of(made.parameters), test.at("names").get<uint32_t>());
    const std::vector<double> sigmas = test.at("sigma");
    const Tensor x = noisy(sigmas);
    const Question asked = question(x, sigmas);
    const Conditioning labels{at::tensor({3, 7}, at::kLong), {}, {}, {}};
    const Branch branch{&labels, nullptr};
    const Tensor output = evaluate(*made.network, asked.x, asked.t, {&branch, 1}).outputs.front();
    const Tensor sample = asked.skip * x + asked.out * output;
    const Tensor sampled = sample.contiguous().flatten().slice(0, 0, {}, test.at("every"));
    EXPECT_LT(relative_error(sampled, tensor_from(test.at("values"))), 1e-5);
  }
}

/// Tokens shuffled, blocks skipped or attention replaced at some of the sites.
struct Disturbance final : Perturbation {
  Disturbance(Kind kind, std::vector<int> orders) : kind_(kind), orders_(std::move(orders)) {}
  Kind kind() const override { return kind_; }
  bool acts_at(const Site& site) const override {
    return std::count(orders_.begin(), orders_.end(), site.order) > 0;
  }
  Tensor permutation(const Site& site) const override {
    const int64_t side = 16 / site.downscale;
    return formula_tensor(site.path, {2, side * side}).argsort(int64_t{1});
  }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    return v;
  }
  Kind kind_;
  std::vector<int> orders_;
};

/// Branches that share rows until they part give what each gives alone, and all differ.
TEST(EdmUNet, SharedBranchesEqualSeparateOnes) {
  const c10::InferenceMode guard;
  const Json cases = fixture("song.json").at("cases");
  for (const size_t index : {1, 2, 3}) {
    SCOPED_TRACE(index);
    const Filled made = filled(cases.at(index).at("config"));
    ASSERT_GE(made.network->sites().size(), 3u);
    const Conditioning labels{at::tensor({3, 5}, at::kLong), {}, {}, {}};
    const Disturbance shuffled(Perturbation::Kind::permutation, {0, 1}),
        skipped(Perturbation::Kind::skip, {1}), plain(Perturbation::Kind::attention, {0, 2});
    const std::vector<Branch> branches = {
        {&labels, nullptr}, {&labels, &shuffled}, {&labels, &skipped}, {&labels, &plain}};
    const Tensor x = noisy({0.35, 2}), t = at::tensor({-0.2f, 0.1f});
    const auto shared = evaluate(*made.network, x, t, branches);
    const auto alone = evaluate(*made.network, x, t, branches, false);
    for (size_t b = 0; b < branches.size(); ++b)
      EXPECT_LT(relative_error(shared.outputs[b], alone.outputs[b]), 1e-5) << b;
    for (size_t b = 1; b < branches.size(); ++b)
      EXPECT_GT(relative_error(shared.outputs[b], shared.outputs[0]), 1e-3) << b;
    EXPECT_LT(shared.flops.spent, alone.flops.spent);
    EXPECT_NEAR(shared.flops.unshared / alone.flops.spent, 1, 0.01);
  }
}

TEST(EdmUNet, SitesAreInExecutionOrder) {
  Weights weights(0);
  const auto network = edm_unet(edm_config({{"_class_name", "SongUNet"},
                                            {"img_resolution", 16},
                                            {"model_channels", 16},
                                            {"channel_mult", {1, 2}},
                                            {"attn_resolutions", {8}},
                                            {"num_blocks", 2}}),
                                weights);
  std::vector<std::string> names;
  for (const auto& site : network->sites()) names.push_back(short_name(site) + " " + site.path);
  EXPECT_EQ(names, (std::vector<std::string>{"d0 enc.8x8_block0", "d1 enc.8x8_block1",
                                             "m0 dec.8x8_in0", "u0 dec.8x8_block2"}));
  EXPECT_EQ(network->sites().front().downscale, 2);
  EXPECT_EQ(network->up_blocks(), 6);
}

/// In bfloat16 NCSN++'s frequencies, up to 100, keep their digits.
TEST(EdmUNet, FrequenciesStayInFloat32) {
  const c10::InferenceMode guard;
  const Json config = fixture("song.json").at("cases").at(2).at("config");
  const Filled exact = filled(config), rounded = filled(config, at::kBFloat16);
  const Conditioning none;
  const Branch branch{&none, nullptr};
  const Tensor x = noisy({0.35, 2}), t = at::tensor({-0.2f, 0.1f});
  const auto answer = [&](const Filled& made) {
    return evaluate(*made.network, x, t, {&branch, 1}).outputs.front();
  };
  EXPECT_LT(relative_error(answer(rounded), answer(exact)), 0.05);
  EXPECT_EQ(rounded.parameters.front().first, "map_noise.freqs");
  EXPECT_EQ(rounded.parameters.front().second.scalar_type(), at::kFloat);
  EXPECT_EQ(rounded.parameters.back().second.scalar_type(), at::kBFloat16);
}

std::string message(Json changes, const std::string& name = "SongUNet") {
  Json config = {{"_class_name", name}, {"img_resolution", 32}};
  config.update(changes);
  try {
    Weights weights(0, at::kMeta);
    edm_unet(edm_config(config), weights);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(EdmConfig, DefaultsAreTheOriginals) {
  EXPECT_EQ(message(Json::object()), "");
  EXPECT_EQ(message(Json::object(), "DhariwalUNet"), "");
  const EdmConfig adm = edm_config({{"_class_name", "DhariwalUNet"}, {"img_resolution", 64}});
  EXPECT_EQ(adm.channel_mult, (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(adm.attn_resolutions, (std::vector<int64_t>{32, 16, 8}));
  EXPECT_EQ(adm.model_channels, 192);
}

TEST(EdmConfig, RefusesByName) {
  const auto says = [](const Json& changes, const std::string& text) {
    const std::string said = message(changes);
    EXPECT_NE(said.find(text), std::string::npos) << changes << " " << said;
    EXPECT_EQ(said.find('\n'), std::string::npos);
  };
  says({{"_class_name", "SongUnet"}}, "_class_name: got \"SongUnet\", expected SongUNet and Dhar");
  says({{"img_resolution", nullptr}}, "img_resolution: got null");
  says({{"img_resolution", 36}}, "a multiple of 8");
  says({{"model_chanels", 64}}, "Did you mean 'model_channels'?");
  says({{"model_channels", 101}}, "model_channels: got 101");
  says({{"model_channels", 50}}, "fall into");
  says({{"channel_mult", {1, "2"}}}, "channel_mult: got \"2\"");
  says({{"channel_mult", Json::array()}}, "channel_mult: got []");
  says({{"encoder_type", "skip"}}, "encoder_type: got \"skip\"");
  says({{"resample_filter", {1, 2, 1}}}, "resample_filter: got [1,2,1]");
  says({{"preconditioning", "ddpm"}}, "preconditioning: got \"ddpm\"");
  says({{"sigma_data", 0}}, "sigma_data: got 0");
  says({{"sigma_min", 1}, {"sigma_max", 0.5}}, "sigma_max: got 0.5");
  says({{"preconditioning", "ve"}, {"sigma_data", 0.5}}, "unknown key 'sigma_data'");
  says({{"label_dim", 2}, {"class_names", {"ant"}}}, "class_names: got 1");
  says({{"D", -1}}, "D: got -1");
  EXPECT_NE(message({{"embedding_type", "fourier"}}, "DhariwalUNet").find("unknown key"),
            std::string::npos);
}

}  // namespace
}  // namespace tiller::test
