#include "models/control_net.h"

#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// T2I-Adapters on tiny pipelines, against tests/reference/make_t2i_adapters.py.
class T2IAdapters : public Pipelines {
 protected:
  const Json& reference() const {
    static const Json json = test::fixture("t2i_adapters.json");
    return json;
  }

  void make_adapter(const std::string& name, const Json& config) const {
    NamedTensors tensors;
    const bool light = config.at("adapter_type") == "light_adapter";
    const int64_t resnets = config.at("num_res_blocks"), downscale = config.at("downscale_factor");
    const auto conv = [&](const std::string& path, int64_t in, int64_t out, int64_t kernel) {
      tensors.emplace_back("adapter." + path + ".weight", at::empty({out, in, kernel, kernel}));
      tensors.emplace_back("adapter." + path + ".bias", at::empty({out}));
    };
    auto widths = config.at("channels").get<std::vector<int64_t>>();
    int64_t in = int64_t(config.at("in_channels")) * downscale * downscale;
    if (!light) conv("conv_in", std::exchange(in, widths.front()), widths.front(), 3);
    if (light) widths.push_back(widths.back());
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string block = "body." + std::to_string(i);
      const int64_t out = widths[i], width = light ? out / 4 : out;
      if (light || in != out) conv(block + ".in_conv", in, width, 1);
      for (int64_t j = 0; j < resnets; ++j) {
        const std::string resnet = block + ".resnets." + std::to_string(j);
        conv(resnet + ".block1", width, width, 3);
        conv(resnet + ".block2", width, width, light ? 3 : 1);
      }
      if (light) conv(block + ".out_conv", width, out, 1);
      in = out;
    }
    Json named = config;
    named["_class_name"] = "T2IAdapter";
    save_part(name, named, tensors);
  }

  void make_all(const std::string& family) const {
    make_pipeline(family);
    if (family == "sdxl")
      make_part("sdxl/unet", reference().at("sdxl_unet"),
                [](const Json& c, Weights& w) { unet2d_condition(c, w); });
    for (const auto& [name, config] : reference().at("adapters").items())
      make_adapter(name, config);
    for (const std::string number : {"1", "2"})
      make_image(number + ".png", "control " + number, 64, 64);
  }

  static std::string flags_of(const Json& run) {
    std::string flags = " --sampler ddim --guidance cfg:scale=" + run.at("cfg").dump();
    for (const Json& adapter : run.at("adapters"))
      flags += " --control " + adapter[0].get<std::string>() + ":scale=" + adapter[2].dump() +
               ",to=" + adapter[3].dump() + " --control-image " + adapter[1].get<std::string>() +
               ".png";
    return flags;
  }

  void expect_all_runs(const std::string& family) const {
    make_all(family);
    for (const Json& run : reference().at(family)) {
      SCOPED_TRACE(flags_of(run));
      expect_latents(latents_of(command(family, flags_of(run))), run);
    }
  }

  void expect_refusal(const std::string& flags, const std::string& expected) const {
    const Result result = tiller(command("sd1", flags));
    EXPECT_NE(result.code, 0);
    EXPECT_NE(result.err.find(expected), std::string::npos) << result.err;
  }
};

TEST_F(T2IAdapters, OnSd1EqualDiffusers) { expect_all_runs("sd1"); }
TEST_F(T2IAdapters, OnSdxlEqualDiffusers) { expect_all_runs("sdxl"); }

TEST_F(T2IAdapters, GoWithControlNetsPagAndSharing) {
  make_all("sd1");
  make_part("net", test::fixture("controls.json").at("sd1").at("control_config"),
            [](const Json& c, Weights& w) { ControlNet(c, w); });
  const std::string flags =
      "--guidance 'cfg:scale=5 + pag:layers=mid,scale=2' --control full --control-image 1.png "
      "--control net --control-image 2.png";
  const Tensor shared = latents_of(command("sd1", flags));
  const Tensor apart = latents_of(command("sd1", flags + " --share off"));
  EXPECT_LT(relative_error(apart, shared), 1e-5);
}

TEST_F(T2IAdapters, ReadTheAuthorsLayout) {
  make_all("sd1");
  NamedTensors tensors;
  for (auto& [name, tensor] : tensors_of("full")) {
    std::string original = name.substr(strlen("adapter."));
    for (const int block : {0, 1})
      for (const int resnet : {0, 1}) {
        const std::string theirs = "body." + std::to_string(2 * block + resnet) + ".block";
        const std::string ours =
            "body." + std::to_string(block) + ".resnets." + std::to_string(resnet) + ".block";
        if (original.starts_with(ours)) original.replace(0, ours.size(), theirs);
      }
    if (original.starts_with("body.1.in_conv")) original.replace(5, 1, "2");
    tensors.emplace_back(original, tensor);
  }
  save_safetensors(folder / "original.safetensors", tensors);
  const Tensor expected =
      latents_of(command("sd1", "--control full --control-image 1.png --steps 3"));
  const Tensor got =
      latents_of(command("sd1", "--control original.safetensors --control-image 1.png --steps 3"));
  EXPECT_TRUE(got.equal(expected));
}

TEST_F(T2IAdapters, ThatDontFitAreRefused) {
  make_all("sd1");
  const std::string image = " --control-image 1.png";
  EXPECT_NE(tiller("info full").out.find("T2IAdapter"), std::string::npos);
  expect_refusal("--control full_xl" + image, "from a T2I-Adapter");
  expect_refusal("--control full" + image + " --guidance swg", "got a T2I-Adapter");
  Json config = reference().at("adapters").at("full");
  config["_class_name"] = "T2IAdapter";
  config["channels"] = {32, 48};
  write("full/config.json", config.dump());
  expect_refusal("--control full" + image, "adapter.body.1");
  config["channels"] = Json::array();
  write("full/config.json", config.dump());
  expect_refusal("--control full" + image, "channels");
  config["channels"] = {32, 64};
  config["downscale_factor"] = 48;
  write("full/config.json", config.dump());
  expect_refusal("--control full" + image, "expected multiples of its 48");
}

}  // namespace
}  // namespace tiller::test
