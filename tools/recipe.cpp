#include "tools/recipe.h"

#include <algorithm>

#include "io/error.h"
#include "io/json.h"
#include "io/options.h"
#include "tools/program.h"

namespace tiller {
namespace {

/// As Automatic1111 writes values that hold its separators.
std::string quoted(const std::string& value) {
  return value.find_first_of(",:\n\"") == std::string::npos ? value : dumped(Json(value));
}

/// The first cfg's options; without one none.
Options cfg_options(std::span<const ChosenGuidance> guidances) {
  for (const auto& guidance : guidances) {
    if (guidance.entry->name != "cfg") continue;
    const size_t colon = std::min(guidance.text.find(':'), guidance.text.size() - 1);
    return parse_options("cfg", guidance.text.substr(colon + 1), guidance.entry->options);
  }
  return {};
}

/// Scales as Automatic1111 names them.
std::string cfg_scales(const Model& model, std::span<const ChosenGuidance> guidances) {
  const Options options = cfg_options(guidances);
  if (!options.has("scale")) return "";
  const std::string text = ", CFG scale: " + options.text("scale");
  if (!model.edits()) return text;
  return text + ", Image CFG scale: " +
         (options.has("image_scale") ? options.text("image_scale")
                                     : Json(usual_image_scale).dump());
}

/// "frog\nSteps: 30, Sampler: ddim, ..."
std::string parameters(const Generation& generation, const GenerateRequest& request,
                       std::span<const ChosenGuidance> guidances, const std::string& prompt) {
  const std::string& negative = request.text.negative;
  std::string text = prompt.empty() ? "" : prompt + "\n";
  if (!negative.empty()) text += "Negative prompt: " + negative + "\n";
  text += "Steps: " + std::to_string(generation.trajectory.steps()) +
          ", Sampler: " + quoted(request.sampler);
  text += cfg_scales(generation.model, guidances) + ", Seed: " + std::to_string(request.seed) +
          ", Size: " + to_text(request.size) + ", Model hash: " + generation.model.hash.get() +
          ", Model: " + quoted(generation.model.file);
  if (request.rng == "nv") text += ", RNG: NV";
  if (!request.cache.empty()) text += ", Cache: " + quoted(request.cache);
  if (!guidances.empty()) text += ", Guidance: " + quoted(joined_guidances(guidances));
  return text + ", Version: tiller " + version();
}

/// The request for one image of many.
GenerateRequest request_for(GenerateRequest request, const ImageSpec& image) {
  request.seed = image.seed;
  request.count = request.batch = 1;
  request.columns = 0;
  request.classes.clear();
  if (image.label >= 0) request.classes = {std::to_string(image.label)};
  if (!request.text.prompts.empty()) request.text.prompts = {image.prompt};
  return request;
}

Json own_json(const Generation& generation, const GenerateRequest& request) {
  return {{"version", version()},
          {"model", {{"file", generation.model.file}, {"hash", generation.model.hash.get()}}},
          {"inputs", generation.inputs},
          {"request", to_json(request)}};
}

Json to_json(const BatchOf& batch) {
  Json seeds = Json::array(), labels = Json::array(), prompts = Json::array();
  for (const auto& image : batch.images) {
    seeds.push_back(image.seed);
    labels.push_back(image.label);
    prompts.push_back(image.prompt);
  }
  return {{"seeds", seeds}, {"labels", labels}, {"prompts", prompts}, {"row", batch.row}};
}

BatchOf batch_from(const Json& json, const GenerateRequest& request, const std::string& where) {
  BatchOf batch;
  const auto& seeds = json.at("seeds");
  const auto& labels = json.at("labels");
  const auto& prompts = json.at("prompts");
  batch.row = json.at("row").get<size_t>();
  for (size_t i = 0; i < std::min({seeds.size(), labels.size(), prompts.size()}); ++i)
    batch.images.push_back(
        {seeds[i].get<uint64_t>(), labels[i].get<int64_t>(), prompts[i].get<std::string>()});
  for (const auto& image : batch.images) require_readable(image.prompt, where);
  if (batch.row >= batch.images.size() || batch.images[batch.row].seed != request.seed)
    throw Error(where +
                ": got a recipe whose batch doesn't hold the image, expected one that "
                "Tiller wrote.");
  return batch;
}

}  // namespace

std::string joined_guidances(std::span<const ChosenGuidance> guidances) {
  std::string text;
  for (const auto& guidance : guidances) text += (text.empty() ? "" : " + ") + guidance.text;
  return text;
}

PngText image_text(const Generation& generation, std::span<const ChosenGuidance> guidances,
                   const BatchOf& batch) {
  const ImageSpec& image = batch.images[batch.row];
  const std::string label = subject_of(generation.model, image);
  const bool resumed = generation.inversion != nullptr;  // its file tells of all images
  const GenerateRequest request =
      resumed ? generation.request : request_for(generation.request, image);
  Json json = own_json(generation, request);
  json[generation.model.text ? "prompt" : "class"] = label;
  json["guidance"] = describe(guidances);
  if (!resumed) json["batch"] = to_json(batch);
  return {{"parameters", parameters(generation, request, guidances, label)},
          {"tiller", dumped(json)}};
}

PngText grid_text(const Generation& generation, std::span<const std::vector<ChosenGuidance>> rows) {
  Json json = own_json(generation, generation.request);
  json["guidance"] = Json::array();
  for (const auto& row : rows) json["guidance"].push_back(describe(row));
  return {{"parameters", parameters(generation, generation.request, rows.front(), "")},
          {"tiller", dumped(json)}};
}

Recipe read_recipe(const fs::path& png) {
  const std::string where = png.string();
  const PngText text = read_png_text(png);
  const auto found = text.find("tiller");
  if (found == text.end())
    throw Error(where +
                ": got a PNG without Tiller's recipe, expected one made by `tiller "
                "generate`.");
  try {
    const Json json = parse_json<Json>(found->second);
    if (json.contains("edit"))
      throw Error(where +
                  ": got the recipe of an edit, expected one made by `tiller generate`: an edit "
                  "begins with an image.");
    Recipe recipe;
    recipe.request = request_from(json.at("request"), where);
    recipe.model_file = json.at("model").at("file").get<std::string>();
    recipe.model_hash = json.at("model").at("hash").get<std::string>();
    recipe.inputs = json.value("inputs", std::map<std::string, std::string>());
    if (json.contains("batch")) recipe.batch = batch_from(json["batch"], recipe.request, where);
    return recipe;
  } catch (const nlohmann::json::exception&) {
    throw Error(where + ": got a damaged recipe, expected one that Tiller wrote.");
  }
}

void require_model(const Recipe& recipe, const Model& model, const fs::path& png) {
  if (recipe.model_hash == model.hash.get()) return;
  throw Error("--from " + png.string() + ": got the model " + model.file + " (hash " +
              model.hash.get() + "), expected " + recipe.model_file + " (hash " +
              recipe.model_hash + "), which the image was made with. Name it with --model.");
}

Json describe(std::span<const ChosenGuidance> guidances) {
  Json all = Json::array();
  for (const auto& guidance : guidances)
    all.push_back({{"text", guidance.text},
                   {"name", guidance.entry->name},
                   {"from", guidance.from},
                   {"to", guidance.to},
                   {"sites", guidance.sites}});
  return all;
}

}  // namespace tiller
