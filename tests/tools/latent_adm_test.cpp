/// A class-conditional network of a VAE's latents, from training to editing by the program.
#include "tests/tools/program.h"
#include "tests/training/tiny_pipeline.h"

namespace tiller::test {
namespace {

class LatentAdmProgram : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    fs::remove_all(folder / "model");
    for (int i = 0; i < 4; ++i)
      write_png(folder / "data" / (i % 2 ? "odd" : "even") / (std::to_string(i) + ".png"),
                at::full({3, 16, 16}, 60 * i, at::kByte));
    write_file(folder / "vae.json", tiny_vae(16).dump());
    Json config = tiny_config();
    config.update({{"vae", "vae"}, {"image_size", 8}, {"in_channels", 4}, {"learn_sigma", false}});
    config.erase("num_classes"), config.erase("class_names");
    write_file(folder / "adm.json", config.dump());
    train("vae.json", "vae");
    train("adm.json", "model");
  }

  void train(const std::string& config, const std::string& output) {
    const Result result =
        tiller("train --quiet --data data --model-config " + config + " --output " + output +
               " --steps 2 --batch 4 --warmup 0 --sample-every 0");
    ASSERT_EQ(result.code, 0) << result.err;
  }
};

TEST_F(LatentAdmProgram, InvertsToTheBitAndKnowsItsVae) {
  const Result inverted = tiller(
      "invert --quiet --model model --image data/odd/1.png --class odd --steps 6 --output "
      "i.safetensors --save-latents z0.safetensors");
  ASSERT_EQ(inverted.code, 0) << inverted.err;
  const std::string again = "generate --quiet --inversion i.safetensors --output y.png";
  const Result back = tiller(again + " --save-latents z1.safetensors");
  ASSERT_EQ(back.code, 0) << back.err;
  EXPECT_TRUE(load_safetensors(folder / "z0.safetensors")
                  .tensors[0]
                  .second.equal(load_safetensors(folder / "z1.safetensors").tensors[0].second));
  EXPECT_EQ(read_image(folder / "y.png").sizes(), (at::IntArrayRef{3, 16, 16}));
  fs::remove_all(folder / "vae");
  train("vae.json", "vae");
  NamedTensors vae = load_tensors(folder / "vae/diffusion_pytorch_model.safetensors").tensors;
  for (auto& [name, tensor] : vae) tensor = tensor * 1.5;
  save_safetensors(folder / "model/vae/diffusion_pytorch_model.safetensors", vae);
  expect_refused(again, "got another vae");
}

}  // namespace
}  // namespace tiller::test
