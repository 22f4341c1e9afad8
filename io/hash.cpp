#include "io/hash.h"

#include <openssl/evp.h>

#include <fstream>
#include <memory>

#include "io/error.h"

namespace tiller {

namespace {

constexpr size_t chunk_size = size_t{1} << 18;

/// SHA-256 of bytes that come one chunk after the other.
class Digest {
 public:
  Digest() { require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr)); }
  void add(std::string_view bytes) {
    require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    require(EVP_DigestFinal_ex(context_.get(), digest, &size));
    std::string text;
    for (unsigned int i = 0; i < size; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
  }

 private:
  static void require(bool done) {
    if (!done) throw Error("a SHA-256 can't be computed: OpenSSL refuses.");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free};
};

}  // namespace

std::string sha256_of(std::string_view bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.hex();
}

std::string sha256_hex(const fs::path& path) {
  { const MappedFile readable(path); }
  std::ifstream file(path, std::ios::binary);
  std::string chunk(chunk_size, 0);
  Digest digest;
  while (file.read(chunk.data(), chunk_size), file.gcount() > 0)
    digest.add({chunk.data(), static_cast<size_t>(file.gcount())});
  if (file.bad()) throw Error(path.string() + ": can't be read.");
  return digest.hex();
}

}  // namespace tiller
