#include "tools/generate_report.h"

#include <ATen/ATen.h>

#include <iostream>

#include "tools/attention_maps.h"
#include "tools/caching.h"
#include "tools/inversion_file.h"
#include "tools/parallel.h"

namespace tiller {
namespace {

Json cost_json(const GuidanceCost& cost) {
  const FlopCount& flops = cost.flops;
  return {{"evaluations", cost.evaluations},
          {"branches", cost.branches},
          {"flops", flops.spent},
          {"flops_unshared", flops.unshared},
          {"flops_saved", flops.unshared > 0 ? 1 - flops.spent / flops.unshared : 0}};
}

Json images_json(const GenerateRun& run) {
  Json images = Json::array();
  const DoneImages maps = collected_maps(run.kept);
  for (size_t n = 0; n < run.made.size(); ++n) {
    const size_t i = run.made[n];
    const ImageSpec& image = run.generation.images[i];
    const fs::path path = writes_images(run) ? image_path(run.outputs, i) : fs::path();
    Json json = {{"seed", image.seed}};
    if (!path.empty()) json["file"] = path.string();
    if (image.label >= 0) {
      json["class"] = image.label;
      json["class_name"] = class_label(run.generation.model, image.label);
    }
    if (run.generation.model.text) json["prompt"] = image.prompt;
    json.update(maps_json(path, word_maps(run.generation, image, maps, int64_t(n))));
    images.push_back(json);
  }
  return images;
}

Json files_json(const GenerateRun& run) {
  Json files = Json::array();
  const auto add = [&](const fs::path& path) { files.push_back(path.string()); };
  const GenerateRequest& request = run.generation.request;
  const DoneImages maps = collected_maps(run.kept);
  if (writes_images(run))
    for (size_t n = 0; n < run.made.size(); ++n) {
      const fs::path image = image_path(run.outputs, run.made[n]);
      add(image);
      const ImageSpec& spec = run.generation.images[run.made[n]];
      for (const auto& path :
           overlay_paths(image, word_maps(run.generation, spec, maps, int64_t(n))))
        add(path);
    }
  if (run.outputs.grid) add(grid_path(run.outputs));
  if (!writes_images(run))
    for (const auto& path : overlay_paths(run.outputs.path, request.words)) add(path);
  if (!run.outputs.latents.empty()) add(run.outputs.latents);
  if (!run.outputs.maps.empty()) add(run.outputs.maps);
  if (!run.outputs.inversion.empty()) add(run.outputs.inversion);
  if (!run.outputs.pairs.empty()) add(run.outputs.pairs);
  return files;
}

Json rows_json(const GenerateRun& run) {
  Json rows = Json::array();
  for (size_t i = 0; i < run.costs.size(); ++i) {
    Json row = {{"guidance", describe(run.rows[i])}};
    row.update(cost_json(run.costs[i]));
    if (const auto cache = requested_cache(run.generation))
      row["cache"] = {{"method", cache->text}, {"reused", run.costs[i].reused}};
    if (!run.generation.request.parallel.empty())
      row["parallel"] = parallel_json(run.generation, run.costs[i]);
    else if (const Json shared = together_json(run.together); !shared.is_null())
      row["parallel"] = shared;
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

Json report(const GenerateRun& run) {
  const Generation& generation = run.generation;
  const GenerateRequest& request = generation.request;
  Json json = {{"files", files_json(run)},
               {"images", images_json(run)},
               {"skipped", generation.images.size() - run.made.size()},
               {"model", {{"file", generation.model.file}, {"hash", generation.model.hash.get()}}},
               {"sampler",
                {{"name", generation.sampler->name},
                 {"options", generation.sampler_options.values},
                 {"steps", generation.trajectory.steps()}}},
               {"height", request.size.height},
               {"width", request.size.width},
               {"batch", request.batch},
               {"device", request.device},
               {"dtype", request.dtype},
               {"fp8", request.fp8},
               {"share", request.share},
               {"seconds", {{"load", run.load_seconds}, {"images", run.seconds}}}};
  if (run.first_image > 0) json["seconds"]["first_image"] = run.first_image;
  if (!run.kept.straightness.empty())
    json["straightness"] = at::cat(run.kept.straightness).mean().item<double>();
  if (run.came_back) json["exact"] = *run.came_back;
  const Json rows = rows_json(run);
  if (request.compare.empty() && !rows.empty())
    json.update(rows.front());
  else
    json["rows"] = rows;
  return json;
}

void print_result(const GenerateRun& run) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f s", run.seconds);
  const size_t images = run.made.size() * run.rows.size();
  std::cerr << images << (images == 1 ? " image in " : " images in ") << seconds << ": "
            << run.outputs.path.string() << "\n";
  if (run.came_back.value_or(false))
    std::cerr << "The latents that were inverted came back to the bit.\n";
  if (run.generation.keeps_state && !is_exact_from(run.generation, run.kept.states.front()))
    std::cerr << "The way back to noise isn't exact with " << run.generation.request.sampler
              << ": that of bdia's lattice is.\n";
}

void warn_of_others(const GenerateRun& run) {
  if (!run.came_back.value_or(true))
    std::cerr << "The latents aren't those that were inverted: another machine, device or LibTorch "
                 "rounds otherwise.\n";
}

}  // namespace tiller
