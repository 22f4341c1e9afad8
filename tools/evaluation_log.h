#pragma once
#include <map>

#include "io/file.h"
#include "tools/request.h"

namespace tiller {

/// Results of batches of images, a JSON object a line, so that an evaluation goes on after a kill
/// at any moment: a line that isn't whole counts as not written.
class EvaluationLog {
 public:
  /// Reads what is there. Throws Error when the file can't be read.
  explicit EvaluationLog(fs::path);

  /// The results of this key; null: none.
  const Json* find(const std::string& key) const;
  /// Throws Error when the file can't be written.
  void append(const std::string& key, const Json& results);

 private:
  fs::path path_;
  std::map<std::string, Json> results_;
};

}  // namespace tiller
