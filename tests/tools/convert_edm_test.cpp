#include <random>

#include "io/archive.h"
#include "tests/models/formula.h"
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

/// scripts/convert_edm.py on the pickles that tests/reference/make_edm_pickles.py wrote and on bad
/// ones. Each pickle of the fixture brings source code that would leave a file named "ran".
class ConvertEdm : public ProgramTest {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() / ("tiller-" + std::to_string(getpid()) + "-edm");
    if (std::system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null"))
      GTEST_SKIP() << "without Python 3.8";
    fs::create_directories(folder);
    ArchiveReader reader(std::string(TILLER_FIXTURES) + "/edm_pickles.tar.xz",
                         ArchiveReader::Format::tar);
    while (reader.next()) write_file(folder / reader.name(), reader.read(size_t(reader.size())));
  }

  Result python(const std::string& arguments) const {
    const std::string command =
        "cd '" + folder.string() + "' && python3 " + arguments + " >.out 2>.err";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, bytes(".out"), bytes(".err")};
  }

  Result convert(const std::string& arguments) const {
    return python("'" TILLER_SOURCE_DIR "/scripts/convert_edm.py' " + arguments);
  }

  Json converted(const std::string& arguments) const {
    const Result result = convert(arguments + " out");
    EXPECT_EQ(result.code, 0) << result.err;
    return result.code ? Json() : Json::parse(bytes("out/config.json"));
  }

  /// One line that begins with the file's name and holds `text`; nothing is written or run.
  void expect_bad(const std::string& pickle, const std::string& text) const {
    write_file(folder / "bad.pkl", pickle);
    const Result result = convert("bad.pkl out");
    EXPECT_EQ(result.code, 1);
    EXPECT_TRUE(result.err.starts_with("bad.pkl: ")) << result.err;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_FALSE(fs::exists(folder / "out"));
    EXPECT_FALSE(fs::exists(folder / "ran"));
  }
};

TEST_F(ConvertEdm, EqualsTheAuthorsConfigsAndImages) {
  const Json cases = fixture("edm_pickles.json");
  ASSERT_EQ(cases.size(), 4u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("file"));
    EXPECT_EQ(converted(test.at("file")), test.at("config"));
    must("generate --model out --sampler heun:pfgmpp=0 --class 2 --seed 11 --quiet --device cpu " +
         ("--save-latents x.safetensors --output x.png --steps " + test.at("steps").dump()));
    const Tensor got = latents("x.safetensors").flatten().slice(0, 0, {}, test.at("every"));
    EXPECT_LT(relative_error(got, tensor_from(test.at("values"))), 1e-5);
  }
  EXPECT_FALSE(fs::exists(folder / "ran"));
}

TEST_F(ConvertEdm, PfgmppsDimensionsComeFromTheFileOrTheUser) {
  EXPECT_EQ(converted("pfgmpp.pt").at("D"), 2048);
  EXPECT_EQ(converted("pfgmpp.pt --pfgmpp 64").at("D"), 64);
  EXPECT_EQ(converted("adm.pkl --pfgmpp 64").at("D"), 64);
  EXPECT_FALSE(converted("adm.pkl").contains("D"));
  const Result result = convert("adm.pkl other --pfgmpp 0");
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("got '0', expected a whole number from 1"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "other"));
}

const std::string kCall = "cposix\nsystem\n(S'touch ran'\ntR";

TEST_F(ConvertEdm, RunsNothingOfAPickle) {
  write_file(folder / "bad.pkl", kCall + ".");
  python("-c 'import pickle; pickle.load(open(\"bad.pkl\", \"rb\"))'");
  ASSERT_TRUE(fs::remove(folder / "ran"));  // it would
  expect_bad(kCall + ".", "got no network, expected");
  expect_bad("(dS'ema'\n" + kCall + "s.", "got no network, expected");
  expect_bad("c__builtin__\neval\n(S'open(\"ran\", \"w\")'\ntR.", "got no network, expected");
}

