#include "io/gguf_blocks.h"

#include <c10/util/Half.h>

#include <cstring>

namespace tiller {
namespace {

using Bytes = const uint8_t* __restrict;
using Floats = float* __restrict;

float half_at(Bytes place) {
  uint16_t bits = 0;
  std::memcpy(&bits, place, sizeof bits);
  return c10::Half(bits, c10::Half::from_bits());
}

uint32_t word_at(Bytes place) {
  uint32_t bits = 0;
  std::memcpy(&bits, place, sizeof bits);
  return bits;
}

/// `decode` for each of the blocks.
template <int Size, int Values, class F>
void each_block(Bytes blocks, int64_t count, Floats values, const F& decode) {
  for (int64_t i = 0; i < count; ++i) decode(blocks + i * Size, values + i * Values);
}

/// The values that IQ4's four bits stand for (ggml-common.h, kvalues_iq4nl).
constexpr int kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};

/// A scale and an offset of six bits each for every eighth of a block of Q4_K and Q5_K, in 12
/// bytes: the first four scales, the first four offsets, each with two bits of a later one above
/// it, and the low halves of the later ones.
struct SixBits {
  int scale, offset;
};
SixBits six_bits(Bytes packed, int group) {
  if (group < 4) return {packed[group] & 63, packed[4 + group] & 63};
  const int low = packed[4 + group];
  return {(low & 15) | ((packed[group - 4] >> 2) & 48), (low >> 4) | ((packed[group] >> 2) & 48)};
}

/// One of the 16 scales of Q3_K, six bits each in 12 bytes: eight bytes of low halves, four of high
/// pairs.
int q3_scale(Bytes packed, int group) {
  const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
  return (low | (((packed[8 + group % 4] >> (2 * (group / 4))) & 3) << 4)) - 32;
}

}  // namespace

void decode_q8_0(const uint8_t* blocks, int64_t count, float* values) {
  each_block<34, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block);
    for (int i = 0; i < 32; ++i) out[i] = float(int8_t(block[2 + i])) * scale;
  });
}

void decode_q4_0(const uint8_t* blocks, int64_t count, float* values) {
  each_block<18, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block);
    for (int i = 0; i < 16; ++i) out[i] = scale * float((block[2 + i] & 15) - 8);
    for (int i = 0; i < 16; ++i) out[16 + i] = scale * float((block[2 + i] >> 4) - 8);
  });
}

void decode_q4_1(const uint8_t* blocks, int64_t count, float* values) {
  each_block<20, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block), least = half_at(block + 2);
    for (int i = 0; i < 16; ++i) out[i] = scale * float(block[4 + i] & 15) + least;
    for (int i = 0; i < 16; ++i) out[16 + i] = scale * float(block[4 + i] >> 4) + least;
  });
}

void decode_q5_0(const uint8_t* blocks, int64_t count, float* values) {
  each_block<22, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block);
    const uint32_t high = word_at(block + 2);
    for (int i = 0; i < 32; ++i) {
      const int low = i < 16 ? block[6 + i] & 15 : block[6 + i - 16] >> 4;
      out[i] = scale * float((low | int((high >> i & 1) << 4)) - 16);
    }
  });
}

void decode_q5_1(const uint8_t* blocks, int64_t count, float* values) {
  each_block<24, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block), least = half_at(block + 2);
    const uint32_t high = word_at(block + 4);
    for (int i = 0; i < 32; ++i) {
      const int low = i < 16 ? block[8 + i] & 15 : block[8 + i - 16] >> 4;
      out[i] = scale * float(low | int((high >> i & 1) << 4)) + least;
    }
  });
}

void decode_q2_k(const uint8_t* blocks, int64_t count, float* values) {
  each_block<84, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block + 80), offset = half_at(block + 82);
    for (int group = 0; group < 16; ++group) {
      const Bytes pairs = block + 16 + group / 8 * 32 + group % 2 * 16;
      const float own = scale * float(block[group] & 15), least = offset * float(block[group] >> 4);
      const int shift = group / 2 % 4 * 2;
      for (int i = 0; i < 16; ++i) out[16 * group + i] = own * float(pairs[i] >> shift & 3) - least;
    }
  });
}

void decode_q3_k(const uint8_t* blocks, int64_t count, float* values) {
  each_block<110, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block + 108);
    for (int group = 0; group < 16; ++group) {
      const Bytes high = block + group % 2 * 16,
                  pairs = block + 32 + group / 8 * 32 + group % 2 * 16;
      const float own = scale * float(q3_scale(block + 96, group));
      const int bit = group / 2, shift = bit % 4 * 2;
      for (int i = 0; i < 16; ++i)
        out[16 * group + i] = own * float((pairs[i] >> shift & 3) - 4 + (high[i] >> bit & 1) * 4);
    }
  });
}

void decode_q4_k(const uint8_t* blocks, int64_t count, float* values) {
  each_block<144, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block), offset = half_at(block + 2);
    for (int group = 0; group < 8; ++group) {
      const SixBits six = six_bits(block + 4, group);
      const float own = scale * float(six.scale), least = offset * float(six.offset);
      const Bytes low = block + 16 + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i) out[32 * group + i] = own * float(low[i] >> shift & 15) - least;
    }
  });
}

void decode_q5_k(const uint8_t* blocks, int64_t count, float* values) {
  each_block<176, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block), offset = half_at(block + 2);
    for (int group = 0; group < 8; ++group) {
      const SixBits six = six_bits(block + 4, group);
      const float own = scale * float(six.scale), least = offset * float(six.offset);
      const Bytes high = block + 16, low = block + 48 + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i)
        out[32 * group + i] =
            own * float((low[i] >> shift & 15) | (high[i] >> group & 1) << 4) - least;
    }
  });
}

void decode_q6_k(const uint8_t* blocks, int64_t count, float* values) {
  each_block<210, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block + 208);
    for (int group = 0; group < 16; ++group) {
      const int half = group / 8, quarter = group / 2 % 4, side = group % 2 * 16;
      const Bytes low = block + half * 64 + quarter % 2 * 32 + side;
      const Bytes high = block + 128 + half * 32 + side;
      const float own = scale * float(int8_t(block[192 + group]));
      const int shift = quarter / 2 * 4, pair = 2 * quarter;
      for (int i = 0; i < 16; ++i)
        out[16 * group + i] =
            own * float(((low[i] >> shift & 15) | (high[i] >> pair & 3) << 4) - 32);
    }
  });
}

void decode_iq4_nl(const uint8_t* blocks, int64_t count, float* values) {
  each_block<18, 32>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block);
    for (int i = 0; i < 16; ++i) {
      out[i] = scale * float(kIq4Values[block[2 + i] & 15]);
      out[16 + i] = scale * float(kIq4Values[block[2 + i] >> 4]);
    }
  });
}

void decode_iq4_xs(const uint8_t* blocks, int64_t count, float* values) {
  each_block<136, 256>(blocks, count, values, [](Bytes block, Floats out) {
    const float scale = half_at(block);
    const uint32_t high = word_at(block + 2);  // two bytes of it
    for (int group = 0; group < 8; ++group) {
      const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
      const float own = scale * float((low | int((high >> (2 * group) & 3) << 4)) - 32);
      const Bytes pairs = block + 8 + group * 16;
      for (int i = 0; i < 16; ++i) {
        out[32 * group + i] = own * float(kIq4Values[pairs[i] & 15]);
        out[32 * group + 16 + i] = own * float(kIq4Values[pairs[i] >> 4]);
      }
    }
  });
}

}  // namespace tiller
