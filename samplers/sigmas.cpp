#include "samplers/sigmas.h"

#include <algorithm>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

double ramp(int k, int steps) { return steps > 1 ? double(k) / (steps - 1) : 0; }

/// In float32, as diffusers has it, which decides timesteps that it truncates to whole ones.
double log32(double sigma) { return std::log(static_cast<float>(sigma)); }

}  // namespace

SigmaRule sigma_rule_from(const std::string& name) {
  if (name == "none") return SigmaRule::none;
  if (name == "karras") return SigmaRule::karras;
  if (name == "exponential") return SigmaRule::exponential;
  throw UsageError("sigmas: got '" + name + "', expected none, karras or exponential." +
                   suggestion(name, {"none", "karras", "exponential"}));
}

std::vector<double> karras_sigmas(int steps, double sigma_min, double sigma_max, double rho) {
  const double first = std::pow(sigma_max, 1 / rho), last = std::pow(sigma_min, 1 / rho);
  std::vector<double> sigmas(steps);
  for (int k = 0; k < steps; ++k)
    sigmas[k] = std::pow(first + ramp(k, steps) * (last - first), rho);
  return sigmas;
}

std::vector<double> exponential_sigmas(int steps, double sigma_min, double sigma_max) {
  const double first = std::log(sigma_max), last = std::log(sigma_min);
  std::vector<double> sigmas(steps);
  for (int k = 0; k < steps; ++k) sigmas[k] = std::exp(first + ramp(k, steps) * (last - first));
  return sigmas;
}

std::vector<double> sigma_table(const NoiseSchedule& schedule) {
  std::vector<double> table;
  for (double abar : schedule.alphas_cumprod) {
    if (abar == 0) abar = 0x1p-24;
    table.push_back(std::sqrt((1 - abar) / abar));
  }
  return table;
}

double sigma_at(const std::vector<double>& table, double timestep) {
  const double last = static_cast<double>(table.size() - 1);
  const double t = std::clamp(timestep, 0.0, last);
  const size_t low = std::min(static_cast<size_t>(t), table.size() - 1);
  if (low + 1 == table.size()) return table.back();
  return table[low] + (t - static_cast<double>(low)) * (table[low + 1] - table[low]);
}

double timestep_at(const std::vector<double>& table, double sigma) {
  if (table.size() < 2) return 0;
  const double wanted = std::log(std::max(sigma, 1e-10));
  const auto above = std::upper_bound(table.begin(), table.end(), wanted,
                                      [](double w, double s) { return w < log32(s); });
  const size_t below = std::max<std::ptrdiff_t>(above - table.begin(), 1) - 1;
  const size_t low = std::min(below, table.size() - 2);
  const double from = log32(table[low]), to = log32(table[low + 1]);
  return static_cast<double>(low) + std::clamp((wanted - from) / (to - from), 0.0, 1.0);
}

}  // namespace tiller
