#pragma once
#include <string>
#include <vector>

#include "tools/command.h"

namespace tiller {

/// All subcommands, in the order in which help lists them.
const std::vector<Command>& commands();

/// Runs the program on its arguments (without its own name) and returns the exit code: 0 done, 1
/// failed, 2 wrong usage. A failure is one line on standard error.
int run_program(const std::vector<std::string>& arguments);

/// "0.1.0".
std::string version();

}  // namespace tiller
