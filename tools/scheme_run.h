#pragma once
/// What the parts of `tiller evaluate --scheme` share: making images and measuring them.
#include <c10/util/Exception.h>

#include "io/error.h"
#include "io/processes.h"
#include "metrics/clip_similarity.h"
#include "tools/evaluation_run.h"
#include "tools/image_references.h"
#include "tools/program.h"
#include "tools/scheme_report.h"
#include "tools/scheme_shards.h"
#include "tools/shard_collection.h"

namespace tiller {

/// A run over all schemes.
struct SchemeRun {
  Generation generation;
  std::vector<Scheme> schemes;
  std::string sampler;  ///< The run's.
  int64_t steps = 0;
  std::string cache;     ///< The run's.
  std::string parallel;  ///< The run's.
  FeatureNetworks by;
  std::vector<const SetMetric*> metrics;
  bool named = false;
  std::vector<Reference> references;  ///< One a network.
  std::optional<ClipSimilarity> clip;
  std::string clip_hash;
  int64_t pictures = 0;
  fs::path images;  ///< Where images are kept; empty: nowhere.
  SchemeReport report;
  Processes* processes = nullptr;
  std::unique_ptr<ShardCollection> collection;

  int64_t count() const { return std::ssize(generation.images); }
  int64_t batch() const { return generation.request.batch; }
};

/// Why a scheme can't be measured, where others may be. A full disk is none: it ends the run.
struct SchemeFailure {
  std::string reason;
};

template <class Act>
auto or_scheme_failure(Act act) {
  try {
    return act();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw SchemeFailure{error.what()};
  } catch (const c10::OutOfMemoryError&) {
    throw SchemeFailure{"out of memory. Lower --batch, --size or the --parallel window."};
  }
}

/// Where what a scheme made lies.
struct SchemeFiles {
  SchemeShards shards;
  fs::path pictures;  ///< A strip of its first images, below the report's folder.
  fs::path images;    ///< Where its images are kept; empty: nowhere.
};

/// A scheme made ready.
struct ReadyScheme {
  Scheme scheme;
  std::vector<ChosenGuidance> guidances;
  SchemeFiles files;
};

/// The most steps that a scheme takes at once, where one that names none takes `steps`. 1: one
/// after the other. Throws UsageError.
int64_t widest_window(const SchemeRun&, int64_t steps);

/// The generation as the scheme wants it, and its guidances. Throws UsageError where they don't go
/// together or with the model.
std::vector<ChosenGuidance> use_scheme(SchemeRun&, const Scheme&);

SchemeFiles files_of(const SchemeRun&, const Scheme&);
/// The images of the batch that begins with image `first`.
std::span<const ImageSpec> specs_of(const SchemeRun&, int64_t first);
/// Adds what isn't there yet.
void add_note(SchemeReport&, const std::string& note);

}  // namespace tiller
