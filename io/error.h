#pragma once
#include <stdexcept>
#include <string>
#include <vector>

namespace tiller {

/// A failure that the user can act on: one line that names the file, flag or key, what was found
/// and what was expected. The program prints it and exits with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A wrong command line: as Error, but the program exits with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The candidate closest to `word` by edit distance, as " Did you mean 'x'?", or "" when none is
/// near.
std::string suggestion(const std::string& word, const std::vector<std::string>& candidates);

/// Text from a file as a message may quote it: what controls a terminal, and what isn't UTF-8, as
/// '?', shortened to `limit` bytes.
std::string printable(const std::string& text, size_t limit = 100);
/// The same, whole, with its lines and tabs.
std::string printable_lines(const std::string& text);

/// The first line of a library's message: LibTorch's are pages long.
std::string first_line(const std::string& text);

/// "a, b and c"; at most `limit` items, then "and 12 more".
std::string enumerate(const std::vector<std::string>& items, size_t limit = 8);

}  // namespace tiller
