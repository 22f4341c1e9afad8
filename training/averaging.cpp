#include "training/averaging.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <charconv>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

/// EDM's ramp: the half-life is at most this share of the images seen before.
constexpr double half_life_ramp = 0.05;
/// The relative width of a power function of exponent 0: the plain mean over all steps.
const double widest = 1 / (2 * std::sqrt(3.0));

double relative_width(double exponent) {
  return std::sqrt(exponent + 1) / ((exponent + 2) * std::sqrt(exponent + 3));
}

/// The power function's exponent, by bisection: its width falls as the exponent grows.
double exponent_of(double width) {
  double low = 0, high = 2 / (width * width);
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (relative_width(middle) > width ? low : high) = middle;
  }
  return low;
}

double number_in(const std::string& text, const std::string& digits, double low, double high,
                 const std::string& expected) {
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error == std::errc() && stop == end && value >= low && value <= high) return value;
  throw UsageError("--ema: got '" + printable(text) + "', expected " + expected + ".");
}

}  // namespace

Averaging averaging_from(const std::string& text) {
  const std::string expected =
      "a decay of 0 to 1, half-life=IMAGES or power=WIDTH (0.001 to 0.288)";
  const auto equals = text.find('=');
  if (equals == text.npos)
    return {Averaging::Rule::decay, number_in(text, text, 0, 1, expected), text};
  const std::string rule = text.substr(0, equals), digits = text.substr(equals + 1);
  if (rule == "half-life")
    return {Averaging::Rule::half_life, number_in(text, digits, 1, 1e15, expected), text};
  if (rule == "power")
    return {Averaging::Rule::power, number_in(text, digits, 0.001, widest, expected), text};
  throw UsageError("--ema: got '" + printable(text) + "', expected " + expected + "." +
                   suggestion(rule, {"half-life", "power"}));
}

double kept_share(const Averaging& averaging, int64_t step, int64_t batch) {
  const double steps = double(step), seen = (steps - 1) * double(batch);
  switch (averaging.rule) {
    case Averaging::Rule::decay:
      return std::min(averaging.value, (1 + steps) / (10 + steps));
    case Averaging::Rule::half_life:
      return std::exp2(-double(batch) / std::min(averaging.value, seen * half_life_ramp));
    case Averaging::Rule::power:
      return std::pow(1 - 1 / steps, exponent_of(averaging.value) + 1);
  }
  return 0;
}

void update_average(std::vector<Tensor>& average, const std::vector<Tensor>& weights, double kept) {
  const at::NoGradGuard guard;
  at::_foreach_lerp_(average, weights, 1 - kept);
}

}  // namespace tiller
