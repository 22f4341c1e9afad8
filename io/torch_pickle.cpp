#include "io/torch_pickle.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "io/error.h"

namespace tiller {
namespace {

using pickle::Document;
using pickle::Id;
using pickle::Value;
using Kind = Value::Kind;

constexpr size_t max_pickled_rank = 64;

[[noreturn]] void refuse_pickle(const std::string& file, const std::string& what) {
  throw Error(file + ": " + what + ".");
}

struct TorchType {
  const char *dtype, *storage;  ///< torch.NAME and torch.NAME.
  at::ScalarType type;
};

const std::vector<TorchType>& torch_types() {
  static const std::vector<TorchType> types = {
      {"float64", "DoubleStorage", at::kDouble},
      {"float32", "FloatStorage", at::kFloat},
      {"float16", "HalfStorage", at::kHalf},
      {"bfloat16", "BFloat16Storage", at::kBFloat16},
      {"complex64", "ComplexFloatStorage", at::kComplexFloat},
      {"complex128", "ComplexDoubleStorage", at::kComplexDouble},
      {"int64", "LongStorage", at::kLong},
      {"int32", "IntStorage", at::kInt},
      {"int16", "ShortStorage", at::kShort},
      {"int8", "CharStorage", at::kChar},
      {"uint8", "ByteStorage", at::kByte},
      {"bool", "BoolStorage", at::kBool},
      {"uint64", "", at::kUInt64},
      {"uint32", "", at::kUInt32},
      {"uint16", "", at::kUInt16},
      {"float8_e4m3fn", "", at::kFloat8_e4m3fn},
      {"float8_e5m2", "", at::kFloat8_e5m2},
      {"float8_e8m0fnu", "", at::kFloat8_e8m0fnu},
  };
  return types;
}

/// Names that checkpoints of honest people mention, tensors and what lies beside them. None is ever
/// imported or called: the list is there to refuse_pickle a file that was made to run something
/// elsewhere.
bool is_known_global(const std::string& name) {
  static const std::set<std::string> known = {"collections.OrderedDict",
                                              "collections.defaultdict",
                                              "collections.Counter",
                                              "builtins.dict",
                                              "builtins.list",
                                              "builtins.set",
                                              "builtins.frozenset",
                                              "builtins.complex",
                                              "builtins.int",
                                              "builtins.float",
                                              "builtins.bytearray",
                                              "builtins.slice",
                                              "builtins.range",
                                              "__builtin__.set",
                                              "__builtin__.list",
                                              "__builtin__.dict",
                                              "argparse.Namespace",
                                              "_codecs.encode",
                                              "numpy.dtype",
                                              "numpy.ndarray",
                                              "numpy.core.multiarray.scalar",
                                              "numpy._core.multiarray.scalar",
                                              "numpy.core.multiarray._reconstruct",
                                              "numpy._core.multiarray._reconstruct",
                                              "datetime.datetime",
                                              "datetime.timedelta",
                                              "pathlib.Path",
                                              "pathlib.PosixPath",
                                              "pathlib.PurePosixPath",
                                              "pathlib.WindowsPath",
                                              "pytorch_lightning.callbacks.model_checkpoint."
                                              "ModelCheckpoint",
                                              "torch.Size",
                                              "torch.Tensor",
                                              "torch.device",
                                              "torch.jit._pickle.restore_type_tag",
                                              "torch.nn.modules.container.ParameterDict",
                                              "torch.nn.parameter.Parameter",
                                              "torch.nn.parameter.Buffer",
                                              "torch.storage.UntypedStorage",
                                              "torch.storage.TypedStorage",
                                              "torch.UntypedStorage",
                                              "torch._utils._rebuild_tensor",
                                              "torch._utils._rebuild_tensor_v2",
                                              "torch._utils._rebuild_tensor_v3",
                                              "torch._utils._rebuild_parameter",
                                              "torch._utils._rebuild_device_tensor_from_numpy",
                                              "torch._utils._rebuild_parameter_with_state",
                                              "torch._tensor._rebuild_from_type_v2",
                                              "torch.serialization._get_layout"};
  if (known.contains(name)) return true;
  return std::any_of(torch_types().begin(), torch_types().end(), [&](const TorchType& type) {
    return name == std::string("torch.") + type.dtype ||
           (*type.storage && name == std::string("torch.") + type.storage);
  });
}

void check_globals(const Document& document, const std::string& file) {
  for (const auto& value : document.values)
    if (value.kind == Kind::global && !is_known_global(value.text))
      refuse_pickle(
          file, "got a pickle that mentions '" + printable(value.text) +
                    "', expected tensors only. It may be malicious; if you trust it, convert it "
                    "in Python: safetensors.torch.save_file(torch.load(...)['state_dict'], ...)");
}

/// A tensor's storage as the pickle mentions it.
struct StorageName {
  std::string key;
  at::ScalarType type = at::kByte;  ///< Bytes for an untyped storage.
  uint64_t bytes = 0;
};

/// Reads a document's tensors.
class TensorReader {
 public:
  TensorReader(const Document& document, const std::string& file)
      : document_(document), file_(file) {}

