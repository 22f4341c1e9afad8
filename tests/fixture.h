#pragma once
/// What tests against reference values have in common.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace tiller::test {
using at::Tensor;
using Json = nlohmann::json;

/// A JSON file of tests/fixtures.
inline Json fixture(const std::string& name) {
  std::ifstream file(std::string(TILLER_FIXTURES) + "/" + name);
  return Json::parse(file);
}

inline Tensor tensor_from(const Json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble);
}

}  // namespace tiller::test
