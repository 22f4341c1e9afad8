#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tiller::pickle {

/// The place of a value in its document.
using Id = uint32_t;

/// What a pickle describes, as inert data: nothing is imported, called or built.
struct Value {
  enum class Kind {
    none,
    boolean,
    integer,     ///< `number`.
    real,        ///< Left out: no file of tensors needs one.
    text,        ///< `text`, which may be bytes.
    tuple,       ///< `items`.
    list,        ///< `items`.
    dict,        ///< `items`: key, value, key, value...
    global,      ///< `text`: "module.name".
    call,        ///< `items`: callee and arguments, then the keys and values set on the result.
    persistent,  ///< `items`: the id, which stands for something outside of the pickle.
  };
  Kind kind = Kind::none;
  int64_t number = 0;
  std::string text;
  std::vector<Id> items;
};

struct Document {
  std::vector<Value> values;
  Id root = 0;

  const Value& operator[](Id id) const { return values.at(id); }
};

/// Reads one pickle (protocols 2 to 5) from the front of `bytes` and takes it off them. Bounded in
/// memory and safe on any input; values may refer to each other in circles. Throws Error, starting
/// with `file`, when the stream is damaged or uses an opcode that no file of tensors needs.
Document read(std::span<const std::byte>& bytes, const std::string& file);

}  // namespace tiller::pickle
