#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

constexpr const char* kNoiseMapSamplers[] = {"ddpm-inversion", "ledits++"};

/// `ddpm-inversion` and `ledits++`, which keep the noise of each step.
class NoiseMapFiles : public Pipelines {
 protected:
  void SetUp() override {
    Pipelines::SetUp();
    write_picture("in.png", 16, 16);
  }

  Tensor tensor_of(const std::string& file, const std::string& name) const {
    for (const auto& [other, tensor] : load_safetensors(folder / file).tensors)
      if (other == name) return tensor.clone();
    return {};
  }

  void invert(const std::string& sampler, const std::string& more = "") const {
    must(
        "invert --quiet --model model --class bee --image in.png --steps 6 --guidance cfg:scale=2 "
        "--output i.safetensors --sampler " +
        sampler + " " + more);
  }

  Json edit(const std::string& arguments) const {
    const Result result =
        must("edit --json --steps 6 --image in.png --output out.png --guidance cfg:scale=2 " +
             arguments);
    return result.code ? Json() : Json::parse(result.out);
  }

  /// A copy of i.safetensors as j.safetensors whose record is another; undefined: none.
  void replace_record(const Tensor& record) const {
    const TensorFile file = load_safetensors(folder / "i.safetensors");
    NamedTensors tensors;
    for (const auto& [name, tensor] : file.tensors)
      if (name != "record")
        tensors.emplace_back(name, tensor.clone());
      else if (record.defined())
        tensors.emplace_back(name, record);
    save_safetensors(folder / "j.safetensors", tensors, file.metadata);
  }

  Tensor before() const { return read_image(folder / "in.png"); }
  Tensor after() const { return read_image(folder / "out.png"); }
};

TEST_F(NoiseMapFiles, ImagesComeBackBitForBit) {
  for (const std::string sampler : kNoiseMapSamplers)
    for (const std::string more :
         {"", "--dtype bfloat16", "--low-memory", "--guidance 'cfg:scale=2 + tpg:scale=2'"}) {
      SCOPED_TRACE(sampler + " " + more);
      invert(sampler, "--verify all --save-latents z0.safetensors " + more);
      const Json again = Json::parse(
          must("generate --inversion i.safetensors --save-latents z1.safetensors --output y.png "
               "--json")
              .out);
      EXPECT_EQ(again.at("exact"), true);
      EXPECT_TRUE(at::equal(latents("z0.safetensors"), latents("z1.safetensors")));
      EXPECT_TRUE(at::equal(before(), read_image(folder / "y.png")));
    }
}

TEST_F(NoiseMapFiles, PipelinesComeBackBitForBit) {
  for (const std::string model : {"sd1", "sd2", "sdxl"}) {  // sd2 predicts v
    make_pipeline(model);
    write_picture("fox.png", 64, 64);
    for (const std::string sampler : kNoiseMapSamplers) {
      const Json json =
          Json::parse(must("invert --json --check --verify off --dtype float32 --steps 4 --prompt "
                           "'a fox' --guidance "
                           "cfg:scale=3.5 --image fox.png --output i.safetensors --model " +
                           model + " --sampler " + sampler)
                          .out);
      EXPECT_EQ(json.at("latent_error").at("exact"), true) << model << " " << sampler;
      EXPECT_EQ(json.at("evaluations"), 4) << model << " " << sampler;
    }
  }
}

/// An image's noise is its seed's, whatever its batch; the file has it in whole numbers.
TEST_F(NoiseMapFiles, NoiseIsTheSeeds) {
  write_picture("two.png", 16, 16, 8);
  for (const std::string sampler : kNoiseMapSamplers) {
    SCOPED_TRACE(sampler);
    invert(sampler, "--seed 3 --image two.png --batch 2 --class bee,bee");
    const Tensor both = tensor_of("i.safetensors", "latents"),
                 record = tensor_of("i.safetensors", "record");
    EXPECT_EQ(record.scalar_type(), at::kInt);
    EXPECT_EQ(record.sizes(), at::IntArrayRef({6, 2, 3, 16, 16}));
    invert(sampler, "--seed 3");
    EXPECT_TRUE(at::equal(tensor_of("i.safetensors", "latents")[0], both[0]));
    const Tensor difference =
        (tensor_of("i.safetensors", "record").select(1, 0) - record.select(1, 0));
    EXPECT_LT(difference.abs().max().item<double>(), 20) << "a batch may round otherwise";
    const std::string bytes_before = bytes("i.safetensors");
    invert(sampler, "--seed 3");
    EXPECT_EQ(bytes("i.safetensors"), bytes_before);
    invert(sampler, "--seed 4");
    EXPECT_FALSE(at::equal(tensor_of("i.safetensors", "latents")[0], both[0]));
  }
}

