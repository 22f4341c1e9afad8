#include "models/autoencoder_file.h"

#include <algorithm>

#include "io/error.h"
#include "io/json.h"
#include "models/autoencoder_tiny.h"
#include "models/diffusers_folder.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

const std::string kEncoder = "encoder", kDecoder = "decoder";

bool any_name(const NamedTensors& tensors, const std::string& start) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& entry) { return entry.first.starts_with(start); });
}

Component tiny(NamedTensors tensors, const fs::path& path) {
  return {{{"_class_name", "AutoencoderTiny"}}, path.string(), std::move(tensors)};
}

/// The same name with one word for another; empty when it hasn't got the word.
fs::path sibling(const fs::path& path, const std::string& word, const std::string& other) {
  std::string name = path.filename().string();
  const size_t at = name.rfind(word);
  if (at == std::string::npos) return {};
  return path.parent_path() / name.replace(at, word.size(), other);
}

/// TAESD's two original files, of which `path` is one.
Component original_taesd(const fs::path& path) {
  const fs::path decoder = sibling(path, kEncoder, kDecoder);
  const fs::path first = decoder.empty() ? sibling(path, kDecoder, kEncoder) : path;
  const fs::path second = decoder.empty() ? path : decoder;
  for (const auto& file : {first, second})
    if (!fs::is_regular_file(file))
      throw Error(path.string() + ": got one half of TAESD, expected taesd_encoder and " +
                  "taesd_decoder files beside each other.");
  return tiny(taesd_tensors(map_tensors(first).tensors, map_tensors(second).tensors), second);
}

Component in_file(const fs::path& path) {
  const fs::path config = path.parent_path() / "config.json";
  if (fs::is_regular_file(config)) {
    Json json = read_json_object(config);
    if (json.value("_class_name", Json()).dump().find("Autoencoder") != std::string::npos)
      return {std::move(json), path.string(), map_tensors(path).tensors};
  }
  NamedTensors tensors = map_tensors(path).tensors;
  if (any_name(tensors, "1.conv.0.") || any_name(tensors, "3.conv.0.")) return original_taesd(path);
  if (any_name(tensors, "decoder.layers.")) return tiny(std::move(tensors), path);
  Components components = single_file_components(path);
  const auto vae = components.parts.find("vae");
  if (vae == components.parts.end())
    throw Error(path.string() + ": got a checkpoint without an autoencoder, expected a VAE.");
  return std::move(vae->second);
}

Component in_folder(const fs::path& folder, bool half) {
  if (is_diffusers_folder(folder)) return component_in(folder / "vae", half);
  if (fs::is_regular_file(folder / "config.json")) return component_in(folder, half);
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().stem().string().ends_with("_" + kDecoder)) return original_taesd(entry.path());
  throw Error(folder.string() + ": got no config.json in it, expected a diffusers VAE's folder.");
}

}  // namespace

Component autoencoder_component(const fs::path& path, bool half) {
  if (!fs::exists(path))
    throw Error(path.string() + ": no such file or folder, expected an autoencoder.");
  return fs::is_directory(path) ? in_folder(path, half) : in_file(path);
}

Json with_scaling_of(Json config, const Json& other) {
  for (const char* key : {"scaling_factor", "shift_factor", "force_upcast"})
    if (!config.contains(key) && other.contains(key)) config[key] = other[key];
  return config;
}

}  // namespace tiller
