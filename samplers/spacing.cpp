#include "samplers/spacing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "io/error.h"
#include "samplers/sigmas.h"

namespace tiller {
namespace {

std::vector<double> leading(SpacingStyle style, int64_t timesteps, int steps, int offset) {
  const int dropped = style == SpacingStyle::open;
  const int64_t stride = timesteps / (steps + dropped);
  std::vector<double> list(steps);
  for (int k = 0; k < steps; ++k)
    list[k] = static_cast<double>((steps - 1 - k + dropped) * stride + offset);
  if (offset < 0 || list.front() >= static_cast<double>(timesteps))
    throw UsageError("steps: got " + std::to_string(steps) + " with steps_offset " +
                     std::to_string(offset) + ", expected them to stay within the model's " +
                     std::to_string(timesteps) + " timesteps. Ask for fewer, or trailing spacing.");
  return list;
}

/// Sums as numpy.arange does, on which ties depend. Of a stride through all timesteps those from
/// `usable` on, which may be fewer.
std::vector<double> trailing(int64_t timesteps, int64_t usable, int steps) {
  const double stride = double(timesteps) / steps, total = double(usable);
  const double delta = (total - stride) - total;
  std::vector<double> list;
  for (int k = 0; k < std::min<double>(steps, std::ceil(total / stride)); ++k)
    list.push_back(std::max(0.0, std::nearbyint(total + k * delta) - 1));
  return list;
}

std::vector<double> linspace(SpacingStyle style, int64_t timesteps, int steps, bool open) {
  const int intervals = open ? steps : steps - 1;
  const double stride = intervals ? static_cast<double>(timesteps - 1) / intervals : 0;
  std::vector<double> list(steps);
  for (int k = 0; k < steps; ++k) {
    const double t = (intervals - k) * stride;
    list[k] = style == SpacingStyle::fractional ? t : std::nearbyint(t);
  }
  return list;
}

/// Whole timesteps in any style, as ComfyUI and Automatic1111 have it.
std::vector<double> beta_spaced(int64_t timesteps, int steps) {
  std::vector<double> list;
  for (int k = 0; k < steps; ++k) {
    const double share = beta_quantile(1 - double(k) / steps, 0.6, 0.6);
    const double t = std::nearbyint(share * double(timesteps - 1));
    if (list.empty() || t != list.back()) list.push_back(t);
  }
  return list;
}

[[noreturn]] void refuse(const std::string& respacing, const std::string& why) {
  throw UsageError("respacing: got '" + respacing + "', " + why + ".");
}

int64_t count_from(const std::string& text, const std::string& respacing) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1)
    refuse(respacing, "expected step counts such as ddim10, 25 or 10,15,20");
  return count;
}

std::vector<int64_t> section_counts(const std::string& respacing) {
  std::vector<int64_t> counts;
  for (size_t begin = 0; begin <= respacing.size();) {
    const size_t comma = std::min(respacing.find(',', begin), respacing.size());
    counts.push_back(count_from(respacing.substr(begin, comma - begin), respacing));
    begin = comma + 1;
  }
  return counts;
}

/// The first whole stride that gives exactly `count` steps.
std::set<int64_t> whole_stride(int64_t timesteps, int64_t count, const std::string& respacing) {
  for (int64_t stride = 1; stride < timesteps; ++stride) {
    if ((timesteps + stride - 1) / stride != count) continue;
    std::set<int64_t> chosen;
    for (int64_t t = 0; t < timesteps; t += stride) chosen.insert(t);
    return chosen;
  }
  refuse(respacing, "but no whole stride through " + std::to_string(timesteps) +
                        " timesteps gives that many steps");
}

std::set<int64_t> sections(int64_t timesteps, const std::vector<int64_t>& counts,
                           const std::string& respacing) {
  const int64_t sections = static_cast<int64_t>(counts.size());
  std::set<int64_t> chosen;
  int64_t start = 0;
  for (int64_t s = 0; s < sections; ++s) {
    const int64_t size = timesteps / sections + (s < timesteps % sections);
    if (size < counts[s])
      refuse(respacing, "but a section has only " + std::to_string(size) + " timesteps");
    const double stride = counts[s] > 1 ? double(size - 1) / double(counts[s] - 1) : 1;
    double position = 0;  // summed, not multiplied: the original's rounding at ties depends on it
    for (int64_t k = 0; k < counts[s]; ++k, position += stride)
      chosen.insert(start + static_cast<int64_t>(std::nearbyint(position)));
    start += size;
  }
  return chosen;
}

}  // namespace

Spacing spacing_from(const std::string& name) {
  static const std::vector<std::pair<std::string, Spacing>> all = {
      {"leading", Spacing::leading},
      {"trailing", Spacing::trailing},
      {"linspace", Spacing::linspace},
      {"sgm-uniform", Spacing::sgm_uniform},
      {"beta", Spacing::beta}};
  std::vector<std::string> names;
  for (const auto& [known, spacing] : all) {
    if (known == name) return spacing;
    names.push_back(known);
  }
  throw UsageError("spacing: got '" + name + "', expected one of " + enumerate(names) + "." +
                   suggestion(name, names));
}

std::vector<double> spaced_timesteps(Spacing spacing, SpacingStyle style, int64_t timesteps,
                                     int steps, int offset, std::optional<int64_t> first) {
  const int64_t usable = first.value_or(timesteps);
  const int64_t most = spacing == Spacing::trailing ? timesteps : usable;
  if (steps < 1 || steps > most)
    throw UsageError("steps: got " + std::to_string(steps) + ", expected 1 to " +
                     std::to_string(most) + ", as many as the model was trained with.");
  if (spacing == Spacing::leading) return leading(style, usable, steps, offset);
  if (spacing == Spacing::trailing) return trailing(timesteps, usable, steps);
  if (spacing == Spacing::beta) return beta_spaced(usable, steps);
  const bool open = style == SpacingStyle::open || spacing == Spacing::sgm_uniform;
  return linspace(style, usable, steps, open);
}

std::vector<double> respaced_timesteps(const std::string& respacing, int64_t timesteps) {
  std::set<int64_t> chosen;
  if (respacing.empty())
    chosen = sections(timesteps, {timesteps}, respacing);
  else if (respacing.starts_with("ddim"))
    chosen = whole_stride(timesteps, count_from(respacing.substr(4), respacing), respacing);
  else
    chosen = sections(timesteps, section_counts(respacing), respacing);
  return {chosen.rbegin(), chosen.rend()};
}

}  // namespace tiller
