#pragma once
#include "tools/request.h"

namespace tiller {

/// The first 16 digits of the SHA-256 of every file beside the model that a request names, by its
/// name there; of a folder's, that of its files' own hashes.
std::map<std::string, std::string> input_hashes(const GenerateRequest&);

/// Throws Error, beginning with `where`, when a file that both name is another one now.
void require_inputs(const std::map<std::string, std::string>& recorded,
                    const std::map<std::string, std::string>& found, const std::string& where);

}  // namespace tiller
