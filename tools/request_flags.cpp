#include <algorithm>
#include <sstream>

#include "io/error.h"
#include "io/file.h"
#include "tools/request.h"

namespace tiller {
namespace {

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
    return whole_from(flag, digits, 1, RequestLimits::pixels,
                      "a size such as 512 or 768x512 (width x height), at most 65536");
  };
  const size_t cross = text.ends_with('x') ? std::string::npos : text.find('x');
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
    const std::string expected = "top and left in pixels, such as 0,128";
    const size_t comma = crop.find(',');
    if (comma == crop.npos)
      throw UsageError("--crop: got '" + printable(crop) + "', expected " + expected + ".");
    text.crop_top = whole_from("crop", crop.substr(0, comma), 0, RequestLimits::pixels, expected);
    text.crop_left = whole_from("crop", crop.substr(comma + 1), 0, RequestLimits::pixels, expected);
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
  if (flags.has("soft-mask")) image.soft_mask = true;
  if (image.soft_mask && image.mask.empty())
    throw UsageError("--soft-mask: got no --mask with it, expected a gray one.");
}

void apply_adapters(const Flags& flags, AdapterRequest& adapters) {
  adapters.config = flags.text("config", adapters.config);
  adapters.unet = flags.text("unet", adapters.unet);
  adapters.vae = flags.text("vae", adapters.vae);
  adapters.taesd = flags.text("taesd", adapters.taesd);
  if (flags.has("prediction-type"))
    adapters.prediction_type = flags.choice(
        "prediction-type", {"epsilon", "v_prediction", "sample", "flow", "rectified_flow"}, "");
  if (flags.has("lora")) adapters.loras = flags.all("lora");
  if (flags.has("textual-inversion")) adapters.textual_inversions = flags.all("textual-inversion");
}

}  // namespace

const std::vector<Flag>& request_flags() {
  static const std::vector<Flag> flags = {
      {"model", "DIR|FILE", "the model; default: the one in weights/"},
      {"class", "NAME[,NAME...]", "classes by name or index, in turn; default: every class",
       Flag::common, true},
      {"seed", "N", "image k has seed N + k; default 0"},
      {"count", "N", "images; default 1, or one for each class named"},
      {"batch", "N", "images at a time; default: by size and device"},
      {"prompt", "TEXT", "what to draw; repeats, in turn; weights as (a:1.2), [b], BREAK",
       Flag::common, true},
      {"negative-prompt", "TEXT", "what cfg steers away from; default empty"},
      {"size", "N|WxH", "in pixels; default: the model's"},
      {"steps", "N", "sampling steps; default 30"},
      {"respacing", "TEXT", "guided-diffusion's, in place of --steps: ddim10, 25, 10,15,20",
       Flag::rare},
      {"sampler", "NAME[:key=value,...]", "default: the model's, or ddim; `tiller list samplers`"},
      {"guidance", "NAME[:key=value,...]",
       "repeats; several joined by ' + '; `tiller list guidances`", Flag::common, true},
      {"compare", "GUIDANCE", "repeats: a grid, a row for each ('none' too), a column a seed",
       Flag::common, true},
      {"cache", "NAME[:key=value,...]", "reuse features between steps; `tiller list caches`"},
      {"clip-denoised", "", "clamp each step's x_0 to [-1, 1], as guided-diffusion does",
       Flag::rare},
      {"init-image", "FILE", "an image to change by --strength, or that InstructPix2Pix edits"},
      {"mask", "FILE", "change the init image only where this one is white"},
      {"soft-mask", "", "gray of --mask: changed in so many of the last steps", Flag::rare},
      {"strength", "X", "share of the steps taken on an init image; default 0.8"},
      {"control", "DIR[:scale=1,...]",
       "a ControlNet or T2I-Adapter; repeats; from=0,to=1: when it acts", Flag::common, true},
      {"control-image", "[canny:]FILE", "what it reads, one each; canny: draws a photo's edges",
       Flag::common, true},
      {"ip-adapter", "FILE[:scale=X]", "an IP-Adapter, which reads --ip-image; repeats",
       Flag::common, true},
      {"ip-image", "FILE[,FILE...]", "what it reads; repeats: of several adapters one each",
       Flag::rare, true},
      {"ip-scale", "X", "strength of those that name none; default 0.6", Flag::rare},
      {"image-encoder", "DIR", "CLIP's, for it; default: image_encoder/ near its file", Flag::rare},
      {"lora", "FILE[:WEIGHT]", "repeats: a LoRA, DoRA, LoHa or LoKr, merged; default weight 1",
       Flag::rare, true},
      {"textual-inversion", "FILE[:TOKEN]",
       "repeats: a word for prompts; default: the file's token, else its name", Flag::rare, true},
      {"unet", "DIR|FILE", "another UNet, of diffusers or in a single file", Flag::rare},
      {"vae", "DIR|FILE", "another VAE, of diffusers, in a single file or a TAESD", Flag::rare},
      {"taesd", "DIR|FILE", "decode by a TAESD, fast and rough; with --vae: previews only",
       Flag::rare},
      {"config", "DIR", "diffusers' configs and tokenizers for a model in one file", Flag::rare},
      {"prediction-type", "TYPE",
       "epsilon, v_prediction, sample, flow or rectified_flow; default: the model's", Flag::rare},
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
      {"low-memory", "", "keep on the device only the part in use; free text encoders", Flag::rare},
      {"fp8", "", "attention and feed-forward layers of the UNet in 8-bit floats, on Hopper fast",
       Flag::rare},
      {"strict-diffusers", "", "reproduce diffusers' known bugs in schedules", Flag::rare},
      {"rng", "cpu|nv", "random numbers of PyTorch's CPU, or of its CUDA (A1111's NV); default cpu",
       Flag::rare},
      {"share", "on|off", "evaluate once what branches have in common; default on", Flag::rare},
      {"graphs", "on|off", "on a GPU, record an evaluation's kernels and replay them; default on",
       Flag::rare},
      {"device", "auto|cpu|cuda[:N]", "default auto"},
      {"dtype", "TYPE", "float32, float16 or bfloat16; default float32, on CUDA float16"},
      {"threads", "N", "CPU threads; default: one a core, no more than a container may use",
       Flag::rare}};
  return flags;
}

