#include "models/latent_adm.h"

#include "io/error.h"
#include "io/json.h"
#include "models/diffusers_folder.h"
#include "models/text_to_image.h"

namespace tiller {
namespace {

constexpr const char* kVae = "vae";

}  // namespace

fs::path vae_of_config(const nlohmann::json& config, const std::string& file) {
  const auto found = config.find(kVae);
  if (found == config.end()) return {};
  if (!found->is_string() || found->get<std::string>().empty())
    throw Error(file + ": vae: got " + printable(found->dump()) +
                ", expected the folder of an autoencoder.");
  return found->get<std::string>();
}

fs::path vae_of_model(const fs::path& model) {
  const fs::path folder = fs::is_directory(model) ? model : model.parent_path();
  const fs::path file = folder / "config.json";
  if (!fs::is_regular_file(file)) return {};
  const fs::path vae = vae_of_config(read_json_object(file), file.string());
  if (vae.empty()) return {};
  if (vae.has_parent_path() || vae == ".." || !fs::is_directory(folder / vae))
    throw Error(file.string() + ": vae: got '" + printable(vae.string()) +
                "', expected the name of a folder beside it.");
  return folder / vae;
}

void use_vae(Model& model, std::shared_ptr<Autoencoder> vae) {
  if (vae->channels() != model.network->in_channels())
    throw Error("in_channels: got " + std::to_string(model.network->in_channels()) +
                ", expected the " + std::to_string(vae->channels()) + " of the vae's latents.");
  model.vae = std::move(vae);
  model.pixel_scale = model.vae->downscale();
  model.image_size *= model.pixel_scale;
}

std::shared_ptr<Autoencoder> load_vae(const fs::path& folder, at::ScalarType dtype,
                                      at::Device device) {
  return std::make_shared<Autoencoder>(
      autoencoder_from(component_in(folder, dtype != at::kFloat), dtype, device));
}

}  // namespace tiller
