#include "samplers/sigmas.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

double ramp(int k, int steps) { return steps > 1 ? double(k) / (steps - 1) : 0; }

/// In float32, as diffusers has it, which decides timesteps that it truncates to whole ones.
double log32(double sigma) { return std::log(static_cast<float>(sigma)); }

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
double beta_fraction(double x, double a, double b) {
  const auto guarded = [](double value) { return std::abs(value) < 1e-300 ? 1e-300 : value; };
  double c = 1, d = 1 / guarded(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m < 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double last = 1;
    for (const double term : {even, odd}) {
      d = 1 / guarded(1 + term * d);
      c = guarded(1 + term / c);
      last = c * d;
      fraction *= last;
    }
    if (std::abs(last - 1) < 1e-16) break;
  }
  return fraction;
}

/// I_x(a, b).
double regularized_beta(double x, double a, double b) {
  if (x > (a + 1) / (a + b + 2)) return 1 - regularized_beta(1 - x, b, a);
  const double log_front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  return x <= 0 ? 0 : std::exp(log_front) * beta_fraction(x, a, b) / a;
}

}  // namespace

double beta_quantile(double p, double a, double b) {
  if (p <= 0 || p >= 1) return p <= 0 ? 0 : 1;
  double low = 0, high = 1;
  for (int k = 0; k < 100 && low < high; ++k) {
    const double middle = (low + high) / 2;
    (regularized_beta(middle, a, b) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

SigmaRule sigma_rule_from(const std::string& name) {
  static const std::vector<std::pair<std::string, SigmaRule>> rules = {
      {"none", SigmaRule::none},
      {"karras", SigmaRule::karras},
      {"exponential", SigmaRule::exponential},
      {"lu", SigmaRule::lu},
      {"beta", SigmaRule::beta},
      {"ays-sd15", SigmaRule::ays_sd15},
      {"ays-sdxl", SigmaRule::ays_sdxl},
      {"kl-optimal", SigmaRule::kl_optimal}};
  std::vector<std::string> names;
  for (const auto& [known, rule] : rules) {
    if (known == name) return rule;
    names.push_back(known);
  }
  throw UsageError("sigmas: got '" + name + "', expected one of " + enumerate(names) +
                   " or a list such as 14.6+5+1.2+0.3." + suggestion(name, names));
}

std::vector<double> sigma_list_from(const std::string& text) {
  std::vector<double> sigmas;
  const char *at = text.data(), *const end = at + text.size();
  while (true) {
    double sigma = 0;
    const auto [next, error] = std::from_chars(at, end, sigma);
    const bool descends = sigmas.empty() || sigma < sigmas.back();
    const bool last = next == end, zero = sigma == 0 && last && !sigmas.empty();
    if (error != std::errc() || !descends || !(zero || (sigma >= 1e-6 && sigma <= 1e6)) ||
        !(last || *next == '+') || sigmas.size() == 1000)
      throw UsageError("sigmas: got '" + text +
                       "', expected up to 1,000 descending numbers joined by +, such as "
                       "14.6+5+1.2+0.3.");
    if (!zero) sigmas.push_back(sigma);
    if (last) return sigmas;
    at = next + 1;
  }
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

std::vector<double> beta_sigmas(int steps, double sigma_min, double sigma_max) {
  std::vector<double> sigmas(steps);
  for (int k = 0; k < steps; ++k)
    sigmas[k] = sigma_min + beta_quantile(1 - ramp(k, steps), 0.6, 0.6) * (sigma_max - sigma_min);
  return sigmas;
}

std::vector<double> kl_optimal_sigmas(int steps, double sigma_min, double sigma_max) {
  const double first = std::atan(sigma_max), last = std::atan(sigma_min);
  std::vector<double> sigmas(steps);
  for (int k = 0; k < steps; ++k) sigmas[k] = std::tan(first + ramp(k, steps) * (last - first));
  return sigmas;
}

std::vector<double> aligned_sigmas(int steps, SigmaRule rule, const std::vector<double>& table) {
  static const std::vector<double> sd15 = {999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0},
                                   sdxl = {999, 845, 730, 587, 443, 310, 193, 116, 53, 13, 0};
  const auto& timesteps = rule == SigmaRule::ays_sdxl ? sdxl : sd15;
  std::vector<double> log_sigmas, sigmas;
  for (double t : timesteps)
    log_sigmas.push_back(std::log(sigma_at(table, t / 999 * double(table.size() - 1))));
  for (int k = 0; k < steps; ++k)
    sigmas.push_back(std::exp(sigma_at(log_sigmas, k * 10.0 / steps)));
  return sigmas;
}

std::vector<double> sigma_table(const NoiseSchedule& schedule) {
  std::vector<double> table;
  for (double abar : schedule.alphas_cumprod) {
    if (abar == 0) abar = 0x1p-24;
    const auto narrow = static_cast<float>(abar);
    table.push_back(narrow == abar ? std::sqrt((1 - narrow) / narrow)
                                   : std::sqrt((1 - abar) / abar));
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

double nearest_known(const std::vector<double>& known, double sigma) {
  if (known.empty()) return sigma;
  return *std::min_element(known.begin(), known.end(), [&](double a, double b) {
    return std::abs(a - sigma) < std::abs(b - sigma);
  });
}

}  // namespace tiller
