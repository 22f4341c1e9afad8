#pragma once
#include "io/progress.h"
#include "training/dataset.h"

namespace tiller {

/// Pictures by name, decoded in any order and by several threads, that become a Dataset sorted by
/// name. An image's class is the folder that it lies in.
class ImageSet {
 public:
  /// path: where they come from, for messages. names: relative to it; one that has no folder has no
  /// class. file: where the images go, as load_dataset has it. classes = false: folders mean
  /// nothing. Throws Error when some have a class and some don't, or the images don't fit.
  ImageSet(const fs::path& path, std::vector<std::string> names, int64_t size, const fs::path& file,
           bool classes = true);

  int64_t count() const { return static_cast<int64_t>(names_.size()); }
  const std::string& name(int64_t i) const { return names_[i]; }
  /// Decodes names[i]; what can't be decoded is noted.
  void decode(int64_t i, std::string_view bytes);
  void skip(int64_t i, const std::string& reason);
  /// What was decoded. Throws Error when that is nothing.
  Dataset finish() &&;

 private:
  fs::path path_;
  std::vector<std::string> names_;
  std::vector<int64_t> rows_;
  Dataset data_;
  std::vector<std::string> failures_;  ///< One a row; empty where all is well.
};

/// Silent where so few images are soon done.
Progress long_progress(const std::string& label, int64_t images);

/// Decodes all of the set's files, which lie under `path`.
Dataset decode_files(ImageSet, const fs::path& path);

/// The folder that an image of this name lies in; "": none.
std::string class_of(const std::string& name);

/// Images below a folder, in all of its folders (links too, each once), relative to it and sorted.
std::vector<std::string> list_image_files(const fs::path& folder);

/// Whether a file of this name is to be read as an image: by its ending, hidden files aside.
bool is_image_name(const fs::path&);

/// A larger image file is skipped.
constexpr size_t kImageFileLimit = size_t{1} << 28;

}  // namespace tiller
