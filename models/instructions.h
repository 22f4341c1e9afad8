#pragma once

namespace tiller {

/// Whether the processor multiplies tiles of bfloat16 numbers (AMX).
bool multiplies_bf16_tiles();
/// Whether its AVX-512 multiplies pairs of them.
bool multiplies_bf16_pairs();
/// Whether its AVX-512 multiplies float16 numbers.
bool multiplies_halves();

}  // namespace tiller
