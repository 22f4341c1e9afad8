#include "tools/info.h"

#include <ATen/ATen.h>

#include <fstream>
#include <iostream>
#include <map>

#include "io/error.h"
#include "io/json.h"
#include "io/quantized.h"
#include "models/components.h"
#include "models/diffusers_folder.h"
#include "tools/recipe.h"
#include "tools/table.h"

namespace tiller {

Contents contents_of(const NamedTensors& tensors) {
  Contents contents;
  for (const auto& [name, tensor] : tensors) {
    ++contents.tensors;
    contents.numbers += tensor.numel();
    std::string dtype = quantization_of(tensor);
    if (dtype.empty()) dtype = c10::toString(tensor.scalar_type());
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

Json contents_json(const Contents& contents) {
  return {
      {"parameters", contents.numbers}, {"tensors", contents.tensors}, {"dtypes", contents.dtypes}};
}

namespace {

std::string shape_of(const Tensor& tensor) {
  std::string text;
  for (const int64_t size : tensor.sizes())
    text += (text.empty() ? "" : "x") + std::to_string(size);
  return text.empty() ? "scalar" : text;
}

void show_tensors(const fs::path& path, const TensorFile& file, bool as_json) {
  const Contents contents = contents_of(file.tensors);
  std::vector<std::vector<std::string>> rows;
  Json list = Json::array();
  for (const auto& [name, tensor] : file.tensors) {
    const std::string dtype = contents_of({{name, tensor}}).dtypes.begin()->first;
    rows.push_back({printable(name, 200), dtype, shape_of(tensor)});
    list.push_back({{"name", name}, {"dtype", dtype}, {"shape", tensor.sizes().vec()}});
  }
  if (as_json) {
    Json json = {{"kind", "tensors"}, {"file", path.filename().string()}};
    json.update(contents_json(contents));
    json.update({{"metadata", file.metadata}, {"list", list}});
    std::cout << indented(json) << "\n";
    return;
  }
  std::cout << path.filename().string() << ": " << text_of(contents) << "\n" << table(rows, 2);
  for (const auto& [key, value] : file.metadata)
    std::cout << "  " << printable(key) << ": " << printable_lines(value) << "\n";
}

void show_image(const fs::path& path, bool as_json) {
  const PngText text = read_png_text(path);
  const auto own = text.find("tiller");
  const Json recipe = own == text.end() ? Json() : parse_json<Json>(own->second);
  const bool readable = recipe.is_object();
  if (as_json) {
    Json json = {{"kind", "png"}, {"text", text}};
    if (readable) json["recipe"] = recipe;
    std::cout << indented(json) << "\n";
    return;
  }
  if (text.empty()) std::cout << path.filename().string() << ": a PNG without text\n";
  for (const auto& [key, value] : text)
    std::cout << printable(key) << ":\n"
              << printable_lines(key == "tiller" && readable ? indented(recipe) : value) << "\n";
}

/// A part of a pipeline by itself.
void show_part(const fs::path& folder, const std::string& part, bool as_json) {
  const Component component = component_in(folder);
  const Contents contents = contents_of(component.tensors);
  if (!as_json) {
    std::cout << table({{"kind", part},
                        {"weights", printable(component.file, 200)},
                        {"parameters", text_of(contents)}});
    return;
  }
  Json json = {{"kind", part}, {"weights", component.file}};
  json.update(contents_json(contents));
  json["config"] = Json::parse(component.config.dump());
  std::cout << indented(json) << "\n";
}

void show_file(const fs::path& path, bool as_json) {
  const TensorFile file = map_tensors(path);
  if (!show_adapter(path, file.tensors, as_json)) show_tensors(path, file, as_json);
}

bool is_png(const fs::path& path) {
  char start[8] = {};
  std::ifstream(path, std::ios::binary).read(start, sizeof start);
  return std::string_view(start, 8) == std::string_view("\x89PNG\r\n\x1a\n", 8);
}

/// Whether a file holds a network of Stable Diffusion, or has a config beside it.
bool is_model(const fs::path& path) {
  try {
    const std::string kind = find_model(path).kind;
    return kind != "text_to_image" || single_file_components(path).parts.contains("unet");
  } catch (const Error&) {
    return false;
  }
}

/// A file with a model's config beside it may be another's, such as a training's state.
void show_model_or_file(const fs::path& path, const std::string& config, bool as_json) {
  try {
    return show_model(path, config, as_json);
  } catch (const Error& error) {
    if (!fs::is_regular_file(path)) throw;
    std::cerr << "Note: no model: " << error.what() << "\n";
  }
  show_file(path, as_json);
}

int info(const Flags& flags) {
  if (flags.operands().size() != 1)
    throw UsageError("info: got " + std::to_string(flags.operands().size()) +
                     " paths, expected one, of a model, an adapter, a tensor file or a PNG.");
  const fs::path path = flags.operands().front();
  const bool as_json = flags.has("json");
  if (!fs::exists(path))
    throw Error(path.string() + ": got nothing there, expected a file or folder.");
  if (fs::is_regular_file(path) && is_png(path))
    show_image(path, as_json);
  else if (const std::string part = lone_part(path); !part.empty())
    show_part(path, part, as_json);
  else if (fs::is_directory(path) || is_model(path))
    show_model_or_file(path, flags.text("config"), as_json);
  else
    show_file(path, as_json);
  return 0;
}

}  // namespace

Command info_command() {
  return {.name = "info",
          .description =
              "Says what a model, a LoRA, a textual inversion, a tensor file or a PNG holds.",
          .operand = "PATH",
          .flags = {{"json", "", "as JSON"},
                    {"config", "DIR", "diffusers' configs for a model in one file"}},
          .examples = {"tiller info weights/", "tiller info frog.png --json"},
          .run = info};
}

}  // namespace tiller