  const Value& at(const Value& value, size_t index) const {
    if (index >= value.items.size()) refuse_pickle(file_, "its pickle is damaged");
    return document_[value.items[index]];
  }

  const Value& expect(const Value& value, Kind kind) const {
    if (value.kind != kind) refuse_pickle(file_, "its pickle is damaged");
    return value;
  }

  int64_t whole(const Value& value) const {
    const int64_t number = expect(value, Kind::integer).number;
    if (number < 0) refuse_pickle(file_, "a tensor has a negative size, stride or offset");
    return number;
  }

  std::vector<int64_t> wholes(const Value& value) const {
    if (value.kind != Kind::tuple && value.kind != Kind::list)
      refuse_pickle(file_, "its pickle is damaged");
    std::vector<int64_t> numbers;
    for (const Id item : value.items) numbers.push_back(whole(document_[item]));
    return numbers;
  }

  std::optional<at::ScalarType> type_of(const Value& value, const char* TorchType::*name) const {
    for (const auto& type : torch_types())
      if (*(type.*name) && value.text == std::string("torch.") + type.*name) return type.type;
    return std::nullopt;
  }

  /// ("storage", type, key, location, elements), and in the legacy format a view, which is unused.
  StorageName storage(const Value& value) const {
    const Value& id = expect(at(expect(value, Kind::persistent), 0), Kind::tuple);
    const auto type = type_of(expect(at(id, 1), Kind::global), &TorchType::storage);
    if (!type && !at(id, 1).text.ends_with("UntypedStorage"))
      refuse_pickle(file_,
                    "got storage '" + printable(at(id, 1).text) + "', expected one of numbers");
    if (id.items.size() > 5 && at(id, 5).kind != Kind::none)
      refuse_pickle(file_,
                    "holds a view of a storage, as PyTorch before 0.4 wrote them; "
                    "load it and save it with a newer PyTorch");
    StorageName name{expect(at(id, 2), Kind::text).text, type.value_or(at::kByte), 0};
    if (__builtin_mul_overflow(static_cast<uint64_t>(whole(at(id, 4))), c10::elementSize(name.type),
                               &name.bytes))
      refuse_pickle(file_, "a storage has more than 2^64 bytes");
    return name;
  }

  const std::string& callee(const Value& value) const {
    static const std::string nothing;
    const Value& function = value.kind == Kind::call ? at(value, 0) : value;
    return value.kind == Kind::call && function.kind == Kind::global ? function.text : nothing;
  }

  /// What LibTorch's C++ side wrote with its type beside it, without that.
  const Value& untagged(const Value& value) const {
    if (callee(value) != "torch.jit._pickle.restore_type_tag") return value;
    return at(expect(at(value, 1), Kind::tuple), 0);
  }

