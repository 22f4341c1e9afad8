#!/usr/bin/env python3
"""Converts a network of EDM's or PFGM++'s authors to a folder that Tiller reads.

    scripts/convert_edm.py edm-cifar10-32x32-cond-vp.pkl cifar10/
    tiller generate --model cifar10/ --sampler heun --steps 18 --class 3 --output cat.png

Such a file is a Python pickle that carries its network's source code, which the authors' own loader
runs. This script doesn't: whatever a pickle names, other than tensors, numbers and containers,
becomes an empty object, no code of the file or of a package that it names is called, and of the
network only the arguments and the tensors are read. Files that torch.save wrote (PFGM++'s
training-state-*.pt) are read by the same rules.

The folder gets config.json, whose keys are the authors' arguments, and model.safetensors: the moving
average (`ema`), in float32. Needs torch, numpy and safetensors.
"""
import argparse
import collections
import io
import json
import math
import pathlib
import pickle
import sys
import types
import zipfile

try:
    import numpy
    import torch
    from safetensors.torch import save_file
except ImportError as error:
    sys.exit(f"convert_edm.py: {error}. In an environment of its own: pip install torch numpy safetensors")

PRECONDITIONERS = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
# Arguments of the networks that config.json has, and attributes of what wraps them.
NETWORK = ["model_channels", "channel_mult", "channel_mult_emb", "num_blocks", "attn_resolutions", "dropout",
           "label_dropout", "augment_dim", "embedding_type", "channel_mult_noise", "encoder_type", "decoder_type",
           "resample_filter"]
WRAPPER = {"edm": ["sigma_data", "sigma_min", "sigma_max"], "vp": ["beta_d", "beta_min", "M", "sigma_min", "sigma_max"],
           "ve": ["sigma_min", "sigma_max"], "iddpm": ["C_1", "C_2", "M", "sigma_min", "sigma_max"]}


class Inert:
    """What stands for any object of the pickle: it keeps a state and does nothing."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return Inert()

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)

    def append(self, _):
        pass

    def extend(self, _):
        pass

    def __setitem__(self, _, __):
        pass


def persistent(meta):
    """The object whose class the pickle brings as source code: its name and state alone."""
    made = Inert()
    made.__setstate__(meta["state"])
    made.class_name = meta["class_name"]
    return made


def storage(data):
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def allowed(name):
    """What a pickle may name. Everything else is Inert."""
    known = {"torch_utils.persistence._reconstruct_persistent_obj": persistent,
             "torch.storage._load_from_bytes": storage,
             "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
             "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
             "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
             "torch.Size": torch.Size,
             "collections.OrderedDict": collections.OrderedDict,
             "dnnlib.util.EasyDict": dict,
             "builtins.set": set,
             "_codecs.encode": lambda text, coding: text.encode("latin1"),  # bytes in old protocols
             "numpy.dtype": numpy.dtype}
    for core in ("numpy.core", "numpy._core"):
        known[core + ".multiarray.scalar"] = lambda dtype, data=0: numpy.frombuffer(data, dtype)[0].item()
    return known.get(name, Inert)


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return allowed(module + "." + name)


def load(path):
    if zipfile.is_zipfile(path):
        reader = types.ModuleType("inert")
        reader.Unpickler = Unpickler
        return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    with open(path, "rb") as file:
        return Unpickler(file).load()


def tensors(module, prefix=""):
    """Names and tensors of a module's state, as state_dict has them."""
    for part in ("_parameters", "_buffers"):
        for name, value in getattr(module, part, {}).items():
            if value is not None:
                yield prefix + name, value.detach()
    for name, child in getattr(module, "_modules", {}).items():
        if child is not None:
            yield from tensors(child, prefix + name + ".")


def fail(path, text):
    sys.exit(f"{path}: {text}")


def average_of(data, path):
    network = data.get("ema") if isinstance(data, dict) else data
    name = getattr(network, "class_name", None)
    if name not in PRECONDITIONERS:
        fail(path, f"got {name or 'no network'}, expected a network of EDM's or PFGM++'s authors under 'ema'.")
    return network


def config_of(network, path):
    model = network._modules["model"]
    if model.class_name not in ("SongUNet", "DhariwalUNet"):
        fail(path, f"got the network {model.class_name}, expected SongUNet or DhariwalUNet.")
    kind = PRECONDITIONERS[network.class_name]
    config = {"_class_name": model.class_name, "preconditioning": kind}
    for name in ("img_resolution", "img_channels", "label_dim"):
        config[name] = getattr(network, name)
    for name in WRAPPER[kind]:
        if math.isfinite(getattr(network, name)):
            config[name] = getattr(network, name)
    if getattr(network, "pfgmpp", False):
        config["D"] = network.D
    config.update((name, model._init_kwargs[name]) for name in NETWORK if name in model._init_kwargs)
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=pathlib.Path, help="network-snapshot-*.pkl or training-state-*.pt, or as published")
    parser.add_argument("folder", type=pathlib.Path, help="is made where it isn't there")
    parser.add_argument("--pfgmpp", type=int, metavar="D", help="PFGM++'s augmented dimensions, where the file doesn't say")
    arguments = parser.parse_args()
    try:
        data = load(arguments.pickle)
    except Exception as error:
        fail(arguments.pickle, f"got what is no pickle of a network ({type(error).__name__}: {error}).")
    network = average_of(data, arguments.pickle)
    config = config_of(network, arguments.pickle)
    if arguments.pfgmpp:
        config["D"] = arguments.pfgmpp
    # Filters follow from the config.
    state = {name: value.float().contiguous() for name, value in tensors(network._modules["model"])
             if not name.endswith("resample_filter")}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(state, arguments.folder / "model.safetensors")
    print(f"{arguments.folder}: {config['_class_name']}, {sum(value.numel() for value in state.values()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
