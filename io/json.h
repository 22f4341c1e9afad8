#pragma once
#include <nlohmann/json.hpp>

#include "io/file.h"

namespace tiller {

/// Parses text that Python may have written: its -Infinity, Infinity and NaN read as null. Throws
/// Error starting with `where` unless it is an object.
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

/// A model's config.json or the like: at most 16 MiB. Throws Error unless it is an object.
nlohmann::json read_json_object(const fs::path&);

}  // namespace tiller
