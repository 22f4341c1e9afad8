#include "tools/inputs.h"

#include <algorithm>

#include "io/error.h"
#include "io/hash.h"
#include "models/diffusers_folder.h"
#include "models/latent_adm.h"
#include "tools/adapters.h"

namespace tiller {
namespace {

constexpr size_t shown_digits = 16;

void add_files(const fs::path& folder, bool configs, std::vector<fs::path>& files) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string ending = entry.path().extension().string();
    if (entry.is_regular_file() && (!configs || ending == ".json" || ending == ".txt"))
      files.push_back(entry.path());
  }
}

/// What is read of a folder: a pipeline's VAE, else all files right in it; of a pipeline's configs,
/// all of its own and of its parts'.
std::vector<fs::path> files_in(const fs::path& folder, bool configs) {
  std::vector<fs::path> files;
  const bool is_pipeline = !configs && is_diffusers_folder(folder);
  add_files(is_pipeline ? folder / "vae" : folder, configs, files);
  if (configs)
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_directory()) add_files(entry.path(), configs, files);
  std::sort(files.begin(), files.end());
  return files;
}

/// Of their names below `folder` and what they hold.
std::string hash_of(const std::vector<fs::path>& files, const fs::path& folder) {
  std::string all;
  for (const auto& file : files)
    all += file.lexically_relative(folder).string() + " " + sha256_hex(file) + "\n";
  return sha256_of(all).substr(0, shown_digits);
}

std::map<std::string, std::string> part_hashes(const fs::path& model, bool half, bool own_vae) {
  std::map<std::string, std::string> hashes;
  for (const auto& [part, files] : part_files(model, half))
    if (part != "vae" || own_vae) hashes[part] = hash_of(files, model / part);
  return hashes;
}

std::map<std::string, std::string> hashes_of_parts(const fs::path& model, bool half, bool own_vae) {
  if (model.empty()) return {};
  if (is_diffusers_folder(model)) return part_hashes(model, half, own_vae);
  const fs::path vae = vae_of_model(model);
  return vae.empty() ? std::map<std::string, std::string>()
                     : std::map<std::string, std::string>{{"vae", input_hash(vae)}};
}

}  // namespace

std::string input_hash(const fs::path& path, bool configs) {
  if (!fs::is_directory(path)) return sha256_hex(path).substr(0, shown_digits);
  return hash_of(files_in(path, configs), path);
}

std::shared_future<std::map<std::string, std::string>> begin_part_hashes(
    const GenerateRequest& request) {
  const fs::path model = request.model;
  const bool half = request.dtype != "float32";
  const bool own_vae = request.adapters.vae.empty() && request.adapters.taesd.empty();
  return std::async(std::launch::async, [=] { return hashes_of_parts(model, half, own_vae); })
      .share();
}

std::map<std::string, std::string> input_hashes(const GenerateRequest& request) {
  std::map<std::string, std::string> hashes;
  const auto add = [&](const std::string& path, bool configs = false) {
    if (!path.empty()) hashes[path] = input_hash(path, configs);
  };
  add(request.image.init_image);
  add(request.image.mask);
  if (!request.adapters.unet.empty() && fs::is_regular_file(request.model)) add(request.model);
  add(request.adapters.vae);
  add(request.adapters.taesd);
  if (!hashes.contains(request.adapters.config)) add(request.adapters.config, /*configs=*/true);
  for (const auto& texts : {request.adapters.loras, request.adapters.textual_inversions})
    for (const auto& text : texts) add(adapter_file(text).file.string());
  for (const auto& text : request.control.nets) add(control_choice(text).path);
  for (const auto& text : request.control.images) add(control_image(text).file);
  for (const auto& adapter : adapter_choices(request.control)) {
    for (const auto& file : adapter.images) add(file);
    add(adapter.path);
  }
  add(request.inversion);
  add(request.control.image_encoder);
  return hashes;
}

void require_inputs(const std::map<std::string, std::string>& recorded,
                    const std::map<std::string, std::string>& found, const std::string& where,
                    const std::string& made) {
  for (const auto& [name, hash] : found) {
    const auto before = recorded.find(name);
    if (before == recorded.end() || before->second == hash) continue;
    throw Error(where + ": got another " + name + " (hash " + hash + "), expected the one " +
                "that " + made + " was made with (hash " + before->second + ").");
  }
}

}  // namespace tiller
