#pragma once
#include <nlohmann/json.hpp>

#include "tools/command.h"

namespace tiller {
using Json = nlohmann::ordered_json;

/// An image to be made.
struct ImageSpec {
  uint64_t seed = 0;
  int64_t label = -1;  ///< -1: the model knows no classes.
};

/// What to make: everything that decides an image's bytes, and nothing of where files go.
struct GenerateRequest {
  std::string model;  ///< As written; "": the model that comes with Tiller.
  std::vector<std::string>
      classes;        ///< Names or indices, each also a comma list, in turn; empty: all.
  uint64_t seed = 0;  ///< Image k has seed + k.
  int64_t count = 0;  ///< 0: one for each class named.
  int64_t batch = 0;  ///< 0: by size and device.
  int64_t size = 0;   ///< 0: the model's.
  int64_t steps = 30;
  std::string respacing;  ///< guided-diffusion's; replaces steps when not empty.
  std::string sampler = "ddim";
  std::vector<std::string> guidances;
  std::vector<std::string> compare;  ///< A grid with one row for each of these guidances.
  int64_t columns = 0;               ///< Of a grid; 0: as the output asks.
  bool clip_denoised = false;
  bool share = true;
  std::string device = "auto", dtype = "auto";
  int64_t threads = 0;  ///< 0: as many as there are cores.
};

/// Flags that change a request, for the help of every subcommand that makes images.
const std::vector<Flag>& request_flags();

/// Writes the flags given over `request`. Throws UsageError.
void apply_flags(const Flags&, GenerateRequest& request);

/// All of a request, for recipes.
Json to_json(const GenerateRequest&);
/// The inverse. Throws Error starting with `where` when a key is missing, of another type or out of
/// range.
GenerateRequest request_from(const Json&, const std::string& where);

}  // namespace tiller
