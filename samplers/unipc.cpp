#include <algorithm>
#include <array>
#include <cmath>
#include <deque>

#include "samplers/log_snr.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

using Basis = UniPcOptions::Basis;

/// Solves the small system a x = b by elimination with pivoting.
std::vector<double> solve(std::vector<std::vector<double>> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t r = k + 1; r < n; ++r)
      if (std::abs(a[r][k]) > std::abs(a[pivot][k])) pivot = r;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    for (size_t r = k + 1; r < n; ++r) {
      const double factor = a[r][k] / a[k][k];
      for (size_t c = k; c < n; ++c) a[r][c] -= factor * a[k][c];
      b[r] -= factor * b[k];
    }
  }
  for (size_t k = n; k-- > 0;) {
    for (size_t c = k + 1; c < n; ++c) b[k] -= a[k][c] * b[c];
    b[k] /= a[k][k];
  }
  return b;
}

/// B(h) of the paper for hh = -h.
double basis(double hh, Basis kind) { return kind == Basis::bh1 ? hh : std::expm1(hh); }

/// The weights rho (theorem 3.1) for differences at the ratios r.
std::vector<double> unipc_weights(const std::vector<double>& ratios, double hh, Basis kind) {
  const size_t n = ratios.size();
  std::vector<std::vector<double>> rows(n, std::vector<double>(n));
  std::vector<double> right(n);
  double phi = std::expm1(hh) / hh - 1, factorial = 1;
  for (size_t k = 0; k < n; ++k) {
    for (size_t j = 0; j < n; ++j) rows[k][j] = std::pow(ratios[j], double(k));
    right[k] = phi * factorial / basis(hh, kind);
    factorial *= double(k + 2);
    phi = phi / hh - 1 / factorial;
  }
  return solve(rows, right);
}

/// A step from the latest estimate's level to another, of either kind.
struct UniStep {
  const NoiseLevel &from, &to;
  const std::deque<Estimate>& past;  ///< The latest first, made at `from`.
  Basis kind;

  double h() const { return log_snr(to) - log_snr(from); }

  /// What the exponential integrator gives with x_0 held.
  Combination first_order(const Combination& x) const {
    return (to.sigma / from.sigma) * x -
           (to.alpha * std::expm1(-h())) * Combination(past[0].sample);
  }
  std::vector<double> ratios(int order) const {
    std::vector<double> r;
    for (int k = 1; k < order; ++k) r.push_back((past[k].lambda - past[0].lambda) / h());
    return r;
  }
  Combination add(const Combination& x, double weight, const Combination& difference) const {
    return x - (to.alpha * basis(-h(), kind) * weight) * difference;
  }

  /// UniP.
  Tensor predicted(const Tensor& x, int order) const {
    Combination result = first_order(x);
    if (order < 2) return result;
    const auto r = ratios(order);
    const auto rho = order == 2 ? std::vector<double>{0.5} : unipc_weights(r, -h(), kind);
    for (int k = 1; k < order; ++k)
      result = add(result, rho[k - 1] / r[k - 1], difference(past[k].sample, past[0].sample));
    return result;
  }

  /// UniC: the same step again, knowing the estimate at its end.
  Tensor corrected(const Tensor& x, const Combination& sample_at_end, int order) const {
    Combination result = first_order(x);
    auto r = ratios(order);
    r.push_back(1);
    const auto rho = order == 1 ? std::vector<double>{0.5} : unipc_weights(r, -h(), kind);
    for (int k = 1; k < order; ++k)
      result = add(result, rho[k - 1] / r[k - 1], difference(past[k].sample, past[0].sample));
    return add(result, rho.back(), sample_at_end - past[0].sample);
  }
};

int order_of_step(const Trajectory& trajectory, int i, const UniPcOptions& options) {
  const int most =
      options.lower_order_final ? std::min(options.order, trajectory.steps() - i) : options.order;
  return is_flat(trajectory.levels[i], trajectory.landing(i)) ? 1 : std::min(most, i + 1);
}

}  // namespace

Tensor sample_unipc(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const UniPcOptions& options, NoiseSource&, const Observer& observer) {
  x = as_state(x);
  std::deque<Estimate> past;
  Tensor before;  // the last step's start
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    if (i > 0 && options.corrector) {
      const UniStep last{trajectory.levels[i - 1], from, past, options.basis};
      x = last.corrected(before, p.sample, order_of_step(trajectory, i - 1, options));
    }
    past.push_front({p.sample, log_snr(from)});
    if (static_cast<int>(past.size()) > options.order) past.pop_back();
    before = x;
    x = UniStep{from, to, past, options.basis}.predicted(x, order_of_step(trajectory, i, options));
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler unipc_sampler() {
  return {.name = "unipc",
          .description = "UniPC: a multistep predictor and a corrector, one evaluation a step",
          .paper = "2302.04867",
          .scheduler = "UniPCMultistepScheduler",
          .options = {{"order", "2", "1 to 4"},
                      {"solver", "bh2", "bh1 or bh2: the paper's B(h)"},
                      {"corrector", "true", "false: the predictor alone"},
                      {"lower_order_final", "true", "lower order in the last steps"}},
          .trajectory = rounded_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const bool bh1 = options.choice("solver", {"bh1", "bh2"}) == "bh1";
            const UniPcOptions unipc{bounded_integer(options, "order", 1, 4),
                                     bh1 ? Basis::bh1 : Basis::bh2, options.flag("corrector"),
                                     options.flag("lower_order_final")};
            return sample_unipc(denoise, std::move(x), trajectory, unipc, noise, observer);
          }};
}

}  // namespace tiller
