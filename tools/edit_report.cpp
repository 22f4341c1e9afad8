#include "tools/edit_report.h"

#include <ATen/ATen.h>

#include "io/grid.h"
#include "io/html.h"
#include "io/json.h"
#include "metrics/reconstruction.h"

namespace tiller {
namespace {

constexpr double visible = 8;  ///< Of 255: what counts as a change.

/// What the edit is compared with.
const Tensor& unchanged(const EditOutcome& outcome) {
  return outcome.reconstruction.defined() ? outcome.reconstruction : outcome.before;
}

Tensor difference(const EditOutcome& outcome) {
  const auto values = [](const Tensor& image) { return image.to(at::kInt); };
  return (values(outcome.after) - values(unchanged(outcome))).abs();
}

std::string number(double value, const char* format = "%.2f") {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string before_label(const Editing& editing) {
  return subject_of(editing.source.model, editing.before);
}

std::string after_label(const Editing& editing) {
  return subject_of(editing.regenerates().model, editing.after);
}

std::string described(const std::string& what, const std::string& label) {
  return label.empty() ? what : what + ": " + label;
}

struct Panel {
  std::string name;
  Tensor image;
};

std::vector<Panel> panels(const Editing& editing, const EditOutcome& outcome) {
  std::vector<Panel> all = {{described("before", before_label(editing)), outcome.before}};
  if (outcome.reconstruction.defined()) all.push_back({"reconstruction", outcome.reconstruction});
  all.push_back({described("after", after_label(editing)), outcome.after});
  return all;
}

Tensor comparison(const Editing& editing, const EditOutcome& outcome) {
  std::vector<Tensor> images;
  GridLabels labels;
  for (const auto& [name, image] : panels(editing, outcome)) {
    images.push_back(image);
    labels.columns.push_back(name.substr(0, name.find(':')));
  }
  return image_grid(at::stack(images), int64_t(images.size()), labels);
}

std::string guidances_text(std::span<const ChosenGuidance> guidances) {
  return guidances.empty() ? "none" : joined_guidances(guidances);
}

Json changes_json(const Editing& editing) {
  const EditRequest& request = editing.request;
  const Generation& source = editing.source;
  Json json = {{"before", before_label(editing)},
               {"after", after_label(editing)},
               {"from", source.trajectory.levels[editing.until].step},
               {"steps", source.trajectory.steps() - editing.until},
               {"guidance", describe(editing.guidances)}};
  if (editing.edit_guidances) json["edit_guidance"] = describe(*editing.edit_guidances);
  if (editing.target)
    json["edit_model"] = {{"file", editing.target->model.file},
                          {"hash", editing.target->model.hash.get()}};
  if (editing.control)
    json["control"] = {{"text", editing.control->text}, {"sites", editing.control->sites}};
  if (!request.words.empty()) json["words"] = request.words;
  if (!request.mask.empty()) json["blend_mask"] = request.mask;
  if (!request.blend_words.empty()) {
    json["blend_words"] = request.blend_words;
    json["blend_threshold"] = request.blend_threshold;
  }
  return json;
}

/// As an image that was generated has it, but for `generate --from`.
PngText edit_text(const Editing& editing) {
  PngText text = image_text(editing.regenerates(), editing.guidances, {{editing.after}, 0});
  Json json = Json::parse(text.at("tiller"));
  json["edit"] = changes_json(editing);
  text["tiller"] = dumped(json);
  return text;
}

/// The folder or file as the user named it.
std::string model_name(const Generation& generation) {
  const fs::path named = generation.request.model;
  return name_of(named.empty() ? default_model() : named);
}

using PageEntries = std::vector<std::pair<std::string, std::string>>;

std::string listed(const std::vector<std::string>& texts) {
  std::string list;
  for (const auto& text : texts) list += (list.empty() ? "" : ", ") + text;
  return list;
}

PageEntries request_entries(const Editing& editing) {
  const Generation& source = editing.source;
  const EditRequest& request = editing.request;
  PageEntries entries = {
      {"Model", model_name(source)},
      {"Type", source.request.dtype + (source.request.fp8 ? ", fp8" : "")},
      {"Sampler", source.request.sampler + ", " +
                      std::to_string(source.trajectory.steps() - editing.until) + " of " +
                      std::to_string(source.trajectory.steps()) + " steps"},
      {"Guidance", guidances_text(editing.guidances)}};
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) entries.emplace_back(name, value);
  };
  add("Negative prompt", source.request.text.negative);
  if (editing.target) add("Model of the edit", model_name(*editing.target));
  if (editing.edit_guidances) add("Guidance of the edit", guidances_text(*editing.edit_guidances));
  if (editing.control) add("Control", editing.control->text);
  add("Words weighed", listed(request.words));
  if (!request.mask.empty()) add("May change in", name_of(request.mask));
  if (!request.blend_words.empty())
    add("May change where", listed(request.blend_words) + " lies, threshold " +
                                number(request.blend_threshold, "%.3g"));
  return entries;
}

PageEntries outcome_entries(const EditOutcome& outcome) {
  PageEntries entries;
  const auto add = [&](const std::string& name, const std::string& value) {
    entries.emplace_back(name, value);
  };
  if (outcome.reconstruction.defined()) {
    const Figures figures = figures_of(outcome);
    add("Reconstruction", figures.max_error == 0
                              ? "the same image"
                              : number(figures.psnr) + " dB PSNR, SSIM " +
                                    number(figures.ssim, "%.4f") + ", at most " +
                                    number(figures.max_error, "%.0f") + " of 255 off");
    add("Its latents", outcome.exact ? "the same bits"
                                     : "at most " + number(outcome.latent_error, "%.3g") + " off");
  }
  if (outcome.blend_share)
    add("Might change", number(100 * *outcome.blend_share, "%.1f") + "% of the latents");
  add("Changed by the edit", number(100 * changed_share(outcome), "%.1f") + "% of the pixels");
  add("Evaluations", std::to_string(outcome.cost.evaluations));
  add("Seconds", number(outcome.seconds, "%.1f"));
  return entries;
}

std::string page(const Editing& editing, const EditOutcome& outcome) {
  HtmlPage page(described("Edit", before_label(editing) + " to " + after_label(editing)));
  std::vector<HtmlFigure> figures;
  for (const auto& [name, image] : panels(editing, outcome)) figures.push_back({image, name});
  figures.push_back({difference(outcome).to(at::kByte), "difference made by the edit"});
  page.figures(figures);
  PageEntries entries = request_entries(editing);
  for (auto& entry : outcome_entries(outcome)) entries.push_back(std::move(entry));
  page.list(entries);
  return page.text();
}

}  // namespace

