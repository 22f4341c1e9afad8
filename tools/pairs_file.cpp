#include "tools/pairs_file.h"

#include <ATen/ATen.h>

#include "io/json.h"
#include "io/safetensors.h"

namespace tiller {

void write_pairs(const GenerateRun& run) {
  const Model& model = run.generation.model;
  NamedTensors pairs = {
      {"noise", at::cat(run.kept.starts) / run.generation.trajectory.initial_scale},
      {"samples", at::cat(run.kept.samples)}};
  std::vector<int64_t> labels;
  std::vector<std::string> captions;
  for (const size_t i : run.made) {
    labels.push_back(run.generation.images[i].label);
    captions.push_back(run.generation.images[i].prompt);
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                 {"model_hash", model.hash.get()}};
  const auto list = [](const auto& texts) { return dumped(nlohmann::json(texts)); };
  if (model.classes) pairs.emplace_back("labels", at::tensor(labels, at::kLong));
  if (!model.class_names.empty()) metadata["class_names"] = list(model.class_names);
  if (model.text) metadata["captions"] = list(captions);
  save_safetensors(run.outputs.pairs, pairs, metadata);
}

}  // namespace tiller
