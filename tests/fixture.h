#pragma once
/// What tests against reference values have in common.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

namespace tiller::test {
using at::Tensor;
using Json = nlohmann::json;

/// A JSON file of tests/fixtures. It stays for the whole run: a loop over a part of it would
/// outlive a copy.
inline const Json& fixture(const std::string& name) {
  static std::map<std::string, Json> known;
  const auto [place, is_new] = known.try_emplace(name);
  if (is_new) {
    std::ifstream file(std::string(TILLER_FIXTURES) + "/" + name);
    place->second = Json::parse(file);
  }
  return place->second;
}

inline Tensor tensor_from(const Json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble);
}

}  // namespace tiller::test
