#include "tools/scheme_making.h"

#include <ATen/ATen.h>

#include <chrono>

#include "io/grid.h"
#include "io/image.h"
#include "tools/memory_use.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

fs::path image_file(const SchemeFiles& files, int64_t index) {
  char name[32];
  std::snprintf(name, sizeof name, "%06ld.png", long(index));
  return files.images / name;
}

/// (B): how well each image fits its prompt, 100 cos (arXiv 2104.08718; torchmetrics' scale).
Tensor clip_scores(const ClipSimilarity& clip, const Tensor& pixels,
                   std::span<const ImageSpec> specs) {
  std::vector<double> scores;
  for (int64_t row = 0; row < pixels.size(0); ++row)
    scores.push_back(clip(pixels[row], specs[size_t(row)].prompt));
  return at::tensor(scores, at::kDouble);
}

void keep_images(const SchemeFiles& files, int64_t first, const Tensor& pixels) {
  if (files.images.empty()) return;
  for (int64_t row = 0; row < pixels.size(0); ++row)
    write_png(image_file(files, first + row), pixels[row]);
}

bool keeps_images(const SchemeFiles& files, int64_t first, int64_t count) {
  for (int64_t index = first; index < first + count && !files.images.empty(); ++index)
    if (!fs::exists(image_file(files, index))) return false;
  return true;
}

/// Makes the batch's images, (B, 3, H, W), and sees them through every network.
SchemeBatch make_batch(const SchemeRun& run, ReadyScheme& scheme, int64_t first, Tensor& pixels) {
  const auto specs = specs_of(run, first);
  SchemeBatch batch{.first = first, .count = std::ssize(specs)};
  Progress silent = Progress::silent();
  reset_peak_memory();
  const auto start = Clock::now();
  const GuidanceCost cost =
      run_images(run.generation, scheme.guidances, specs, std::ssize(specs), silent,
                 [&](size_t, const DoneImages& done) { pixels = done.pixels; });
  batch.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  batch.peak_memory = double(peak_memory());
  batch.evaluations = double(cost.branches);
  batch.calls = double(cost.evaluations);
  batch.flops = cost.flops.spent;
  for (const auto& network : run.by.networks) batch.features.push_back(network.run(pixels));
  if (run.clip) batch.clip = clip_scores(*run.clip, pixels, specs);
  return batch;
}

bool has_pictures(const SchemeRun& run, const SchemeFiles& files) {
  return run.pictures == 0 || fs::exists(run.report.folder / files.pictures);
}

void write_pictures(const SchemeRun& run, const SchemeFiles& files,
                    const std::vector<Tensor>& shown) {
  if (shown.empty()) return;
  const Tensor images = at::cat(shown);
  const int64_t columns = std::min<int64_t>(8, images.size(0));
  write_png(run.report.folder / files.pictures, image_grid(images, columns));
}

bool is_missing(const SchemeRun& run, const SchemeFiles& files, int64_t first, bool pictured) {
  const int64_t count = std::ssize(specs_of(run, first));
  return (!pictured && first < run.pictures) || !keeps_images(files, first, count) ||
         !files.shards.has(first, count, run.by.networks.size());
}

Progress begun(const SchemeRun& run, const std::map<std::string, std::set<int64_t>>& missing) {
  const int64_t all = std::ssize(run.schemes) * run.count();
  int64_t made = all;
  for (const auto& [folder, batches] : missing)
    for (const int64_t first : batches) made -= std::ssize(specs_of(run, first));
  return Progress("images", all, "images", made);
}

std::map<std::string, std::set<int64_t>> missing_batches(const SchemeRun& run) {
  std::map<std::string, std::set<int64_t>> missing;
  for (const auto& scheme : run.schemes) {
    const SchemeFiles files = files_of(run, scheme);
    const bool pictured = has_pictures(run, files);
    auto& batches = missing[files.shards.folder().filename()];
    for (int64_t first = 0; first < run.count(); first += run.batch())
      if (is_missing(run, files, first, pictured)) batches.insert(first);
    run.collection->agree(batches, run.batch(), run.count());
  }
  return missing;
}

}  // namespace

SchemeMaking::SchemeMaking(const SchemeRun& run)
    : run_(run), missing_(missing_batches(run)), progress_(begun(run, missing_)) {}

void SchemeMaking::make(ReadyScheme& scheme, int64_t first, std::vector<Tensor>& shown) {
  Tensor pixels;
  const SchemeBatch batch =
      or_scheme_failure([&] { return make_batch(run_, scheme, first, pixels); });
  keep_images(scheme.files, first, pixels);
  if (first < run_.pictures)
    shown.push_back(pixels.narrow(0, 0, std::min(run_.pictures - first, pixels.size(0))));
  scheme.files.shards.save(batch);
}

void SchemeMaking::pass(Missing& missing, int64_t last, const std::string& name) {
  while (!missing.empty() && *missing.begin() <= last) {
    progress_.advance(std::ssize(specs_of(run_, *missing.begin())), name);
    missing.erase(missing.begin());
  }
}

void SchemeMaking::make_missing(ReadyScheme& scheme) {
  const SchemeFiles& files = scheme.files;
  const std::string work = files.shards.folder().filename();
  Missing& missing = missing_.at(work);
  const bool pictured = has_pictures(run_, files);
  std::vector<Tensor> shown;
  const auto see_to = [&](int64_t first) {
    if (missing.contains(first)) make(scheme, first, shown);
    pass(missing, first, scheme.scheme.name());
  };
  const int64_t unshown = (run_.pictures + run_.batch() - 1) / run_.batch() * run_.batch();
  for (int64_t first = 0; first < std::min(unshown, run_.count()) && run_.processes->first();
       first += run_.batch())
    see_to(first);
  if (!pictured) write_pictures(run_, files, shown);
  while (true) {
    const int64_t first = unshown + run_.processes->take("batch of " + work) * run_.batch();
    if (first >= run_.count()) break;
    see_to(first);
  }
  pass(missing, run_.count(), scheme.scheme.name());
}

}  // namespace tiller
