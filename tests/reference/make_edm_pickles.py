"""Writes fixtures/edm_pickles.tar.xz, tiny networks as EDM's and PFGM++'s training pickles them, and fixtures/edm_pickles.json,
what scripts/convert_edm.py should make of their arguments and what edm_sampler draws with each.

Usage: python make_edm_pickles.py EDM PFGMPP, with checkouts of github.com/NVlabs/edm (008a4e5) and
github.com/Newbeeer/pfgmpp (d57c1ee). Needs torch, numpy, requests and scipy.

In place of the authors' source code the pickles bring BAIT, which shows whether a reader runs it. Their weights have bfloat16's
digits, so that xz makes them half as large.
"""

import io
import json
import math
import pathlib
import pickle
import sys
import tarfile

import torch

from make_exposure_bias import function_of
from make_song import ADM, DDPMPP, NCSNPP, config_of, make, sampled

TINY = dict(model_channels=4, channel_mult=[1, 2], channel_mult_emb=1)
CASES = [  # file, the repository's place among the arguments, class of the wrapper, its arguments and the network's
    ("ddpmpp.pkl", 0, "VPPrecond", {**DDPMPP, **TINY, "label_dim": 3, "augment_dim": 9, "dropout": 0.13}),
    ("ncsnpp.pkl", 0, "EDMPrecond", {**NCSNPP, **TINY, "label_dim": 3, "sigma_data": 0.7}),
    ("adm.pkl", 0, "EDMPrecond", {**ADM, **TINY, "label_dim": 3, "label_dropout": 0.1}),
    ("pfgmpp.pt", 1, "EDMPrecond", {**DDPMPP, **TINY, "label_dim": 3, "pfgmpp": True, "D": 2048}),
]
BAIT = "open('ran', 'w')\n"
USUAL = {"EDMPrecond": dict(sigma_data=0.5), "VPPrecond": dict(beta_d=19.9, beta_min=0.1, M=1000)}
FIXTURE = pathlib.Path(__file__).parent.parent / "fixtures/edm_pickles"


def networks_of(checkout):
    """The repository's module training.networks. Both repositories have the same names."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("training", "torch_utils", "dnnlib"):
            del sys.modules[name]
    sys.path.insert(0, checkout)
    from training import networks

    sys.path.pop(0)
    for kind in vars(networks).values():
        if hasattr(kind, "_orig_module_src"):
            kind._orig_module_src = BAIT
    return networks


def shortened(network):
    """The network with fewer digits, as training keeps its average."""
    for value in network.model.state_dict().values():
        value.copy_(value.bfloat16())
    return network.requires_grad_(False)


def pickled(name, network):
    file = io.BytesIO()
    if name.endswith(".pt"):
        torch.save(dict(optimizer_state={"state": {}}, step=3, ema=network, net=network), file)
    else:
        from dnnlib.util import EasyDict

        pickle.dump(dict(ema=network, dataset_kwargs=EasyDict(resolution=16), loss_fn=None, augment_pipe=None), file)
    return file.getvalue()


def expected(network, kind, arguments):
    """The config, without sigmas that have no bound."""
    ends = dict(sigma_min=network.sigma_min, sigma_max=network.sigma_max)
    config = {**USUAL[kind], **config_of(kind, arguments), **{key: end for key, end in ends.items() if math.isfinite(end)}}
    return {key: value for key, value in config.items() if key != "pfgmpp"}


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def main(*checkouts):
    sampler = function_of(pathlib.Path(checkouts[0], "generate.py"), "edm_sampler")
    lines = []
    with tarfile.open(FIXTURE.with_suffix(".tar.xz"), "w:xz", preset=9) as archive:
        for name, repository, kind, arguments in CASES:
            network = shortened(make(networks_of(checkouts[repository]), kind, arguments))
            add(archive, name, pickled(name, network))
            lines.append(json.dumps(dict(file=name, config=expected(network, kind, arguments), **sampled(sampler, network))))
    FIXTURE.with_suffix(".json").write_text("[\n%s\n]\n" % ",\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
