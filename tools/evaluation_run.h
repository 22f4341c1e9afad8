#pragma once
#include <functional>

#include "metrics/lpips.h"
#include "tools/evaluation_log.h"
#include "tools/evaluation_report.h"
#include "tools/generation.h"

namespace tiller {

/// What --method names. Throws UsageError where one stands twice.
std::vector<std::string> named_methods(const Flags&);

/// `asked`, to be loaded before the data say what prompts and classes there are: with an empty
/// prompt for models of text. Throws UsageError on a prompt for a model that reads none.
GenerateRequest evaluation_request(const GenerateRequest& asked, const std::string& sampler);

/// Keeps the methods that `check` doesn't throw a UsageError for. What was named must work: throws
/// it on, with the method. Others go to report.left_out with the reason; none left is one, too.
std::vector<std::string> usable_methods(const std::vector<std::string>& methods, bool named,
                                        const std::function<void(const std::string&)>& check,
                                        EvaluationReport& report);

/// LPIPS where --lpips asks for it, and its files' hashes.
struct ChosenLpips {
  std::optional<Lpips> distance;
  std::vector<std::string> hashes;
};
/// Throws UsageError when the run's images are too small for it, Error as Lpips does.
ChosenLpips choose_lpips(const Flags&, const Generation&);

/// What any task's figures depend on beside the images and the method.
Json evaluation_recipe(const Generation&, const fs::path& data);
/// The key of a batch's results: recipe and `more` as a hash, but for the places of files.
std::string batch_key(Json recipe, const Json& more);

/// A batch of images by one method.
struct BatchRun {
  std::string key;
  int64_t images = 0;
  int64_t shown = 0;  ///< The first so many have a picture in the report.
  std::function<std::vector<ImageFigures>()> measure;  ///< Also writes the pictures.
};
/// Below the report's folder.
std::string picture_file(const std::string& key, int64_t row);
/// An earlier run's results, if all are there with their pictures, else measures and logs. Where
/// that throws an Error which isn't a UsageError, all the batch's images have failed.
std::vector<ImageFigures> run_batch(const BatchRun&, EvaluationLog&, const fs::path& folder);
/// Adds what run_batch gave.
void add_batch(const BatchRun&, const std::vector<ImageFigures>&, MethodFigures&);

/// Does as --json asks: writes results to its file, or to standard output: then returns true.
bool tell_json(const Flags&, const Json&);
/// Says where the page is, unless --quiet or --json -.
void tell_page(const Flags&, const fs::path& folder);
/// Writes the report and what --json asks for, and prints the table where it is silent.
void finish_report(const EvaluationReport&, const std::vector<ShownImage>&, const Flags&);

}  // namespace tiller
