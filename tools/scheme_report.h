#pragma once
#include "tools/comparison.h"
#include "tools/schemes.h"

namespace tiller {

/// What a scheme costs, an image each.
struct SchemeCost {
  double evaluations = 0;  ///< Of the network, by branches.
  double calls = 0;        ///< Of the network, one after the other; 0: not known.
  double flops = 0;        ///< As evaluated.
  double seconds = 0;      ///< Sampling and decoding.
  double peak_memory = 0;  ///< Bytes of the process, the largest while it ran; 0: not known.
};

/// A row of the report.
struct SchemeResult {
  Scheme scheme;
  int64_t count = 0;
  std::vector<Figure> figures;
  std::vector<Figure> differences;  ///< Of distances, to the first scheme, seed by seed.
  SchemeCost cost;
  std::vector<std::string> sites;  ///< Where its guidances act.
  fs::path pictures;               ///< A PNG of its first images, below the folder; empty: none.
  fs::path images;      ///< Where all of them are kept, below the folder; empty: nowhere.
  std::string failure;  ///< Why there is nothing; "": there is.
};

struct SchemeReport {
  fs::path folder;
  Json protocol;       ///< All that the figures depend on, in the order in which it is shown.
  size_t planned = 0;  ///< Schemes of the whole run.
  std::vector<SchemeResult> schemes;  ///< Those that are done.
  std::vector<std::string> notes;
};

/// Whether each scheme is best at its price: no other has both a lower `key` and fewer FLOPs.
std::vector<bool> pareto_front(const std::vector<SchemeResult>&, const std::string& key);

Json report_json(const SchemeReport&);
/// For the terminal: a line a scheme.
std::string report_table(const SchemeReport&);
/// results.json, results.csv and index.html.
void write_report(const SchemeReport&);

}  // namespace tiller
