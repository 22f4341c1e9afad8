#include <cmath>

#include "guidance/edit_controls.h"

namespace tiller {
namespace {

/// Mutual self-attention, arXiv 2304.08465: the edit's queries find the source's keys and values,
/// from a step and a layer on, in every branch.
class MutualAttention final : public EditControl {
 public:
  MutualAttention(const std::vector<Site>& sites, int64_t first) : sites_(sites), first_(first) {}
  bool in_all_branches() const override { return true; }
  void begin_step(const StepContext& step) override { acts_ = step.step >= first_; }
  FromSource self_attention(const Site& site) const override {
    const bool acts = acts_ && sites_.holds(site);
    return {.k = acts, .v = acts};
  }

 private:
  SiteSet sites_;
  int64_t first_;
  bool acts_ = false;
};

/// The authors begin at layer 10 of SD1.5's 16 and at 44 of SDXL's 70.
std::string masactrl_layers(const std::vector<Site>& sites) {
  return sites_from(sites, size_t(std::ceil(10.0 / 16 * double(sites.size()))));
}

}  // namespace

EditControlEntry masactrl_control() {
  return {
      .name = "masactrl",
      .description = "Self-attention finds the source's keys and values: another pose, same look",
      .paper = "2304.08465",
      .options = {{"step", "4", "first step at which it acts"},
                  {"layers", "", "where it acts; default: the last six sixteenths"}},
      .default_layers = masactrl_layers,
      .make = [](const Options& options, EditControlContext context) {
        const auto first = int64_t(options.number("step", 0, 1e6));
        return std::shared_ptr<EditControl>(
            std::make_shared<MutualAttention>(context.sites, first));
      }};
}

}  // namespace tiller