TEST_F(ConvertEdm, RefusesDamagedFiles) {
  for (const std::string name : {"ncsnpp.pkl", "pfgmpp.pt"}) {
    const std::string whole = bytes(name);
    for (const size_t size :
         {size_t{0}, size_t{3}, size_t{100}, whole.size() / 2, whole.size() - 1})
      expect_bad(whole.substr(0, size), "got what is no pickle of a network");
  }
  std::mt19937 random(3);
  for (const std::string start : {"", "PK\3\4", "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19."}) {
    std::string noise(5000, '\0');
    std::generate(noise.begin(), noise.end(), [&] { return static_cast<char>(random()); });
    expect_bad(start + noise, "got what is no pickle of a network");
  }
  const Result result = convert("none.pkl out");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err, "none.pkl: No such file or directory\n");
}

// Pickles by hand: objects such as the authors' code saves, with one tensor.

std::string dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string text = "(d";
  for (const auto& [key, value] : entries) text += "S'" + key + "'\n" + value + "s";
  return text;
}

std::string object(const std::string& name, const std::string& state) {
  return "ctorch_utils.persistence\n_reconstruct_persistent_obj\n(" +
         dict({{"class_name", "S'" + name + "'\n"}, {"state", state}}) + "tR";
}

std::string network(const std::string& tensor, const std::string& argument = "dropout") {
  const std::string model =
      object("SongUNet", dict({{"_init_kwargs", dict({{argument, "I0\n"}})},
                               {"_parameters", tensor.empty() ? "(d" : dict({{"w", tensor}})}}));
  const std::string state = dict({{"_modules", dict({{"model", model}})},
                                  {"img_resolution", "I16\n"},
                                  {"img_channels", "I3\n"},
                                  {"label_dim", "I0\n"},
                                  {"sigma_min", "I0\n"},
                                  {"sigma_max", "I80\n"},
                                  {"sigma_data", "F0.5\n"}});
  return dict({{"ema", object("EDMPrecond", state)}}) + ".";
}

/// Of a storage with four numbers in the form that torch.save had before its zips.
std::string tensor(const std::string& offset, const std::string& shape, const std::string& strides,
                   const std::string& kind = "FloatStorage") {
  const std::string count("\4\0\0\0\0\0\0\0", 8), numbers(16, '\0');
  const std::string storage = "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.I1001\n." +
                              dict({{"little_endian", "I01\n"}}) + ".(S'storage'\nctorch\n" + kind +
                              "\nS'0'\nS'cpu'\nI4\ntQ.(lS'0'\na." + count + numbers;
  return "ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n(C" +
         std::string(1, static_cast<char>(storage.size())) + storage + "tRI" + offset + "\n(" +
         shape + "t(" + strides + "tI00\nNtR";
}

TEST_F(ConvertEdm, RefusesHostileTensors) {
  write_file(folder / "good.pkl", network(tensor("0", "I2\nI2\n", "I2\nI1\n")));
  EXPECT_EQ(converted("good.pkl").at("dropout"), 0);
  EXPECT_EQ(fs::file_size(folder / "out/model.safetensors") % 8, 0u);
  fs::remove_all(folder / "out");

  const auto bad = [&](const std::string& made, const std::string& text) {
    expect_bad(network(made), text);
  };
  bad(tensor("1", "I2\nI2\n", "I2\nI1\n"), "w: got a storage of 16 bytes, expected at least 20");
  bad(tensor("0", "I99999999\nI99999999\n", "I99999999\nI1\n"), "w: got a storage of 16 bytes");
  bad(tensor("0", "I99999999\n", "I0\n"), "w: got strides (0,), expected (1,)");
  bad(tensor("0", "I2\nI2\n", "I1\nI2\n"), "w: got strides (1, 2), expected (2, 1)");
  bad(tensor("-1", "I2\n", "I1\n"), "expected up to 8 whole numbers");
  bad(tensor("0", "F2.5\n", "I1\n"), "expected up to 8 whole numbers");
  bad(tensor("0", "I2\n", "I1\n", "IntStorage"), "w: got IntStorage, expected one of DoubleSto");
  bad(tensor("0", "I2\n", "I1\n", "system"), "got what is no pickle of a network");
  bad(kCall, "w: got no tensor, expected one.");
}

TEST_F(ConvertEdm, RefusesHostileObjects) {
  expect_bad(network("", "num_heads"), "got a SongUNet with the argument num_heads, expected");
  expect_bad(dict({{"ema", object("Net\\n\\x1b", "(d")}}) + ".", "got Net ?, expected a network");
  expect_bad("\x80\2Nr\xff\xff\xff\7.", "got what needs more memory than a network");
}

}  // namespace
}  // namespace tiller::test
