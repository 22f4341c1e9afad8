#include "models/prompt.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"

namespace tiller {
namespace {

constexpr size_t comma_backtrack = 20;

/// Fills chunks one token at a time.
class Chunker {
 public:
  explicit Chunker(const ClipTokenizer& tokenizer)
      : tokenizer_(tokenizer), length_(tokenizer.max_length() - 2), comma_(tokenizer.id(",</w>")) {}

  void add(const std::vector<int64_t>& ids, float weight) {
    for (size_t i = 0; i < ids.size();) {
      const size_t count = std::min(static_cast<size_t>(tokenizer_.count(ids[i])), ids.size() - i);
      if (ids[i] == comma_)
        last_comma_ = ids_.size();
      else if (ids_.size() == length_)
        backtrack();
      if (ids_.size() + count > length_) finish();
      for (size_t k = 0; k < count; ++k) push(ids[i + k], weight);
      i += count;
    }
  }

  /// Ends the chunk, which may be empty.
  void finish() {
    TokenChunk chunk;
    chunk.ids.push_back(tokenizer_.begin());
    chunk.ids.insert(chunk.ids.end(), ids_.begin(), ids_.end());
    chunk.ids.push_back(tokenizer_.end());
    chunk.ids.resize(length_ + 2, tokenizer_.pad());
    chunk.weights.push_back(1);
    chunk.weights.insert(chunk.weights.end(), weights_.begin(), weights_.end());
    chunk.weights.resize(length_ + 2, 1);
    chunks_.push_back(std::move(chunk));
    ids_.clear();
    weights_.clear();
    last_comma_ = none;
  }

  std::vector<TokenChunk> take() {
    if (!ids_.empty() || chunks_.empty()) finish();
    return std::move(chunks_);
  }

 private:
  static constexpr size_t none = SIZE_MAX;

  void push(int64_t id, float weight) {
    if (ids_.size() == length_) finish();  // vectors of one embedding beyond a whole chunk
    ids_.push_back(id);
    weights_.push_back(weight);
  }

  /// Moves what follows a near comma into a new chunk.
  void backtrack() {
    if (last_comma_ == none || ids_.size() - last_comma_ > comma_backtrack) return;
    const auto start = static_cast<std::ptrdiff_t>(last_comma_ + 1);
    const std::vector<int64_t> ids(ids_.begin() + start, ids_.end());
    const std::vector<float> weights(weights_.begin() + start, weights_.end());
    ids_.resize(last_comma_ + 1);
    weights_.resize(last_comma_ + 1);
    finish();
    ids_ = ids;
    weights_ = weights;
  }

  const ClipTokenizer& tokenizer_;
  size_t length_;
  int64_t comma_;
  std::vector<int64_t> ids_;
  std::vector<float> weights_;
  size_t last_comma_ = none;
  std::vector<TokenChunk> chunks_;
};

template <typename T>
Tensor stacked(const std::vector<TokenChunk>& chunks, std::vector<T> TokenChunk::*part) {
  std::vector<Tensor> rows;
  for (const auto& chunk : chunks) rows.push_back(at::tensor(chunk.*part));
  return at::stack(rows);
}

}  // namespace

TokenizedPrompt tokenize_weighted(const ClipTokenizer& tokenizer, std::string_view prompt) {
  Chunker chunker(tokenizer);
  for (const auto& piece : parse_prompt(prompt)) {
    if (piece.is_break)
      chunker.finish();
    else
      chunker.add(tokenizer.encode(piece.text), piece.weight);
  }
  return {chunker.take(), ""};
}

TokenizedPrompt tokenize_plain(const ClipTokenizer& tokenizer, std::string_view prompt) {
  std::vector<int64_t> ids = tokenizer.encode(prompt);
  const size_t length = std::min(ids.size(), tokenizer.max_length() - 2);
  const std::vector<int64_t> rest(ids.begin() + static_cast<std::ptrdiff_t>(length), ids.end());
  ids.resize(length);
  Chunker chunker(tokenizer);
  chunker.add(ids, 1);
  return {chunker.take(), tokenizer.decode(rest)};
}

void pad_chunks(const ClipTokenizer& tokenizer, std::vector<TokenChunk>& chunks, size_t count) {
  if (chunks.size() < count) chunks.resize(count, tokenize_plain(tokenizer, "").chunks[0]);
}

Tensor chunk_ids(const std::vector<TokenChunk>& chunks) {
  return stacked(chunks, &TokenChunk::ids);
}

Tensor chunk_weights(const std::vector<TokenChunk>& chunks) {
  return stacked(chunks, &TokenChunk::weights);
}

Tensor weighted(const Tensor& states, const Tensor& weights) {
  if (weights.eq(1).all().item<bool>()) return states;
  const std::vector<int64_t> chunk = {1, 2};
  const Tensor before = states.to(at::kFloat);
  const Tensor after = before * weights.to(before.device(), at::kFloat).unsqueeze(-1);
  const Tensor mean = after.mean(chunk, /*keepdim=*/true);
  const Tensor factor =
      at::where(mean == 0, at::ones_like(mean), before.mean(chunk, /*keepdim=*/true) / mean);
  return (after * factor).to(states.scalar_type());
}

std::vector<TokenSpan> find_words(const ClipTokenizer& tokenizer,
                                  const std::vector<TokenChunk>& chunks, std::string_view words) {
  const auto sought = tokenizer.encode(words);
  std::vector<TokenSpan> spans;
  if (sought.empty()) return spans;
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const auto& ids = chunks[chunk].ids;
    const auto last = std::find(ids.begin() + 1, ids.end(), tokenizer.end());
    for (auto found = ids.begin() + 1;;) {
      found = std::search(found, last, sought.begin(), sought.end());
      if (found == last) break;
      if (!tokenizer.ends_word(*(found - 1))) {  // the tail of a longer word
        ++found;
        continue;
      }
      const auto begin = static_cast<size_t>(found - ids.begin());
      spans.push_back({chunk, begin, begin + sought.size()});
      found += static_cast<std::ptrdiff_t>(sought.size());
    }
  }
  return spans;
}

}  // namespace tiller
