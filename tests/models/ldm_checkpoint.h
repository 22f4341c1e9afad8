#pragma once
/// Checkpoints in the original layouts, as tests/reference/make_ldm.py lists them.
#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <fstream>
#include <map>

#include "io/file.h"
#include "io/safetensors.h"
#include "tests/models/formula.h"

namespace tiller::test {

/// A gzipped JSON file of tests/fixtures.
inline Json packed_fixture(const std::string& name) {
  const gzFile file = gzopen((std::string(TILLER_FIXTURES) + "/" + name).c_str(), "rb");
  std::string text(1 << 16, '\0'), all;
  for (int count; (count = gzread(file, text.data(), unsigned(text.size()))) > 0;)
    all.append(text, 0, size_t(count));
  gzclose(file);
  return Json::parse(all);
}

inline Json ldm_case(const std::string& name) {
  static const Json cases = packed_fixture("ldm.json.gz");
  for (const Json& test : cases)
    if (test.at("name") == name) return test;
  throw std::runtime_error("no case " + name);
}

/// A file that is removed in the end.
struct TemporaryFile {
  fs::path path;
  explicit TemporaryFile(const std::string& name)
      : path(fs::temp_directory_path() / ("tiller_" + std::to_string(getpid()) + "_" + name)) {}
  ~TemporaryFile() { fs::remove_all(path); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
};

/// The case's tensors under their original names, by the formula.
inline NamedTensors ldm_tensors(const Json& test) {
  NamedTensors tensors;
  for (const Json& entry : test.at("tensors")) {
    const auto shape = entry[1].get<std::vector<int64_t>>();
    tensors.emplace_back(entry[0], shape.empty() ? at::zeros({}) : formula_weight(entry[0], shape));
  }
  return tensors;
}

/// A float16 file of the case's names and shapes whose zeros take no room on the disk. Returns
/// where the tensors lie in it.
inline std::map<std::string, uint64_t> write_sparse(const fs::path& path, const Json& test) {
  Json header = Json::object();
  std::map<std::string, uint64_t> places;
  uint64_t end = 0;
  for (const Json& entry : test.at("tensors")) {
    uint64_t bytes = 2;
    for (const int64_t size : entry[1]) bytes *= uint64_t(size);
    header[entry[0].get<std::string>()] = {
        {"dtype", "F16"}, {"shape", entry[1]}, {"data_offsets", {end, end + bytes}}};
    places[entry[0]] = end;
    end += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof size);
  out << text;
  out.close();
  fs::resize_file(path, sizeof size + size + end);
  for (auto& [name, place] : places) place += sizeof size + size;
  return places;
}

}  // namespace tiller::test
