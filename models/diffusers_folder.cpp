#include "models/diffusers_folder.h"

#include <algorithm>
#include <set>

#include "io/error.h"
#include "io/json.h"

namespace tiller {

bool names_part(const nlohmann::json& index, const std::string& part) {
  const auto entry = index.find(part);
  return entry != index.end() && entry->is_array() && entry->size() == 2 && (*entry)[1].is_string();
}

namespace {

using Json = nlohmann::json;

const std::vector<std::string> kStems = {"diffusion_pytorch_model", "model", "pytorch_model"};

/// Every name that the weights of a part may have, the most wanted first.
std::vector<std::string> weight_names(bool half) {
  std::vector<std::string> variants = {"", ".fp16"};
  if (half) std::swap(variants[0], variants[1]);
  std::vector<std::string> names;
  for (const auto& variant : variants)
    for (const auto& stem : kStems) {
      names.push_back(stem + variant + ".safetensors");
      names.push_back(stem + ".safetensors.index" + variant + ".json");
      names.push_back(stem + variant + ".safetensors.index.json");
    }
  for (const auto& variant : variants)
    for (const auto& stem : kStems) {
      names.push_back(stem + variant + ".bin");
      names.push_back(stem + ".bin.index" + variant + ".json");
    }
  return names;
}

fs::path weights_in(const fs::path& folder, bool half) {
  for (const auto& name : weight_names(half))
    if (fs::is_regular_file(folder / name)) return folder / name;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".safetensors")
      found.push_back(entry.path());
  if (found.size() == 1) return found.front();
  throw Error(folder.string() + ": got " + std::to_string(found.size()) +
              " files of weights, expected diffusion_pytorch_model.safetensors or "
              "model.safetensors. Was the download complete?");
}

/// The files that a sharded checkpoint's index names, each once, all in its own folder.
std::vector<fs::path> shards_of(const fs::path& index) {
  const Json json = read_json_object(index);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty())
    throw Error(index.string() + ": got no weight_map, expected the file of each tensor.");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || file.get<std::string>().find_first_of("/\\") != std::string::npos)
      throw Error(index.string() + ": weight_map: got " + file.dump().substr(0, 80) +
                  ", expected a file name.");
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> shards;
  for (const auto& name : names) {
    shards.push_back(index.parent_path() / name);
    if (!fs::is_regular_file(shards.back()))
      throw Error(index.string() + ": got no " + name +
                  " beside it, expected all of its files. Was the download complete?");
  }
  return shards;
}

std::string config_name(const std::string& part) {
  return part == "scheduler" ? "scheduler_config.json" : "config.json";
}

/// The config and all files of the weights.
std::vector<fs::path> component_files(const fs::path& folder, bool half) {
  const fs::path weights = weights_in(folder, half);
  std::vector<fs::path> files = weight_files(weights);
  files.insert(files.begin(), folder / "config.json");
  return files;
}

std::vector<fs::path> texts_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".json" || entry.path().extension() == ".txt")
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// tokenizer/ of a pipeline that has one.
fs::path tokenizer_in(const fs::path& folder, const Json& index, const std::string& part) {
  if (!names_part(index, part)) return {};
  if (fs::is_directory(folder / part)) return folder / part;
  throw Error(folder.string() + ": got no " + part + "/ in it, which its model_index.json names. " +
              "Was the download complete?");
}

}  // namespace

bool is_diffusers_folder(const fs::path& path) {
  return fs::is_regular_file(path / "model_index.json");
}

std::string lone_part(const fs::path& folder) {
  if (!fs::is_regular_file(folder / "config.json")) return "";
  return lone_part(read_json_object(folder / "config.json"));
}

std::string lone_part(const Json& config) {
  const auto found = config.find("_class_name");
  const std::string name = found != config.end() && found->is_string() ? *found : Json("");
  const bool part =
      name.starts_with("Autoencoder") || name.starts_with("ControlNet") || name == "T2IAdapter";
  return part ? printable(name) : "";
}

std::vector<fs::path> weight_files(const fs::path& weights) {
  std::vector<fs::path> files = {weights};
  if (weights.extension() == ".json")
    for (const auto& shard : shards_of(weights)) files.push_back(shard);
  return files;
}

Component component_in(const fs::path& folder, bool half) {
  Component component;
  component.config = read_json_object(folder / "config.json");
  const fs::path weights = weights_in(folder, half);
  component.file = weights.string();
  if (weights.extension() != ".json") {
    component.tensors = load_tensors(weights).tensors;
    return component;
  }
  for (const auto& shard : shards_of(weights))
    for (auto& tensor : load_tensors(shard).tensors) component.tensors.push_back(std::move(tensor));
  return component;
}

std::map<std::string, std::vector<fs::path>> part_files(const fs::path& folder, bool half) {
  const Json index = read_json_object(folder / "model_index.json");
  std::map<std::string, std::vector<fs::path>> files;
  for (const std::string part : {"text_encoder", "text_encoder_2", "vae"})
    if (names_part(index, part)) files[part] = component_files(folder / part, half);
  for (const std::string part : {"tokenizer", "tokenizer_2"})
    if (names_part(index, part)) files[part] = texts_in(folder / part);
  return files;
}

Components diffusers_components(const fs::path& folder, bool half) {
  Components components;
  components.index = read_json_object(folder / "model_index.json");
  for (const std::string part : {"unet", "vae", "text_encoder", "text_encoder_2", "scheduler"}) {
    if (!names_part(components.index, part)) continue;
    const fs::path at = folder / part;
    if (!fs::is_regular_file(at / config_name(part)))
      throw Error(folder.string() + ": got no " + part + "/" + config_name(part) +
                  " in it, which its model_index.json names. Was the download complete?");
    if (part == "scheduler")
      components.parts[part] = {read_json_object(at / config_name(part)), {}, {}};
    else
      components.parts[part] = component_in(at, half);
  }
  if (!components.parts.contains("unet"))
    throw Error(folder.string() +
                ": got a pipeline without a UNet, expected one of the Stable Diffusion family.");
  components.tokenizer = tokenizer_in(folder, components.index, "tokenizer");
  components.tokenizer_2 = tokenizer_in(folder, components.index, "tokenizer_2");
  return components;
}

}  // namespace tiller
