#include "tools/control_request.h"

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

void require_pairs(const ControlRequest& request) {
  if (request.nets.size() != request.images.size())
    throw UsageError("--control-image: got " + std::to_string(request.images.size()) +
                     ", expected " + std::to_string(request.nets.size()) +
                     ": one for each --control, in order.");
  if (request.adapter.empty() != request.adapter_images.empty())
    throw UsageError(request.adapter.empty()
                         ? "--ip-image: got one without --ip-adapter, expected that file too."
                         : "--ip-image: got none, expected the image that --ip-adapter reads.");
}

}  // namespace

ControlChoice control_choice(const std::string& text) {
  const size_t colon = text.rfind(':');
  const bool bare =
      colon == std::string::npos || fs::exists(text) || text.find('/', colon) != std::string::npos;
  ControlChoice choice{bare ? text : text.substr(0, colon)};
  const Options options = parse_options("--control " + choice.path,
                                        bare ? "" : text.substr(colon + 1), control_options());
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
  replace("ip-image", request.adapter_images);
  request.adapter = flags.text("ip-adapter", request.adapter);
  request.adapter_scale = flags.number("ip-scale", -100, 100, request.adapter_scale);
  request.image_encoder = flags.text("image-encoder", request.image_encoder);
  require_pairs(request);
  for (const auto& text : request.nets) control_choice(text);
}

}  // namespace tiller
