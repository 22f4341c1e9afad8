#include "tools/evaluation_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <iostream>

#include "io/error.h"
#include "io/hash.h"
#include "io/json.h"
#include "tools/inputs.h"
#include "tools/program.h"

namespace tiller {
namespace {

constexpr int64_t images_in_memory = 256;  ///< As many at a time as any device takes.
constexpr size_t key_digits = 32;

/// None where the results, or the pictures, aren't all there.
std::vector<ImageFigures> remembered(const BatchRun& batch, const EvaluationLog& log,
                                     const fs::path& folder) {
  const Json* results = log.find(batch.key);
  if (!results || !results->is_array() || std::ssize(*results) != batch.images) return {};
  std::vector<ImageFigures> figures;
  for (const auto& result : *results) figures.push_back(figures_from(result));
  for (int64_t row = 0; row < batch.shown; ++row)
    if (figures[row].failure.empty() && !fs::exists(folder / picture_file(batch.key, row)))
      return {};
  return figures;
}

/// A method that fails on some images goes on with the others.
std::vector<ImageFigures> measured_or_failed(const BatchRun& batch) {
  try {
    return batch.measure();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    return std::vector<ImageFigures>(size_t(batch.images), {.values = {}, .failure = error.what()});
  }
}

}  // namespace

std::vector<std::string> named_methods(const Flags& flags) {
  const std::vector<std::string> methods = flags.all("method");
  for (auto method = methods.begin(); method != methods.end(); ++method)
    if (std::find(methods.begin(), method, *method) != method)
      throw UsageError("--method: got " + *method + " twice, expected each once.");
  return methods;
}

GenerateRequest evaluation_request(const GenerateRequest& asked, const std::string& sampler) {
  GenerateRequest request = asked;
  request.sampler = sampler;
  request.classes.clear();
  request.count = std::max<int64_t>(1, request.batch ? request.batch : images_in_memory);
  request.text.prompts = {asked.text.prompts.empty() ? "" : asked.text.prompts.front()};
  const ModelFiles files =
      find_model(request.model.empty() ? default_model() : fs::path(request.model));
  if (files.kind != "text_to_image") {
    if (!asked.text.prompts.empty())
      throw UsageError("--prompt: got one, expected none: the model reads no text.");
    request.text.prompts.clear();
  }
  return request;
}

std::vector<std::string> usable_methods(const std::vector<std::string>& methods, bool named,
                                        const std::function<void(const std::string&)>& check,
                                        EvaluationReport& report) {
  std::vector<std::string> usable;
  for (const auto& method : methods) try {
      check(method);
      usable.push_back(method);
    } catch (const UsageError& error) {
      if (named) throw UsageError("--method " + method + ": " + error.what());
      report.left_out.emplace_back(method, error.what());
    }
  if (usable.empty())
    throw UsageError("--method: got none that can be used, expected one: " +
                     report.left_out.front().second);
  return usable;
}

ChosenLpips choose_lpips(const Flags& flags, const Generation& generation) {
  ChosenLpips chosen;
  if (!flags.has("lpips")) return chosen;
  std::vector<fs::path> files;
  for (const auto& file : flags.all("lpips")) {
    files.emplace_back(file);
    chosen.hashes.push_back(input_hash(file));
  }
  chosen.distance.emplace(files, generation.device);
  const ImageSize& size = generation.request.size;
  if (std::min(size.height, size.width) < Lpips::smallest_side)
    throw UsageError("--lpips: got it with images of " + to_text(size) +
                     ", expected sides of at least " + std::to_string(Lpips::smallest_side) + ".");
  return chosen;
}

Json evaluation_recipe(const Generation& generation, const fs::path& data) {
  const Json request = to_json(generation.request);
  Json recipe = {{"tiller", version()},
                 {"model", generation.model.file},
                 {"model_hash", generation.model.hash.get()},
                 {"data", data.string()},
                 {"steps", generation.request.steps},
                 {"guidance", generation.request.guidances},
                 {"width", generation.request.size.width},
                 {"height", generation.request.size.height},
                 {"batch", generation.request.batch},
                 {"device", generation.device.str()},
                 {"dtype", generation.request.dtype},
                 {"threads", at::get_num_threads()}};
  for (const char* key : {"seed", "negative_prompt", "negative_given", "plain_prompt", "clip_skip",
                          "prediction_type", "embedded_guidance", "share", "fp8", "vae_tiling"})
    recipe[key] = request.at(key);
  recipe["inputs"] = generation.inputs;
  return recipe;
}

std::string batch_key(Json recipe, const Json& more) {
  for (const char* key : {"model", "data"}) recipe.erase(key);
  recipe.update(more);
  return sha256_of(recipe.dump(-1, ' ', true, Json::error_handler_t::replace))
      .substr(0, key_digits);
}

std::string picture_file(const std::string& key, int64_t row) {
  return "pictures/" + key + "-" + std::to_string(row) + ".png";
}

std::vector<ImageFigures> run_batch(const BatchRun& batch, EvaluationLog& log,
                                    const fs::path& folder) {
  auto figures = remembered(batch, log, folder);
  if (!figures.empty()) return figures;
  figures = measured_or_failed(batch);
  Json results = Json::array();
  for (const auto& image : figures) results.push_back(to_json(image));
  log.append(batch.key, results);
  return figures;
}

void add_batch(const BatchRun& batch, const std::vector<ImageFigures>& figures,
               MethodFigures& method) {
  for (int64_t row = 0; row < batch.shown; ++row)
    method.pictures.push_back(figures[row].failure.empty() ? picture_file(batch.key, row) : "");
  method.images.insert(method.images.end(), figures.begin(), figures.end());
}

bool tell_json(const Flags& flags, const Json& json) {
  if (!flags.has("json")) return false;
  const std::string text = indented(json) + "\n";
  if (flags.text("json") == "-") {
    std::cout << text;
    return true;
  }
  write_file(flags.text("json"), text);
  return false;
}

void tell_page(const Flags& flags, const fs::path& folder) {
  if (!flags.has("quiet") && flags.text("json") != "-")
    std::cerr << "The report is " << (folder / "index.html").string() << ".\n";
}

void finish_report(const EvaluationReport& report, const std::vector<ShownImage>& images,
                   const Flags& flags) {
  write_report(report, images);
  if (!tell_json(flags, report_json(report))) std::cout << report_table(report);
  tell_page(flags, report.folder);
}

}  // namespace tiller
