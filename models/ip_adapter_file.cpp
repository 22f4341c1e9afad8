#include "models/ip_adapter_file.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/json.h"
#include "models/diffusers_folder.h"
#include "models/family.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

/// The network's sites in the order in which the file counts its layers: down, up, then the middle.
std::vector<Site> in_file_order(const std::vector<Site>& sites) {
  std::vector<Site> ordered;
  for (const Part part : {Part::down, Part::up, Part::mid})
    for (const auto& site : sites)
      if (site.part == part) ordered.push_back(site);
  return ordered;
}

/// Width of the tokens that the adapter's layers read; throws Error where it has none.
int64_t context_of(const Weights& weights, const std::string& file) {
  const auto shape = weights.shape("ip_adapter.1.to_k_ip.weight");
  if (shape.size() != 2)
    throw Error(file + ": got no ip_adapter.1.to_k_ip.weight, expected an IP-Adapter.");
  return shape[1];
}

void require_family(const std::string& file, int64_t own, int64_t model) {
  if (own == model) return;
  const std::string mine = family_of_context(own), wanted = family_of_context(model);
  if (!mine.empty() && !wanted.empty())
    throw Error(file + ": this IP-Adapter is " + mine + ", the model is " + wanted + ".");
  throw Error(file + ": got an IP-Adapter for cross-attention of width " + std::to_string(own) +
              ", expected the model's " + std::to_string(model) + ".");
}

/// Shapes of the model's keys by the names of their tensors.
std::vector<int64_t> key_shape(const Model& model, const Site& site) {
  const std::string name = site.path + ".attn2.to_k.weight";
  for (const auto& [key, tensor] : model.parameters)
    if (key == name) return tensor.sizes().vec();
  throw Error("model: got no " + name + ", expected one: IP-Adapter acts there.");
}

ImageAttention take_attention(Weights& weights, const Model& model) {
  const auto& sites = model.network->sites();
  ImageAttention adapter;
  adapter.keys.resize(sites.size());
  adapter.values.resize(sites.size());
  int64_t number = 1;
  for (const auto& site : in_file_order(sites)) {
    const auto shape = key_shape(model, site);
    const std::string name = "ip_adapter." + std::to_string(number) + ".to_";
    const auto take = [&](const std::string& part) {
      return take_linear(weights, name + part, shape[1], shape[0], /*bias=*/false);
    };
    adapter.keys[size_t(site.order)] = take("k_ip");
    adapter.values[size_t(site.order)] = take("v_ip");
    number += 2;
  }
  return adapter;
}

/// What the encoder of that config gives the projection.
int64_t given_width(const Json& config, const ImageProjection& projection) {
  const auto inside = config.find("vision_config");
  const Json& own = inside != config.end() && inside->is_object() ? *inside : config;
  const auto found = own.find(projection.resamples() ? "hidden_size" : "projection_dim");
  return found != own.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

fs::path usual_encoder(const std::vector<fs::path>& usual, const ImageProjection& projection) {
  std::vector<std::string> tried;
  for (const auto& folder : usual) {
    tried.push_back(folder.string());
    if (fs::is_regular_file(folder / "config.json") &&
        given_width(read_json_object(folder / "config.json"), projection) ==
            projection.in_channels())
      return folder;
  }
  throw Error("--image-encoder: got none, and no CLIP image encoder of width " +
              std::to_string(projection.in_channels()) + " lies in " + enumerate(tried) +
              ", expected its folder.");
}

}  // namespace

LoadedAdapter load_ip_adapter(const fs::path& path, const Model& model, at::ScalarType dtype,
                              at::Device device) {
  const std::string file = path.string();
  Weights weights(map_tensors(path), file, dtype, device);
  const auto& sites = model.network->sites();
  if (sites.empty()) throw Error(file + ": got a model without cross-attention, expected some.");
  const int64_t context = context_of(weights, file);
  require_family(file, context, key_shape(model, sites.front())[1]);
  ImageProjection projection(weights, file, context);
  ImageAttention attention = take_attention(weights, model);
  weights.finish();
  return {std::move(attention), std::move(projection)};
}

ClipVision load_image_encoder(const fs::path& given, const ImageProjection& projection,
                              const std::vector<fs::path>& usual, at::ScalarType dtype,
                              at::Device device) {
  const fs::path folder = given.empty() ? usual_encoder(usual, projection) : given;
  if (!fs::is_regular_file(folder / "config.json"))
    throw Error("--image-encoder: got " + folder.string() +
                " without config.json, expected the folder of a CLIP image encoder.");
  Component component = component_in(folder, dtype != at::kFloat);
  Weights weights({std::move(component.tensors), {}}, component.file, dtype, device);
  ClipVision encoder(component.config, weights);
  weights.finish();
  const int64_t width = projection.resamples() ? encoder.channels() : encoder.projection();
  if (width != projection.in_channels())
    throw Error("--image-encoder: got " + folder.string() + ", which gives states of width " +
                std::to_string(width) + ", expected the IP-Adapter's " +
                std::to_string(projection.in_channels()) + ".");
  return encoder;
}

ImageTokens image_tokens(const ClipVision& encoder, const ImageProjection& projection,
                         const std::vector<Tensor>& images) {
  std::vector<Tensor> tokens;
  for (const auto& image : images)
    tokens.push_back(projection(encoder.encode(clip_pixels(image, encoder.image_size()))));
  const std::vector<Tensor> nothing(images.size(), projection.nothing(encoder));
  return {at::cat(tokens, 1), at::cat(nothing, 1)};
}

}  // namespace tiller
