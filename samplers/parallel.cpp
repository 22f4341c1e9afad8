#include "samplers/parallel.h"

#include <cmath>

#include "io/error.h"
#include "samplers/ode.h"
#include "samplers/step.h"
#include "samplers/triangular_anderson.h"

namespace tiller {
namespace {

using Method = ParallelOptions::Method;

/// Draws the noise of each step once, in the steps' order, and gives it again and again.
class StepNoise {
 public:
  StepNoise(NoiseSource& source, int steps) : source_(source), drawn_(steps) {}

  class Of final : public NoiseSource {
   public:
    Of(NoiseSource& source, std::vector<Tensor>& drawn) : source_(source), drawn_(drawn) {}
    Tensor draw(const Tensor& like) override {
      if (next_ == drawn_.size()) drawn_.push_back(source_.draw(like));
      return drawn_[next_++];
    }

   private:
    NoiseSource& source_;
    std::vector<Tensor>& drawn_;
    size_t next_ = 0;
  };

  Of step(int i) { return {source_, drawn_[i]}; }
  void forget(int i) { drawn_[i].clear(); }

 private:
  NoiseSource& source_;
  std::vector<std::vector<Tensor>> drawn_;
};

/// The standard deviation of the noise that DDPM adds on step i's way: of q(x_to | x_from, x_0).
double step_noise(const Trajectory& trajectory, int i) {
  const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
  const double shrink = from.alpha / to.alpha * to.sigma;
  const double added = std::max(0.0, from.sigma * from.sigma - shrink * shrink);
  return to.sigma / from.sigma * std::sqrt(added);
}

/// (B) root mean squares.
Tensor size_of(const Tensor& x) { return x.flatten(1).pow(2).mean(1).sqrt(); }

class ParallelRun {
 public:
  ParallelRun(const WindowDenoiser& denoise, const Trajectory& trajectory, const Sampler& sampler,
              const Options& sampler_options, NoiseSource& noise, const ParallelOptions& options)
      : denoise_(denoise),
        trajectory_(trajectory),
        sampler_(sampler),
        sampler_options_(sampler_options),
        options_(options),
        noise_(noise, trajectory.steps()),
        mixing_(size_t(options.memory)) {}

  Tensor run(Tensor x, const Observer& observer) {
    points_ = {as_state(x)};
    while (begin_ < trajectory_.steps()) {
      guess();
      const int settled = sweep();
      for (int i = begin_; i < begin_ + settled; ++i) {
        Tensor sample = points_[i + 1];
        report(observer, trajectory_, i, sample, predictions_[i - begin_]);
        points_[i] = Tensor();
        noise_.forget(i);
      }
      begin_ += settled;
    }
    return points_.back();
  }

 private:
  /// Moves the window's end, and fills what is new with copies of the last point.
  void guess() {
    const bool block = options_.method == Method::gauss_seidel;
    if (!block || begin_ == end_) end_ = std::min(begin_ + options_.window, trajectory_.steps());
    while (int(points_.size()) <= end_) {
      const int last = int(points_.size()) - 1;
      const NoiseLevel &from = trajectory_.levels[last], &to = trajectory_.levels[last + 1];
      const double scale = std::hypot(to.alpha, to.sigma) / std::hypot(from.alpha, from.sigma);
      points_.push_back(points_.back() * scale);
    }
  }

  /// F_i of all points in the window.
  std::vector<Tensor> stepped() {
    const std::span<const Tensor> x = std::span(points_).subspan(begin_, end_ - begin_);
    const std::span<const NoiseLevel> levels =
        std::span(trajectory_.levels).subspan(begin_, end_ - begin_);
    predictions_ = denoise_(x, levels);
    std::vector<Tensor> next;
    for (int i = begin_; i < end_; ++i) {
      StepNoise::Of noise = noise_.step(i);
      next.push_back(sampler_.step(points_[i], predictions_[i - begin_], trajectory_, i,
                                   sampler_options_, noise));
    }
    return next;
  }

  /// a_i.
  double factor(int i) const {
    const double alpha = trajectory_.levels[i].alpha;
    if (options_.method == Method::picard) return 1;
    return alpha > 0 ? trajectory_.landing(i).alpha / alpha : 0;
  }

  int order() const {
    if (options_.method == Method::picard) return options_.window;
    return options_.method == Method::taa ? options_.order : 1;
  }

  /// The window's points by equations of the method's order. steps: F_i(x_i).
  std::vector<Tensor> solved(const std::vector<Tensor>& steps) const {
    std::vector<Tensor> next;
    for (int i = begin_; i < end_; ++i) {
      const int first = std::max(begin_, i - order() + 1);
      if (first == begin_ && i > begin_) {  // goes on from the point before
        next.push_back(factor(i) * (next.back() - points_[i]) + steps[i - begin_]);
        continue;
      }
      Tensor x = steps[first - begin_];
      for (int j = first + 1; j <= i; ++j) x = factor(j) * (x - points_[j]) + steps[j - begin_];
      next.push_back(x);
    }
    return next;
  }

