#include "tools/request.h"

#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t most_images = 1'000'000, most_steps = 1'000'000, most_pixels = 1 << 16,
                  most_threads = 4096;

void apply_guidance(const Flags& flags, GenerateRequest& request) {
  if (flags.has("guidance") && flags.has("compare"))
    throw UsageError(
        "--compare: got --guidance too, expected one of them: each --compare names its guidance.");
  if (!flags.has("guidance") && !flags.has("compare")) return;
  request.guidances = flags.all("guidance");
  request.compare = flags.all("compare");
}

/// Calls visit(key, field) for every field.
template <class Request, class Visit>
void visit_fields(Request& request, Visit visit) {
  visit("model", request.model);
  visit("classes", request.classes);
  visit("seed", request.seed);
  visit("count", request.count);
  visit("batch", request.batch);
  visit("size", request.size);
  visit("steps", request.steps);
  visit("respacing", request.respacing);
  visit("sampler", request.sampler);
  visit("guidance", request.guidances);
  visit("compare", request.compare);
  visit("columns", request.columns);
  visit("clip_denoised", request.clip_denoised);
  visit("share", request.share);
  visit("device", request.device);
  visit("dtype", request.dtype);
  visit("threads", request.threads);
}

}  // namespace

const std::vector<Flag>& request_flags() {
  static const std::vector<Flag> flags = {
      {"model", "DIR|FILE", "the model; default: the one in weights/"},
      {"class", "NAME[,NAME...]", "classes by name or index, in turn; default: every class"},
      {"seed", "N", "image k has seed N + k; default 0"},
      {"count", "N", "images; default 1, or one for each class named"},
      {"batch", "N", "images at a time; default: by size and device"},
      {"size", "N", "height and width; default: the model's"},
      {"steps", "N", "sampling steps; default 30"},
      {"respacing", "TEXT", "guided-diffusion's, in place of --steps: ddim10, 25, 10,15,20"},
      {"sampler", "NAME[:key=value,...]", "default ddim; `tiller list samplers`"},
      {"guidance", "NAME[:key=value,...]",
       "repeats; several joined by ' + '; `tiller list guidances`"},
      {"compare", "GUIDANCE", "repeats: a grid, a row for each ('none' too), a column a seed"},
      {"clip-denoised", "", "clamp each step's x_0 to [-1, 1], as guided-diffusion does"},
      {"share", "on|off", "evaluate once what branches have in common; default on"},
      {"device", "auto|cpu|cuda[:N]", "default auto"},
      {"dtype", "TYPE", "float32, float16 or bfloat16; default float32, on CUDA float16"},
      {"threads", "N", "CPU threads; default: one a core"}};
  return flags;
}

void apply_flags(const Flags& flags, GenerateRequest& request) {
  request.model = flags.text("model", request.model);
  if (flags.has("class")) {
    request.classes = flags.all("class");
    request.count = 0;
  }
  request.seed = flags.seed("seed", request.seed);
  request.count = flags.integer("count", 1, most_images, request.count);
  request.batch = flags.integer("batch", 1, most_images, request.batch);
  request.size = flags.integer("size", 1, most_pixels, request.size);
  if (flags.has("steps")) request.respacing.clear();
  request.steps = flags.integer("steps", 1, most_steps, request.steps);
  request.respacing = flags.text("respacing", request.respacing);
  request.sampler = flags.text("sampler", request.sampler);
  apply_guidance(flags, request);
  if (flags.has("clip-denoised")) request.clip_denoised = true;
  request.share = flags.choice("share", {"on", "off"}, request.share ? "on" : "off") == "on";
  request.device = flags.text("device", request.device);
  request.dtype = flags.choice("dtype", {"auto", "float32", "float16", "bfloat16"}, request.dtype);
  request.threads = flags.integer("threads", 1, most_threads, request.threads);
}

Json to_json(const GenerateRequest& request) {
  Json json;
  visit_fields(request, [&](const char* key, const auto& field) { json[key] = field; });
  return json;
}

GenerateRequest request_from(const Json& json, const std::string& where) {
  GenerateRequest request;
  visit_fields(request, [&]<class Field>(const char* key, Field& field) {
    try {
      field = json.at(key).get<Field>();
    } catch (const nlohmann::json::exception&) {
      throw Error(where + ": got a recipe whose '" + key +
                  "' is missing or of another type, expected one that Tiller wrote.");
    }
  });
  const auto within = [&](const char* key, int64_t number, int64_t low, int64_t high) {
    if (number < low || number > high)
      throw Error(where + ": got a recipe with " + key + " " + std::to_string(number) +
                  ", expected " + std::to_string(low) + " to " + std::to_string(high) + ".");
  };
  within("count", request.count, 0, most_images);
  within("batch", request.batch, 0, most_images);
  within("columns", request.columns, 0, most_images);
  within("size", request.size, 0, most_pixels);
  within("steps", request.steps, 1, most_steps);
  within("threads", request.threads, 0, most_threads);
  return request;
}

}  // namespace tiller
