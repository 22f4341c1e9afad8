#include "io/pickle.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "io/error.h"

namespace tiller::pickle {
namespace {

using Kind = Value::Kind;

constexpr size_t max_values = size_t{1} << 24;

/// Opcodes by the names of Python's pickletools.
enum Opcode : uint8_t {
  MARK = '(',
  STOP = '.',
  POP = '0',
  POP_MARK = '1',
  DUP = '2',
  BINBYTES = 'B',
  SHORT_BINBYTES = 'C',
  BINFLOAT = 'G',
  BININT = 'J',
  BININT1 = 'K',
  BININT2 = 'M',
  NONE = 'N',
  BINPERSID = 'Q',
  REDUCE = 'R',
  BINSTRING = 'T',
  SHORT_BINSTRING = 'U',
  BINUNICODE = 'X',
  EMPTY_LIST = ']',
  APPEND = 'a',
  BUILD = 'b',
  GLOBAL = 'c',
  DICT = 'd',
  APPENDS = 'e',
  BINGET = 'h',
  LONG_BINGET = 'j',
  LIST = 'l',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  SETITEM = 's',
  TUPLE = 't',
  SETITEMS = 'u',
  EMPTY_DICT = '}',
  EMPTY_TUPLE = ')',
  PROTO = 0x80,
  NEWOBJ = 0x81,
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  LONG1 = 0x8a,
  LONG4 = 0x8b,
  SHORT_BINUNICODE = 0x8c,
  BINUNICODE8 = 0x8d,
  BINBYTES8 = 0x8e,
  EMPTY_SET = 0x8f,
  ADDITEMS = 0x90,
  FROZENSET = 0x91,
  NEWOBJ_EX = 0x92,
  STACK_GLOBAL = 0x93,
  MEMOIZE = 0x94,
  FRAME = 0x95,
};

/// The pickle machine: a stack of values with marks, and a memo.
class Reader {
 public:
  Reader(std::span<const std::byte>& bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  Document run() {
    if (number<uint8_t>() != PROTO || number<uint8_t>() > 5)
      fail("is no pickle of protocol 2 to 5");
    while (true) {
      const uint8_t opcode = number<uint8_t>();
      if (opcode == STOP) break;
      if (!scalar(opcode) && !container(opcode) && !memo(opcode) && !object(opcode))
        fail("uses opcode " + std::to_string(opcode) + ", which no file of tensors needs");
    }
    document_.root = pop();
    return std::move(document_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(file_ + ": its pickle " + what + ".");
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) fail("is cut off");
    const std::string_view taken(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }

  template <class Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string line() {
    const auto end = std::find(bytes_.begin(), bytes_.end(), std::byte{'\n'});
    const std::string text(take(static_cast<uint64_t>(end - bytes_.begin())));
    take(1);
    return text;
  }

  void push(Value value) {
    if (document_.values.size() >= max_values) fail("holds too many values");
    stack_.push_back(static_cast<Id>(document_.values.size()));
    document_.values.push_back(std::move(value));
  }
  void push(Kind kind, std::vector<Id> items = {}) { push({kind, 0, "", std::move(items)}); }
  void push_text(std::string_view text) { push({Kind::text, 0, std::string(text), {}}); }
  void push_integer(int64_t number) { push({Kind::integer, number, "", {}}); }

  /// Values above the last mark can be taken, not those beneath.
  void need(size_t count) const {
    if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < count) fail("is damaged");
  }
  Id pop() {
    need(1);
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  std::vector<Id> pop_last(size_t count) {
    need(count);
    const std::vector<Id> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) fail("is damaged");
    const std::vector<Id> items = pop_last(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  Value& top() {
    need(1);
    return document_.values[stack_.back()];
  }

  void extend(const std::vector<Id>& items, bool pairs) {
    Value& target = top();
    if (pairs && items.size() % 2) fail("is damaged");
    if (target.kind != Kind::call && target.kind != (pairs ? Kind::dict : Kind::list))
      fail("is damaged");
    if (pairs || target.kind == Kind::list)
      target.items.insert(target.items.end(), items.begin(), items.end());
  }

  /// A little-endian two's complement number of any length. Beyond 64 bits, where no size or offset
  /// lies, it is none.
  void push_long(uint64_t size) {
    const std::string_view digits = take(size);
    if (size > 8) return push(Kind::none);
    uint64_t value = !digits.empty() && (digits.back() & 0x80) ? ~uint64_t{0} : 0;
    std::memcpy(&value, digits.data(), size);
    push_integer(static_cast<int64_t>(value));
  }

  bool scalar(uint8_t opcode) {
    switch (opcode) {
      case NONE:
        push(Kind::none);
        return true;
      case NEWTRUE:
        push({Kind::boolean, 1, "", {}});
        return true;
      case NEWFALSE:
        push({Kind::boolean, 0, "", {}});
        return true;
      case BININT:
        push_integer(number<int32_t>());
        return true;
      case BININT1:
        push_integer(number<uint8_t>());
        return true;
      case BININT2:
        push_integer(number<uint16_t>());
        return true;
      case LONG1:
        push_long(number<uint8_t>());
        return true;
      case LONG4:
        push_long(number<uint32_t>());
        return true;
      case BINFLOAT:
        take(8);
        push(Kind::real);
        return true;
      case SHORT_BINUNICODE:
      case SHORT_BINSTRING:
      case SHORT_BINBYTES:
        push_text(take(number<uint8_t>()));
        return true;
      case BINUNICODE:
      case BINSTRING:
      case BINBYTES:
        push_text(take(number<uint32_t>()));
        return true;
      case BINUNICODE8:
      case BINBYTES8:
        push_text(take(number<uint64_t>()));
        return true;
      default:
        return false;
    }
  }

  bool container(uint8_t opcode) {
    switch (opcode) {
      case MARK:
        marks_.push_back(stack_.size());
        return true;
      case POP:
        pop();
        return true;
      case POP_MARK:
        pop_to_mark();
        return true;
      case DUP:
        need(1);
        stack_.push_back(stack_.back());
        return true;
      case EMPTY_TUPLE:
        push(Kind::tuple);
        return true;
      case TUPLE1:
        push(Kind::tuple, pop_last(1));
        return true;
      case TUPLE2:
        push(Kind::tuple, pop_last(2));
        return true;
      case TUPLE3:
        push(Kind::tuple, pop_last(3));
        return true;
      case TUPLE:
        push(Kind::tuple, pop_to_mark());
        return true;
      case EMPTY_LIST:
      case EMPTY_SET:
        push(Kind::list);
        return true;
      case LIST:
      case FROZENSET:
        push(Kind::list, pop_to_mark());
        return true;
      case APPEND:
        extend(pop_last(1), false);
        return true;
      case APPENDS:
      case ADDITEMS:
        extend(pop_to_mark(), false);
        return true;
      case EMPTY_DICT:
        push(Kind::dict);
        return true;
      case DICT: {
        const std::vector<Id> items = pop_to_mark();
        push(Kind::dict);
        extend(items, true);
        return true;
      }
      case SETITEM:
        extend(pop_last(2), true);
        return true;
      case SETITEMS:
        extend(pop_to_mark(), true);
        return true;
      default:
        return false;
    }
  }

  void put(uint32_t key) {
    need(1);
    memo_[key] = stack_.back();
  }
  void get(uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end() || stack_.size() >= max_values) fail("is damaged");
    stack_.push_back(found->second);
  }

  bool memo(uint8_t opcode) {
    switch (opcode) {
      case BINPUT:
        put(number<uint8_t>());
        return true;
      case LONG_BINPUT:
        put(number<uint32_t>());
        return true;
      case MEMOIZE:
        put(static_cast<uint32_t>(memo_.size()));
        return true;
      case BINGET:
        get(number<uint8_t>());
        return true;
      case LONG_BINGET:
        get(number<uint32_t>());
        return true;
      case FRAME:
        number<uint64_t>();
        return true;
      default:
        return false;
    }
  }

  void push_global(const std::string& module, const std::string& name) {
    push({Kind::global, 0, module + "." + name, {}});
  }

  bool object(uint8_t opcode) {
    switch (opcode) {
      case GLOBAL: {
        const std::string module = line();
        push_global(module, line());
        return true;
      }
      case STACK_GLOBAL: {
        const auto names = pop_last(2);
        const Value module = document_[names[0]];
        push_global(module.text, document_[names[1]].text);
        return true;
      }
      case REDUCE:
      case NEWOBJ:
        push(Kind::call, pop_last(2));
        return true;
      case NEWOBJ_EX:
        pop();
        push(Kind::call, pop_last(2));
        return true;
      case BUILD:
        build(pop_last(1).front());
        return true;
      case BINPERSID:
        push(Kind::persistent, pop_last(1));
        return true;
      default:
        return false;
    }
  }

  /// An object's attributes are dropped, but of a ParameterDict, which is nothing else, it's the
  /// object that is.
  void build(Id attributes) {
    const Value& object = top();
    const bool is_parameters =
        object.kind == Kind::call && !object.items.empty() &&
        document_[object.items[0]].text == "torch.nn.modules.container.ParameterDict";
    if (is_parameters) stack_.back() = attributes;
  }

  std::span<const std::byte>& bytes_;
  const std::string& file_;
  Document document_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, Id> memo_;
};

}  // namespace

Document read(std::span<const std::byte>& bytes, const std::string& file) {
  return Reader(bytes, file).run();
}

}  // namespace tiller::pickle
