#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "tools/inversion_file.h"

namespace tiller {
namespace {

[[noreturn]] void refuse(const fs::path& path, const std::string& got) {
  throw Error(path.string() + ": got " + got + ", expected a file that `tiller invert` wrote.");
}

Tensor take(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [other, tensor] : tensors)
    if (other == name) return tensor;
  return {};
}

bool is_number_type(at::ScalarType type, std::initializer_list<at::ScalarType> others) {
  const auto floats = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16};
  return std::ranges::find(floats, type) != floats.end() ||
         std::ranges::find(others, type) != others.end();
}

void check_numbers(const InversionState& state, const fs::path& path) {
  for (const Tensor& part : {state.latents, state.partner, state.record}) {
    if (!part.defined()) continue;
    if (!is_number_type(part.scalar_type(), {at::kInt, at::kLong}))
      refuse(path, "latents of another type");
    if (at::isFloatingType(part.scalar_type()) && !part.isfinite().all().item<bool>())
      refuse(path, "latents that aren't numbers");
  }
  if (!state.side.defined()) return;
  const auto digits = {at::kByte, at::kShort, at::kInt, at::kLong};
  if (std::ranges::find(digits, state.side.scalar_type()) == digits.end() ||
      state.side.lt(0).any().item<bool>())
    refuse(path, "side digits of another type");
}

void check_states(const InversionFile& file, const fs::path& path) {
  const InversionState& state = file.state;
  if (!state.latents.defined() || !file.levels.defined()) refuse(path, "no latents and levels");
  if (state.latents.dim() != 4 || state.latents.numel() == 0 ||
      state.latents.size(0) != int64_t(file.images.size()))
    refuse(path, "latents of another shape");
  for (const Tensor& other : {state.partner, state.side})
    if (other.defined() && other.sizes() != state.latents.sizes())
      refuse(path, "states of different shapes");
  check_numbers(state, path);
  if (state.record.defined() &&
      (state.record.dim() < 2 || state.record.size(1) != state.latents.size(0)))
    refuse(path, "a record of another shape");
  if (file.levels.dim() != 2 || file.levels.size(1) != 3 ||
      file.levels.scalar_type() != at::kDouble || state.level < 0 ||
      state.level >= file.levels.size(0))
    refuse(path, "levels of another shape");
}

InversionFile parsed(const TensorFile& file, const fs::path& path) {
  const Json json = parse_json<Json>(file.metadata.at("tiller"));
  InversionFile inversion;
  inversion.request = request_from(json.at("request"), path.string());
  inversion.model_file = json.at("model").at("file").get<std::string>();
  inversion.model_hash = json.at("model").at("hash").get<std::string>();
  inversion.parts = json.at("model").value("parts", std::map<std::string, std::string>());
  inversion.inputs = json.at("inputs").get<std::map<std::string, std::string>>();
  inversion.request.threads = json.at("threads").get<int64_t>();
  if (inversion.request.threads < 1 || inversion.request.threads > RequestLimits::threads)
    refuse(path, std::to_string(inversion.request.threads) + " threads");
  inversion.target = json.at("target").get<std::string>();
  for (const auto& image : json.at("images"))
    inversion.images.push_back({image.at("seed").get<uint64_t>(), image.at("label").get<int64_t>(),
                                image.at("prompt").get<std::string>()});
  for (const auto& image : inversion.images) require_readable(image.prompt, path.string());
  const int64_t level = json.at("level").get<int64_t>();
  if (level < 0 || level > RequestLimits::steps) refuse(path, "level " + std::to_string(level));
  inversion.state.level = int(level);
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

InversionFile read_inversion(const fs::path& path) {
  const TensorFile file = load_safetensors(path);
  const auto found = file.metadata.find("format");
  if (found == file.metadata.end() || found->second != InversionFile::format ||
      !file.metadata.contains("tiller"))
    refuse(path, "tensors without an inversion's recipe");
  try {
    return parsed(file, path);
  } catch (const nlohmann::json::exception&) {
    refuse(path, "a damaged recipe");
  }
}

}  // namespace tiller