  bool is_dict(const Value& tagged) const {
    const Value& value = untagged(tagged);
    return value.kind == Kind::dict || callee(value) == "collections.OrderedDict";
  }

  /// The call that makes the tensor, within those that make it a parameter; null for another value.
  const Value* tensor_arguments(const Value& value, std::string& function) const {
    function = callee(value);
    if (function.starts_with("torch._utils._rebuild_parameter")) {
      const Value& data = at(expect(at(value, 1), Kind::tuple), 0);
      function = callee(data);
      if (!function.starts_with("torch._utils._rebuild_tensor")) return nullptr;
      return &expect(at(data, 1), Kind::tuple);
    }
    if (function == "torch._tensor._rebuild_from_type_v2") {
      const Value& arguments = expect(at(value, 1), Kind::tuple);
      function = expect(at(arguments, 0), Kind::global).text;
      return &expect(at(arguments, 2), Kind::tuple);
    }
    if (!function.starts_with("torch._utils._rebuild_tensor")) return nullptr;
    return &expect(at(value, 1), Kind::tuple);
  }

  /// The tensor that the value describes; undefined for another value.
  Tensor tensor(const Value& value, const std::string& name, const StorageReader& read) const {
    std::string function;
    const Value* arguments = tensor_arguments(value, function);
    if (!arguments) return {};
    const StorageName storage = this->storage(at(*arguments, 0));
    const bool typed = function != "torch._utils._rebuild_tensor_v3";
    const auto type = typed ? storage.type : type_of(at(*arguments, 6), &TorchType::dtype);
    if (!type) refuse_pickle(file_, "tensor '" + printable(name) + "' has an unknown dtype");
    const size_t flags = typed ? 6 : 7;
    if (arguments->items.size() > flags && !at(*arguments, flags).items.empty())
      refuse_pickle(file_, "tensor '" + printable(name) +
                               "' is a conjugate or negative view; "
                               "save it with .resolve_conj().resolve_neg()");
    const int64_t offset = whole(at(*arguments, 1));
    const auto sizes = wholes(at(*arguments, 2)), strides = wholes(at(*arguments, 3));
    check_bounds(name, sizes, strides, offset, storage.bytes / c10::elementSize(*type));
    return at::empty({0}, *type).set_(read(storage.key, storage.bytes), offset, sizes, strides);
  }

 private:
  void check_bounds(const std::string& name, const std::vector<int64_t>& sizes,
                    const std::vector<int64_t>& strides, int64_t offset, uint64_t elements) const {
    const std::string where = "tensor '" + printable(name) + "'";
    if (sizes.size() != strides.size() || sizes.size() > max_pickled_rank)
      refuse_pickle(file_, where + " has " + std::to_string(sizes.size()) + " sizes and " +
                               std::to_string(strides.size()) + " strides");
    const bool empty = std::find(sizes.begin(), sizes.end(), 0) != sizes.end();
    int64_t last = offset, count = 1;
    bool overflow = false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      int64_t reach = 0;
      const int64_t size = std::max<int64_t>(sizes[i], 1);
      overflow |= __builtin_mul_overflow(size - 1, strides[i], &reach);
      overflow |= __builtin_add_overflow(last, empty ? 0 : reach, &last);
      overflow |= __builtin_mul_overflow(count, size, &count);
    }
    if (overflow || static_cast<uint64_t>(last) + !empty > elements)
      refuse_pickle(
          file_, where + " goes beyond its storage of " + std::to_string(elements) + " elements");
  }

