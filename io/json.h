#pragma once
#include <nlohmann/json.hpp>

#include "io/file.h"

namespace tiller {

/// Deeper JSON isn't read: what copies, writes or destroys it may recurse.
constexpr int kMostJsonDepth = 64;

/// Parses JSON that may be anybody's; discarded unless it is valid and at most kMostJsonDepth deep.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text) {
  bool deep = false;
  const auto check = [&](int depth, auto, auto&) {
    deep |= depth > kMostJsonDepth;
    return !deep;
  };
  Json json = Json::parse(text, check, /*allow_exceptions=*/false);
  return deep ? Json(Json::value_t::discarded) : json;
}

/// Bytes that aren't UTF-8, as names of files may have, become U+FFFD.
template <class Json>
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}
/// The same for a reader.
template <class Json>
std::string indented(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

/// Parses text that Python may have written: its -Infinity, Infinity and NaN read as null. Throws
/// Error starting with `where` unless it is an object.
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

/// A model's config.json or the like: at most 16 MiB. Throws Error unless it is an object.
nlohmann::json read_json_object(const fs::path&);

}  // namespace tiller
