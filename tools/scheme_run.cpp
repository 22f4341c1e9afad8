#include "tools/scheme_run.h"

#include <ATen/Parallel.h>

#include "io/hash.h"
#include "tools/caching.h"
#include "tools/inverting.h"
#include "tools/parallel.h"

namespace tiller {
namespace {

/// What a scheme says, else what the run says; "": nothing.
std::string chosen(const std::string& scheme, const std::string& run) {
  const std::string& text = scheme.empty() ? run : scheme;
  return text == "none" ? "" : text;
}

/// What a batch's features depend on.
Json scheme_recipe(const SchemeRun& run, const Scheme& scheme) {
  const Generation& generation = run.generation;
  Json recipe = to_json(generation.request);
  for (const char* key :
       {"model", "compare", "count", "guidance", "sampler", "steps", "cache", "parallel"})
    recipe.erase(key);
  if (generation.device.is_cuda()) recipe["device"] = "cuda";  // whichever this process has
  recipe["tiller"] = version();
  recipe["model_hash"] = generation.model.hash.get();
  recipe["inputs"] = generation.inputs;
  recipe["threads"] = at::get_num_threads();
  recipe["clip"] = run.clip_hash;
  recipe["scheme"] = {scheme.guidance, scheme.sampler.empty() ? run.sampler : scheme.sampler,
                      scheme.steps ? scheme.steps : run.steps};
  if (const auto cache = chosen(scheme.cache, run.cache); !cache.empty()) recipe["cache"] = cache;
  if (const auto parallel = chosen(scheme.parallel, run.parallel); !parallel.empty())
    recipe["parallel"] = parallel;
  for (const auto& network : run.by.networks)
    recipe["networks"].push_back({network.hash, network.input, network.width});
  return recipe;
}

std::string key_of(const SchemeRun& run, const Scheme& scheme) {
  const Json recipe = scheme_recipe(run, scheme);
  return sha256_of(recipe.dump(-1, ' ', true, Json::error_handler_t::replace)).substr(0, 16);
}

}  // namespace

int64_t widest_window(const SchemeRun& run, int64_t steps) {
  int64_t widest = 1;
  for (const auto& scheme : run.schemes)
    if (const auto text = chosen(scheme.parallel, run.parallel); !text.empty())
      widest = std::max<int64_t>(
          widest, parallel_options(text, int(scheme.steps ? scheme.steps : steps)).window);
  return widest;
}

std::vector<ChosenGuidance> use_scheme(SchemeRun& run, const Scheme& scheme) {
  Generation& generation = run.generation;
  generation.request.steps = scheme.steps ? scheme.steps : run.steps;
  generation.request.cache = chosen(scheme.cache, run.cache);
  generation.request.parallel = chosen(scheme.parallel, run.parallel);
  if (const auto& text = generation.request.parallel; !text.empty())
    parallel_options(text, int(generation.request.steps));
  use_sampler(generation, scheme.sampler.empty() ? run.sampler : scheme.sampler);
  auto guidances = choose_guidances({scheme.guidance}, generation.model);
  require_renoising(*generation.sampler, guidances);
  require_descent(generation, generation.trajectory.steps());
  check_cache(generation, guidances);
  check_parallel(generation, guidances);
  return guidances;
}

SchemeFiles files_of(const SchemeRun& run, const Scheme& scheme) {
  const std::string key = key_of(run, scheme);
  return {.shards = SchemeShards(run.report.folder / "features", key),
          .pictures = fs::path("pictures") / (key + "-" + std::to_string(run.pictures) + ".png"),
          .images = run.images.empty() ? fs::path() : run.images / key};
}

std::span<const ImageSpec> specs_of(const SchemeRun& run, int64_t first) {
  const auto& images = run.generation.images;
  const auto count = std::min<size_t>(size_t(run.generation.request.batch), images.size() - first);
  return std::span(images).subspan(size_t(first), count);
}

void add_note(SchemeReport& report, const std::string& note) {
  if (note.empty() ||
      std::find(report.notes.begin(), report.notes.end(), note) != report.notes.end())
    return;
  report.notes.push_back(note);
}

}  // namespace tiller
