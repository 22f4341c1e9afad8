#include "models/bpe.h"

#include <queue>
#include <tuple>

#include "io/error.h"

namespace tiller {
namespace {

bool is_printable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

std::string two_bytes(int code_point) {
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
}

uint64_t pair_key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

int64_t id_or(const Bpe::Ids& ids, const std::string& token, int64_t fallback) {
  const auto found = ids.find(token);
  return found == ids.end() ? fallback : found->second;
}

int64_t id_of(const Bpe::Ids& ids, const std::string& token, const std::string& file) {
  const int64_t id = id_or(ids, token, -1);
  if (id < 0)
    throw Error(file + ": got a merge with '" + printable(token) +
                "', which the vocabulary lacks, expected files that belong together.");
  return id;
}

}  // namespace

const std::vector<std::string>& byte_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> names;
    int unprintable = 0;
    for (int byte = 0; byte < 256; ++byte) {
      const int code_point = is_printable(byte) ? byte : 256 + unprintable++;
      names.push_back(code_point < 128 ? std::string(1, static_cast<char>(code_point))
                                       : two_bytes(code_point));
    }
    return names;
  }();
  return names;
}

const std::vector<uint8_t>& byte_order() {
  static const std::vector<uint8_t> order = [] {
    std::vector<uint8_t> order;
    for (const bool printable : {true, false})
      for (int byte = 0; byte < 256; ++byte)
        if (is_printable(byte) == printable) order.push_back(static_cast<uint8_t>(byte));
    return order;
  }();
  return order;
}

Bpe::Bpe(const Ids& ids, const Merges& merges, int64_t unknown, const std::string& file) {
  for (const auto& name : byte_names()) {
    bytes_.push_back(id_or(ids, name, unknown));
    last_bytes_.push_back(id_or(ids, name + "</w>", unknown));
  }
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const uint64_t key = pair_key(id_of(ids, left, file), id_of(ids, right, file));
    merges_[key] = {rank, id_of(ids, left + right, file)};
  }
}

const Bpe::Merge* Bpe::find(int64_t left, int64_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// A word while its tokens are merged: they are linked to their neighbours by index, -1 at the
/// ends.
class Bpe::Word {
 public:
  Word(const Bpe& bpe, std::string_view word) : bpe_(bpe) {
    const int count = static_cast<int>(word.size());
    symbols_.reserve(word.size());
    for (int i = 0; i < count; ++i) {
      const auto byte = static_cast<uint8_t>(word[static_cast<size_t>(i)]);
      const bool last = i + 1 == count;
      symbols_.push_back(
          {last ? bpe.last_bytes_[byte] : bpe.bytes_[byte], i - 1, last ? -1 : i + 1});
    }
    for (int i = 0; i < count; ++i) offer(i);
  }

  void merge() {
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      Symbol& left = at(best.left);
      if (left.gone || left.next < 0) continue;
      const auto* merge = bpe_.find(left.id, at(left.next).id);
      if (merge && merge->result == best.result) join(best.left, best.result);
    }
  }

  void append_to(std::vector<int64_t>& ids) const {
    for (const auto& symbol : symbols_)
      if (!symbol.gone) ids.push_back(symbol.id);
  }

 private:
  struct Symbol {
    int64_t id;
    int previous, next;
    bool gone = false;
  };
  /// A possible merge of `left` with its neighbour. The lowest rank is first, then the leftmost.
  struct Candidate {
    size_t rank;
    int left;
    int64_t result;
    bool operator<(const Candidate& other) const {
      return std::tie(rank, left) > std::tie(other.rank, other.left);
    }
  };

  Symbol& at(int i) { return symbols_[static_cast<size_t>(i)]; }

  void offer(int left) {
    if (left < 0 || at(left).next < 0) return;
    if (const auto* merge = bpe_.find(at(left).id, at(at(left).next).id))
      queue_.push({merge->rank, left, merge->result});
  }

  void join(int left, int64_t result) {
    Symbol& right = at(at(left).next);
    right.gone = true;
    at(left).id = result;
    at(left).next = right.next;
    if (right.next >= 0) at(right.next).previous = left;
    offer(at(left).previous);
    offer(left);
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

void Bpe::encode(std::string_view text, std::vector<int64_t>& ids) const {
  Word word(*this, text);
  word.merge();
  word.append_to(ids);
}

}  // namespace tiller
