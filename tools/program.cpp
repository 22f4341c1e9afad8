#include "tools/program.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <new>

#include "io/error.h"

namespace tiller {

/// One line a subcommand: X(name) lists what `Command name_command()` in its own file returns.
#define TILLER_COMMANDS(X) \
  X(generate)              \
  X(invert)                \
  X(edit)                  \
  X(evaluate)              \
  X(train)                 \
  X(info)                  \
  X(list)

#define TILLER_DECLARE(name) Command name##_command();
TILLER_COMMANDS(TILLER_DECLARE)
#undef TILLER_DECLARE

namespace {

std::string program_help() {
  std::string text = "tiller " + version() + ": samples diffusion models and steers them\n\n";
  for (const auto& command : commands()) {
    std::string name = "  tiller " + command.name;
    name.resize(20, ' ');
    text += name + command.description + "\n";
  }
  text += "  tiller --version  Says which one this is.\n";
  return text +
         "\nExamples:\n"
         "  tiller generate --class frog --guidance cfg:scale=2 --output frog.png\n"
         "  tiller generate --help\n";
}

int run_command(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << program_help();
    return 2;
  }
  const std::string& word = arguments.front();
  if (word == "--help" || word == "-h" || word == "help") {
    if (word == "help" && arguments.size() > 1) return run_command({arguments[1], "--help"});
    std::cout << program_help();
    return 0;
  }
  if (word == "--version" || word == "-v" || word == "version") {
    std::cout << "tiller " << version() << "\n";
    return 0;
  }
  std::vector<std::string> names;
  for (const auto& command : commands()) {
    names.push_back(command.name);
    if (command.name != word) continue;
    const Flags flags = Flags::parse(command, {arguments.begin() + 1, arguments.end()});
    if (!flags.has("help") && !flags.has("help-all")) return command.run(flags);
    std::cout << help(command, flags.has("help-all"));
    return 0;
  }
  throw UsageError("got '" + word + "', expected one of " + enumerate(names) + "." +
                   suggestion(word, names));
}

int fail(const std::string& message, int code) {
  std::cerr << "tiller: " << printable(message, std::string::npos) << std::endl;
  return code;
}

int fail_memory(bool trains) {
  return fail(
      trains ? "out of memory: lower --microbatch, or try --bf16 and (but of autoencoders) "
               "--gradient-checkpointing."
             : "out of memory: lower --batch or --size, choose --dtype float16 or bfloat16, or try "
               "--vae-tiling and --low-memory.",
      1);
}

bool is_out_of_memory(const std::string& message) {
  return message.find("allocate memory") != std::string::npos ||
         message.find("out of memory") != std::string::npos;
}

}  // namespace

const std::vector<Command>& commands() {
#define TILLER_ENTRY(name) name##_command(),
  static const std::vector<Command> all = {TILLER_COMMANDS(TILLER_ENTRY)};
#undef TILLER_ENTRY
  return all;
}

int run_program(const std::vector<std::string>& arguments) {
  const bool trains = !arguments.empty() && arguments.front() == "train";
  try {
    const int code = run_command(arguments);
    std::cout.flush();
    return std::cout ? code : fail("standard output: could not be written.", 1);
  } catch (const UsageError& error) {
    return fail(error.what(), 2);
  } catch (const Error& error) {
    return fail(error.what(), 1);
  } catch (const c10::Error& error) {
    const std::string message = first_line(error.what_without_backtrace());
    return is_out_of_memory(message) ? fail_memory(trains) : fail("LibTorch: " + message, 1);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error.path1().string() + ": " + error.code().message() +
                    ", expected a place that you may read, or write where something is made.",
                1);
  } catch (const std::bad_alloc&) {
    return fail_memory(trains);
  } catch (const std::exception& error) {
    return fail(first_line(error.what()), 1);
  }
}

std::string version() { return TILLER_VERSION; }

}  // namespace tiller
