#pragma once
/// diffusers' scheduler classes as data: the keys that each takes with its defaults, as of 0.42.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "samplers/registry.h"

namespace tiller {

/// The class's keys with its own defaults; null: none. An unknown class takes those that all share.
nlohmann::json scheduler_defaults(const std::string& class_name);

/// Whether a class has the key at all: of those that it lacks its defaults count, whatever a file
/// says.
bool takes_key(const std::string& class_name, const std::string& key);

/// Which sampler a class with these keys of its file stands for; "" when Tiller has none.
std::string scheduler_sampler(const std::string& class_name, const nlohmann::json& keys);

/// The classes that have a sampler.
std::vector<std::string> scheduler_classes();

/// Throws Error where a key asks for what no sampler here does.
void refuse_unsupported(const nlohmann::json& keys);

/// The order of DPM-Solver's classes is part of the sampler's name: takes it out of the keys.
void keep_own_order(nlohmann::json& keys, const Sampler&);

/// A class's keys as the options that samplers have for them.
std::map<std::string, nlohmann::json> options_of_keys(const nlohmann::json& keys);

}  // namespace tiller
