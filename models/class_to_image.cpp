#include "models/class_to_image.h"

#include "io/error.h"
#include "io/json.h"
#include "models/diffusers_folder.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

const std::string kLabels = "id2label";

/// Names by their number, from "0" on.
std::vector<std::string> names_of(const Json& labels) {
  std::vector<std::string> result;
  for (size_t i = 0; labels.is_object() && i < labels.size(); ++i) {
    const auto name = labels.find(std::to_string(i));
    if (name == labels.end() || !name->is_string()) break;
    result.push_back(name->get<std::string>());
  }
  if (result.empty() || result.size() != labels.size())
    throw Error("model_index.json: " + kLabels + ": got " + printable(labels.dump().substr(0, 80)) +
                ", expected names by their number from 0 on.");
  return result;
}

}  // namespace

bool reads_classes(const Json& index, const Json& unet) {
  const auto rows = unet.find("num_class_embeds");
  return rows != unet.end() && rows->is_number_integer() && !names_part(index, "text_encoder") &&
         !names_part(index, "text_encoder_2");
}

bool is_class_pipeline(const fs::path& folder) {
  const fs::path unet = folder / "unet/config.json";
  return fs::is_regular_file(unet) &&
         reads_classes(read_json_object(folder / "model_index.json"), read_json_object(unet));
}

void take_classes(Model& model, const Json& index) {
  model.kind = "class_to_image";
  const int64_t rows = model.config.at("num_class_embeds").get<int64_t>();
  model.classes = rows;
  const auto labels = index.find(kLabels);
  if (labels == index.end()) return;
  model.class_names = names_of(*labels);
  model.classes = std::ssize(model.class_names);
  model.null_label = model.classes == rows - 1;
  if (model.classes != rows && !model.null_label)
    throw Error("model_index.json: " + kLabels + ": got " + std::to_string(model.classes) +
                " classes, expected " + std::to_string(rows) +
                " or one less, as unet/config.json has num_class_embeds.");
}

Json id_to_label(const std::vector<std::string>& names) {
  Json labels = Json::object();
  for (size_t i = 0; i < names.size(); ++i) labels[std::to_string(i)] = names[i];
  return labels;
}

}  // namespace tiller