  /// How many points at the window's begin have settled: those that a sweep changed by less than
  /// the tolerance in every image, and one more.
  int settled(const std::vector<Tensor>& changed) const {
    std::vector<Tensor> sizes;
    for (int i = begin_; i < end_; ++i)
      sizes.push_back(size_of(changed[i - begin_] - points_[i + 1]).amax());
    const Tensor errors = at::stack(sizes).to(at::kCPU, at::kDouble);
    int good = 0;
    while (good < end_ - begin_ && errors[good].item<double>() <=
                                       options_.tolerance * step_noise(trajectory_, begin_ + good))
      ++good;
    return std::min(good + 1, end_ - begin_);
  }

  /// Brings the window's points up to date. Returns how many of them have settled.
  int sweep() {
    const std::vector<Tensor> steps = stepped();
    std::vector<Tensor> next = solved(steps);
    const int done = settled(next);
    if (options_.method == Method::taa && options_.memory > 1) mix(next, done);
    std::move(next.begin(), next.end(), points_.begin() + begin_ + 1);
    return done;
  }

  /// Accelerates the points that haven't settled.
  void mix(std::vector<Tensor>& next, int done) {
    const auto before = std::span(points_).subspan(begin_ + 1, next.size());
    const std::vector<Tensor> corrections = mixing_.corrections(begin_ + 1, before, next);
    for (size_t i = size_t(done); i < next.size(); ++i)
      if (corrections[i].defined()) next[i] = next[i] - corrections[i];
  }

  const WindowDenoiser& denoise_;
  const Trajectory& trajectory_;
  const Sampler& sampler_;
  const Options& sampler_options_;
  const ParallelOptions& options_;
  StepNoise noise_;
  TriangularAnderson mixing_;
  std::vector<Tensor> points_;           // x_0 to the window's end; those that are done with: none
  std::vector<Prediction> predictions_;  // of the window's steps
  int begin_ = 0, end_ = 0;              // the window's steps
};

}  // namespace

const std::vector<ParallelMethod>& parallel_methods() {
  static const std::vector<ParallelMethod> all = [] {
    const std::vector<Option> shared = {
        {"window", "16", "steps evaluated in one batch; 0: all"},
        {"tolerance", "0.01", "of what may still change, in units of a step's noise"}};
    std::vector<Option> mixing = shared;
    mixing.push_back({"order", "8", "steps in each equation"});
    mixing.push_back({"memory", "3", "sweeps that are mixed; 1: none"});
    return std::vector<ParallelMethod>{
        {"picard", "ParaDiGMS: all steps of a window at once, again and again", "2305.16317",
         shared, Method::picard},
        {"jacobi", "the same by each step's own equation", "2002.03629", shared, Method::jacobi},
        {"gauss-seidel", "jacobi block by block", "2002.03629", shared, Method::gauss_seidel},
        {"taa", "ParaTAA: equations over several steps, mixed by Anderson's rule", "2402.09970",
         mixing, Method::taa}};
  }();
  return all;
}

ParallelOptions parallel_options(const std::string& text, int steps,
                                 const std::vector<std::string>& besides) {
  const auto& methods = parallel_methods();
  const size_t colon = std::min(text.find(':'), text.size());
  const std::string name = text.substr(0, colon);
  const auto found = std::ranges::find(methods, name, &ParallelMethod::name);
  if (found == methods.end()) {
    std::vector<std::string> names = besides;
    for (const auto& known : methods) names.push_back(known.name);
    throw UsageError("--parallel: got '" + name + "', expected one of " + enumerate(names) + "." +
                     suggestion(name, names));
  }
  ParallelOptions parallel;
  parallel.method = found->method;
  const Options options = parse_options(
      "--parallel " + name, colon < text.size() ? text.substr(colon + 1) : "", found->options);
  parallel.window = bounded_integer(options, "window", 0, 1'000'000);
  if (parallel.window == 0 || parallel.window > steps) parallel.window = std::max(steps, 1);
  parallel.tolerance = options.number("tolerance", 0, 1e6);
  if (parallel.method == Method::taa) {
    parallel.order = bounded_integer(options, "order", 1, 1'000'000);
    parallel.memory = bounded_integer(options, "memory", 1, 16);
  }
  return parallel;
}

void require_one_step(const Sampler& sampler, const Options& options) {
  std::vector<std::string> able;
  for (const auto& other : samplers())
    if (other.step) able.push_back(other.name);
  if (!sampler.step)
    throw UsageError("--parallel: got sampler " + sampler.name +
                     ", whose steps need more than a sample and its prediction, expected one of " +
                     enumerate(able, able.size()) + ".");
  if (options.has("s_churn") && options.number("s_churn") > 0)
    throw UsageError("--parallel: got sampler " + sampler.name + " with s_churn " +
                     options.text("s_churn") + ", expected 0: churned samples aren't the steps'.");
}

Tensor sample_parallel(const WindowDenoiser& denoise, Tensor x, const Trajectory& trajectory,
                       const Sampler& sampler, const Options& sampler_options, NoiseSource& noise,
                       const ParallelOptions& options, const Observer& observer) {
  if (sampler_options.has("pfgmpp")) x = with_prior(x, trajectory, sampler_options, noise);
  ParallelRun run(denoise, trajectory, sampler, sampler_options, noise, options);
  return run.run(std::move(x), observer);
}

}  // namespace tiller