EditPaths edit_paths(const Outputs& outputs) {
  const fs::path& path = outputs.path;
  if (outputs.folder) return {path / "edited.png", path / "compare.png", path / "index.html"};
  const std::string stem = path.stem().string();
  return {path, path.parent_path() / (stem + "-compare.png"),
          path.parent_path() / (stem + ".html")};
}

Figures figures_of(const EditOutcome& outcome) {
  const Tensor &a = outcome.before, &b = outcome.reconstruction;
  return {psnr(a, b, 255), ssim(a, b, 255), max_error(a, b)};
}

double changed_share(const EditOutcome& outcome) {
  return (difference(outcome).amax(0) > visible).to(at::kDouble).mean().item<double>();
}

void write_edit(const EditPaths& paths, const Editing& editing, const EditOutcome& outcome) {
  if (paths.edited.has_parent_path()) fs::create_directories(paths.edited.parent_path());
  write_png(paths.edited, outcome.after, edit_text(editing));
  write_png(paths.compare, comparison(editing, outcome));
  write_file(paths.page, page(editing, outcome));
}

Json edit_json(const EditPaths& paths, const Editing& editing, const EditOutcome& outcome) {
  const Generation& source = editing.source;
  Json json = {{"files", {paths.edited.string(), paths.compare.string(), paths.page.string()}},
               {"model", {{"file", source.model.file}, {"hash", source.model.hash.get()}}},
               {"sampler",
                {{"name", source.sampler->name},
                 {"options", source.sampler_options.values},
                 {"steps", source.trajectory.steps()}}},
               {"edit", changes_json(editing)},
               {"changed", changed_share(outcome)},
               {"evaluations", outcome.cost.evaluations},
               {"branches", outcome.cost.branches},
               {"seconds", outcome.seconds}};
  if (outcome.blend_share) json["blend_share"] = *outcome.blend_share;
  if (!outcome.reconstruction.defined()) return json;
  const Figures figures = figures_of(outcome);
  json["reconstruction"] = {{"exact", outcome.exact},
                            {"latent_error", outcome.latent_error},
                            {"max_error", figures.max_error},
                            {"psnr", std::isfinite(figures.psnr) ? Json(figures.psnr) : Json()},
                            {"ssim", figures.ssim}};
  return json;
}

}  // namespace tiller
