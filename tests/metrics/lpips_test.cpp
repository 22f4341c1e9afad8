#include "metrics/lpips.h"

#include "io/error.h"
#include "io/safetensors.h"
#include "tests/metrics/pictures.h"

namespace tiller::test {
namespace {

/// "net.slice2.3.weight" to torchvision's "features.3.weight".
std::string trunk_name(const std::string& name) {
  const std::string start = "net.slice";
  return name.starts_with(start) ? "features" + name.substr(name.find('.', start.size())) : name;
}

const Json& reference(const std::string& net) {
  static const Json json = fixture("reconstruction.json").at("lpips");
  return json.at(net);
}

/// own: with the names of the package, else with torchvision's.
NamedTensors weights_of(const std::string& net, bool own) {
  const Json& test = reference(net);
  NamedTensors tensors;
  for (size_t i = 0; i < test.at("names").size(); ++i) {
    const std::string name = test.at("names").at(i), plain = trunk_name(name);
    const auto shape = test.at("shapes").at(i).get<std::vector<int64_t>>();
    const Tensor weight = formula_weight(plain, shape);
    tensors.emplace_back(own ? name : plain, plain.starts_with("lin") ? weight.abs() : weight);
  }
  return tensors;
}

Tensor image(const std::string& name) { return picture(name, 67, 50).unsqueeze(0); }

double distance_by(const Lpips& lpips) {
  return lpips(image("lpips a"), image("lpips b")).item<double>();
}

class Networks : public testing::TestWithParam<const char*> {};

TEST_P(Networks, EqualsThePackage) {
  const at::NoGradGuard guard;
  const std::string net = GetParam();
  const double expected = reference(net).at("distance");
  const Lpips lpips({weights_of(net, true), {}}, "weights");
  EXPECT_EQ(lpips.network(), net);
  EXPECT_NEAR(distance_by(lpips), expected, 1e-4 * expected);
}

INSTANTIATE_TEST_SUITE_P(Lpips, Networks, testing::Values("alex", "vgg", "squeeze"));

TEST(Lpips, ReadsHeadsAndNetworkFromTwoFiles) {
  const at::NoGradGuard guard;
  const auto folder = fs::temp_directory_path() / ("tiller-lpips-" + std::to_string(getpid()));
  NamedTensors heads, trunk = {{"classifier.1.weight", at::zeros({2, 2})}};
  for (auto& entry : weights_of("squeeze", false))
    (entry.first.starts_with("lin") ? heads : trunk).push_back(entry);
  fs::create_directories(folder);
  save_safetensors(folder / "heads.safetensors", heads);
  save_safetensors(folder / "trunk.safetensors", trunk);
  const double expected = reference("squeeze").at("distance");
  const Lpips lpips({folder / "trunk.safetensors", folder / "heads.safetensors"});
  EXPECT_NEAR(distance_by(lpips), expected, 1e-4 * expected);
  EXPECT_THROW(Lpips({folder / "heads.safetensors"}), Error);
  fs::remove_all(folder);
}

TEST(Lpips, IsADistance) {
  const at::NoGradGuard guard;
  const Lpips lpips({weights_of("alex", true), {}}, "weights");
  const Tensor a = image("lpips a"), b = image("lpips b");
  EXPECT_EQ(lpips(a, a).item<double>(), 0);
  EXPECT_FLOAT_EQ(lpips(a, b).item<float>(), lpips(b, a).item<float>());
  const Tensor both = lpips(at::cat({a, b}), at::cat({b, b}));
  EXPECT_NEAR(both[0].item<double>(), distance_by(lpips), 1e-6);
  EXPECT_THROW(lpips(a.slice(2, 0, 31), b.slice(2, 0, 31)), Error);
}

TEST(Lpips, NamesHeadsOfAnotherNetwork) {
  NamedTensors tensors = weights_of("alex", true);
  for (auto& [name, tensor] : tensors)
    if (name == "lin1.model.1.weight") tensor = at::zeros({1, 128, 1, 1});
  try {
    Lpips({tensors, {}}, "mixed.pth");
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("mixed.pth"), std::string::npos) << message;
    EXPECT_NE(message.find("lin1.model.1.weight"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace tiller::test
