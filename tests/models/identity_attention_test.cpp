/// Branches whose self-attention has the identity for its map need neither queries nor keys.
#include "models/adm_unet.h"
#include "models/device.h"
#include "models/residency.h"
#include "tests/models/edm_networks.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

/// Returns the values, and says so or, for reference, doesn't.
struct IdentityOf final : Perturbation {
  explicit IdentityOf(bool says_so) : says_so(says_so) {}
  Kind kind() const override { return Kind::attention; }
  bool acts_at(const Site&) const override { return true; }
  bool is_identity() const override { return says_so; }
  Tensor attention(const Site&, const Tensor&, const Tensor&, const Tensor& v) const override {
    return v;
  }
  bool says_so;
};

/// A network, its inputs, and where its weights of self-attention are.
struct Family {
  std::string name;
  std::unique_ptr<Network> network;
  NamedTensors tensors;
  Tensor x = {}, t = {};
  Conditioning own = {}, other = {};
  std::string out = {};                  ///< A site's layer behind attention.
  std::vector<std::string> layers = {};  ///< That project to queries and keys.
  std::vector<int64_t> order = {};       ///< Of outputs, where those are of values too;
  int64_t parts = 0;                     ///< this dimension's last is of values.
};

Family unet2d_family() {
  const Json test = unet2d_case("sdxl_odd_size");
  BuiltUNet2D built = build_unet2d(test.at("config"));
  UNet2DInput input = unet2d_input(test);
  const int64_t images = input.x.size(0);
  Family made{"unet2d",
              std::move(built.network),
              built.tensors,
              input.x,
              input.t,
              input.conditioning,
              input.conditioning,
              ".attn1.to_out.0.weight",
              {".attn1.to_q.", ".attn1.to_k."}};
  made.other.context = formula_tensor("other", {images, 5, 24});
  return made;
}

Family labelled(Family made, int64_t side) {
  made.x = 2 * formula_tensor("x", {2, made.network->in_channels(), side, side});
  made.t = at::tensor({0.3f, 0.7f});
  made.own.label = at::tensor({3, 5}, at::kLong);
  made.other.label = at::tensor({1, 2}, at::kLong);
  return made;
}

Family adm_family(bool new_order, at::Device device) {
  AdmConfig config;
  config.image_size = 16;
  config.num_channels = 32;
  config.num_res_blocks = 1;
  config.channel_mult = {1, 2};
  config.num_heads = 2;
  config.attention_resolutions = {16, 8};
  config.class_cond = true;
  config.num_classes = 7;
  config.use_new_attention_order = new_order;
  Weights weights(0, device);
  Family made{new_order ? "adm, new order" : "adm", adm_unet(config, weights), weights.finish()};
  fill_by_formula(made.tensors);
  made.out = ".proj_out.weight";
  made.layers = {".qkv."};
  made.order = new_order ? std::vector<int64_t>{3, 2, -1} : std::vector<int64_t>{2, 3, -1};
  made.parts = new_order ? 0 : 1;
  return labelled(std::move(made), 16);
}

Family edm_family(const Json& config, at::Device device) {
  Weights weights(0, device);
  Family made{"edm " + config.dump(), edm_unet(edm_config(config), weights), weights.finish()};
  fill_edm(made.tensors);
  made.out = ".proj.weight";
  made.layers = {".qkv."};
  made.order = {-1, 3};
  made.parts = 1;
  return labelled(std::move(made), config.at("img_resolution"));
}

std::vector<Family> families(at::Device device = at::kCPU) {
  std::vector<Family> all;
  all.push_back(unet2d_family());
  for (const bool new_order : {false, true}) all.push_back(adm_family(new_order, device));
  const Json cases = fixture("song.json").at("cases");
  for (const size_t index : {1, 2, 3})
    all.push_back(edm_family(cases.at(index).at("config"), device));
  return all;
}

Answers answers_of(const Family& family, bool says_so, bool share) {
  const IdentityOf identity(says_so);
  const std::vector<Branch> branches = {
      {&family.own}, {&family.own, &identity}, {&family.other}, {&family.other, &identity}};
  return evaluate(*family.network, family.x, family.t, branches, share);
}

