#include "tools/control_request.h"

#include <sstream>

#include "io/error.h"
#include "io/file.h"
#include "io/options.h"

namespace tiller {
namespace {

const std::vector<Option>& control_options() {
  static const std::vector<Option> options = {{"scale", "1", "strength"},
                                              {"from", "0", "share of the steps before it acts"},
                                              {"to", "1", "share of the steps until it acts"}};
  return options;
}

const std::vector<Option>& adapter_options() {
  static const std::vector<Option> options = {{"scale", "", "strength"}};
  return options;
}

/// "FILE[:key=value,...]" taken apart, for a message of that flag.
std::pair<std::string, Options> path_and_options(const std::string& flag, const std::string& text,
                                                 const std::vector<Option>& known) {
  const size_t colon = text.rfind(':');
  const bool bare =
      colon == std::string::npos || fs::exists(text) || text.find('/', colon) != std::string::npos;
  const std::string path = bare ? text : text.substr(0, colon);
  return {path, parse_options(flag + " " + path, bare ? "" : text.substr(colon + 1), known)};
}

/// "FILE[,FILE...]": the names between commas, unless a file has it all as its name.
std::vector<std::string> listed_files(const std::string& text) {
  if (fs::exists(text)) return {text};
  std::vector<std::string> files;
  std::stringstream stream(text);
  for (std::string file; std::getline(stream, file, ',');)
    if (!file.empty()) files.push_back(file);
  if (files.empty()) throw UsageError("--ip-image: got no name, expected a file.");
  return files;
}

void require_pairs(const ControlRequest& request) {
  if (request.nets.size() != request.images.size())
    throw UsageError("--control-image: got " + std::to_string(request.images.size()) +
                     ", expected " + std::to_string(request.nets.size()) +
                     ": one for each --control, in order.");
  const size_t adapters = request.adapters.size(), images = request.adapter_images.size();
  if ((adapters == 0) != (images == 0))
    throw UsageError(images ? "--ip-image: got one without --ip-adapter, expected that file too."
                            : "--ip-image: got none, expected the image that --ip-adapter reads.");
  if (adapters > 1 && images != adapters)
    throw UsageError("--ip-image: got " + std::to_string(images) + ", expected " +
                     std::to_string(adapters) +
                     ": one for each --ip-adapter, in order. Commas join an adapter's files.");
}

}  // namespace

ControlChoice control_choice(const std::string& text) {
  const auto [path, options] = path_and_options("--control", text, control_options());
  ControlChoice choice{path};
  try {
    choice.scale = options.number("scale", -100, 100);
    choice.from = options.number("from", 0, 1);
    choice.to = options.number("to", 0, 1);
  } catch (const UsageError& error) {
    throw UsageError("--control " + choice.path + ": " + error.what());
  }
  if (choice.from >= choice.to)
    throw UsageError("--control " + choice.path + ": got from=" + options.text("from") +
                     " and to=" + options.text("to") + ", expected from below to.");
  return choice;
}

std::vector<AdapterChoice> adapter_choices(const ControlRequest& request) {
  require_pairs(request);
  std::vector<AdapterChoice> choices;
  for (const auto& text : request.adapters) {
    const auto [path, options] = path_and_options("--ip-adapter", text, adapter_options());
    AdapterChoice choice{path, request.adapter_scale, {}};
    try {
      if (!options.text("scale").empty()) choice.scale = options.number("scale", -100, 100);
    } catch (const UsageError& error) {
      throw UsageError("--ip-adapter " + path + ": " + error.what());
    }
    choices.push_back(std::move(choice));
  }
  for (size_t i = 0; i < request.adapter_images.size(); ++i) {
    auto& images = choices.at(choices.size() == 1 ? 0 : i).images;
    for (auto& file : listed_files(request.adapter_images[i])) images.push_back(std::move(file));
  }
  return choices;
}

ControlImage control_image(const std::string& text) {
  const std::string canny = "canny:";
  if (!text.starts_with(canny)) return {text};
  return {text.substr(canny.size()), true};
}

void apply_control_flags(const Flags& flags, ControlRequest& request) {
  const auto replace = [&](const char* flag, std::vector<std::string>& values) {
    if (flags.has(flag)) values = flags.all(flag);
  };
  replace("control", request.nets);
  replace("control-image", request.images);
  replace("ip-adapter", request.adapters);
  replace("ip-image", request.adapter_images);
  request.adapter_scale = flags.number("ip-scale", -100, 100, request.adapter_scale);
  request.image_encoder = flags.text("image-encoder", request.image_encoder);
  for (const std::string flag : {"ip-scale", "image-encoder"})
    if (flags.has(flag) && request.adapters.empty())
      throw UsageError("--" + flag + ": got no --ip-adapter with it, expected one.");
  adapter_choices(request);
  for (const auto& text : request.nets) control_choice(text);
}

}  // namespace tiller
