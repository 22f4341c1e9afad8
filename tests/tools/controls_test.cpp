#include "models/control_net.h"
#include "models/ip_adapter_file.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// ControlNets on tiny pipelines, against tests/reference/make_controls.py.
class Controls : public Pipelines {
 protected:
  const Json& reference() const {
    static const Json json = test::fixture("controls.json");
    return json;
  }

  /// Latents with and without sharing are equal, and the operations unshared are counted right.
  /// Returns both reports.
  std::pair<Json, Json> expect_sharing_is_exact(const std::string& flags) const {
    const auto run = [&](const std::string& more) {
      const Result result = tiller(command("sd1", flags + more + " --json"));
      EXPECT_EQ(result.code, 0) << result.err;
      return result.code ? Json() : Json::parse(result.out);
    };
    const Json shared = run("");
    const Tensor expected = latents("x.safetensors");
    const Json separate = run(" --share off");
    EXPECT_LT(relative_error(latents("x.safetensors"), expected), 1e-5);
    const double unshared = separate.at("flops_unshared");
    EXPECT_NEAR(double(shared.at("flops_unshared")) / unshared, 1, 1e-9);
    if (flags.find("pag") == flags.npos)
      EXPECT_NEAR(double(separate.at("flops")) / unshared, 1, 1e-9);
    else  // its rows need no queries and keys
      EXPECT_LT(double(separate.at("flops")), unshared);
    return {shared, separate};
  }

  void make_control_net(const std::string& path, const Json& config) const {
    make_part(path, config, [](const Json& c, Weights& w) { ControlNet(c, w); });
  }

  /// A pipeline, its ControlNet "net" and the images "1.png" and "2.png".
  void make_controlled(const std::string& family) const {
    make_pipeline(family);
    make_control_net("net", reference().at(family).at("control_config"));
    for (const std::string number : {"1", "2"})
      make_image(number + ".png", "control " + number, 64, 64);
  }

  static std::string flags_of(const Json& run) {
    std::string flags = " --sampler ddim";
    if (run.at("cfg") > 1) flags += " --guidance cfg:scale=" + run.at("cfg").dump();
    if (run.contains("pag")) flags += " --guidance pag:layers=mid,scale=" + run.at("pag").dump();
    for (size_t i = 0; i < run.at("control").size(); ++i) {
      const std::string options = run.at("control")[i];
      flags += " --control net" + (options == ":" ? "" : options) + " --control-image " +
               std::to_string(i + 1) + ".png";
    }
    return flags;
  }

  void expect_all_runs(const std::string& family) const {
    make_controlled(family);
    for (const Json& run : reference().at(family).at("control_runs")) {
      SCOPED_TRACE(flags_of(run));
      const Result result = tiller(command(family, flags_of(run)));
      ASSERT_EQ(result.code, 0) << result.err;
      expect_latents(latents("x.safetensors"), run);
    }
  }

