#include "tools/request.h"

#include <sstream>

#include "io/error.h"
#include "io/file.h"

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

/// "512" or "768x512", width first.
ImageSize size_from(const std::string& flag, const std::string& text) {
  const auto number = [&](const std::string& digits) {
    return whole_from(flag, digits, 1, most_pixels,
                      "a size such as 512 or 768x512 (width x height)");
  };
  const size_t cross = text.find('x');
  if (cross == std::string::npos) return {number(text), number(text)};
  return {number(text.substr(cross + 1)), number(text.substr(0, cross))};
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::vector<std::string> lines;
  std::istringstream text(read_file(file, size_t{1} << 26));
  for (std::string line; std::getline(text, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  if (lines.empty()) throw Error(file.string() + ": got no lines, expected a prompt on each.");
  return lines;
}

void apply_prompts(const Flags& flags, GenerateRequest& request) {
  if (!flags.has("prompt") && !flags.has("prompt-file")) return;
  request.text.prompts = flags.all("prompt");
  if (flags.has("prompt-file"))
    for (auto& line : lines_of(flags.text("prompt-file")))
      request.text.prompts.push_back(std::move(line));
  request.count = 0;
}

void apply_text(const Flags& flags, TextRequest& text) {
  text.negative = flags.text("negative-prompt", text.negative);
  text.negative_given = text.negative_given || flags.has("negative-prompt");
  if (flags.has("plain-prompt")) text.plain = true;
  text.clip_skip = flags.integer("clip-skip", 0, 64, text.clip_skip);
  if (flags.has("original-size"))
    text.original = size_from("original-size", flags.text("original-size"));
  if (flags.has("target-size")) text.target = size_from("target-size", flags.text("target-size"));
  if (flags.has("crop")) {
    const std::string crop = flags.text("crop");
    const size_t comma = std::min(crop.find(','), crop.size() - 1);
    const std::string expected = "top and left in pixels, such as 0,128";
    text.crop_top = whole_from("crop", crop.substr(0, comma), 0, most_pixels, expected);
    text.crop_left = whole_from("crop", crop.substr(comma + 1), 0, most_pixels, expected);
  }
  text.aesthetic_score = flags.number("aesthetic-score", 0, 10, text.aesthetic_score);
  text.negative_aesthetic_score =
      flags.number("negative-aesthetic-score", 0, 10, text.negative_aesthetic_score);
}

void apply_image(const Flags& flags, ImageRequest& image) {
  image.init_image = flags.text("init-image", image.init_image);
  image.mask = flags.text("mask", image.mask);
  image.strength = flags.number("strength", 0, 1, image.strength);
  if (image.init_image.empty() && (!image.mask.empty() || flags.has("strength")))
    throw UsageError(std::string(image.mask.empty() ? "--strength" : "--mask") +
                     ": got no --init-image with it, expected the image to change.");
}

/// Calls visit(key, field) for every field.
template <class Request, class Visit>
void visit_fields(Request& request, Visit visit) {
  visit("model", request.model);
  visit("classes", request.classes);
  visit("seed", request.seed);
  visit("count", request.count);
  visit("batch", request.batch);
  visit("height", request.size.height);
  visit("width", request.size.width);
  visit("steps", request.steps);
  visit("respacing", request.respacing);
  visit("sampler", request.sampler);
  visit("guidance", request.guidances);
  visit("compare", request.compare);
  visit("columns", request.columns);
  visit("prompts", request.text.prompts);
  visit("negative_prompt", request.text.negative);
  visit("negative_given", request.text.negative_given);
  visit("plain_prompt", request.text.plain);
  visit("clip_skip", request.text.clip_skip);
  visit("original_height", request.text.original.height);
  visit("original_width", request.text.original.width);
  visit("target_height", request.text.target.height);
  visit("target_width", request.text.target.width);
  visit("crop_top", request.text.crop_top);
  visit("crop_left", request.text.crop_left);
  visit("aesthetic_score", request.text.aesthetic_score);
  visit("negative_aesthetic_score", request.text.negative_aesthetic_score);
  visit("init_image", request.image.init_image);
  visit("mask", request.image.mask);
  visit("strength", request.image.strength);
  visit("control", request.control.nets);
  visit("control_images", request.control.images);
  visit("ip_adapter", request.control.adapter);
  visit("ip_images", request.control.adapter_images);
  visit("ip_scale", request.control.adapter_scale);
  visit("image_encoder", request.control.image_encoder);
  visit("vae_tiling", request.vae_tiling);
  visit("strict_diffusers", request.strict_diffusers);
  visit("low_memory", request.low_memory);
  visit("embedded_guidance", request.embedded_guidance);
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
      {"prompt", "TEXT", "what to draw; repeats, in turn; weights as (a:1.2), [b], BREAK"},
      {"negative-prompt", "TEXT", "what cfg steers away from; default empty"},
      {"size", "N|WxH", "in pixels; default: the model's"},
      {"steps", "N", "sampling steps; default 30"},
      {"respacing", "TEXT", "guided-diffusion's, in place of --steps: ddim10, 25, 10,15,20",
       Flag::rare},
      {"sampler", "NAME[:key=value,...]", "default: the model's, or ddim; `tiller list samplers`"},
      {"guidance", "NAME[:key=value,...]",
       "repeats; several joined by ' + '; `tiller list guidances`"},
      {"compare", "GUIDANCE", "repeats: a grid, a row for each ('none' too), a column a seed"},
      {"clip-denoised", "", "clamp each step's x_0 to [-1, 1], as guided-diffusion does",
       Flag::rare},
      {"init-image", "FILE", "begin with this image, and change it by --strength"},
      {"mask", "FILE", "change the init image only where this one is white"},
      {"strength", "X", "share of the steps taken on an init image; default 0.8"},
      {"control", "DIR[:scale=1,...]", "a ControlNet; repeats; also from=0,to=1 (shares of steps)"},
      {"control-image", "[canny:]FILE", "what it reads, one each; canny: draws a photo's edges"},
      {"ip-adapter", "FILE", "an IP-Adapter, which reads --ip-image beside the prompt"},
      {"ip-image", "FILE", "the image that it reads; repeats", Flag::rare},
      {"ip-scale", "X", "its strength; default 0.6", Flag::rare},
      {"image-encoder", "DIR", "CLIP's, for it; default: image_encoder/ near its file", Flag::rare},
      {"prompt-file", "FILE", "a prompt on each line, in turn", Flag::rare},
      {"plain-prompt", "", "read prompts as diffusers does: no weights, 77 tokens", Flag::rare},
      {"clip-skip", "N", "leave out the text encoder's last N layers", Flag::rare},
      {"original-size", "WxH", "SDXL's micro-conditioning; default: the size", Flag::rare},
      {"target-size", "WxH", "SDXL's micro-conditioning; default: the size", Flag::rare},
      {"crop", "TOP,LEFT", "SDXL's micro-conditioning; default 0,0", Flag::rare},
      {"aesthetic-score", "X", "SDXL refiner's; default 6", Flag::rare},
      {"negative-aesthetic-score", "X", "SDXL refiner's, for cfg; default 2.5", Flag::rare},
      {"embedded-guidance", "X", "scale told to a network distilled with one; default 8.5",
       Flag::rare},
      {"vae-tiling", "", "encode and decode in tiles: less memory for large images", Flag::rare},
      {"low-memory", "", "keep on the device only the network in use", Flag::rare},
      {"strict-diffusers", "", "reproduce diffusers' known bugs in schedules", Flag::rare},
      {"share", "on|off", "evaluate once what branches have in common; default on", Flag::rare},
      {"device", "auto|cpu|cuda[:N]", "default auto"},
      {"dtype", "TYPE", "float32, float16 or bfloat16; default float32, on CUDA float16"},
      {"threads", "N", "CPU threads; default: one a core", Flag::rare}};
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
  apply_prompts(flags, request);
  apply_text(flags, request.text);
  apply_image(flags, request.image);
  apply_control_flags(flags, request.control);
  if (flags.has("size")) request.size = size_from("size", flags.text("size"));
  if (flags.has("steps")) request.respacing.clear();
  request.steps = flags.integer("steps", 1, most_steps, request.steps);
  request.respacing = flags.text("respacing", request.respacing);
  request.sampler = flags.text("sampler", request.sampler);
  apply_guidance(flags, request);
  if (flags.has("clip-denoised")) request.clip_denoised = true;
  request.embedded_guidance = flags.number("embedded-guidance", 0, 1000, request.embedded_guidance);
  if (flags.has("strict-diffusers")) request.strict_diffusers = true;
  if (flags.has("vae-tiling")) request.vae_tiling = true;
  if (flags.has("low-memory")) request.low_memory = true;
  request.share = flags.choice("share", {"on", "off"}, request.share ? "on" : "off") == "on";
  request.device = flags.text("device", request.device);
  request.dtype = flags.choice("dtype", {"auto", "float32", "float16", "bfloat16"}, request.dtype);
  request.threads = flags.integer("threads", 1, most_threads, request.threads);
}

std::string to_text(const ImageSize& size) {
  return std::to_string(size.width) + "x" + std::to_string(size.height);
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
  for (const int64_t pixels : {request.size.height, request.size.width})
    within("size", pixels, 0, most_pixels);
  within("steps", request.steps, 1, most_steps);
  within("threads", request.threads, 0, most_threads);
  return request;
}

}  // namespace tiller