/// Operations on an image at all sites together: attention, and the projections to queries and
/// keys, those of the first site left out or not.
double left_out(const Family& family, bool at_first) {
  double operations = 0;
  for (const Site& site : family.network->sites()) {
    const Grid grid = token_grid(site, family.x.size(2), family.x.size(3));
    const double n = double(grid.height * grid.width);
    for (const auto& [name, tensor] : family.tensors) {
      const double c = double(tensor.size(0));
      if (name != site.path + family.out) continue;
      operations += 4 * n * n * c + (site.order > 0 || at_first ? 4 * n * c * c : 0);
    }
  }
  return operations;
}

TEST(IdentityAttention, EqualsTheWholeProjectionAndLeavesOthersAlone) {
  const at::NoGradGuard guard;
  for (const Family& family : families())
    for (const bool share : {true, false}) {
      SCOPED_TRACE(family.name + (share ? ", shared" : ""));
      const Answers got = answers_of(family, true, share);
      const Answers expected = answers_of(family, false, share);
      // Products of fewer rows may round otherwise.
      for (const size_t b : {0, 2})
        EXPECT_LT(relative_error(got.outputs[b], expected.outputs[b]), 1e-5);
      for (const size_t b : {1, 3}) {
        EXPECT_LT(relative_error(got.outputs[b], expected.outputs[b]), 1e-5);
        EXPECT_GT(relative_error(got.outputs[b], got.outputs[b - 1]), 1e-3);
      }
      const double images = double(family.x.size(0));
      EXPECT_EQ(got.flops.unshared, expected.flops.unshared);
      EXPECT_EQ(expected.flops.spent - got.flops.spent, 2 * images * left_out(family, !share));
    }
}

/// NaN for all weights of queries and keys.
void spoil(const Family& family) {
  for (const auto& [name, tensor] : family.tensors)
    for (const std::string& layer : family.layers) {
      if (name.find(layer) == std::string::npos) continue;
      const Tensor parts = family.order.empty()
                               ? tensor
                               : tensor.unflatten(0, family.order).movedim(family.parts, 0);
      (family.order.empty() ? parts : parts.narrow(0, 0, 2)).fill_(NAN);
    }
}

TEST(IdentityAttention, ReadsNoQueriesAndKeys) {
  const at::NoGradGuard guard;
  for (const Family& family : families())
    for (const bool share : {true, false}) {
      SCOPED_TRACE(family.name + (share ? ", shared" : ""));
      spoil(family);
      const Answers got = answers_of(family, true, share);
      for (const size_t b : {1, 3}) EXPECT_TRUE(got.outputs[b].isfinite().all().item<bool>());
      for (const size_t b : {0, 2}) EXPECT_FALSE(got.outputs[b].isfinite().any().item<bool>());
    }
}

TEST(IdentityAttentionCuda, EqualsTheCpus) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  const at::NoGradGuard guard;
  const at::Device gpu(at::kCUDA, 0);
  std::vector<Family> there = families(gpu);
  const std::vector<Family> here = families();
  for (size_t i = 0; i < here.size(); ++i) {
    Family& family = there[i];
    SCOPED_TRACE(family.name);
    const Answers expected = answers_of(here[i], true, true);
    move_to(family.tensors, gpu);
    for (Conditioning* one : {&family.own, &family.other})
      for (Tensor* part : {&one->label, &one->context, &one->pooled, &one->time_ids})
        if (part->defined()) *part = part->cuda();
    family.other.pooled = family.own.pooled;
    family.other.time_ids = family.own.time_ids;
    family.x = family.x.cuda();
    family.t = family.t.cuda();
    const Answers got = answers_of(family, true, true);
    EXPECT_EQ(got.flops.spent, expected.flops.spent);
    for (size_t b = 0; b < 4; ++b)
      EXPECT_LT(relative_error(got.outputs[b].cpu(), expected.outputs[b]), 1e-4) << b;
  }
}

}  // namespace
}  // namespace tiller::test
