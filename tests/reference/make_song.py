"""Writes fixtures/song.json: outputs of EDM's networks with formula weights (formula.py), and its sampler's.

Usage: python make_song.py EDM > ../fixtures/song.json, with the path of a checkout of github.com/NVlabs/edm.
Needs torch, numpy and requests.
"""

import json
import pathlib
import sys
import zlib

import torch

import formula
from make_exposure_bias import function_of

DDPMPP = dict(model_type="SongUNet", model_channels=16, channel_mult=[2, 2], num_blocks=1, attn_resolutions=[8],
              embedding_type="positional", encoder_type="standard", decoder_type="standard", channel_mult_noise=1,
              resample_filter=[1, 1])
NCSNPP = {**DDPMPP, "embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2,
          "resample_filter": [1, 3, 3, 1], "channel_mult": [1, 2, 2]}
ADM = dict(model_type="DhariwalUNet", model_channels=32, channel_mult=[1, 4], num_blocks=1, attn_resolutions=[16, 8])
# Class of the wrapper, its arguments and the network's.
CASES = [
    ("EDMPrecond", DDPMPP),
    ("EDMPrecond", {**DDPMPP, "label_dim": 7, "augment_dim": 9, "dropout": 0.13, "channel_mult": [2, 3]}),
    ("EDMPrecond", {**NCSNPP, "sigma_data": 0.8}),
    ("EDMPrecond", {**ADM, "label_dim": 7, "augment_dim": 9, "label_dropout": 0.1}),
    ("EDMPrecond", {**DDPMPP, "resample_filter": [1, 3, 3, 1], "attn_resolutions": [16, 8]}),
    ("VPPrecond", {**DDPMPP, "label_dim": 7}),
    ("VEPrecond", NCSNPP),
    ("iDDPMPrecond", {**ADM, "label_dim": 7}),
]
SAMPLING = [
    ("EDMPrecond", {**NCSNPP, "label_dim": 3, "channel_mult": [1, 2]}),
    ("VPPrecond", {**DDPMPP, "label_dim": 3}),
    ("VEPrecond", {**NCSNPP, "label_dim": 3, "channel_mult": [1, 2]}),
    ("iDDPMPrecond", {**ADM, "label_dim": 3}),
]
KINDS = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
SIZE = 16
UNSEEN = ("resample_filter", "map_augment.weight")  # neither of them counts in Tiller


def fill(network):
    state = network.model.state_dict()
    for name, value in state.items():
        if name.endswith("freqs"):
            state[name] = 16 * formula.tensor(name, tuple(value.shape))
        elif not name.endswith(UNSEEN):
            state[name] = formula.weight(name, tuple(value.shape))
    network.model.load_state_dict(state)
    return network.eval()


def digest(network):
    names = [(name, value) for name, value in network.model.state_dict().items() if not name.endswith(UNSEEN)]
    return zlib.crc32("".join(f"{name} {list(value.shape)}\n" for name, value in names).encode())


def config_of(kind, arguments):
    config = {"_class_name": arguments["model_type"], "preconditioning": KINDS[kind], "img_resolution": SIZE,
              "img_channels": 3}
    return {**config, **{key: value for key, value in arguments.items() if key != "model_type"}}


def bounded(networks, kind, arguments):
    """The config with the sigmas that the network knows."""
    network = make(networks, kind, arguments)
    ends = dict(sigma_min=network.sigma_min, sigma_max=min(network.sigma_max, 1e6))
    return {**config_of(kind, arguments), **ends}


def make(networks, kind, arguments):
    torch.manual_seed(0)
    return fill(getattr(networks, kind)(img_resolution=SIZE, img_channels=3, **arguments))


def outputs(networks, kind, arguments):
    """D(x; sigma) of two images at two sigmas, of classes 3 and none."""
    network = make(networks, kind, arguments)
    sigma = torch.tensor([0.35, 12.5])
    x = formula.tensor("x", (2, 3, SIZE, SIZE)) * (1 + sigma).reshape(-1, 1, 1, 1)
    labels = torch.zeros(2, 7)
    labels[0, 3] = 1
    with torch.no_grad():
        out = network(x, sigma, labels if arguments.get("label_dim") else None)
    return dict(config=config_of(kind, arguments), names=digest(network), sigma=sigma.tolist(), every=7,
                values=formula.numbers(out.flatten()[::7]))


def sampled(sampler, network):
    """edm_sampler's images of one seed and class, from Tiller's noise of that seed."""
    noise = torch.randn((1, 3, SIZE, SIZE), generator=torch.Generator("cpu").manual_seed(11))
    label = torch.eye(3)[[2]]
    with torch.no_grad():
        x = sampler(network, noise, label, num_steps=18)
    return dict(seed=11, label=2, steps=18, every=5, values=formula.numbers(x.flatten()[::5]))


def main(edm):
    sys.path.insert(0, edm)
    from training import networks

    cases = ",\n".join(json.dumps(outputs(networks, *case)) for case in CASES)
    sampler = function_of(pathlib.Path(edm, "generate.py"), "edm_sampler")
    sampling = ",\n".join(json.dumps(dict(config=bounded(networks, *case), **sampled(sampler, make(networks, *case))))
                          for case in SAMPLING)
    print('{"cases": [\n%s\n],\n"sampling": [\n%s\n]}' % (cases, sampling))


if __name__ == "__main__":
    main(*sys.argv[1:])
