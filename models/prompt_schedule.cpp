#include "models/prompt_schedule.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include "io/error.h"

namespace tiller {
namespace {

constexpr int kDeepest = 64;  // brackets in brackets
constexpr size_t kMostTexts = 1000;
constexpr size_t kUnmatched = std::string::npos;

/// Text, or texts of which a step takes one.
struct Passage {
  std::string text;
  std::vector<std::vector<Passage>> options;
  std::optional<int> when;  ///< The last step of the first of two options; none: they take turns.
};
using Passages = std::vector<Passage>;

/// Where each bracket's other one is.
std::vector<size_t> matching_brackets(std::string_view text) {
  std::vector<size_t> match(text.size(), kUnmatched), open;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') ++i;
    if (c == '[' || c == '(') open.push_back(i);
    if (c != ']' && c != ')') continue;
    if (open.empty() || text[open.back()] != (c == ']' ? '[' : '(')) continue;
    match[open.back()] = i;
    match[i] = open.back();
    open.pop_back();
  }
  return match;
}

/// "3", " 0.25 ": the last step of what was before, of so many.
std::optional<int> step_from(std::string_view text, int steps) {
  constexpr std::string_view space = " \t\n\r\f\v";
  const size_t first = text.find_first_not_of(space);
  if (first == text.npos) return {};
  text = text.substr(first, text.find_last_not_of(space) + 1 - first);
  const bool negative = text[0] == '-';
  if (negative || text[0] == '+') text.remove_prefix(1);
  if (text.find_first_of("0123456789.") != 0) return {};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  if (text.find('.') != text.npos) number *= steps;
  return negative ? 0 : static_cast<int>(std::min(number, double(steps)));
}

class ScheduleParser {
 public:
  ScheduleParser(std::string_view text, int steps)
      : text_(text), steps_(steps), match_(matching_brackets(text)) {}

  /// None: not in this syntax.
  std::optional<Passages> parse() const { return parse(0, text_.size(), 0); }

 private:
  /// A bracket's inside, at the colons or bars that stand in no other one.
  struct Split {
    std::vector<std::pair<size_t, size_t>> pieces;
    bool colons = false, bars = false, sound = true;
  };

  std::optional<Passages> parse(size_t begin, size_t end, int depth) const {
    Passages passages;
    const auto add = [&](std::string_view text) {
      if (passages.empty() || !passages.back().options.empty()) passages.push_back({});
      passages.back().text += text;
    };
    for (size_t i = begin; i < end; ++i) {
      const char c = text_[i];
      if (c == '|' || (c == '\\' && i + 1 == end)) return {};
      if (c == '[' && match_[i] != kUnmatched && depth < kDeepest) {
        const Split split = split_at(i + 1, match_[i]);
        if (is_choice(split)) {
          auto choice = parse_choice(split, depth + 1);
          if (!choice) return {};
          passages.push_back(std::move(*choice));
          i = match_[i];
          continue;
        }
      }
      add(text_.substr(i, c == '\\' ? 2 : 1));
      if (c == '\\') ++i;
    }
    return passages;
  }

  Split split_at(size_t begin, size_t end) const {
    Split split;
    size_t start = begin;
    for (size_t i = begin; i < end; ++i) {
      const char c = text_[i];
      const bool bracket = c == '[' || c == '(' || c == ']' || c == ')';
      if (bracket && match_[i] == kUnmatched) split.sound = false;
      if (bracket && match_[i] != kUnmatched) i = std::max(i, match_[i]);
      if (c == '\\') ++i;
      if (c != ':' && c != '|') continue;
      (c == ':' ? split.colons : split.bars) = true;
      split.pieces.emplace_back(start, i);
      start = i + 1;
    }
    split.pieces.emplace_back(start, end);
    return split;
  }

  std::optional<int> when_of(const Split& split) const {
    const auto [begin, end] = split.pieces.back();
    return step_from(text_.substr(begin, end - begin), steps_);
  }

  bool is_choice(const Split& split) const {
    if (!split.sound || split.colons == split.bars) return false;
    return split.bars || (split.pieces.size() <= 3 && when_of(split));
  }

  std::optional<Passage> parse_choice(const Split& split, int depth) const {
    Passage passage;
    auto pieces = split.pieces;
    if (split.colons) {
      passage.when = when_of(split);
      pieces.pop_back();
      if (pieces.size() == 1) passage.options.emplace_back();
    }
    for (const auto& [begin, end] : pieces) {
      auto option = parse(begin, end, depth);
      if (!option) return {};
      passage.options.push_back(std::move(*option));
    }
    return passage;
  }

  std::string_view text_;
  int steps_;
  std::vector<size_t> match_;
};

/// step: from 1.
std::string text_at(const Passages& passages, int step) {
  std::string text;
  for (const Passage& passage : passages) {
    if (passage.options.empty()) {
      text += passage.text;
      continue;
    }
    const size_t chosen =
        passage.when ? size_t(step > *passage.when) : size_t(step - 1) % passage.options.size();
    text += text_at(passage.options[chosen], step);
  }
  return text;
}

}  // namespace

PromptSchedule prompt_schedule(const std::string& prompt, int steps) {
  const auto passages = ScheduleParser(prompt, steps).parse();
  PromptSchedule schedule;
  std::map<std::string, size_t> known;
  for (int step = 0; step < steps; ++step) {
    std::string text = passages ? text_at(*passages, std::max(step, 1)) : prompt;
    const auto [place, is_new] = known.emplace(std::move(text), known.size());
    if (is_new) schedule.texts.push_back(place->first);
    if (known.size() > kMostTexts)
      throw Error("prompt: got more than " + std::to_string(kMostTexts) +
                  " texts over the steps, expected fewer turns.");
    schedule.at.push_back(place->second);
  }
  return schedule;
}

}  // namespace tiller
