// The only place where stb's implementations are compiled.
#include <zlib.h>

#include <cstdlib>

namespace {

/// zlib in place of stb's own compressor, which makes larger files.
unsigned char* compress_with_zlib(unsigned char* data, int size, int* compressed_size, int level) {
  uLongf capacity = compressBound(static_cast<uLong>(size));
  auto* out = static_cast<unsigned char*>(std::malloc(capacity));
  if (!out) return nullptr;
  if (compress2(out, &capacity, data, static_cast<uLong>(size), level) != Z_OK) {
    std::free(out);
    return nullptr;
  }
  *compressed_size = static_cast<int>(capacity);
  return out;
}

}  // namespace

#define STBIW_ZLIB_COMPRESS compress_with_zlib
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_ONLY_TGA
#define STBI_NO_STDIO
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image.h>
#include <stb_image_write.h>
