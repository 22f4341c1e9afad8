#pragma once
#include <future>

#include "io/file.h"
#include "tools/request.h"

namespace tiller {

/// The first 16 digits of a file's SHA-256, or of its files' where it is a folder: a pipeline's
/// VAE, else all right in it; with `configs` the texts of a pipeline and its parts.
std::string input_hash(const fs::path&, bool configs = false);

/// input_hash of every file beside the model that a request names, by its name there.
std::map<std::string, std::string> input_hashes(const GenerateRequest&);

/// The same of the text encoders, tokenizers and VAE in the folder of a pipeline, by part; of other
/// models none, whose one hash covers all. Reckoned in the background.
std::shared_future<std::map<std::string, std::string>> begin_part_hashes(const GenerateRequest&);

/// Throws Error, beginning with `where`, when a file that both name is another one now.
/// made: what was made with them, "the image".
void require_inputs(const std::map<std::string, std::string>& recorded,
                    const std::map<std::string, std::string>& found, const std::string& where,
                    const std::string& made = "the image");

}  // namespace tiller
