#include "tools/outputs.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdlib>

#include "io/error.h"
#include "io/grid.h"

namespace tiller {
namespace {

constexpr int64_t usual_columns = 8;

std::string lower_extension(const fs::path& path) {
  std::string text = path.extension().string();
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool names_folder(const fs::path& path) {
  std::error_code unseen;  // require_writable tells where it can't be looked into
  const std::string extension = lower_extension(path);
  if (extension == ".png") return fs::is_directory(path, unseen);
  if (path.filename().empty() || fs::is_directory(path, unseen)) return true;
  for (const char* other :
       {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".safetensors"})
    if (extension == other)
      throw UsageError("--output: got " + path.string() + ", expected a .png file or a folder." +
                       (extension == ".safetensors" ? " --save-latents writes tensors." : ""));
  return true;
}

/// Tried, since systems of files may refuse what permissions allow.
bool takes_files(const fs::path& folder) {
  std::string probe = (folder / ".tiller-XXXXXX").string();
  const int file = mkstemp(probe.data());
  if (file < 0) return false;
  close(file);
  return unlink(probe.c_str()) == 0;
}

/// Throws Error unless a file can be made at `path`, of which only the last part may be a folder
/// yet to be made.
void require_writable(const std::string& flag, const fs::path& path, bool folder) {
  std::error_code error;
  fs::path at = fs::absolute(path, error);
  constexpr const char* unfinished = ".1234567-123456.tmp";  // of the name while it is written
  if (!fs::exists(at.string() + unfinished, error) && error == std::errc::filename_too_long)
    throw Error(flag + ": got " + path.string() + ", expected a shorter name.");
  if (!folder && fs::is_directory(at, error))
    throw Error(flag + ": got the folder " + path.string() + ", expected a file.");
  if (folder && fs::exists(at, error) && !fs::is_directory(at, error))
    throw Error(flag + ": got the file " + path.string() + ", expected a .png file or a folder.");
  if (!folder) at = at.parent_path();
  while (!fs::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  if (!fs::is_directory(at, error) || !takes_files(at))
    throw Error(flag + ": got " + path.string() + ", expected a place that can be written; " +
                at.string() + " can't be.");
}

/// Pairs that train couldn't read are refused before they are made.
void check_pairs(const Flags& flags, const Outputs& outputs, const GenerateRequest& request) {
  if (outputs.pairs.empty()) return;
  if (!request.compare.empty() || flags.has("from") || !outputs.inversion.empty() ||
      !request.inversion.empty() || !request.image.init_image.empty())
    throw UsageError(
        "--save-pairs: got it with --compare, --from, --inversion, --save-inversion or "
        "--init-image, expected a run from noise to images.");
  if (request.size.width != request.size.height)
    throw UsageError("--save-pairs: got it with --size " + to_text(request.size) +
                     ", expected a square, as train reads pairs.");
}

void check_fit(const Flags& flags, const Outputs& outputs, const GenerateRequest& request) {
  if (outputs.folder && !request.compare.empty())
    throw UsageError("--output: got the folder " + outputs.path.string() +
                     " with --compare, expected a .png file for the grid.");
  if (outputs.skip_existing && !outputs.folder)
    throw UsageError("--skip-existing: got the file " + outputs.path.string() +
                     ", expected a folder for --output.");
  if (outputs.skip_existing &&
      (outputs.grid || !outputs.latents.empty() || !outputs.maps.empty() ||
       !outputs.inversion.empty() || !outputs.pairs.empty() || !request.inversion.empty()))
    throw UsageError(
        "--skip-existing: got --inversion or an output that needs every image, expected a folder "
        "for --output without --grid, --save-latents, --save-inversion, --save-pairs and "
        "--save-maps.");
  if (!request.compare.empty() && flags.has("grid"))
    throw UsageError("--grid: got --compare too, expected one of them.");
  if (!outputs.preview.empty() && lower_extension(outputs.preview) != ".png")
    throw UsageError("--preview: got " + outputs.preview.string() + ", expected a .png file.");
  if (!outputs.maps.empty() && request.words.maps.empty() && request.words.effects.empty())
    throw UsageError(
        "--save-maps: got no --attention-map or --attention-effect with it, expected one.");
}

std::string common(const std::vector<std::string>& texts) {
  for (const auto& text : texts)
    if (text != texts.front()) return "";
  return texts.empty() ? "" : texts.front();
}

std::string seed_range(std::span<const ImageSpec> images) {
  const std::string first = std::to_string(images.front().seed);
  return images.size() == 1 ? "seed " + first
                            : "seeds " + first + "-" + std::to_string(images.back().seed);
}

/// Columns are named by their class where all of a column have the same.
GridLabels plain_labels(const Generation& generation, int64_t columns) {
  const std::span<const ImageSpec> images(generation.images);
  GridLabels labels;
  for (size_t i = 0; i < images.size(); i += columns)
    labels.rows.push_back(
        seed_range(images.subspan(i, std::min<size_t>(columns, images.size() - i))));
  for (size_t column = 0; column < std::min<size_t>(columns, images.size()); ++column) {
    std::vector<std::string> names;
    for (size_t i = column; i < images.size(); i += columns)
      names.push_back(subject_of(generation.model, images[i]));
    labels.columns.push_back(common(names));
  }
  return labels;
}

GridLabels comparison_labels(const Generation& generation) {
  GridLabels labels;
  labels.rows = generation.request.compare;
  for (const auto& image : generation.images) {
    const std::string name = subject_of(generation.model, image);
    labels.columns.push_back(name + (name.empty() ? "seed " : " #") + std::to_string(image.seed));
  }
  return labels;
}

}  // namespace

const std::vector<Flag>& output_flags() {
  static const std::vector<Flag> flags = {
      {"output", "FILE.png|DIR", "a file (several images: a grid) or a folder; default tiller.png"},
      {"grid", "N", "draw a labelled grid of N columns; in a folder also the images"},
      {"skip-existing", "", "leave images alone that the folder already has"},
      {"preview", "FILE.png", "draw the batch at hand there while it is coming", Flag::rare},
      {"save-latents", "FILE", "final samples as a .safetensors file, tensor `latents`"},
      {"save-inversion", "FILE", "what `tiller invert --inversion` needs to find the noise again",
       Flag::rare},
      {"save-pairs", "FILE", "each sample with the noise that it came from, for train to reflow",
       Flag::rare},
      {"save-maps", "FILE", "words' maps as a .safetensors file, a tensor (B, H, W) a word",
       Flag::rare}};
  return flags;
}

Outputs choose_outputs(const Flags& flags, const GenerateRequest& request, int64_t images) {
  Outputs outputs;
  outputs.path = flags.text("output", "tiller.png");
  if (outputs.path.empty()) throw UsageError("--output: got '', expected a .png file or a folder.");
  outputs.folder = names_folder(outputs.path);
  outputs.grid = !request.compare.empty() || request.columns > 0 || (!outputs.folder && images > 1);
  outputs.latents = flags.text("save-latents");
  outputs.preview = flags.text("preview");
  outputs.maps = flags.text("save-maps");
  outputs.inversion = flags.text("save-inversion");
  outputs.pairs = flags.text("save-pairs");
  outputs.skip_existing = flags.has("skip-existing");
  check_fit(flags, outputs, request);
  check_pairs(flags, outputs, request);
  require_writable("--output", outputs.path, outputs.folder);
  if (!outputs.preview.empty()) require_writable("--preview", outputs.preview, false);
  NamedFiles written = {{"--save-latents", outputs.latents},
                        {"--save-maps", outputs.maps},
                        {"--save-inversion", outputs.inversion},
                        {"--save-pairs", outputs.pairs}};
  for (const auto& [flag, file] : written)
    if (!file.empty()) require_tensor_file(flag, file);
  if (!outputs.folder) written.emplace(written.begin(), "--output", outputs.path);
  require_apart(written, {{"--inversion", request.inversion}});
  return outputs;
}

void require_apart(const NamedFiles& written, const NamedFiles& read) {
  NamedFiles seen = read;
  const auto place = [](const fs::path& file) {
    std::error_code error;
    return fs::weakly_canonical(fs::absolute(file), error);
  };
  for (const auto& [flag, file] : written) {
    if (file.empty()) continue;
    for (const auto& [other, known] : seen)
      if (!known.empty() && place(known) == place(file))
        throw UsageError(flag + ": got " + file.string() + " to write, which is " + other +
                         "'s file, expected another.");
    seen.emplace_back(flag, file);
  }
}

void require_tensor_file(const std::string& flag, const fs::path& path) {
  if (lower_extension(path) != ".safetensors")
    throw UsageError(flag + ": got " + path.string() + ", expected a .safetensors file.");
  require_writable(flag, path, false);
}

fs::path report_folder(const Flags& flags) {
  const fs::path folder = flags.required("output", "a folder for the report");
  if (fs::is_regular_file(folder))
    throw Error("--output: got the file " + folder.string() +
                ", expected a folder for the report.");
  require_writable("--output", folder, true);
  return folder;
}

void require_writable_file(const std::string& flag, const fs::path& path) {
  require_writable(flag, path, false);
}

fs::path image_path(const Outputs& outputs, size_t index) {
  if (!outputs.folder) return outputs.path;
  const std::string digits = std::to_string(index);
  return outputs.path /
         (std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits + ".png");
}

fs::path grid_path(const Outputs& outputs) {
  return outputs.folder ? outputs.path / "grid.png" : outputs.path;
}

int64_t grid_columns(const GenerateRequest& request, int64_t images) {
  if (!request.compare.empty()) return images;
  return std::min(images, request.columns > 0 ? request.columns : usual_columns);
}

void write_grid(const Outputs& outputs, const Generation& generation, const Tensor& pixels,
                std::span<const std::vector<ChosenGuidance>> rows) {
  const GenerateRequest& request = generation.request;
  const int64_t images = static_cast<int64_t>(generation.images.size());
  const bool compares = !request.compare.empty();
  const int64_t columns = grid_columns(request, images);
  const GridLabels labels =
      compares ? comparison_labels(generation) : plain_labels(generation, columns);
  write_png(grid_path(outputs), image_grid(pixels, columns, labels), grid_text(generation, rows));
}

}  // namespace tiller
