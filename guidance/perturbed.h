#pragma once
#include <memory>
#include <vector>

#include "guidance/registry.h"
#include "models/perturbation.h"

namespace tiller {

/// What most perturbations share: they act at the sites that the user chose.
class SitePerturbation : public Perturbation {
 public:
  explicit SitePerturbation(std::vector<Site> sites);
  bool acts_at(const Site& site) const final;

 protected:
  const std::vector<Site>& sites() const { return sites_; }

 private:
  std::vector<Site> sites_;
  std::vector<bool> chosen_;  // by Site::order
};

/// D_c + scale (D_c - D_p), with D_p the conditional branch under a perturbation. Nothing is
/// evaluated at scale 0.
std::unique_ptr<Guidance> perturbed_guidance(double scale, std::unique_ptr<Perturbation>);

/// The options that perturbations share: `scale` and `layers`, with their defaults as written.
std::vector<Option> perturbed_options(const std::string& scale, const std::string& layers);

}  // namespace tiller
