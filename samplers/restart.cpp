#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// The step that a restart follows: its end is nearest to `low`, and has noise. -1: no step's has,
/// or the run begins, from an image on, below where the restart would go.
int step_before(const Trajectory& trajectory, const Restart& restart) {
  int nearest = -1;
  double least = 0;
  if (restart.high > trajectory.levels.front().sigma) return nearest;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const double sigma = trajectory.landing(i).sigma, distance = std::abs(sigma - restart.low);
    if (sigma > 0 && (nearest < 0 || distance < least)) nearest = i, least = distance;
  }
  if (nearest >= 0 && trajectory.landing(nearest).sigma >= restart.high)
    throw UsageError("restarts: got " + std::to_string(restart.high) +
                     " to go up to, expected more than " +
                     std::to_string(trajectory.landing(nearest).sigma) +
                     ", the level nearest to where it begins. Ask for more steps.");
  return nearest;
}

/// One way up to restart.high and down again to where step i ended. p: the step's prediction.
Tensor restarted(const Denoiser& denoise, const Trajectory& trajectory, const Observer& observer,
                 int i, Tensor x, Prediction p, const Restart& restart,
                 const RestartOptions& options, NoiseSource& noise) {
  const NoiseLevel low = level_within(trajectory, i);
  const auto sigmas = karras_sigmas(restart.steps, low.sigma, restart.high);
  NoiseLevel level = level_between(trajectory, i, restart.high);
  x = raise_noise(x, low, level, options.churn, noise);
  for (int k = 0; k + 1 < restart.steps; ++k) {
    const bool churns = level.sigma >= options.churn.from && level.sigma <= options.churn.to;
    const double raised = level.sigma * (1 + (churns ? options.gamma : 0));
    const NoiseLevel hat =
        level_between(trajectory, i, nearest_known(trajectory.known_sigmas, raised));
    x = raise_noise(x, level, hat, options.churn, noise);
    report_within(observer, trajectory, i, hat, x, p);
    p = denoise(x, hat);
    level = k + 2 < restart.steps ? level_between(trajectory, i, sigmas[k + 1]) : low;
    x = heun_step(denoise, trajectory, observer, i, x, p, hat.sigma, level);
  }
  return x;
}

}  // namespace

Tensor sample_restart(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                      const RestartOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  std::vector<int> after;
  for (const Restart& restart : options.restarts) after.push_back(step_before(trajectory, restart));
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel hat = churned(trajectory, i, options.churn), to = level_within(trajectory, i);
    x = raise_noise(x, trajectory.levels[i], hat, options.churn, noise);
    const Prediction p = denoise(x, hat);
    x = heun_step(denoise, trajectory, observer, i, x, p, hat.sigma, to);
    for (size_t r = 0; r < after.size(); ++r)
      for (int k = 0; k < options.restarts[r].times && after[r] == i; ++k)
        x = restarted(denoise, trajectory, observer, i, x, p, options.restarts[r], options, noise);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// Reads "3x2@0.06-0.3": three levels, twice, from sigma 0.06 to 0.3.
Restart restart_from(const std::string& text, const std::string& all) {
  Restart restart{};
  char times = 0, at = 0, dash = 0;
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  in >> restart.steps >> times >> restart.times >> at >> restart.low >> dash >> restart.high;
  const bool read = in && in.peek() == EOF && times == 'x' && at == '@' && dash == '-';
  if (!read || restart.steps < 2 || restart.steps > 1000 || restart.times < 1 ||
      restart.times > 1000 || !(restart.low > 0) || !(restart.high > restart.low) ||
      restart.high > 1e6)
    throw UsageError("restarts: got '" + all +
                     "', expected LEVELSxTIMES@LOW-HIGH, joined by +, such as 3x2@0.06-0.3.");
  return restart;
}

std::vector<Restart> restarts_from(const std::string& text) {
  std::vector<Restart> restarts;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, '+');) restarts.push_back(restart_from(item, text));
  return restarts;
}

std::vector<Option> restart_options() {
  return {{"restarts", "10x1@0.1-2", "LEVELSxTIMES@LOW-HIGH, sigmas; several joined by +"},
          {"gamma", "0.05", "share by which a restart's steps raise their noise"},
          {"s_churn", "0", "noise added before other steps, over the whole run"},
          {"s_tmin", "0.01", "neither at sigmas below"},
          {"s_tmax", "1", "neither at sigmas above"},
          {"s_noise", "1.003", "scale of all noise that is added"}};
}

}  // namespace

Sampler restart_sampler() {
  return {.name = "restart",
          .description = "Restart: Heun's method, which goes back up in noise and down again",
          .paper = "2306.14878",
          .options = restart_options(),
          .trajectory = sigma_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const RestartOptions restart{restarts_from(options.text("restarts")),
                                         options.number("gamma", 0, 1), churn_from(options)};
            return sample_restart(denoise, std::move(x), trajectory, restart, noise, observer);
          }};
}

}  // namespace tiller
