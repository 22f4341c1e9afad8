#include "io/options.h"
#include "io/error.h"

/// Any text is either refused with a usage error or gives each option a value.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<tiller::Option> options = {{"scale", "3", "a number"},
                                                      {"layers", "mid", "text"},
                                                      {"steps", "10", "a whole number"},
                                                      {"clip", "false", "a flag"}};
  try {
    const auto parsed = tiller::parse_options(
        "tpg", std::string(reinterpret_cast<const char*>(data), size), options);
    if (parsed.values.size() != options.size()) std::abort();
    parsed.number("scale", -100, 100);
    parsed.integer("steps");
    parsed.flag("clip");
  } catch (const tiller::UsageError&) {
  }
  return 0;
}
