#pragma once
#include "io/archive.h"
#include "training/dataset.h"

namespace tiller {

/// What stands beside an archive's images, in files of their name with another ending, as
/// webdataset's shards have it: KEY.txt a caption, KEY.cls the number of a class, KEY.json both
/// ("caption" or "text", "label" or "cls").
class ArchiveText {
 public:
  /// Takes the entry at hand where it is one of these. Throws Error when it can't be read.
  void read(const std::string& name, ArchiveReader&);
  /// Forgets what stands beside none of these images, as a README.txt does.
  void keep_beside(const std::vector<std::string>& images);
  bool has_classes() const { return !classes_.empty(); }
  /// Gives the images their captions and labels. Throws Error when only some have them, or a class
  /// is no number.
  void add_to(Dataset&, const fs::path&) const;

 private:
  /// A class as it is written, and in which file.
  struct Class {
    std::string file, digits;
  };
  void read_json(const std::string& name, const std::string& key, const std::string& text);

  std::map<std::string, std::string> captions_;
  std::map<std::string, Class> classes_;
};

}  // namespace tiller
