#pragma once
#include <memory>
#include <vector>

#include "guidance/registry.h"
#include "models/perturbation.h"

namespace tiller {

/// What most perturbations share: they act at the sites that the user chose.
class SitePerturbation : public Perturbation {
 public:
  explicit SitePerturbation(std::vector<Site> sites) : sites_(std::move(sites)), chosen_(sites_) {}
  bool acts_at(const Site& site) const final { return chosen_.holds(site); }

 protected:
  const std::vector<Site>& sites() const { return sites_; }

 private:
  std::vector<Site> sites_;
  SiteSet chosen_;
};

/// D_c + scale (D_c - D_p), with D_p the conditional branch under a perturbation. Nothing is
/// evaluated at scale 0.
std::unique_ptr<Guidance> perturbed_guidance(double scale, std::unique_ptr<Perturbation>);

/// The options that perturbations share: `scale` and `layers`, with their defaults as written.
std::vector<Option> perturbed_options(const std::string& scale, const std::string& layers);

}  // namespace tiller
