#include "tools/inputs.h"

#include <algorithm>

#include "io/error.h"
#include "io/hash.h"
#include "tools/adapters.h"

namespace tiller {
namespace {

constexpr size_t shown_digits = 16;

/// Files of an autoencoder's or a pipeline's folder that are read in place of the model's: its own
/// ones, its VAE's and all small ones.
std::vector<fs::path> files_in(const fs::path& folder, bool configs) {
  std::vector<fs::path> files;
  const auto collect = [&](const fs::path& at, bool all) {
    for (const auto& entry : fs::directory_iterator(at)) {
      const std::string ending = entry.path().extension().string();
      if (entry.is_regular_file() && (all || ending == ".json" || ending == ".txt"))
        files.push_back(entry.path());
    }
  };
  collect(folder, !configs);
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && (configs || entry.path().filename() == "vae"))
      collect(entry.path(), !configs);
  std::sort(files.begin(), files.end());
  return files;
}

std::string hash_of(const fs::path& path, bool configs) {
  if (!fs::is_directory(path)) return sha256_hex(path).substr(0, shown_digits);
  std::string all;
  for (const auto& file : files_in(path, configs))
    all += file.lexically_relative(path).string() + " " + sha256_hex(file) + "\n";
  return sha256_of(all).substr(0, shown_digits);
}

}  // namespace

std::map<std::string, std::string> input_hashes(const GenerateRequest& request) {
  std::map<std::string, std::string> hashes;
  const auto add = [&](const std::string& path, bool configs = false) {
    if (!path.empty()) hashes[path] = hash_of(path, configs);
  };
  add(request.image.init_image);
  add(request.image.mask);
  add(request.adapters.vae);
  add(request.adapters.taesd);
  if (!hashes.contains(request.adapters.config)) add(request.adapters.config, /*configs=*/true);
  for (const auto& texts : {request.adapters.loras, request.adapters.textual_inversions})
    for (const auto& text : texts) add(adapter_file(text).file.string());
  return hashes;
}

void require_inputs(const std::map<std::string, std::string>& recorded,
                    const std::map<std::string, std::string>& found, const std::string& where) {
  for (const auto& [name, hash] : found) {
    const auto before = recorded.find(name);
    if (before == recorded.end() || before->second == hash) continue;
    throw Error(where + ": got another " + name + " (hash " + hash + "), expected the one " +
                "that the image was made with (hash " + before->second + ").");
  }
}

}  // namespace tiller
