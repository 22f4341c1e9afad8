"""Writes tests/fixtures/tensor_files/: weights as PyTorch and safetensors write them, for tests/io.

Every file but the malicious ones holds tensors that `expected` describes by the formula
element i = (7 i mod 23) - 11, so that the tests need no second copy of the values.
"""

import collections
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile

import numpy
import safetensors.torch
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "tensor_files"
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
          torch.uint16, torch.uint32, torch.uint64]


def values(*shape, dtype=torch.float32):
    count = int(numpy.prod(shape))
    return ((torch.arange(count) * 7) % 23 - 11).reshape(shape).to(dtype)


def every_dtype():
    return {str(dtype).removeprefix("torch."): values(2, 3, dtype=dtype).clone() for dtype in DTYPES}


def module_state():
    """A state dict with the `_metadata` attribute that modules give it."""
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    state = module.state_dict()
    for name, tensor in state.items():
        tensor.copy_(values(*tensor.shape, dtype=tensor.dtype))
    return state


class Run:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        return os.system, ("echo broken > broken.txt",)


def lightning_checkpoint():
    """What Lightning 1.4 saved, Stable Diffusion's first checkpoints among it: a class for a key."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    sys.modules.update({"pytorch_lightning": module, "pytorch_lightning.callbacks": module,
                        module.__name__: module})
    callback = {"monitor": "val/loss", "best_model_score": values(1)[0], "best_model_path": "x.ckpt"}
    return {"epoch": 3, "loss": values(1)[0], "global_step": 470000, "pytorch-lightning_version": "1.4.2",
            "state_dict": {"w": values(2, 3)}, "callbacks": {module.ModelCheckpoint: callback},
            "optimizer_states": [{"state": {0: {"exp_avg": values(2, 3)}}, "param_groups": []}]}


def zip_with_pickle(path, data, storages=()):
    """A checkpoint around pickle bytes of our own."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/version", "3\n")
        for key, content in storages:
            archive.writestr(f"x/data/{key}", content)


def tensor_pickle(size, stride, offset=0, elements=4):
    """The pickle of {"a": tensor} with these numbers, honest or not."""
    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(items):
        return b"(" + b"".join(map(number, items)) + b"t"

    storage = (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
               + number(elements) + b"tQ")
    arguments = (b"(" + storage + number(offset) + numbers(size) + numbers(stride)
                 + b"\x89ccollections\nOrderedDict\n)Rt")
    return b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    save = lambda name, value, **options: torch.save(value, FOLDER / name, **options)  # noqa: E731

    safetensors.torch.save_file(every_dtype(), FOLDER / "dtypes.safetensors", {"made by": "Python"})
    save("dtypes.pt", every_dtype())
    save("module.pt", module_state())
    save("legacy.th", {"state_dict": module_state(), "best_prec1": 0.5},
         _use_new_zipfile_serialization=False)
    save("protocol4.pt", module_state(), pickle_protocol=4)
    save("nested.pt", {"epoch": 3, "lr": 1e-3, "seed": 1 << 40, "loss": numpy.float64(0.5),
                       "history": [1.0, 2.0], "ema": {"w": values(1)},
                       "state_dict": collections.OrderedDict(w=values(2, 3))})
    save("lightning.ckpt", lightning_checkpoint())
    save("two_dicts.pt", {"image_proj": {"proj.weight": values(2, 3)}, "ip_adapter": collections.OrderedDict(w=values(4)), "epoch": 3})
    base = values(4, 6)
    save("views.pt", {"transposed": base.t(), "column": base[:, 2], "tail": base[2:],
                      "expanded": values(1, 3).expand(4, 3), "empty": torch.empty(0, 5),
                      "scalar": values(1)[0], "parameter": nn.Parameter(base)})
    save("no_tensors.pt", {"epoch": 3})

    zip_with_pickle(FOLDER / "malicious.pt", pickle.dumps({"a": Run()}, protocol=2))
    save("malicious_legacy.pt", {"a": Run()}, _use_new_zipfile_serialization=False)
    for name, members in {"document": ["word/document.xml", "word/styles.xml"], "flat": ["a.txt", "b.txt"]}.items():
        with zipfile.ZipFile(FOLDER / f"{name}.zip", "w") as archive:
            for member in members:
                archive.writestr(zipfile.ZipInfo(member), "text")
    storage = [("0", values(4).numpy().tobytes())]
    zip_with_pickle(FOLDER / "honest.pt", tensor_pickle([2, 2], [2, 1]), storage)
    for name, numbers in {
        "beyond_storage": dict(size=[5], stride=[1]),
        "beyond_by_stride": dict(size=[2, 2], stride=[4, 1]),
        "beyond_by_offset": dict(size=[2], stride=[1], offset=3),
        "negative_stride": dict(size=[2], stride=[-1], offset=1),
        "negative_size": dict(size=[-2], stride=[1]),
        "overflow": dict(size=[1 << 62, 1 << 62], stride=[1 << 62, 1]),
        "storage_too_short": dict(size=[5], stride=[1], elements=5),
    }.items():
        zip_with_pickle(FOLDER / f"{name}.pt", tensor_pickle(**numbers), storage)


if __name__ == "__main__":
    main()
