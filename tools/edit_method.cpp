#include "tools/edit_method.h"

#include "io/error.h"

namespace tiller {
namespace {

constexpr const char* blend_name = "blend";

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// The next "+" that isn't one of two, as in exact-dpm++; the text's size: none.
size_t next_plus(const std::string& text, size_t from) {
  for (size_t i = text.find('+', from); i < text.size(); i = text.find('+', i + 2))
    if (text[i + 1] != '+') return i;
  return text.size();
}

/// Between the "+" signs.
std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t plus = next_plus(text, begin);
    parts.push_back(trimmed(text.substr(begin, plus - begin)));
    if (parts.back().empty())
      throw UsageError("--method: got '" + text +
                       "', expected SAMPLER + CONTROL + blend, of which the last two may lack.");
    begin = plus + 1;
  }
  return parts;
}

std::string method_name(const std::string& part) { return part.substr(0, part.find(':')); }

void read_blend(const std::string& part, EditMethod& method) {
  const size_t colon = std::min(part.find(':'), part.size());
  const Options options =
      parse_options(blend_name, colon < part.size() ? part.substr(colon + 1) : "",
                    {{"by", "words", "words of the prompts, or the data's mask"},
                     {"threshold", "0.3", "of words"}});
  method.blend = options.choice("by", {"words", "mask"}) == "mask" ? EditMethod::Blend::mask
                                                                   : EditMethod::Blend::words;
  method.blend_threshold = options.number("threshold", 0, 1);
}

}  // namespace

EditMethod edit_method(const std::string& text) {
  EditMethod method;
  method.text = text;
  std::vector<std::string> names = {blend_name};
  for (const auto& control : edit_controls()) names.push_back(control.name);
  for (const auto& part : parts_of(text)) {
    const std::string name = method_name(part);
    const bool blends = name == blend_name;
    if (method.sampler.empty()) {
      method.sampler = part;
    } else if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw UsageError("--method: got '" + part + "', expected one of " + enumerate(names) + "." +
                       suggestion(name, names));
    } else if (blends ? method.blend != EditMethod::Blend::none : !method.control.empty()) {
      throw UsageError("--method: got '" + part + "' in '" + text +
                       "', expected one control and one blend at most.");
    } else if (blends) {
      read_blend(part, method);
    } else {
      method.control = part;
    }
  }
  return method;
}

std::vector<std::string> usual_edit_methods(bool text) {
  std::vector<std::string> methods = {"bdia"};
  for (const auto& control : edit_controls())
    if (text || !control.needs_text) methods.push_back("bdia + " + control.name);
  return methods;
}

}  // namespace tiller
