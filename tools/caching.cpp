#include "tools/caching.h"

#include "io/error.h"

namespace tiller {

std::optional<FeatureCache> requested_cache(const Generation& generation) {
  return choose_cache(generation.request.cache, *generation.model.network);
}

void check_cache(const Generation& generation, std::span<const ChosenGuidance> guidances) {
  const GenerateRequest& request = generation.request;
  if (!requested_cache(generation)) return;
  const auto refuse = [](const std::string& what, const std::string& why) {
    throw UsageError("--cache: got " + what + ", " + why + ".");
  };
  const std::string reads = "which reads all of the network at every step";
  for (const auto& chosen : guidances)
    if (chosen.guidance->reads_attention()) refuse("guidance " + chosen.text, reads);
  if (!request.control.nets.empty()) refuse("--control", reads);
  if (!request.words.maps.empty()) refuse("--attention-map", reads);
  if (!request.words.effects.empty()) refuse("--attention-effect", reads);
  if (!request.parallel.empty()) refuse("--parallel", "whose steps have none before them");
  const std::string inverse = "and evaluations that take from those before have no inverse";
  if (generation.inversion) refuse("--inversion", inverse);
  if (generation.keeps_state) refuse("--save-inversion", inverse);
  const Inverse& own = generation.sampler->inverse;
  if (own.exact || own.pairs) refuse("sampler " + generation.sampler->name, inverse);
}

}  // namespace tiller
