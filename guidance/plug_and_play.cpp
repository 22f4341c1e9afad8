#include "guidance/edit_controls.h"
#include "io/error.h"

namespace tiller {
namespace {

struct PlugAndPlayOptions {
  double features = 0.8, attention = 0.5;
  int block = 4;
};

/// Plug-and-play diffusion features, arXiv 2211.12572: in the first steps what a residual block of
/// the way up adds, and the queries and keys of the way up's self-attention, are the source's.
class InjectedFeatures final : public EditControl {
 public:
  InjectedFeatures(const std::vector<Site>& sites, const PlugAndPlayOptions& options)
      : sites_(sites), options_(options) {}
  bool in_all_branches() const override { return true; }
  void begin_step(const StepContext& step) override {
    features_ = step.step < int(options_.features * step.steps);
    attention_ = step.step < int(options_.attention * step.steps);
  }
  FromSource self_attention(const Site& site) const override {
    const bool acts = attention_ && sites_.holds(site);
    return {.q = acts, .k = acts};
  }
  bool acts_on_features(int block) const override { return features_ && block == options_.block; }

 private:
  SiteSet sites_;
  PlugAndPlayOptions options_;
  bool features_ = false, attention_ = false;
};

/// The way up without its first stack: of SD1.5 output blocks 4 to 11, as the authors have it.
std::string plug_and_play_layers(const std::vector<Site>& sites) {
  int first_stack = -1;
  for (const Site& site : sites) {
    if (site.part != Part::up) continue;
    if (first_stack < 0) first_stack = site.stack;
    if (site.stack != first_stack) return sites_from(sites, size_t(site.order));
  }
  return "up";
}

std::shared_ptr<EditControl> make_plug_and_play(const Options& options,
                                                EditControlContext context) {
  PlugAndPlayOptions chosen{options.number("features", 0, 1), options.number("attention", 0, 1)};
  const int last = context.up_blocks - 1;
  chosen.block = std::min(chosen.block, last);
  if (options.has("block")) {
    const int64_t block = options.integer("block");
    if (block < 0 || block > last)
      throw UsageError("block: got " + options.text("block") + ", expected 0 to " +
                       std::to_string(last) + ": this network's way up has no others.");
    chosen.block = int(block);
  }
  return std::make_shared<InjectedFeatures>(context.sites, chosen);
}

}  // namespace

EditControlEntry plug_and_play_control() {
  return {.name = "pnp",
          .description = "Features, queries and keys of the source: same layout, another look",
          .paper = "2211.12572",
          .options = {{"features", "0.8", "share of the steps with the source's features"},
                      {"attention", "0.5", "share of the steps with its queries and keys"},
                      {"block", "", "whose features, counted over the way up; default 4"},
                      {"layers", "", "whose queries and keys; default: the way up but its first"}},
          .default_layers = plug_and_play_layers,
          .make = make_plug_and_play};
}

}  // namespace tiller
