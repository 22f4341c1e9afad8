#include "tools/controls.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "io/canny.h"
#include "io/error.h"
#include "io/image.h"
#include "models/control_net_file.h"
#include "models/ip_adapter_file.h"
#include "models/t2i_adapter.h"
#include "tools/generation.h"

namespace tiller {
namespace {

void require_text_to_image(const Generation& generation) {
  const ControlRequest& request = generation.request.control;
  if (generation.model.text || (request.nets.empty() && request.adapters.empty())) return;
  throw UsageError((request.nets.empty() ? "--ip-adapter: got " + request.adapters.front()
                                         : "--control: got " + request.nets.front()) +
                   ", expected none: the model isn't of the Stable Diffusion family.");
}

/// (1, 3, H, W) in [0, 1].
Tensor read_map(const std::string& text, const ImageSize& size) {
  const ControlImage chosen = control_image(text);
  Tensor image = covering(read_image(chosen.file), size);
  if (chosen.canny) image = canny(image[0].round().to(at::kByte)).unsqueeze(0);
  return image.to(at::kFloat) / 255;
}

Control load_control(const Generation& generation, const std::string& net,
                     const std::string& image) {
  const c10::InferenceMode inference;
  const ControlChoice choice = control_choice(net);
  Control control;
  control.scale = choice.scale;
  control.from = choice.from;
  control.to = choice.to;
  const Tensor map = read_map(image, generation.request.size);
  if (is_t2i_adapter(choice.path)) {
    control.features = t2i_features(choice.path, map, generation.dtype, generation.device);
    return control;
  }
  control.net =
      load_control_net(choice.path, generation.model.config, generation.dtype, generation.device);
  if (control.net->pixel_scale() != generation.model.pixel_scale)
    throw Error(choice.path + ": got a ControlNet for images " +
                std::to_string(control.net->pixel_scale()) + " times the latents' size, expected " +
                std::to_string(generation.model.pixel_scale) + " times.");
  control.hint = control.net->embed(map);
  return control;
}

/// Where image encoders usually lie, from the most to the least likely.
std::vector<fs::path> usual_encoders(const Generation& generation, const fs::path& adapter) {
  const fs::path beside = adapter.parent_path();
  const fs::path model = generation.request.model;
  std::vector<fs::path> folders = {beside / "image_encoder",
                                   beside / ".." / "models" / "image_encoder"};
  if (fs::is_directory(model)) folders.push_back(model / "image_encoder");
  return folders;
}

struct ImagePrompt {
  ImageAttention attention;
  ImageTokens tokens;
};

ImagePrompt load_adapter(const Generation& generation, const AdapterChoice& choice) {
  LoadedAdapter loaded =
      load_ip_adapter(choice.path, generation.model, generation.dtype, generation.device);
  const ClipVision encoder = load_image_encoder(
      generation.request.control.image_encoder, loaded.projection,
      usual_encoders(generation, choice.path), generation.dtype, generation.device);
  std::vector<Tensor> images;
  for (const auto& file : choice.images) images.push_back(read_image_on_white(file));
  ImagePrompt prompt{std::move(loaded.attention), image_tokens(encoder, loaded.projection, images)};
  prompt.attention.scale = choice.scale;
  prompt.attention.tokens = prompt.tokens.image.size(1);
  return prompt;
}

void load_adapters(const Generation& generation, Controls& controls) {
  const c10::InferenceMode inference;
  IpAdapter adapter;
  std::vector<Tensor> image, nothing;
  for (const auto& choice : adapter_choices(generation.request.control)) {
    ImagePrompt prompt = load_adapter(generation, choice);
    image.push_back(prompt.tokens.image);
    nothing.push_back(prompt.tokens.nothing);
    adapter.parts.push_back(std::move(prompt.attention));
  }
  controls.image = at::cat(image, 1);
  controls.no_image = at::cat(nothing, 1);
  controls.adapter = std::make_shared<const IpAdapter>(std::move(adapter));
}

}  // namespace

void choose_control_size(const ControlRequest& request, ImageSize& size, int64_t multiple) {
  if (request.images.empty() || size != ImageSize{}) return;
  const std::string file = control_image(request.images.front()).file;
  const Tensor image = read_image(file);
  size = {image.size(1) / multiple * multiple, image.size(2) / multiple * multiple};
  if (size.height < 1 || size.width < 1)
    throw UsageError("--control-image: got " + file + " of " +
                     to_text({image.size(1), image.size(2)}) + " pixels, expected at least " +
                     std::to_string(multiple) + " a side.");
}

Controls load_controls(const Generation& generation) {
  require_text_to_image(generation);
  const ControlRequest& request = generation.request.control;
  Controls controls;
  for (size_t i = 0; i < request.nets.size(); ++i)
    controls.nets.push_back(load_control(generation, request.nets[i], request.images[i]));
  if (!request.adapters.empty()) load_adapters(generation, controls);
  return controls;
}

void apply_controls(const Generation& generation, GuidedBatch& batch) {
  const Controls& controls = generation.controls;
  const auto add = [&](Conditioning& conditioning, const Tensor& image) {
    conditioning.controls = controls.nets;
    conditioning.adapter = controls.adapter;
    if (image.defined()) conditioning.image = image.expand({int64_t(batch.seeds.size()), -1, -1});
  };
  add(batch.positive, controls.image);
  if (batch.negative) add(*batch.negative, controls.no_image);
  if (batch.empty) add(*batch.empty, controls.no_image);
}

}  // namespace tiller
