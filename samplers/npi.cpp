#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/steered.h"

namespace tiller {
namespace {

/// arXiv 2305.16807: with the prompt in the negative's place guidance adds nothing, so that the way
/// back is the unguided one. The record is that prompt's states, (1, B, L, D).
InversionState npi_ascend(const InversionRun& run, InversionState state, int until) {
  require_text(run);
  InversionState end = ascend_unguided(run, state, until, nullptr);
  if (run.steering.positive.defined()) end.record = run.steering.positive.unsqueeze(0);
  return end;
}

InversionState npi_descend(const InversionRun& run, InversionState state) {
  return descend_with_negatives(run, state, "npi");
}

}  // namespace

Sampler npi_sampler() {
  return {.name = "npi",
          .description =
              "DDIM, inverted without guidance; the prompt then replaces the negative "
              "prompt (negative-prompt inversion)",
          .paper = "2305.16807",
          .scheduler = "DDIMScheduler",
          .options = {{"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .renoises = true,
          .run = generate_with_ddim,
          .inverse = {.ascend = npi_ascend, .descend = npi_descend}};
}

}  // namespace tiller
