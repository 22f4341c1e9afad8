#include "training/class_names.h"

#include <nlohmann/json.hpp>

namespace tiller {

std::vector<std::string> utf8_names(const std::vector<std::string>& folders) {
  using Json = nlohmann::json;
  return Json::parse(Json(folders).dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace tiller
