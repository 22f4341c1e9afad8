#pragma once
#include "tools/command.h"

namespace tiller {

/// A way of making images that is compared with others.
struct Scheme {
  std::string guidance;  ///< "none", or guidances joined by " + ".
  std::string sampler;   ///< "": the run's.
  int64_t steps = 0;     ///< 0: the run's.
  std::string cache;     ///< "": the run's; "none".
  std::string parallel;  ///< "": the run's; "none".

  /// "cfg:scale=2, 10 steps".
  std::string name() const;
  bool operator==(const Scheme&) const = default;
};

/// "cfg:scale={1,2} + tpg:scale={3,4}" is four texts. Throws UsageError on braces that don't pair,
/// that are empty or stand within each other, and on more than a thousand texts.
std::vector<std::string> expand_braces(const std::string& where, const std::string& text);

/// What --scheme and --schemes name, braces expanded. A file, YAML or JSON, holds a list of texts
/// or of maps with `guidance`, `sampler`, `steps`, `cache` and `parallel`, each one value or a
/// list: all combinations. Throws UsageError when there is none or one comes twice, Error naming
/// the file's line.
std::vector<Scheme> choose_schemes(const Flags&);

}  // namespace tiller
