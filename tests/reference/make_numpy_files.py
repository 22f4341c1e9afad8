"""Writes fixtures/numpy_files/: arrays as numpy itself writes them.

Usage: python make_numpy_files.py ../fixtures/numpy_files. Needs numpy.
"""

import pathlib
import sys

import numpy as np

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.array([[0, 1, 2], [3, 100, 127]])
    np.savez(folder / "dtypes.npz", **{name: numbers.astype(name) for name in DTYPES})
    np.savez_compressed(folder / "pytorch_fid.npz", mu=np.arange(3) / 4, sigma=np.diag([1.0, 2.0, 3.0]))
    images = np.arange(5 * 2 * 4 * 3, dtype=np.uint8).reshape(5, 2, 4, 3)
    np.savez(folder / "guided_diffusion.npz", images, mu=np.arange(2, dtype=np.float32), sigma=np.eye(2), mu_s=np.ones(1),
             sigma_s=np.full((1, 1), 4.0))
    np.savez(folder / "images.npz", images, np.arange(5))
    np.savez(folder / "objects.npz", mu=np.array([{"a": 1}], dtype=object), other=np.float32(2.5))
    np.save(folder / "fortran.npy", np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)))
    np.save(folder / "big_endian.npy", np.arange(3, dtype=">f4"))
    np.save(folder / "structures.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
    with open(folder / "version_2.npy", "wb") as file:
        np.lib.format.write_array(file, np.arange(4, dtype=np.float32), version=(2, 0))


if __name__ == "__main__":
    main()