TEST_F(NoiseMapFiles, RecipesRepeatTheImage) {
  invert("ddpm-inversion");
  must("generate --quiet --inversion i.safetensors --output a.png");
  must("generate --quiet --from a.png --output b.png");
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  const std::string drawn = "generate --quiet --model model --class ant --steps 5 ";
  must(drawn + "--sampler ddpm-inversion --output c.png");
  must(drawn + "--sampler ddim:eta=1 --output d.png");
  EXPECT_TRUE(at::equal(read_image(folder / "c.png"), read_image(folder / "d.png")));
  must(drawn + "--sampler ddpm-inversion --output e.png --save-inversion k.safetensors");
  EXPECT_LE((read_image(folder / "e.png").to(at::kInt) - read_image(folder / "d.png"))
                .abs()
                .max()
                .item<int>(),
            1);
}

TEST_F(NoiseMapFiles, OtherFilesAreRefused) {
  invert("ddpm-inversion");
  const std::string again = "generate --output y.png --inversion ";
  expect_refused(again + "i.safetensors --seed 4", "got seed");
  expect_refused(again + "i.safetensors --sampler direct", "got sampler");
  const Tensor record = tensor_of("i.safetensors", "record");
  replace_record({});
  expect_refused(again + "j.safetensors", "got no tensor `record`");
  replace_record(record.narrow(4, 0, 8).contiguous());
  expect_refused(again + "j.safetensors --quiet", "ddpm-inversion: got a record of another shape");
  Tensor nudged = record.clone();
  nudged.view(-1)[7] += 1;
  replace_record(nudged);
  EXPECT_TRUE(must(again + "j.safetensors --quiet").err.starts_with("The latents aren't those"));
  expect_refused("invert --model model --class bee --image in.png --sampler ddpm-inversion:eta=0",
                 "sampler ddpm-inversion: eta: got 0");
  expect_refused("generate --model model --class bee --sampler ledits++ --cache deepcache",
                 "no inverse");
}

/// From a level between, under another class, guidance or control, beside its source or alone.
TEST_F(NoiseMapFiles, Edit) {
  const std::string source = "--model model --class ant ";
  for (const std::string sampler : kNoiseMapSamplers) {
    SCOPED_TRACE(sampler);
    const std::string run = source + "--sampler " + sampler + " ";
    for (const std::string more : {"", "--edit-from 1", "--edit-control masactrl:step=0"}) {
      const Json same = edit(run + "--edit-class ant " + more);
      EXPECT_EQ(same["reconstruction"]["exact"], true) << more;
      EXPECT_TRUE(after().equal(before())) << more;
      const Json other = edit(run + "--edit-class bee " + more);
      EXPECT_EQ(other["reconstruction"]["exact"], true) << more;
      EXPECT_FALSE(after().equal(before())) << more;
    }
    edit(run + "--edit-class bee --edit-guidance cfg:scale=15");
    const Tensor strong = after();
    edit(run + "--edit-class bee --edit-from 0.34");
    const auto distance = [&](const Tensor& image) {
      return (image.to(at::kDouble) - before()).abs().mean().item<double>();
    };
    EXPECT_LT(distance(after()), distance(strong));
    edit(run + "--edit-class bee --seed 9 --edit-guidance cfg:scale=15");
    EXPECT_FALSE(after().equal(strong));
  }
}

TEST_F(NoiseMapFiles, EditPipelines) {
  make_pipeline("sd1");
  write_picture("in.png", 64, 64);
  const std::string run =
      "--model sd1 --dtype float32 --prompt 'a red fox' --sampler ddpm-inversion --edit-prompt ";
  Tensor mask = at::zeros({3, 64, 64}, at::kByte);
  mask.narrow(2, 0, 32).fill_(255);
  write_png(folder / "mask.png", mask);
  for (const std::string more :
       {"", "--edit-control p2p:cross=1,self=1", "--blend-mask mask.png", "--blend-word fox"}) {
    const Json report = edit(run + "'a red cat' " + more);
    EXPECT_EQ(report["reconstruction"]["exact"], true) << more;
    EXPECT_FALSE(after().equal(before())) << more;
  }
  EXPECT_EQ(edit(run + "'a red fox' --edit-control p2p")["changed"], 0);
}

TEST_F(NoiseMapFiles, AreEvaluated) {
  fs::create_directories(folder / "data" / "bee");
  write_picture("data/bee/1.png", 16, 16, 9);
  const std::string run =
      "evaluate --model model --data data --output report --steps 4 --quiet --json - "
      "--method ddpm-inversion:eta=0.8 --method ";
  for (const Json& method :
       Json::parse(must(run + "ledits++ --task inversion --guidance cfg:scale=3").out)
           .at("methods")) {
    EXPECT_EQ(method.at("bit_equal"), 1) << method;
    EXPECT_EQ(method.at("evaluations"), 8) << method;
    EXPECT_NEAR(method.at("noise_std"), 1, 0.1) << method;
  }
  fs::remove_all(folder / "report");
  const Json edits = Json::parse(
      must(run + "'ledits++ + masactrl' --task editing --edit-class cat --guidance cfg:scale=3 "
                 "--edit-from 0.75")
          .out);
  EXPECT_EQ(edits.at("methods").size(), 2u);
  for (const Json& method : edits.at("methods")) EXPECT_EQ(method.at("failed"), 0) << method;
}

}  // namespace
}  // namespace tiller::test
