#include "training/class_names.h"

#include <iostream>
#include <nlohmann/json.hpp>

namespace tiller {

std::vector<std::string> utf8_names(const std::vector<std::string>& folders, bool tell) {
  using Json = nlohmann::json;
  const std::vector<std::string> names =
      Json::parse(Json(folders).dump(-1, ' ', false, Json::error_handler_t::replace));
  if (tell && names != folders)
    std::cerr
        << "train: not all names of class folders are UTF-8: the model has U+FFFD (\uFFFD) for "
           "what isn't.\n";
  return names;
}

}  // namespace tiller