  /// Exits with `code` and one line that holds `text`.
  void expect_refusal(const std::string& arguments, int code, const std::string& text) const {
    const Result result = tiller(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
};

TEST_F(Controls, Sd1LatentsEqualDiffusers) { expect_all_runs("sd1"); }
TEST_F(Controls, Sd2LatentsEqualDiffusers) { expect_all_runs("sd2"); }
TEST_F(Controls, SdxlLatentsEqualDiffusers) { expect_all_runs("sdxl"); }

TEST_F(Controls, EveryKindOfGuidanceGivesTheSameSharedOrNot) {
  make_controlled("sd1");
  const std::string flags =
      " --control net:scale=0.8 --control-image canny:2.png --guidance cfg:scale=4 --steps 3 "
      "--sampler ddim --guidance ";
  for (const std::string guidance : {"tpg:scale=3,layers=down", "pag:layers=mid", "slg:layers=d0",
                                     "sag", "nag", "tsg", "asag", "swg", "icg"}) {
    SCOPED_TRACE(guidance);
    const auto [shared, separate] = expect_sharing_is_exact(flags + guidance);
    EXPECT_LT(shared.at("flops"), separate.at("flops"));
  }
}

TEST_F(Controls, AControlThatIsOverChangesNothing) {
  make_controlled("sd1");
  const auto run = [&](const std::string& more) {
    const Result result = tiller(command("sd1", "--sampler ddim " + more));
    EXPECT_EQ(result.code, 0) << result.err;
    return latents("x.safetensors");
  };
  const Tensor none = run(""), zero = run("--control net:scale=0 --control-image 1.png");
  EXPECT_LT(relative_error(zero, none), 1e-6);
  EXPECT_GT(relative_error(run("--control net:to=0.1 --control-image 1.png"), none), 1e-3);
}

TEST_F(Controls, ARecipeMakesTheSameBytesAgainAtTheControlImagesSize) {
  make_controlled("sd1");
  make_image("wide.png", "wide", 50, 71);
  const std::string made =
      "generate --quiet --model sd1 --prompt fox --steps 2 --control net "
      "--control-image canny:wide.png --output ";
  const Result first = tiller(made + "one.png");
  ASSERT_EQ(first.code, 0) << first.err;
  const Result again = tiller("generate --quiet --from one.png --output again.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(bytes("one.png"), bytes("again.png"));
  EXPECT_EQ(read_image(folder / "one.png").sizes(), at::IntArrayRef({3, 48, 64}));
}

TEST_F(Controls, MistakesAreNamedInOneLine) {
  make_controlled("sd1");
  const std::string base = "generate --quiet --model sd1 --prompt fox --size 64 --steps 1 ";
  expect_refusal(base + "--control net", 2, "--control-image");
  expect_refusal(base + "--control net --control-image no.png", 1, "no.png");
  expect_refusal(base + "--control nets --control-image 1.png", 1, "nets");
  expect_refusal(base + "--control net:scalle=1 --control-image 1.png", 2, "scale");
  expect_refusal(base + "--control net:from=0.5,to=0.5 --control-image 1.png", 2, "from");
  expect_refusal(base + "--control sd1/vae --control-image 1.png", 1, "ControlNet");
  expect_refusal(
      "generate --quiet --model model --class 0 --steps 1 --control net --control-image 1.png", 2,
      "Stable Diffusion");
}

TEST_F(Controls, AnotherFamilysControlNetIsNamed) {
  make_controlled("sd1");
  const std::string run =
      "generate --quiet --model sd1 --prompt fox --size 64 --steps 1 "
      "--control other --control-image 1.png";
  Json config = reference().at("sd1").at("control_config");
  config["block_out_channels"] = {64, 64};
  make_control_net("other", config);
  expect_refusal(run, 1, "64, 64");
  config = reference().at("sdxl").at("control_config");
  make_control_net("other", config);
  expect_refusal(run, 1, "72");
}

/// IP-Adapters, plain and Plus, with a tiny CLIP image encoder.
class IpAdapters : public Controls {
 protected:
  /// "ip.safetensors" of formula weights, "image_encoder" beside it and images "ip1.png",
  /// "ip2.png".
  NamedTensors make_adapter(const std::string& family, const std::string& kind) const {
    make_pipeline(family);
    make_part("image_encoder", reference().at("vision").at("config"),
              [](const Json& c, Weights& w) { ClipVision(c, w); });
    NamedTensors tensors;
    for (const auto& [name, shape] :
         reference().at(family).at("adapters").at(kind).at("shapes").items())
      tensors.emplace_back(name, formula_weight(name, shape.get<std::vector<int64_t>>()));
    save_safetensors(folder / "ip.safetensors", tensors);
    make_image("ip1.png", "ip 1", 32, 32);
    make_image("ip2.png", "ip 2", 45, 61);
    return tensors;
  }

  static std::string flags_of(const Json& run) {
    std::string flags = " --sampler ddim --ip-adapter ip.safetensors";
    if (run.at("cfg") > 1) flags += " --guidance cfg:scale=" + run.at("cfg").dump();
    if (run.contains("pag")) flags += " --guidance pag:layers=mid,scale=" + run.at("pag").dump();
    for (const Json& number : run.at("images")) flags += " --ip-image ip" + number.dump() + ".png";
    return flags;
  }

  static std::string flags_of_both(const Json& run) {
    std::string flags =
        " --sampler ddim --ip-adapter plain.safetensors --ip-adapter plus.safetensors:scale=0.3";
    if (run.at("cfg") > 1) flags += " --guidance cfg:scale=" + run.at("cfg").dump();
    for (const Json& images : run.at("images")) {
      std::string files;
      for (const Json& number : images)
        files += (files.empty() ? "ip" : ",ip") + number.dump() + ".png";
      flags += " --ip-image " + files;
    }
    return flags;
  }

  void expect_all_runs(const std::string& family, const std::string& kind) const {
    make_adapter(family, kind);
    for (const Json& run : reference().at(family).at("adapters").at(kind).at("runs")) {
      SCOPED_TRACE(kind + flags_of(run));
      const Result result = tiller(command(family, flags_of(run)));
      ASSERT_EQ(result.code, 0) << result.err;
      expect_latents(latents("x.safetensors"), run);
    }
  }
};

/// Two adapters at once, each with its strength and images.
TEST_F(IpAdapters, SeveralEqualDiffusers) {
  for (const std::string family : {"sd1", "sdxl"}) {
    for (const std::string kind : {"plain", "plus"}) {
      make_adapter(family, kind);
      fs::rename(folder / "ip.safetensors", folder / (kind + ".safetensors"));
    }
    for (const Json& run : reference().at(family).at("adapters").at("both").at("runs")) {
      const std::string flags = flags_of_both(run);
      SCOPED_TRACE(family + flags);
      expect_latents(latents_of(command(family, flags)), run);
    }
  }
}

TEST_F(IpAdapters, ARecipeOfSeveralMakesTheSameBytesAgain) {
  make_adapter("sd1", "plain");
  const std::string made =
      "generate --quiet --model sd1 --prompt fox --steps 2 --size 64 --ip-adapter "
      "ip.safetensors:scale=0.2 --ip-image ip1.png,ip2.png --ip-adapter ip.safetensors "
      "--ip-image ip2.png --output ";
  const Result first = tiller(made + "one.png");
  ASSERT_EQ(first.code, 0) << first.err;
  const Result again = tiller("generate --quiet --from one.png --output again.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(bytes("one.png"), bytes("again.png"));
}

TEST_F(IpAdapters, Sd1LatentsEqualDiffusers) { expect_all_runs("sd1", "plain"); }
TEST_F(IpAdapters, Sd1PlusLatentsEqualDiffusers) { expect_all_runs("sd1", "plus"); }
TEST_F(IpAdapters, SdxlLatentsEqualDiffusers) { expect_all_runs("sdxl", "plain"); }
TEST_F(IpAdapters, SdxlPlusLatentsEqualDiffusers) { expect_all_runs("sdxl", "plus"); }

/// Tokens of an image and of none, as diffusers' projections make them.
TEST_F(IpAdapters, ImageTokensEqualDiffusers) {
  const at::NoGradGuard guard;
  for (const std::string kind : {"plain", "plus"}) {
    make_adapter("sd1", kind);
    const LoadedAdapter loaded = load_ip_adapter(folder / "ip.safetensors",
                                                 load_model(folder / "sd1"), at::kFloat, at::kCPU);
    const ClipVision encoder =
        load_image_encoder(folder / "image_encoder", loaded.projection, {}, at::kFloat, at::kCPU);
    for (const std::string number : {"1", "2"}) {
      SCOPED_TRACE(kind + number);
      const ImageTokens tokens =
          image_tokens(encoder, loaded.projection, {read_image(folder / ("ip" + number + ".png"))});
      const auto expected = reference()
                                .at("sd1")
                                .at("adapters")
                                .at(kind)
                                .at("tokens")
                                .at(number)
                                .get<std::vector<double>>();
      EXPECT_LT(relative_error(at::cat({tokens.nothing, tokens.image}),
                               at::tensor(expected, at::kDouble)),
                1e-5);
    }
  }
}

TEST_F(IpAdapters, EveryKindOfGuidanceGivesTheSameSharedOrNot) {
  make_adapter("sd1", "plus");
  make_control_net("net", reference().at("sd1").at("control_config"));
  make_image("1.png", "control 1", 64, 64);
  const std::string flags =
      " --control net --control-image 1.png --ip-adapter ip.safetensors --ip-image ip2.png "
      "--guidance cfg:scale=4 --steps 3 --sampler ddim --guidance ";
  for (const std::string guidance : {"tpg:scale=3,layers=down", "pag:layers=mid", "nag", "swg"}) {
    SCOPED_TRACE(guidance);
    expect_sharing_is_exact(flags + guidance);
  }
}

TEST_F(IpAdapters, MistakesAreNamedInOneLine) {
  NamedTensors tensors = make_adapter("sd1", "plain");
  const std::string base = "generate --quiet --model sd1 --prompt fox --size 64 --steps 1 ";
  const std::string use = base + "--ip-image ip1.png --ip-adapter ";
  expect_refusal(base + "--ip-image ip1.png", 2, "--ip-adapter");
  expect_refusal(base + "--ip-adapter ip.safetensors", 2, "--ip-image");
  expect_refusal(base + "--ip-scale 0.4", 2, "--ip-scale: got no --ip-adapter");
  expect_refusal(base + "--image-encoder image_encoder", 2, "--image-encoder: got no --ip-adapter");
  expect_refusal(base + "--ip-adapter ip.safetensors --ip-image no.png", 1, "no.png");
  expect_refusal(use + "no.safetensors", 1, "no.safetensors");
  expect_refusal(use + "ip.safetensors --ip-adapter ip.safetensors", 2, "got 1, expected 2");
  expect_refusal(use + "ip.safetensors:scale=much", 2, "ip.safetensors");
  expect_refusal(use + "ip.safetensors:scalle=1", 2, "scale");
  expect_refusal(use + "ip.safetensors --image-encoder sd1/vae", 1, "sd1/vae");
  expect_refusal(use + "sd1/vae/model.safetensors", 1, "IP-Adapter");
  tensors.erase(tensors.begin());
  save_safetensors(folder / "less.safetensors", tensors);
  expect_refusal(use + "less.safetensors", 1, "less.safetensors");
  make_pipeline("sdxl");
  expect_refusal(
      "generate --quiet --model sdxl --prompt fox --size 64 --steps 1 --ip-image ip1.png "
      "--ip-adapter ip.safetensors",
      1, "width 32, expected the model's 72");
  fs::rename(folder / "image_encoder", folder / "elsewhere");
  expect_refusal(use + "ip.safetensors", 1, "--image-encoder");
  EXPECT_EQ(tiller(use + "ip.safetensors --image-encoder elsewhere --output y.png").code, 0);
}

}  // namespace
}  // namespace tiller::test
