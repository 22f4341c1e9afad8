#include "tools/scheme_shards.h"

#include <ATen/ATen.h>

#include <cinttypes>

#include "io/error.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace tiller {
namespace {

constexpr const char *costs = "costs", *clip_key = "clip";

void add(NamedTensors& tensors, const std::string& name, const Tensor& values) {
  if (values.defined()) tensors.emplace_back(name, values.to(at::kCPU, at::kFloat));
}

Tensor find(const TensorFile& file, const std::string& name) {
  for (const auto& [known, tensor] : file.tensors)
    if (known == name) return tensor;
  return {};
}

}  // namespace

SchemeShards::SchemeShards(fs::path folder, const std::string& key)
    : folder_(std::move(folder) / key) {}

fs::path SchemeShards::file(int64_t first) const {
  char name[40];
  std::snprintf(name, sizeof name, "%09" PRId64 ".safetensors", first);
  return folder_ / name;
}

bool SchemeShards::has(int64_t first, int64_t count, size_t networks) const {
  if (!fs::exists(file(first))) return false;
  try {
    return load(first, networks).count == count;
  } catch (const Error&) {
    return false;
  }
}

void SchemeShards::save(const SchemeBatch& batch) const {
  NamedTensors tensors = {{costs, at::tensor({double(batch.count), batch.evaluations, batch.flops,
                                              batch.seconds, batch.peak_memory, batch.calls},
                                             at::kDouble)}};
  add(tensors, clip_key, batch.clip);
  for (size_t i = 0; i < batch.features.size(); ++i) {
    const std::string name = std::to_string(i) + ".";
    add(tensors, name + "pooled", batch.features[i].pooled);
    add(tensors, name + "logits", batch.features[i].logits);
    add(tensors, name + "spatial", batch.features[i].spatial);
  }
  save_safetensors(file(batch.first), tensors);
}

SchemeBatch SchemeShards::load(int64_t first, size_t networks) const {
  const TensorFile stored = load_safetensors(file(first));
  const Tensor numbers = find(stored, costs);
  const auto damaged = [&] {
    return Error(file(first).string() +
                 ": got a file of another kind, expected a batch's features. Remove it.");
  };
  if (!numbers.defined() || numbers.numel() < 4 || numbers.scalar_type() != at::kDouble)
    throw damaged();
  const auto* number = numbers.const_data_ptr<double>();
  SchemeBatch batch{.first = first,
                    .count = int64_t(number[0]),
                    .clip = find(stored, clip_key),
                    .evaluations = number[1],
                    .calls = numbers.numel() > 5 ? number[5] : 0,
                    .flops = number[2],
                    .seconds = number[3],
                    .peak_memory = numbers.numel() > 4 ? number[4] : 0};
  for (size_t i = 0; i < networks; ++i) {
    const std::string name = std::to_string(i) + ".";
    Features features{find(stored, name + "pooled"), find(stored, name + "logits"),
                      find(stored, name + "spatial")};
    if (!features.pooled.defined() || features.pooled.dim() != 2 ||
        features.pooled.size(0) != batch.count)
      throw damaged();
    batch.features.push_back(std::move(features));
  }
  return batch;
}

std::string SchemeShards::bytes(int64_t first) const { return read_file(file(first)); }

void SchemeShards::keep(int64_t first, std::string_view bytes) const {
  write_file(file(first), bytes);
}

}  // namespace tiller
