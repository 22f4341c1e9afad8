#include "tools/request.h"

#include "io/error.h"

namespace tiller {
namespace {

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
  visit("scheduled_prompts", request.text.scheduled);
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
  visit("soft_mask", request.image.soft_mask);
  visit("attention_effects", request.words.effects);
  visit("attention_effect_every", request.words.effect_every);
  visit("control", request.control.nets);
  visit("control_images", request.control.images);
  visit("ip_adapters", request.control.adapters);
  visit("ip_images", request.control.adapter_images);
  visit("ip_scale", request.control.adapter_scale);
  visit("image_encoder", request.control.image_encoder);
  visit("vae_tiling", request.vae_tiling);
  visit("config", request.adapters.config);
  visit("unet", request.adapters.unet);
  visit("vae", request.adapters.vae);
  visit("taesd", request.adapters.taesd);
  visit("prediction_type", request.adapters.prediction_type);
  visit("loras", request.adapters.loras);
  visit("textual_inversions", request.adapters.textual_inversions);
  visit("strict_diffusers", request.strict_diffusers);
  visit("low_memory", request.low_memory);
  visit("fp8", request.fp8);
  visit("embedded_guidance", request.embedded_guidance);
  visit("clip_denoised", request.clip_denoised);
  visit("rng", request.rng);
  visit("inversion", request.inversion);
  visit("share", request.share);
  visit("graphs", request.graphs);
  visit("parallel", request.parallel);
  visit("cache", request.cache);
  visit("device", request.device);
  visit("dtype", request.dtype);
  visit("threads", request.threads);
}

/// What older recipes don't have.
const std::set<std::string> later_keys = {"inversion", "rng", "parallel", "cache",
                                          "graphs",    "fp8", "unet",     "scheduled_prompts",
                                          "soft_mask"};

/// Older recipes name one IP-Adapter or "".
Json with_list_of_adapters(Json json) {
  const auto one = json.find("ip_adapter");
  if (one == json.end() || !one->is_string()) return json;
  json["ip_adapters"] = one->get<std::string>().empty() ? Json::array() : Json::array({*one});
  return json;
}

}  // namespace

std::string to_text(const ImageSize& size) {
  return std::to_string(size.width) + "x" + std::to_string(size.height);
}

Json to_json(const GenerateRequest& request) {
  Json json;
  visit_fields(request, [&](const char* key, const auto& field) { json[key] = field; });
  return json;
}

GenerateRequest request_from(const Json& recipe, const std::string& where) {
  const Json json = with_list_of_adapters(recipe);
  GenerateRequest request;
  visit_fields(request, [&]<class Field>(const char* key, Field& field) {
    if (later_keys.contains(key) && !json.contains(key)) return;
    try {
      field = json.at(key).get<Field>();
    } catch (const nlohmann::json::exception&) {
      throw Error(where + ": got a recipe whose '" + key +
                  "' is missing or of another type, expected one that Tiller wrote.");
    }
  });
  const auto within = [&]<class Number>(const char* key, Number number, auto low, auto high) {
    if (!(number >= Number(low) && number <= Number(high)))
      throw Error(where + ": got a recipe with " + key + " " + Json(number).dump() + ", expected " +
                  std::to_string(low) + " to " + std::to_string(high) + ".");
  };
  within("count", request.count, 0, RequestLimits::images);
  within("batch", request.batch, 0, RequestLimits::images);
  within("columns", request.columns, 0, RequestLimits::images);
  const bool sized = request.size.height || request.size.width;
  for (const int64_t pixels : {request.size.height, request.size.width})
    within("size", pixels, sized, RequestLimits::pixels);
  const TextRequest& text = request.text;
  for (const int64_t pixels : {text.original.height, text.original.width, text.target.height,
                               text.target.width, text.crop_top, text.crop_left})
    within("a size or crop", pixels, 0, RequestLimits::pixels);
  within("steps", request.steps, 1, RequestLimits::steps);
  within("threads", request.threads, 0, RequestLimits::threads);
  within("strength", request.image.strength, 0, 1);
  within("aesthetic_score", text.aesthetic_score, 0, 10);
  within("negative_aesthetic_score", text.negative_aesthetic_score, 0, 10);
  within("embedded_guidance", request.embedded_guidance, 0, 1000);
  within("attention_effect_every", request.words.effect_every, 1, RequestLimits::steps);
  for (const auto& prompt : text.prompts) require_readable(prompt, where);
  require_readable(text.negative, where);
  random_numbers(request);
  return request;
}

void require_readable(const std::string& prompt, const std::string& where) {
  if (std::ssize(prompt) > RequestLimits::prompt_bytes)
    throw Error(where + ": got a recipe with a prompt of " + std::to_string(prompt.size()) +
                " bytes, expected at most " + std::to_string(RequestLimits::prompt_bytes) + ".");
}

RandomNumbers random_numbers(const GenerateRequest& request) {
  if (request.rng == "cpu") return RandomNumbers::cpu;
  if (request.rng == "nv") return RandomNumbers::nv;
  throw UsageError("--rng: got '" + printable(request.rng) + "', expected cpu or nv.");
}

}  // namespace tiller