std::vector<Flag> request_flags_but(const std::set<std::string>& left_out,
                                    const std::vector<Flag>& own) {
  std::vector<Flag> flags;
  for (const auto& flag : request_flags()) {
    if (left_out.contains(flag.name)) continue;
    const auto other = std::ranges::find(own, flag.name, &Flag::name);
    flags.push_back(other == own.end() ? flag : *other);
  }
  return flags;
}

void apply_flags(const Flags& flags, GenerateRequest& request) {
  request.model = flags.text("model", request.model);
  if (flags.has("class")) {
    request.classes = flags.all("class");
    request.count = 0;
  }
  apply_prompts(flags, request);
  request.seed = flags.seed("seed", request.seed);
  request.count = flags.integer("count", 1, RequestLimits::images, request.count);
  request.batch = flags.integer("batch", 1, RequestLimits::images, request.batch);
  apply_text(flags, request.text);
  apply_image(flags, request.image);
  apply_adapters(flags, request.adapters);
  apply_control_flags(flags, request.control);
  if (flags.has("size")) request.size = size_from("size", flags.text("size"));
  if (flags.has("steps")) request.respacing.clear();
  request.steps = flags.integer("steps", 1, RequestLimits::steps, request.steps);
  request.respacing = flags.text("respacing", request.respacing);
  request.sampler = flags.text("sampler", request.sampler);
  apply_guidance(flags, request);
  request.cache = flags.text("cache", request.cache);
  if (flags.has("clip-denoised")) request.clip_denoised = true;
  request.rng = flags.choice("rng", {"cpu", "nv"}, request.rng);
  request.embedded_guidance = flags.number("embedded-guidance", 0, 1000, request.embedded_guidance);
  if (flags.has("strict-diffusers")) request.strict_diffusers = true;
  if (flags.has("vae-tiling")) request.vae_tiling = true;
  if (flags.has("low-memory")) request.low_memory = true;
  if (flags.has("fp8")) request.fp8 = true;
  request.share = flags.choice("share", {"on", "off"}, request.share ? "on" : "off") == "on";
  request.graphs = flags.choice("graphs", {"on", "off"}, request.graphs ? "on" : "off") == "on";
  request.device = flags.text("device", request.device);
  request.dtype = flags.choice("dtype", {"auto", "float32", "float16", "bfloat16"}, request.dtype);
  request.threads = flags.integer("threads", 1, RequestLimits::threads, request.threads);
}

}  // namespace tiller