  const Document& document_;
  const std::string& file_;
};

/// Keys and values of a dict or OrderedDict, the latter's from its arguments too.
std::vector<std::pair<std::string, const Value*>> entries_of(const TensorReader& reader,
                                                             const Value& tagged) {
  const Value& dict = reader.untagged(tagged);
  std::vector<std::pair<std::string, const Value*>> entries;
  const auto add = [&](const Value& key, const Value& value) {
    if (key.kind == Kind::text) entries.emplace_back(key.text, &value);
  };
  const bool called = dict.kind == Kind::call;
  if (called && reader.at(dict, 1).items.size() == 1) {
    const Value& pairs = reader.at(reader.at(dict, 1), 0);
    for (size_t i = 0; i < pairs.items.size(); ++i) {
      const Value& pair = reader.at(pairs, i);
      add(reader.at(pair, 0), reader.at(pair, 1));
    }
  }
  for (size_t i = called ? 2 : 0; i + 1 < dict.items.size(); i += 2)
    add(reader.at(dict, i), reader.at(dict, i + 1));
  return entries;
}

NamedTensors read_dict(const TensorReader& reader, const Value& dict, const StorageReader& read,
                       const std::string& file) {
  NamedTensors tensors;
  std::set<std::string> names;
  for (const auto& [name, value] : entries_of(reader, dict)) {
    Tensor tensor = reader.tensor(*value, name, read);
    if (!tensor.defined()) continue;
    if (!names.insert(name).second)
      refuse_pickle(file, printable(name) + " stands twice in its pickle");
    tensors.emplace_back(name, std::move(tensor));
  }
  return tensors;
}

/// Tensors of the dicts that lie side by side in one, as "DICT.NAME" (IP-Adapter).
NamedTensors read_parts(const TensorReader& reader, const Value& dict, const StorageReader& read,
                        const std::string& file) {
  NamedTensors tensors;
  for (const auto& [part, value] : entries_of(reader, dict)) {
    if (!reader.is_dict(*value)) continue;
    for (auto& [name, tensor] : read_dict(reader, *value, read, file))
      tensors.emplace_back(part + "." + name, std::move(tensor));
  }
  return tensors;
}

/// The dict that "state_dict" names; null if there is none.
const Value* state_dict(const TensorReader& reader, const Value& dict) {
  for (const auto& [name, value] : entries_of(reader, dict))
    if (name == "state_dict" && reader.is_dict(*value)) return value;
  return nullptr;
}

/// The dict under the first of the usual names, else the only one there is; null if there is none.
const Value* nested_state(const TensorReader& reader, const Value& dict) {
  const auto entries = entries_of(reader, dict);
  for (const std::string wanted :
       {"model_state_dict", "model", "module", "net", "string_to_param", "_parameters"})
    for (const auto& [name, value] : entries)
      if (name == wanted && reader.is_dict(*value)) return value;
  const Value* only = nullptr;
  for (const auto& [name, value] : entries) {
    if (!reader.is_dict(*value)) continue;
    if (only) return nullptr;
    only = value;
  }
  return only;
}

}  // namespace

std::map<std::string, uint64_t> storage_sizes(const Document& document, const std::string& file) {
  const TensorReader reader(document, file);
  std::map<std::string, uint64_t> sizes;
  for (const auto& value : document.values) {
    if (value.kind != Kind::persistent) continue;
    const auto storage = reader.storage(value);
    if (sizes.emplace(storage.key, storage.bytes).first->second != storage.bytes)
      refuse_pickle(file, "storage '" + printable(storage.key) + "' has two sizes");
  }
  return sizes;
}

NamedTensors tensors_of(const Document& document, const StorageReader& read,
                        const std::string& file) {
  check_globals(document, file);
  const TensorReader reader(document, file);
  const Value* dict = &document[document.root];
  for (int depth = 0; depth < 4 && dict && reader.is_dict(*dict); ++depth) {
    if (const Value* inner = state_dict(reader, *dict)) {
      dict = inner;  // whatever lies beside it, such as a loss
      continue;
    }
    NamedTensors tensors = read_dict(reader, *dict, read, file);
    if (!tensors.empty()) return tensors;
    const Value* nested = nested_state(reader, *dict);
    if (!nested) tensors = read_parts(reader, *dict, read, file);
    if (!tensors.empty()) return tensors;
    dict = nested;
  }
  refuse_pickle(file,
                "got a pickle without a dict of tensors, expected a state dict, by itself or under "
                "'state_dict' or 'model'");
}

}  // namespace tiller
