#include "tools/inversion_file.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <set>

#include "io/error.h"
#include "io/hash.h"
#include "io/safetensors.h"
#include "tools/program.h"

namespace tiller {
namespace {

constexpr const char* format = "tiller-inversion-1";

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

[[noreturn]] void refuse(const fs::path& path, const std::string& got) {
  throw Error(path.string() + ": got " + got + ", expected a file that `tiller invert` wrote.");
}

Tensor take(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [other, tensor] : tensors)
    if (other == name) return tensor;
  return {};
}

bool is_finite(const Tensor& x) {
  return !at::isFloatingType(x.scalar_type()) || x.isfinite().all().item<bool>();
}

void check_states(const InversionFile& file, const fs::path& path) {
  const InversionState& state = file.state;
  if (!state.latents.defined() || !file.levels.defined()) refuse(path, "no latents and levels");
  if (state.latents.dim() != 4 || state.latents.size(0) != int64_t(file.images.size()))
    refuse(path, "latents of another shape");
  for (const Tensor& other : {state.partner, state.side})
    if (other.defined() && other.sizes() != state.latents.sizes())
      refuse(path, "states of different shapes");
  for (const Tensor& part : {state.latents, state.partner, state.record})
    if (part.defined() && !is_finite(part)) refuse(path, "latents that aren't numbers");
  for (const Tensor& part : {state.latents, state.partner})
    if (part.defined() && part.scalar_type() != at::kInt && part.scalar_type() != at::kLong &&
        !at::isFloatingType(part.scalar_type()))
      refuse(path, "latents of another type");
  if (state.side.defined() &&
      (!at::isIntegralType(state.side.scalar_type(), false) || state.side.lt(0).any().item<bool>()))
    refuse(path, "side digits of another type");
  if (state.record.defined() &&
      (state.record.dim() < 2 || state.record.size(1) != state.latents.size(0)))
    refuse(path, "a record of another shape");
  if (file.levels.dim() != 2 || file.levels.size(1) != 3 ||
      file.levels.scalar_type() != at::kDouble || state.level < 0 ||
      state.level >= file.levels.size(0))
    refuse(path, "levels of another shape");
}

InversionFile parsed(const TensorFile& file, const fs::path& path) {
  const Json json = Json::parse(file.metadata.at("tiller"));
  InversionFile inversion;
  inversion.request = request_from(json.at("request"), path.string());
  inversion.model_file = json.at("model").at("file").get<std::string>();
  inversion.model_hash = json.at("model").at("hash").get<std::string>();
  inversion.inputs = json.at("inputs").get<std::map<std::string, std::string>>();
  inversion.request.threads = json.at("threads").get<int64_t>();
  inversion.target = json.at("target").get<std::string>();
  for (const auto& image : json.at("images"))
    inversion.images.push_back({image.at("seed").get<uint64_t>(), image.at("label").get<int64_t>(),
                                image.at("prompt").get<std::string>()});
  inversion.state.level = json.at("level").get<int>();
  inversion.state.latents = take(file.tensors, "latents");
  inversion.state.partner = take(file.tensors, "partner");
  inversion.state.side = take(file.tensors, "side");
  inversion.state.record = take(file.tensors, "record");
  inversion.levels = take(file.tensors, "levels");
  check_states(inversion, path);
  if (inversion.state.side.defined()) inversion.state.side = inversion.state.side.to(at::kLong);
  return inversion;
}

}  // namespace

std::string latents_hash(const Tensor& latents) {
  const Tensor bytes = latents.to(at::kCPU).contiguous();
  return sha256_of({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
}

void write_inversion(const fs::path& path, const Generation& generation,
                     const InversionState& state, const Tensor& target) {
  const Json json = {
      {"version", version()},
      {"model", {{"file", generation.model.file}, {"hash", generation.model.hash.get()}}},
      {"inputs", generation.inputs},
      {"request", to_json(generation.request)},
      {"images", images_json(generation.images)},
      {"level", state.level},
      {"threads", at::get_num_threads()},
      {"target", generation.sampler->inverse.exact ? latents_hash(target) : ""}};
  NamedTensors tensors = {{"latents", state.latents}};
  if (state.partner.defined()) tensors.emplace_back("partner", state.partner);
  if (const Tensor side = narrowed(state.side); side.defined()) tensors.emplace_back("side", side);
  if (state.record.defined()) tensors.emplace_back("record", state.record);
  tensors.emplace_back("levels", levels_of(generation.trajectory));
  save_safetensors(path, tensors, {{"format", format}, {"tiller", json.dump()}});
}

InversionFile read_inversion(const fs::path& path) {
  const TensorFile file = load_safetensors(path);
  const auto found = file.metadata.find("format");
  if (found == file.metadata.end() || found->second != format || !file.metadata.contains("tiller"))
    refuse(path, "tensors without an inversion's recipe");
  try {
    return parsed(file, path);
  } catch (const nlohmann::json::exception&) {
    refuse(path, "a damaged recipe");
  }
}

void require_same_request(const GenerateRequest& request, const InversionFile& file,
                          const fs::path& path) {
  static const std::set<std::string> free = {"model", "inversion", "threads", "columns"};
  const Json now = to_json(request), then = to_json(file.request);
  for (const auto& [key, value] : now.items())
    if (!free.contains(key) && value != then.at(key))
      throw Error("--inversion " + path.string() + ": got " + key + " " + value.dump() +
                  ", expected " + then.at(key).dump() +
                  " as the file was made with. `tiller edit` changes what an image shows.");
}

void require_same_run(const Generation& generation, const InversionFile& file,
                      const fs::path& path) {
  const std::string where = "--inversion " + path.string();
  if (file.model_hash != generation.model.hash.get())
    throw Error(where + ": got the model " + generation.model.file + " (hash " +
                generation.model.hash.get() + "), expected " + file.model_file + " (hash " +
                file.model_hash + "), which the file was made with. Name it with --model.");
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
}

}  // namespace tiller
