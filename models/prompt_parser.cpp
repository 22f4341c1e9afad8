#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/error.h"
#include "models/clip_unicode.h"
#include "models/prompt.h"

namespace tiller {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";
constexpr double kRound = 1.1, kSquare = 1 / 1.1;
constexpr double max_weight = 1000;

bool is_bracket(char c) { return c == '(' || c == ')' || c == '[' || c == ']'; }

/// The weight and length of a `:1.2)` at the front of the text; length 0 when there is none.
std::pair<double, size_t> weight_at(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\n", 1);
  if (text[0] != ':' || start == std::string_view::npos) return {};
  const size_t sign = text[start] == '+' ? 1 : 0;  // which from_chars doesn't take
  if (text.substr(start).starts_with("+-")) return {};
  double weight = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data() + start + sign, end, weight, std::chars_format::fixed);
  const char* behind =
      std::find_if(rest, end, [](char c) { return c != ' ' && c != '\t' && c != '\n'; });
  const bool is_weight = error == std::errc() && std::isfinite(weight) && behind < end;
  if (!is_weight || *behind != ')') return {};
  return {weight, static_cast<size_t>(behind + 1 - text.data())};
}

/// Where the next word BREAK starts; npos: nowhere.
size_t find_break(std::string_view text) {
  constexpr std::string_view word = "BREAK";
  size_t found = text.find(word);
  while (found != std::string_view::npos &&
         (word_character_before(text, found) || word_character_at(text, found + word.size())))
    found = text.find(word, found + 1);
  return found;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  std::vector<PromptPiece> parse() {
    while (!rest_.empty()) step();
    for (const size_t start : round_) multiply(start, kRound);
    for (const size_t start : square_) multiply(start, kSquare);
    return merged();
  }

 private:
  struct Piece {
    std::string_view text;
    double weight = 1;
    bool is_break = false;
  };

  std::string_view take(size_t count) {
    const auto front = rest_.substr(0, count);
    rest_.remove_prefix(front.size());
    return front;
  }

  void multiply(size_t start, double factor) {
    for (size_t i = start; i < pieces_.size(); ++i) pieces_[i].weight *= factor;
  }

  void close(std::vector<size_t>& open, double factor) {
    multiply(open.back(), factor);
    open.pop_back();
  }

  void step() {
    const char first = rest_[0];
    if (first == '\\') return escaped();
    if (first == '(') return open(round_);
    if (first == '[') return open(square_);
    if (const auto [weight, length] = weight_at(rest_); length > 0 && !round_.empty()) {
      take(length);
      return close(round_, weight);
    }
    if (first == ')' && !round_.empty()) return take(1), close(round_, kRound);
    if (first == ']' && !square_.empty()) return take(1), close(square_, kSquare);
    plain();
  }

  void open(std::vector<size_t>& brackets) {
    take(1);
    brackets.push_back(pieces_.size());
  }

  /// A backslash before a bracket or a backslash is dropped; a lone one is, too.
  void escaped() {
    take(1);
    const bool escapes = !rest_.empty() && (is_bracket(rest_[0]) || rest_[0] == '\\');
    if (escapes) pieces_.push_back({take(1)});
  }

  /// Text up to the next character of the syntax; one of these that means nothing here is text.
  /// White space around a BREAK is none.
  void plain() {
    auto text = take(std::min(rest_.find_first_of("\\()[]:", 1), rest_.size()));
    for (size_t found; (found = find_break(text)) != std::string_view::npos;) {
      const auto before = text.substr(0, found);
      pieces_.push_back({before.substr(0, before.find_last_not_of(kSpace) + 1)});
      pieces_.push_back({{}, 1, true});
      text.remove_prefix(found + std::string_view("BREAK").size());
      text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
    }
    pieces_.push_back({text});
  }

  /// Runs of one weight as one piece, without the empty ones.
  std::vector<PromptPiece> merged() const {
    std::vector<PromptPiece> result;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const auto& piece = pieces_[i];
      const bool joins = i > 0 && !piece.is_break && !pieces_[i - 1].is_break &&
                         piece.weight == pieces_[i - 1].weight;
      if (!joins) result.push_back({"", checked(piece.weight), piece.is_break});
      result.back().text += piece.text;
    }
    std::erase_if(result, [](const auto& piece) { return piece.text.empty() && !piece.is_break; });
    return result;
  }

  static float checked(double weight) {
    if (!(std::abs(weight) <= max_weight))
      throw Error("prompt: got a weight of " + std::to_string(weight) + ", expected at most " +
                  std::to_string(static_cast<int>(max_weight)) + ".");
    return static_cast<float>(weight);
  }

  std::string_view rest_;
  std::vector<Piece> pieces_;
  std::vector<size_t> round_, square_;  ///< The first piece behind each open bracket.
};

}  // namespace

std::vector<PromptPiece> parse_prompt(std::string_view prompt) {
  check_utf8(prompt, "prompt");
  return Parser(prompt).parse();
}

}  // namespace tiller
