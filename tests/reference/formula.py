"""Tensors that tests compute themselves instead of reading them: value i of the tensor called `name` is a hash of both.

tests/models/formula.h computes the same numbers.
"""

import zlib

import numpy as np
import torch


def uniform(name, count):
    """`count` numbers in [-1, 1), exactly representable in float32."""
    u = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(zlib.crc32(name.encode()))
    u ^= u >> np.uint32(16)
    u *= np.uint32(2246822519)
    u ^= u >> np.uint32(13)
    u *= np.uint32(3266489917)
    u ^= u >> np.uint32(16)
    return ((u >> np.uint32(8)).astype(np.float64) / 2**23 - 1).astype(np.float32)


def tensor(name, shape):
    return torch.from_numpy(uniform(name, int(np.prod(shape)))).reshape(shape)


def weight(name, shape):
    """A weight: of variance 1 / fan_in, around 1 for the scales of normalisations, small for biases."""
    values = tensor(name, shape)
    if len(shape) == 1:
        return (1 if name.endswith("weight") else 0) + 0.125 * values
    return values * float(np.sqrt(np.float32(3) / np.float32(np.prod(shape[1:]))))


def fill(module):
    module.load_state_dict({name: weight(name, tuple(value.shape)) for name, value in module.state_dict().items()})
    return module.eval()


def digest(module):
    """CRC-32 of the tensors' names and shapes, in their order."""
    lines = "".join(f"{name} {list(value.shape)}\n" for name, value in module.state_dict().items())
    return zlib.crc32(lines.encode())


def inventory(module, prefix=""):
    """Number of tensors, of elements, and CRC-32 of the names and shapes in the order of the names."""
    shapes = {prefix + name: list(value.shape) for name, value in module.state_dict().items()}
    lines = "".join(f"{name} {shape}\n" for name, shape in sorted(shapes.items()))
    return [len(shapes), sum(int(np.prod(shape)) for shape in shapes.values()), zlib.crc32(lines.encode())]


def numbers(values):
    return [float(f"{v:.9g}") for v in values.flatten().tolist()]
