"""Writes tests/fixtures/tensor_files/types.gguf and types.safetensors: a tensor of each type that Tiller reads of GGUF files, and the
float32 values that gguf-py's dequantize gives for it.

Blocks of the types that gguf-py can quantize come from it; the others' are random bytes with scales of a sensible size, so
that every bit counts. One tensor is stored in another shape as ComfyUI-GGUF's convert.py does it.

Usage: python make_gguf.py. Needs gguf (0.19.0), numpy and safetensors.
"""

import pathlib

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "tensor_files"
ROWS, WIDTH = 3, 256
QUANTIZED_BY_GGUF = [Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1]
#: Where the float16 scales lie in a block of the others.
SCALES = {Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0]}
PLAIN = {"F64": numpy.float64, "F32": numpy.float32, "F16": numpy.float16, "I8": numpy.int8, "I16": numpy.int16, "I32": numpy.int32,
         "I64": numpy.int64}


def random_blocks(rng, kind):
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ROWS, WIDTH // values, size), dtype=numpy.uint8)
    for place in SCALES[kind]:
        scales = (rng.standard_normal(blocks.shape[:2]) * 0.01).astype(numpy.float16)
        blocks[..., place:place + 2] = scales[..., None].view(numpy.uint8)
    return blocks.reshape(ROWS, -1)


def main():
    rng = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(FOLDER / "types.gguf", "sd1")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_float32("test.float", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_int64("test.negative", -1 << 40)
    writer.add_array("test.words", ["a", "b"])
    writer.add_array("test.numbers", list(range(20)))
    expected = {}
    for name, dtype in PLAIN.items():
        expected[name] = ((numpy.arange(6) * 7) % 23 - 11).reshape(2, 3).astype(dtype)
        writer.add_tensor(name, expected[name])
    weights = rng.standard_normal((ROWS, WIDTH)).astype(numpy.float32)
    for kind in [*QUANTIZED_BY_GGUF, *SCALES]:
        blocks = gguf.quantize(weights, kind) if kind in QUANTIZED_BY_GGUF else random_blocks(rng, kind)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        expected[kind.name] = gguf.dequantize(blocks, kind)
    shape = (8, 4, 2, 4)
    writer.add_array("comfy.gguf.orig_shape.conv", list(shape))
    blocks = gguf.quantize(weights[:1], Type.Q4_0)
    writer.add_tensor("conv", blocks, raw_dtype=Type.Q4_0)
    expected["conv"] = gguf.dequantize(blocks, Type.Q4_0).reshape(shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, FOLDER / "types.safetensors")


if __name__ == "__main__":
    main()
