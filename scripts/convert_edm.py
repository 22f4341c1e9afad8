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
average (`ema`), in float32. Needs Python 3.8 or newer and nothing else.
"""
import argparse
import collections
import io
import json
import math
import os
import pathlib
import pickle
import struct
import sys
import typing
import zipfile

PRECONDITIONERS = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
# Arguments of the networks that config.json has, those that its other keys tell, and attributes of what wraps them.
NETWORK = ["model_channels", "channel_mult", "channel_mult_emb", "num_blocks", "attn_resolutions", "dropout",
           "label_dropout", "augment_dim", "embedding_type", "channel_mult_noise", "encoder_type", "decoder_type",
           "resample_filter"]
TOLD = ["img_resolution", "in_channels", "out_channels", "label_dim"]
WRAPPER = {"edm": ["sigma_data", "sigma_min", "sigma_max"], "vp": ["beta_d", "beta_min", "M", "sigma_min", "sigma_max"],
           "ve": ["sigma_min", "sigma_max"], "iddpm": ["C_1", "C_2", "M", "sigma_min", "sigma_max"]}
# Bytes of a number of torch's storages; codes of struct for those that are converted and for NumPy's scalars.
WIDTHS = {"DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
          "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1}
FLOATS = {"DoubleStorage": "d", "FloatStorage": "f", "HalfStorage": "e"}
SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "<?"}
# A pickled number: so torch.save's files began before they were zips.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9\x20j\xa8P\x19."


class Refused(Exception):
    """What a file has and what was expected, in one line."""


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


class Dtype(Inert):
    """NumPy's type of a number."""

    def __init__(self, code, *_):
        self.code = code


class Storage:
    """Numbers of one kind; `read` gives their bytes, of which there are `size`."""

    def __init__(self, kind):
        self.kind = kind
        self.size = 0
        self.read = bytes


class Tensor(typing.NamedTuple):
    """Where a storage has a tensor's numbers."""
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def persistent(meta):
    """The object whose class the pickle brings as source code: its name and state alone."""
    made = Inert()
    made.__setstate__(meta["state"])
    made.class_name = meta["class_name"]
    return made


def scalar(dtype, data):
    return struct.unpack(SCALARS[dtype.code], data)[0] if dtype.code in SCALARS else Inert()


def legacy_bytes(data):
    return load_legacy(io.BytesIO(data))


KNOWN = {"torch_utils.persistence._reconstruct_persistent_obj": persistent,
         "torch.storage._load_from_bytes": legacy_bytes,
         "torch._utils._rebuild_tensor": Tensor,
         "torch._utils._rebuild_tensor_v2": lambda *arguments: Tensor(*arguments[:4]),
         "torch._utils._rebuild_parameter": lambda data, *_: data,
         "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
         "torch.Size": tuple,
         "collections.OrderedDict": collections.OrderedDict,
         "dnnlib.util.EasyDict": dict,
         "builtins.set": set,
         "_codecs.encode": lambda text, _: text.encode("latin1"),  # bytes in old protocols
         "numpy.dtype": Dtype,
         "numpy.core.multiarray.scalar": scalar,
         "numpy._core.multiarray.scalar": scalar,
         **{"torch." + kind: kind for kind in WIDTHS}}


class Unpickler(pickle.Unpickler):
    """Makes what KNOWN has, and Inert of all else. `find` gives the storage of a kind and a key."""

    def __init__(self, file, find=None):
        super().__init__(file)
        self.find = find

    def find_class(self, module, name):
        return KNOWN.get(module + "." + name, Inert)

    def persistent_load(self, saved):
        if saved[0] == "module":  # a class with its source code
            return Inert
        _, kind, key, _, _, *view = saved
        if self.find is None or any(view):
            raise Refused("got a part of another storage, expected whole ones.")
        return self.find(kind, key)


