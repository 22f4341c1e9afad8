#include <ATen/ATen.h>

#include <fstream>
#include <iostream>
#include <map>

#include "io/error.h"
#include "tools/recipe.h"
#include "tools/table.h"

namespace tiller {
namespace {

/// What is the same of a file's tensors and a network's parameters.
struct Contents {
  int64_t tensors = 0, numbers = 0;
  std::map<std::string, int64_t> dtypes;  ///< Numbers of each.
};

Contents contents_of(const NamedTensors& tensors) {
  Contents contents;
  for (const auto& [name, tensor] : tensors) {
    ++contents.tensors;
    contents.numbers += tensor.numel();
    std::string dtype = c10::toString(tensor.scalar_type());
    if (dtype == "Float") dtype = "float32";
    if (dtype == "Half") dtype = "float16";
    if (dtype == "BFloat16") dtype = "bfloat16";
    contents.dtypes[dtype] += tensor.numel();
  }
  return contents;
}

std::string text_of(const Contents& contents) {
  std::string dtypes;
  for (const auto& [dtype, numbers] : contents.dtypes) {
    if (!dtypes.empty()) dtypes += ", ";
    dtypes += dtype;
    if (contents.dtypes.size() > 1) dtypes += ' ' + human_count(double(numbers));
  }
  return human_count(double(contents.numbers)) + " in " + std::to_string(contents.tensors) +
         (contents.tensors == 1 ? " tensor, " : " tensors, ") + dtypes;
}

std::string shape_of(const Tensor& tensor) {
  std::string text;
  for (const int64_t size : tensor.sizes())
    text += (text.empty() ? "" : "x") + std::to_string(size);
  return text.empty() ? "scalar" : text;
}

std::string prediction_name(PredictionType type) {
  return type == PredictionType::epsilon ? "epsilon"
         : type == PredictionType::v     ? "v_prediction"
                                         : "sample";
}

std::string tokens_of(const Site& site, int64_t size) {
  const Grid grid = token_grid(site, size, size);
  return std::to_string(grid.height) + "x" + std::to_string(grid.width);
}

std::string classes_text(const Model& model) {
  if (model.classes == 0) return "none";
  std::string text = std::to_string(model.classes);
  if (!model.class_names.empty()) text += ": " + enumerate(model.class_names, 20);
  return text + (model.null_label ? "; knows \"no label\" (cfg works)" : "; no null label");
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

std::string vae_text(const Model& model) {
  return model.vae ? std::to_string(model.vae->channels()) + " channels, " +
                         std::to_string(model.vae->downscale()) + " pixels a latent"
                   : "none: works on pixels";
}

std::string schedule_text(const Model& model) {
  if (model.scheduler.is_object())
    return model.scheduler.value("_class_name", "?") + ", " +
           model.scheduler.value("beta_schedule", "?");
  return model.noise_schedule + ", " + std::to_string(model.diffusion_steps) + " timesteps" +
         (model.rescale_timesteps ? ", rescaled" : "");
}

void print_model(const Model& model) {
  const Network& network = *model.network;
  const std::string size = std::to_string(model.image_size);
  std::cout << table(
      {{"kind", model.kind},
       {"weights", model.file + ", hash " + model.hash.get()},
       {"parameters", text_of(contents_of(model.parameters))},
       {"size", size + "x" + size + ", " + std::to_string(network.in_channels()) + " channels"},
       model.text ? std::vector<std::string>{"text", towers_text(*model.text)}
                  : std::vector<std::string>{"classes", classes_text(model)},
       {"predicts",
        prediction_name(model.prediction) + (model.learned_variance ? " and the variance" : "")},
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

Json contents_json(const Contents& contents) {
  return {
      {"parameters", contents.numbers}, {"tensors", contents.tensors}, {"dtypes", contents.dtypes}};
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
               {"classes", model.classes},
               {"class_names", model.class_names},
               {"null_label", model.null_label},
               {"prediction", prediction_name(model.prediction)},
               {"learned_variance", model.learned_variance},
               {"noise_schedule", model.noise_schedule},
               {"diffusion_steps", model.diffusion_steps},
               {"rescale_timesteps", model.rescale_timesteps},
               {"sites", sites},
               {"config", Json::parse(model.config.dump())}});
  return json;
}

int show_model(const fs::path& path, bool as_json) {
  const Model model = load_model(path, at::ScalarType::Undefined);
  if (as_json)
    std::cout << model_json(model).dump(2) << "\n";
  else
    print_model(model);
  return 0;
}

int show_tensors(const fs::path& path, bool as_json) {
  const TensorFile file = load_tensors(path);
  const Contents contents = contents_of(file.tensors);
  std::vector<std::vector<std::string>> rows;
  Json list = Json::array();
  for (const auto& [name, tensor] : file.tensors) {
    const std::string dtype = contents_of({{name, tensor}}).dtypes.begin()->first;
    rows.push_back({name, dtype, shape_of(tensor)});
    list.push_back({{"name", name}, {"dtype", dtype}, {"shape", tensor.sizes().vec()}});
  }
  if (as_json) {
    Json json = {{"kind", "tensors"}, {"file", path.filename().string()}};
    json.update(contents_json(contents));
    json.update({{"metadata", file.metadata}, {"list", list}});
    std::cout << json.dump(2) << "\n";
    return 0;
  }
  std::cout << path.filename().string() << ": " << text_of(contents) << "\n" << table(rows, 2);
  for (const auto& [key, value] : file.metadata) std::cout << "  " << key << ": " << value << "\n";
  return 0;
}

int show_image(const fs::path& path, bool as_json) {
  const PngText text = read_png_text(path);
  const auto own = text.find("tiller");
  const bool readable = own != text.end() && Json::accept(own->second);
  if (as_json) {
    Json json = {{"kind", "png"}, {"text", text}};
    if (readable) json["recipe"] = Json::parse(own->second);
    std::cout << json.dump(2) << "\n";
    return 0;
  }
  if (text.empty()) std::cout << path.filename().string() << ": a PNG without text\n";
  for (const auto& [key, value] : text)
    std::cout << key << ":\n"
              << (key == "tiller" && readable ? Json::parse(value).dump(2) : value) << "\n";
  return 0;
}

bool is_png(const fs::path& path) {
  char start[8] = {};
  std::ifstream(path, std::ios::binary).read(start, sizeof start);
  return std::string_view(start, 8) == std::string_view("\x89PNG\r\n\x1a\n", 8);
}

bool is_model(const fs::path& path) {
  try {
    return find_model(path).kind != "text_to_image" || fs::is_directory(path);
  } catch (const Error&) {
    return false;
  }
}

int info(const Flags& flags) {
  if (flags.operands().size() != 1)
    throw UsageError("info: got " + std::to_string(flags.operands().size()) +
                     " paths, expected one, of a model, a tensor file or a PNG.");
  const fs::path path = flags.operands().front();
  const bool as_json = flags.has("json");
  if (!fs::exists(path))
    throw Error(path.string() + ": got nothing there, expected a file or folder.");
  if (fs::is_directory(path)) return show_model(path, as_json);
  if (is_png(path)) return show_image(path, as_json);
  return is_model(path) ? show_model(path, as_json) : show_tensors(path, as_json);
}

}  // namespace

Command info_command() {
  return {.name = "info",
          .description = "Says what a model folder, a checkpoint, a tensor file or a PNG holds.",
          .operand = "PATH",
          .flags = {{"json", "", "as JSON"}},
          .examples = {"tiller info weights/", "tiller info frog.png --json"},
          .run = info};
}

}  // namespace tiller
