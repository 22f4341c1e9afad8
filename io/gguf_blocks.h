#pragma once
/// The block formats of quantized tensors in GGUF files: a scale or two in float16 for 32 or 256
/// values of 2 to 8 bits, and for the K formats smaller scales of 16 or 32 of them. Facts: ggml,
/// ggml-common.h, and gguf-py's quants.py, whose float32 values these have to the last bit.
#include <cstdint>

namespace tiller {

/// Each reads `count` blocks and writes their values, in order.
void decode_q8_0(const uint8_t* blocks, int64_t count, float* values);
void decode_q4_0(const uint8_t* blocks, int64_t count, float* values);
void decode_q4_1(const uint8_t* blocks, int64_t count, float* values);
void decode_q5_0(const uint8_t* blocks, int64_t count, float* values);
void decode_q5_1(const uint8_t* blocks, int64_t count, float* values);
void decode_q2_k(const uint8_t* blocks, int64_t count, float* values);
void decode_q3_k(const uint8_t* blocks, int64_t count, float* values);
void decode_q4_k(const uint8_t* blocks, int64_t count, float* values);
void decode_q5_k(const uint8_t* blocks, int64_t count, float* values);
void decode_q6_k(const uint8_t* blocks, int64_t count, float* values);
void decode_iq4_nl(const uint8_t* blocks, int64_t count, float* values);
void decode_iq4_xs(const uint8_t* blocks, int64_t count, float* values);

}  // namespace tiller
