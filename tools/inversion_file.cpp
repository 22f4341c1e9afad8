#include "tools/inversion_file.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <set>

#include "io/error.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "tools/inputs.h"
#include "tools/program.h"

namespace tiller {
namespace {

Tensor levels_of(const Trajectory& trajectory) {
  std::vector<double> numbers;
  for (const auto& level : trajectory.levels)
    numbers.insert(numbers.end(), {level.alpha, level.sigma, level.timestep});
  return at::tensor(numbers, at::kDouble).view({-1, 3});
}

/// Digits in the narrowest type that holds them; undefined where there are none.
Tensor narrowed(const Tensor& side) {
  if (!side.defined()) return {};
  const auto largest = side.max().item<int64_t>();
  if (largest == 0) return {};
  return side.to(largest <= UINT8_MAX   ? at::kByte
                 : largest <= INT16_MAX ? at::kShort
                 : largest <= INT32_MAX ? at::kInt
                                        : at::kLong);
}

Json images_json(std::span<const ImageSpec> images) {
  Json json = Json::array();
  for (const auto& image : images)
    json.push_back({{"seed", image.seed}, {"label", image.label}, {"prompt", image.prompt}});
  return json;
}

/// Without the file that a run began with: this one takes its place.
std::map<std::string, std::string> lasting_inputs(std::map<std::string, std::string> inputs,
                                                  const std::string& inversion) {
  inputs.erase(inversion);
  return inputs;
}

}  // namespace

std::string tensor_hash(const Tensor& tensor) {
  const Tensor bytes = tensor.to(at::kCPU).contiguous();
  return sha256_of({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
}

void write_inversion(const fs::path& path, const Generation& generation,
                     const InversionState& state, const Tensor& target) {
  const Json json = {{"version", version()},
                     {"model",
                      {{"file", generation.model.file},
                       {"hash", generation.model.hash.get()},
                       {"parts", generation.parts.get()}}},
                     {"inputs", lasting_inputs(generation.inputs, generation.request.inversion)},
                     {"request", to_json(generation.request)},
                     {"images", images_json(generation.images)},
                     {"level", state.level},
                     {"threads", at::get_num_threads()},
                     {"target", is_exact_from(generation, state) ? tensor_hash(target) : ""}};
  NamedTensors tensors = {{"latents", state.latents}};
  if (state.partner.defined()) tensors.emplace_back("partner", state.partner);
  if (const Tensor side = narrowed(state.side); side.defined()) tensors.emplace_back("side", side);
  if (state.record.defined()) tensors.emplace_back("record", state.record);
  tensors.emplace_back("levels", levels_of(generation.trajectory));
  save_safetensors(path, tensors, {{"format", InversionFile::format}, {"tiller", dumped(json)}});
}

void require_same_request(const GenerateRequest& request, const InversionFile& file,
                          const fs::path& path) {
  // Classes are compared by their indices, as soon as the model is there.
  static const std::set<std::string> free = {"model",   "inversion", "threads",
                                             "columns", "classes",   "graphs"};
  const Json now = to_json(request), then = to_json(file.request);
  const auto require_same = [&](const std::string& key, const std::string& hint) {
    if (now.at(key) != then.at(key))
      throw Error("--inversion " + path.string() + ": got " + key + " " + now.at(key).dump() +
                  ", expected " + then.at(key).dump() + " as the file was made with." + hint);
  };
  require_same("prompts", InversionFile::edit_hint);
  for (const auto& [key, value] : now.items())
    if (!free.contains(key) && !(key == "count" && request.count == 0)) require_same(key, "");
}

void require_same_model(Generation& generation, const InversionFile& file, const fs::path& path) {
  const std::string where = "--inversion " + path.string();
  if (!file.parts.empty()) generation.parts = begin_part_hashes(generation.request);
  if (file.model_hash != generation.model.hash.get())
    throw Error(where + ": got the model " + generation.model.file + " (hash " +
                generation.model.hash.get() + "), expected " + file.model_file + " (hash " +
                file.model_hash + "), which the file was made with. Name it with --model.");
  require_inputs(lasting_inputs(file.inputs, path.string()), generation.inputs, where, "the file");
  if (!file.parts.empty()) require_inputs(file.parts, generation.parts.get(), where, "the file");
}

void require_same_run(const Generation& generation, const InversionFile& file,
                      const fs::path& path) {
  const std::string where = "--inversion " + path.string();
  if (!at::equal(file.levels, levels_of(generation.trajectory)))
    throw Error(where +
                ": got another noise schedule from the model's config, expected the one "
                "that the file was made with.");
  const Tensor& latents = file.state.latents;
  const ImageSize size = latent_size(generation);
  if (latents.size(1) != generation.model.network->out_channels() ||
      latents.size(2) != size.height || latents.size(3) != size.width)
    throw Error(where + ": got latents of another shape than the model's, expected " +
                std::to_string(generation.model.network->out_channels()) + " channels of " +
                to_text(size) + ".");
  if (generation.sampler->inverse.pairs && !file.state.partner.defined())
    throw Error(where + ": got no tensor `partner`, expected it: sampler " +
                generation.sampler->name + " keeps a pair of states.");
  if (generation.sampler->inverse.draws && !file.state.record.defined() &&
      file.state.level < generation.trajectory.steps())
    throw Error(where + ": got no tensor `record`, expected it: sampler " +
                generation.sampler->name + " keeps the noise of each step.");
}

bool is_exact_from(const Generation& generation, const InversionState& state) {
  const Inverse& inverse = generation.sampler->inverse;
  const bool from_image = state.level == generation.trajectory.steps();
  return inverse.exact && at::isIntegralType(state.latents.scalar_type(), false) &&
         !(from_image && (inverse.record_is_the_images || inverse.draws));
}

std::optional<bool> came_back(const Generation& generation, const Tensor& latents) {
  const InversionFile* file = generation.inversion.get();
  if (!file || file->target.empty() || !is_exact_from(generation, file->state)) return std::nullopt;
  return tensor_hash(as_stored(latents, file->state)) == file->target;
}

}  // namespace tiller