def load_legacy(file):
    """Five pickles, of which the fourth is the object, then each storage: how many numbers, and these."""
    if file.read(len(LEGACY)) != LEGACY:
        raise Refused("got a storage of another form, expected one that torch.save wrote.")
    _version, system = Unpickler(file).load(), Unpickler(file).load()
    if not system["little_endian"]:
        raise Refused("got a file of a big-endian machine, expected a little-endian one's.")
    storages = {}
    made = Unpickler(file, lambda kind, key: storages.setdefault(key, Storage(kind))).load()
    for key in Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        data = file.read(count * WIDTHS[storages[key].kind])
        storages[key].size = len(data)
        storages[key].read = lambda data=data: data
    return made


def load_zip(path):
    """A zip of torch.save, whose storages are read when they're needed."""
    archive = zipfile.ZipFile(path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise Refused("got a compressed zip, expected one that torch.save wrote.")
    [root] = [name[:-len("data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl")]
    if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
        raise Refused("got a file of a big-endian machine, expected a little-endian one's.")

    def find(kind, key):
        made = Storage(kind)
        entry = archive.getinfo(f"{root}data/{key}")
        made.size = entry.file_size
        made.read = lambda: archive.read(entry)
        return made

    return Unpickler(archive.open(root + "data.pkl"), find).load()


def load(path):
    with open(path, "rb") as file:
        head = file.read(len(LEGACY))
        file.seek(0)
        if head == LEGACY:
            return load_legacy(file)
        return load_zip(path) if head.startswith(b"PK") else Unpickler(file).load()


def limit_memory(size):
    """So that a hostile pickle ends in an error: a few bytes can ask for any amount."""
    try:
        import resource
        limit, most = resource.getrlimit(resource.RLIMIT_AS)
        enough = 4 * size + 2**30
        if limit == resource.RLIM_INFINITY or limit > enough:
            resource.setrlimit(resource.RLIMIT_AS, (enough, most))
    except (ImportError, ValueError, OSError):
        pass  # not every system can


def tensors(module, seen, prefix=""):
    """Names and tensors of a module's state, as state_dict has them; filters follow from the config."""
    if id(module) in seen:
        raise Refused(f"{prefix[:-1]}: got a module that has another name too, expected it once.")
    seen.add(id(module))
    for part in ("_parameters", "_buffers"):
        for name, value in getattr(module, part, {}).items():
            if value is not None and name != "resample_filter":
                yield prefix + name, value
    for name, child in getattr(module, "_modules", {}).items():
        if child is not None:
            yield from tensors(child, seen, prefix + name + ".")


def check(name, tensor):
    """A tensor's numbers must lie in its storage, one after the other."""
    if not isinstance(tensor, Tensor) or not isinstance(tensor.storage, Storage):
        raise Refused(f"{name}: got no tensor, expected one.")
    storage, offset, shape, strides = tensor
    if storage.kind not in FLOATS:
        raise Refused(f"{name}: got {storage.kind}, expected one of {', '.join(FLOATS)}.")
    numbers = [offset, *shape, *strides]
    if len(shape) > 8 or len(shape) != len(strides) or any(type(value) is not int or value < 0 for value in numbers):
        raise Refused(f"{name}: got shape {shape} and strides {strides}, expected up to 8 whole numbers in each.")
    usual = [math.prod(shape[i + 1:]) for i in range(len(shape))]
    if any(n > 1 and got != want for n, got, want in zip(shape, strides, usual)):
        raise Refused(f"{name}: got strides {strides}, expected {tuple(usual)} for shape {shape}.")
    end = (offset + math.prod(shape)) * WIDTHS[storage.kind]
    if end > storage.size:
        raise Refused(f"{name}: got a storage of {storage.size} bytes, expected at least {end} for shape {shape}.")


def float32(tensor):
    """The bytes of a tensor's numbers in float32."""
    count, width = math.prod(tensor.shape), WIDTHS[tensor.storage.kind]
    data = memoryview(tensor.storage.read())[tensor.offset * width:][:count * width]
    if tensor.storage.kind == "FloatStorage":
        return data
    return struct.pack(f"<{count}f", *struct.unpack(f"<{count}{FLOATS[tensor.storage.kind]}", data))


def average_of(data):
    network = data.get("ema") if isinstance(data, dict) else data
    name = getattr(network, "class_name", None)
    if not isinstance(name, str) or name not in PRECONDITIONERS:
        raise Refused(f"got {name or 'no network'}, expected a network of EDM's or PFGM++'s authors under 'ema'.")
    return network


def plain(name, value):
    """A value that config.json may have."""
    values = value if isinstance(value, (list, tuple)) and len(value) <= 16 else [value]
    if any(type(one) not in (int, float, bool, str) for one in values if one is not None):
        raise Refused(f"{name}: got {type(value).__name__}, expected a number, a word or a short list of these.")
    return value


def attribute(network, name):
    if not hasattr(network, name):
        raise Refused(f"got no {name}, expected one, as EDM's networks have it.")
    return plain(name, getattr(network, name))


def config_of(network):
    model = network._modules["model"]
    if model.class_name not in ("SongUNet", "DhariwalUNet"):
        raise Refused(f"got the network {model.class_name}, expected SongUNet or DhariwalUNet.")
    for name in model._init_kwargs:
        if name not in NETWORK + TOLD:
            raise Refused(f"got a {model.class_name} with the argument {name}, expected those of EDM's code alone.")
    kind = PRECONDITIONERS[network.class_name]
    config = {"_class_name": model.class_name, "preconditioning": kind}
    config.update((name, attribute(network, name)) for name in ("img_resolution", "img_channels", "label_dim"))
    config.update((name, attribute(network, name)) for name in WRAPPER[kind] if math.isfinite(attribute(network, name)))
    if getattr(network, "pfgmpp", False):
        config["D"] = attribute(network, "D")
    config.update((name, plain(name, model._init_kwargs[name])) for name in NETWORK if name in model._init_kwargs)
    return config


def read(path):
    """The config and the tensors of a pickle's network."""
    size = path.stat().st_size
    limit_memory(size)
    network = average_of(load(path))
    state = dict(tensors(network._modules["model"], set()))
    for name, tensor in state.items():
        check(name, tensor)
    total = sum(math.prod(tensor.shape) * WIDTHS[tensor.storage.kind] for tensor in state.values())
    if total > size:
        raise Refused(f"got tensors of {total} bytes in a file of {size}, expected no number in two of them.")
    return config_of(network), state


def write_safetensors(path, state):
    header, end = {}, 0
    for name, tensor in state.items():
        begin, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in state.values():
            file.write(float32(tensor))


def write(folder, config, state):
    """Under names of their own until they are whole."""
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / "config.json.part", folder / "model.safetensors.part"]
    try:
        parts[0].write_text(text)
        write_safetensors(parts[1], state)
        for part in parts:
            os.replace(part, part.with_suffix(""))
    finally:
        for part in parts:
            if part.exists():
                part.unlink()


def fail(path, text):
    """One line, whatever a file put into it."""
    line = " ".join(str(text).split())
    sys.exit(f"{path}: " + "".join(character if character.isprintable() else "?" for character in line[:300]))


def dimensions(text):
    if not text.isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a whole number from 1 to 10000000")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=pathlib.Path, help="network-snapshot-*.pkl or training-state-*.pt, or as published")
    parser.add_argument("folder", type=pathlib.Path, help="is made where it isn't there")
    parser.add_argument("--pfgmpp", type=dimensions, metavar="D",
                        help="PFGM++'s augmented dimensions, where the file doesn't say")
    arguments = parser.parse_args()
    try:
        config, state = read(arguments.pickle)
        if arguments.pfgmpp:
            config["D"] = arguments.pfgmpp
        write(arguments.folder, config, state)
    except OSError as error:
        fail(error.filename or arguments.folder, error.strerror or error)
    except Refused as error:
        fail(arguments.pickle, error)
    except MemoryError:
        fail(arguments.pickle, "got what needs more memory than a network in a file of this size, expected a network.")
    except Exception as error:  # a damaged or hostile file can raise any
        fail(arguments.pickle, f"got what is no pickle of a network ({type(error).__name__}: {error}).")
    count = sum(math.prod(tensor.shape) for tensor in state.values())
    print(f"{arguments.folder}: {config['_class_name']}, {count / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
