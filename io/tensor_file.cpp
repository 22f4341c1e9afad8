#include "io/tensor_file.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>

#include <algorithm>
#include <cstring>

#include "io/error.h"
#include "io/gguf.h"
#include "io/impostor.h"
#include "io/quantized.h"
#include "io/safetensors.h"
#include "io/torch_pickle.h"

namespace tiller {
namespace {

using Mapping = std::shared_ptr<MappedFile>;

constexpr size_t max_pickle_bytes = size_t{1} << 28;

/// The first pickle of the legacy format: torch.serialization.MAGIC_NUMBER.
constexpr std::string_view legacy_magic("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                                        15);

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The mapping, as LibTorch's zip reader wants it.
struct MappingAdapter : caffe2::serialize::ReadAdapterInterface {
  explicit MappingAdapter(Mapping file) : file(std::move(file)) {}
  size_t size() const override { return file->bytes().size(); }
  size_t read(uint64_t position, void* buffer, size_t count, const char*) const override {
    const size_t begin = std::min<size_t>(position, size());
    const size_t found = std::min(count, size() - begin);
    std::memcpy(buffer, file->bytes().data() + begin, found);
    return found;
  }
  Mapping file;
};

at::Storage make_storage(at::DataPtr data, uint64_t size) {
  return {at::Storage::use_byte_size_t(), static_cast<size_t>(size), std::move(data),
          /*allocator=*/nullptr, /*resizable=*/false};
}

/// Bytes of the mapping, which the storage keeps alive; a copy where they are misaligned.
at::Storage map_storage(const Mapping& file, uint64_t begin, uint64_t size) {
  std::byte* start = const_cast<std::byte*>(file->bytes().data()) + begin;
  if (reinterpret_cast<uintptr_t>(start) % alignof(double) == 0) {
    auto* owner = new Mapping(file);
    const auto release = [](void* owner) { delete static_cast<Mapping*>(owner); };
    return make_storage({start, owner, release, at::kCPU}, size);
  }
  at::DataPtr copy = at::getCPUAllocator()->allocate(size);
  std::memcpy(copy.get(), start, size);
  return make_storage(std::move(copy), size);
}

/// A zip archive as torch.save writes it.
class Archive {
 public:
  Archive(const Mapping& file, const std::string& name)
      : file_(file), name_(name), reader_(std::make_shared<MappingAdapter>(file)) {
    if (reader_.hasRecord("byteorder") && record("byteorder", 16) != "little")
      throw Error(name_ + ": got big-endian tensors, expected little-endian ones.");
  }

  std::string record(const std::string& path, size_t limit) {
    if (!reader_.hasRecord(path))
      throw Error(name_ + ": got a zip archive without '" + printable(path) +
                  "', expected one that torch.save wrote.");
    const size_t size = reader_.getRecordSize(path);
    if (size > limit || size > file_->bytes().size())
      throw Error(name_ + ": its '" + printable(path) + "' has " + std::to_string(size) +
                  " bytes, more than the file or " + std::to_string(limit) + ".");
    const auto [data, count] = reader_.getRecord(path);
    return {static_cast<const char*>(data.get()), count};
  }

  at::Storage storage(const std::string& key, uint64_t size) {
    const std::string path = "data/" + key;
    if (!reader_.hasRecord(path))
      throw Error(name_ + ": got no storage '" + printable(key) + "', which a tensor lies in.");
    const uint64_t found = reader_.getRecordSize(path), whole = file_->bytes().size();
    if (found < size || found > whole)
      throw Error(name_ + ": storage '" + printable(key) + "' has " + std::to_string(found) +
                  " bytes, expected " + std::to_string(size) + ".");
    const uint64_t begin = reader_.getRecordOffset(path);
    if (is_stored(path) && begin <= whole && found <= whole - begin)
      return map_storage(file_, begin, size);
    auto [data, count] = reader_.getRecord(path);
    return make_storage(std::move(data), count);
  }

 private:
  /// Whether the local header says that the record isn't compressed.
  bool is_stored(const std::string& path) {
    const uint64_t header = reader_.getRecordHeaderOffset(path);
    uint16_t method = 1;
    if (header <= file_->bytes().size() && file_->bytes().size() - header >= 10)
      std::memcpy(&method, file_->bytes().data() + header + 8, sizeof method);
    return method == 0;
  }

  Mapping file_;
  const std::string& name_;
  caffe2::serialize::PyTorchStreamReader reader_;
};

/// Reads a storage once, however many tensors lie in it.
StorageReader remember(StorageReader read) {
  return [read = std::move(read), known = std::map<std::string, at::Storage>()](
             const std::string& key, uint64_t size) mutable {
    const auto found = known.find(key);
    if (found != known.end() && found->second.nbytes() >= size) return found->second;
    return known.insert_or_assign(key, read(key, size)).first->second;
  };
}

NamedTensors load_zip(const Mapping& file, const std::string& name) {
  Archive archive(file, name);
  const std::string text = archive.record("data.pkl", max_pickle_bytes);
  auto bytes = std::as_bytes(std::span(text));
  const auto document = pickle::read(bytes, name);
  const auto read = [&](const std::string& key, uint64_t size) {
    return size ? archive.storage(key, size) : make_storage({}, 0);
  };
  return tensors_of(document, remember(read), name);
}

/// Where the storages lie that follow the pickles of the legacy format: each has its number of
/// elements before its bytes.
std::map<std::string, uint64_t> legacy_offsets(const MappedFile& file,
                                               std::span<const std::byte> rest,
                                               const std::map<std::string, uint64_t>& sizes,
                                               const std::string& name) {
  const auto keys = pickle::read(rest, name);
  std::map<std::string, uint64_t> offsets;
  for (const auto id : keys[keys.root].items) {
    const std::string& key = keys[id].text;
    const auto size = sizes.find(key);
    if (size == sizes.end())
      throw Error(name + ": got storage '" + printable(key) + "', which no tensor lies in.");
    if (rest.size() < 8 || rest.size() - 8 < size->second)
      throw Error(name + ": storage '" + printable(key) + "' is cut off.");
    offsets[key] = static_cast<uint64_t>(rest.data() + 8 - file.bytes().data());
    rest = rest.subspan(8 + size->second);
  }
  return offsets;
}

NamedTensors load_legacy(const Mapping& file, const std::string& name) {
  auto rest = file->bytes();
  for (int i = 0; i < 3; ++i) pickle::read(rest, name);  // magic number, version, system
  const auto document = pickle::read(rest, name);
  const auto sizes = storage_sizes(document, name);
  const auto offsets = legacy_offsets(*file, rest, sizes, name);
  return tensors_of(
      document, remember([&](const std::string& key, uint64_t size) {
        const auto found = offsets.find(key);
        if (found == offsets.end())
          throw Error(name + ": got no storage '" + printable(key) + "', which a tensor lies in.");
        return map_storage(file, found->second, size);
      }),
      name);
}

NamedTensors load_pickle(const Mapping& file, const std::string& name) {
  try {
    return text_of(file->bytes()).starts_with("PK") ? load_zip(file, name)
                                                    : load_legacy(file, name);
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    for (const char* missing : {"\"version\"", "not in a subdirectory"})
      if (what.find(missing) != std::string::npos)
        throw Error(name +
                    ": got a zip archive of other things, expected one that torch.save wrote.");
    throw Error(name + ": can't be read: " + printable(what.substr(0, what.find('\n')), 300));
  }
}

bool looks_like_safetensors(std::string_view text) { return text.size() > 8 && text[8] == '{'; }

}  // namespace

TensorFile map_tensors(const fs::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const std::string_view text = text_of(file->bytes());
  refuse_impostor(file->bytes(), path);
  TensorFile result;
  if (text.starts_with("PK\x03\x04") || text.starts_with(legacy_magic))
    result.tensors = load_pickle(file, path.string());
  else if (text.starts_with("GGUF") && !looks_like_safetensors(text))
    result = load_gguf(path);
  else if (looks_like_safetensors(text) || path.extension() == ".safetensors")
    result = load_safetensors(path);
  else
    throw Error(path.string() +
                ": got neither a safetensors or GGUF file nor a PyTorch checkpoint, expected one.");
  if (result.tensors.empty()) throw Error(path.string() + ": got no tensors, expected some.");
  return result;
}

TensorFile load_tensors(const fs::path& path) {
  TensorFile file = map_tensors(path);
  for (auto& [name, tensor] : file.tensors) tensor = dequantized(tensor);
  return file;
}

}  // namespace tiller
