#include "io/error.h"
#include "io/json.h"
#include "models/components.h"

namespace tiller {
void take_configs(Components& components, const fs::path& folder) {
  bool found = false;
  for (auto& [part, component] : components.parts) {
    const fs::path path =
        folder / part / (part == "scheduler" ? "scheduler_config.json" : "config.json");
    if (!fs::is_regular_file(path)) continue;
    component.config = read_json_object(path);
    found = true;
  }
  if (!found)
    throw Error(folder.string() +
                ": got no configs of a pipeline's parts, expected unet/config.json and others.");
  if (fs::is_regular_file(folder / "model_index.json"))
    components.index = read_json_object(folder / "model_index.json");
  if (fs::is_directory(folder / "tokenizer")) components.tokenizer = folder / "tokenizer";
  if (fs::is_directory(folder / "tokenizer_2")) components.tokenizer_2 = folder / "tokenizer_2";
}

}  // namespace tiller
