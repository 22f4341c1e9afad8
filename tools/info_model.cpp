#include <ATen/ATen.h>

#include <iostream>

#include "io/error.h"
#include "io/json.h"
#include "models/edm_preconditioning.h"
#include "samplers/scheduler_config.h"
#include "tools/info.h"
#include "tools/recipe.h"
#include "tools/table.h"

namespace tiller {
namespace {

/// A scheduler's config says it of a text-to-image model.
std::string prediction_of(const Model& model) {
  if (has_edm_scheduler(model.scheduler)) return prediction_type_name(PredictionType::edm);
  if (!model.scheduler.is_object()) return prediction_type_name(model.prediction);
  const bool flow = model.scheduler.value("_class_name", "").starts_with("FlowMatch");
  return model.scheduler.value("prediction_type", flow ? "flow" : "epsilon");
}

/// What the network's own output was, where it is retold as EDM's.
std::string retold_text(const Model& model) {
  const std::string own = model.config.value("preconditioning", "edm");
  return own == "edm" ? "" : ", retold from " + own;
}

std::string null_label_text(const Model& model) {
  if (!model.null_label) return "; no null label";
  const bool dropped =
      !model.config.contains("label_dim") || model.config.value("label_dropout", 0.0) > 0;
  return std::string("; knows \"no label\" (cfg works)") +
         (dropped ? "" : ", which wasn't trained on");
}

std::string tokens_of(const Site& site, int64_t size) {
  const Grid grid = token_grid(site, size, size);
  return std::to_string(grid.height) + "x" + std::to_string(grid.width);
}

std::string classes_text(const Model& model) {
  if (model.classes == 0) return "none";
  std::string text = std::to_string(model.classes);
  if (!model.class_names.empty()) text += ": " + enumerate(model.class_names, 20);
  return text + null_label_text(model);
}

std::string towers_text(const TextModel& text) {
  std::string all;
  for (const auto& tower : text.towers) {
    const ClipTextConfig& config = tower.encoder.config();
    all += (all.empty() ? "" : "; ") + std::to_string(config.layers) + " layers of width " +
           std::to_string(config.layer.channels);
  }
  return all;
}

/// What a text-to-image model does with an image beside its latents.
std::string kind_text(const Model& model) {
  return model.kind + (model.text && model.edits() ? " that edits an image (InstructPix2Pix)" : "");
}

/// A pipeline's network by itself: the rest of its folder says what it predicts, and of what.
bool is_lone_unet(const Model& model) {
  return model.config.value("_class_name", Json()) == "UNet2DConditionModel" &&
         !model.scheduler.is_object();
}
constexpr const char* said_elsewhere = "unknown: the rest of its pipeline says it";

std::string vae_text(const Model& model) {
  if (is_lone_unet(model)) return said_elsewhere;
  return model.vae ? std::to_string(model.vae->channels()) + " channels, " +
                         std::to_string(model.vae->downscale()) + " pixels a latent"
                   : "none: works on pixels";
}

std::string schedule_text(const Model& model) {
  if (is_lone_unet(model)) return said_elsewhere;
  if (has_edm_scheduler(model.scheduler)) {
    const SchedulerSetup setup = read_scheduler_config(model.scheduler);
    return setup.class_name + ", sigma from " + Json(setup.keys.value("sigma_min", 0.002)).dump() +
           " to " + Json(setup.keys.value("sigma_max", 80.0)).dump() + ", " +
           setup.keys.value("sigma_schedule", "karras");
  }
  if (model.scheduler.is_object())
    return model.scheduler.value("_class_name", "?") + ", " +
           (model.scheduler.contains("beta_schedule")
                ? model.scheduler.value("beta_schedule", "?")
                : "shift " + Json(model.scheduler.value("shift", 1.0)).dump());
  if (is_flow(model.prediction))
    return "straight lines, " + std::to_string(model.diffusion_steps) + " timesteps, shift " +
           Json(model.flow_shift).dump();
  if (model.prediction == PredictionType::edm)
    return "sigma from " + Json(model.sigma_min).dump() + " to " + Json(model.sigma_max).dump() +
           (model.augmented ? ", PFGM++ with D = " + std::to_string(model.augmented) : "");
  return model.noise_schedule + (model.zero_terminal_snr ? " to pure noise, " : ", ") +
         std::to_string(model.diffusion_steps) + " timesteps" +
         (model.rescale_timesteps ? ", rescaled" : "");
}

void print_model(const Model& model) {
  const Network& network = *model.network;
  const std::string size = std::to_string(model.image_size);
  std::cout << table(
      {{"kind", kind_text(model)},
       {"weights", model.file + ", hash " + model.hash.get()},
       {"parameters", text_of(contents_of(model.parameters))},
       {"size", size + "x" + size + ", " + std::to_string(network.in_channels()) + " channels"},
       model.text ? std::vector<std::string>{"text", towers_text(*model.text)}
                  : std::vector<std::string>{"classes", classes_text(model)},
       {"predicts", is_lone_unet(model) ? said_elsewhere
                                        : prediction_of(model) +
                                              (model.learned_variance ? " and the variance" : "") +
                                              retold_text(model)},
       {"vae", vae_text(model)},
       {"noise schedule", schedule_text(model)},
       {"sites", std::to_string(network.sites().size()) + ", for layers= of a guidance"}});
  std::vector<std::vector<std::string>> rows;
  for (const auto& site : network.sites())
    rows.push_back({short_name(site),
                    tokens_of(site, model.image_size / model.pixel_scale) + " tokens",
                    std::to_string(site.heads) + " heads", site.path});
  std::cout << table(rows, 2);
}

Json model_json(const Model& model) {
  Json sites = Json::array();
  for (const auto& site : model.network->sites())
    sites.push_back({{"name", short_name(site)},
                     {"path", site.path},
                     {"tokens", tokens_of(site, model.image_size / model.pixel_scale)},
                     {"heads", site.heads}});
  Json json = {{"kind", model.kind}, {"weights", model.file}, {"hash", model.hash.get()}};
  json.update(contents_json(contents_of(model.parameters)));
  json.update({{"size", model.image_size},
               {"channels", model.network->in_channels()},
               {"edits_images", model.text && model.edits()},
               {"classes", model.classes},
               {"class_names", model.class_names},
               {"null_label", model.null_label},
               {"prediction", prediction_of(model)},
               {"learned_variance", model.learned_variance},
               {"noise_schedule", model.noise_schedule},
               {"zero_terminal_snr", model.zero_terminal_snr},
               {"diffusion_steps", model.diffusion_steps},
               {"rescale_timesteps", model.rescale_timesteps},
               {"pfgmpp", model.augmented},
               {"sites", sites},
               {"config", Json::parse(model.config.dump())}});
  return json;
}

}  // namespace

void show_model(const fs::path& path, const fs::path& configs, bool as_json) {
  const Model model = load_model(path, at::ScalarType::Undefined, at::kCPU, {configs, {}});
  if (as_json)
    std::cout << indented(model_json(model)) << "\n";
  else
    print_model(model);
}

}  // namespace tiller
