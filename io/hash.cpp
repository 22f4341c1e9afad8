#include "io/hash.h"

#include <openssl/evp.h>

#include "io/error.h"

namespace tiller {

std::string sha256_of(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr))
    throw Error("a SHA-256 can't be computed: OpenSSL refuses.");
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

std::string sha256_hex(const fs::path& path) {
  const MappedFile file(path);
  return sha256_of({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
}

}  // namespace tiller
