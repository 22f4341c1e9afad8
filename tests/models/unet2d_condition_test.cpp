#include <map>

#include "io/error.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

Answers answers_of(const Network& network, const UNet2DInput& input) {
  const Branch branch{&input.conditioning, nullptr};
  return evaluate(network, input.x, input.t, {&branch, 1});
}

TEST(UNet2DCondition, EqualsDiffusers) {
  at::NoGradGuard guard;
  const Json cases = fixture("unet2d.json").at("cases");
  ASSERT_EQ(cases.size(), 12u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const auto unet = build_unet2d(test.at("config"));
    const UNet2DInput input = unet2d_input(test);
    const Answers answers = answers_of(*unet.network, input);
    EXPECT_LT(relative_error(answers.outputs.front(), tensor_from(test.at("output"))), 1e-5);
    EXPECT_EQ(answers.flops.spent, test.at("flops").get<double>());
  }
}

TEST(UNet2DCondition, ClassesNeedNoContext) {
  at::NoGradGuard guard;
  const Json test = unet2d_case("classes");
  const auto unet = build_unet2d(test.at("config"));
  UNet2DInput input = unet2d_input(test);
  const Answers zeros = answers_of(*unet.network, input);
  input.conditioning.context = Tensor();
  const Answers none = answers_of(*unet.network, input);
  EXPECT_LT(relative_error(none.outputs.front(), zeros.outputs.front()), 1e-6);
  EXPECT_LT(none.flops.spent, zeros.flops.spent);
  input.conditioning.label = at::tensor({3, 9}, at::kLong);
  const Tensor other = answers_of(*unet.network, input).outputs.front();
  EXPECT_TRUE(other[0].allclose(none.outputs.front()[0]));
  EXPECT_GT(relative_error(other[1], none.outputs.front()[1]), 1e-3);
  input.conditioning.label = Tensor();
  EXPECT_THROW(answers_of(*unet.network, input), Error);
}

/// "down_blocks.1.attentions.0" of "down_blocks.1.attentions.0.norm.weight", "conv_in" of
/// "conv_in.bias".
std::string part_of(const std::string& name) {
  const bool path = name.starts_with("down") || name.starts_with("up");
  const int depth = path ? 4 : name.starts_with("mid") ? 3 : 1;
  size_t end = 0;
  for (int i = 0; i < depth; ++i) end = name.find('.', i ? end + 1 : 0);
  return name.substr(0, end);
}

TEST(UNet2DCondition, FullSizesHaveDiffusersTensors) {
  const Json models = fixture("unet2d.json").at("full_size");
  ASSERT_EQ(models.size(), 4u);
  for (const auto& [model, expected] : models.items()) {
    SCOPED_TRACE(model);
    auto tensors = build_unet2d(expected.at("config"), at::kMeta).tensors;
    const auto by_name = [](const auto& a, const auto& b) { return a.first < b.first; };
    std::sort(tensors.begin(), tensors.end(), by_name);
    std::map<std::string, NamedTensors> parts;
    for (const auto& tensor : tensors) parts[part_of(tensor.first)].push_back(tensor);
    EXPECT_EQ(parts.size(), expected.at("parts").size());
    for (const auto& [part, found] : parts) {
      int64_t elements = 0;
      for (const auto& [name, tensor] : found) elements += tensor.numel();
      const Json sums = {found.size(), elements, digest_of(found)};
      EXPECT_EQ(sums, expected.at("parts").value(part, Json())) << part;
    }
  }
}

struct FullSize {
  const char* name;
  const char* sites;  ///< The last of each part.
  int64_t latent, context, width;
  double tera_flops;
};

/// Operations per evaluation are those of the architectures' published sizes.
TEST(UNet2DCondition, FullSizesHaveTheKnownSitesAndOperations) {
  at::NoGradGuard guard;
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  for (const FullSize& expected : {FullSize{"sd15", "d5 m0 u8", 64, 77, 768, 0.8033},
                                   FullSize{"sdxl", "d23 m9 u35", 128, 77, 2048, 6.761}}) {
    SCOPED_TRACE(expected.name);
    const Json config = fixture("unet2d.json").at("full_size").at(expected.name).at("config");
    const auto unet = build_unet2d(config, at::kMeta);
    std::map<Part, std::string> last;
    for (const Site& site : unet.network->sites()) last[site.part] = short_name(site);
    EXPECT_EQ(last[Part::down] + " " + last[Part::mid] + " " + last[Part::up], expected.sites);

    UNet2DInput input;
    input.x = at::empty({1, 4, expected.latent, expected.latent}, meta);
    input.t = at::empty({1}, meta);
    input.conditioning.context = at::empty({1, expected.context, expected.width}, meta);
    input.conditioning.pooled = at::empty({1, 1280}, meta);
    input.conditioning.time_ids = at::empty({1, 6}, meta);
    const Answers answers = answers_of(*unet.network, input);
    EXPECT_EQ(answers.outputs.front().sizes(), input.x.sizes());
    EXPECT_NEAR(answers.flops.spent / 1e12, expected.tera_flops, 2e-4 * expected.tera_flops);
  }
}

TEST(UNet2DCondition, SitesAreThoseOfTheCheckpoint) {
  const auto unet = build_unet2d(unet2d_case("sdxl").at("config"));
  std::string text;
  for (const Site& site : unet.network->sites())
    text += short_name(site) + " " + site.path + " stack " + std::to_string(site.stack) + " /" +
            std::to_string(site.downscale) + " heads " + std::to_string(site.heads) + "\n";
  const std::string blocks = ".transformer_blocks.";
  EXPECT_EQ(text.substr(0, text.find("d2")), "d0 down_blocks.1.attentions.0" + blocks +
                                                 "0 stack 0 /2 heads 4\n"
                                                 "d1 down_blocks.1.attentions.0" +
                                                 blocks + "1 stack 0 /2 heads 4\n");
  EXPECT_NE(text.find("d4 down_blocks.2.attentions.0" + blocks +
                      "2 stack 1 /4 heads 8\n"
                      "m0 mid_block.attentions.0" +
                      blocks + "0 stack 2 /4 heads 8\n"),
            std::string::npos);
  EXPECT_NE(text.find("u9 up_blocks.1.attentions.1" + blocks + "1 stack 6 /2 heads 4\n"),
            std::string::npos);
}

TEST(UNet2DCondition, InputsThatDontFitAreErrors) {
  const Json test = unet2d_case("sdxl");
  const auto unet = build_unet2d(test.at("config"));
  const auto message = [&](const std::function<void(UNet2DInput&)>& damage) -> std::string {
    UNet2DInput input = unet2d_input(test);
    damage(input);
    try {
      answers_of(*unet.network, input);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_EQ(message([](UNet2DInput& i) { i.conditioning.context = Tensor(); }),
            "UNet2DConditionModel: got no context, expected one.");
  EXPECT_EQ(message([](UNet2DInput& i) {
              i.conditioning.context = at::zeros({2, 5, 20});
            }),
            "UNet2DConditionModel: got a context of width 20, expected 24.");
  EXPECT_EQ(message([](UNet2DInput& i) { i.conditioning.pooled = Tensor(); }),
            "UNet2DConditionModel: got no pooled text state, expected one.");
  EXPECT_EQ(message([](UNet2DInput& i) {
              i.x = at::zeros({2, 9, 8, 8});
            }),
            "UNet2DConditionModel: got a latent of 9 channels, expected 4.");
}

}  // namespace
}  // namespace tiller::test
