"""The demo model's network in PyTorch: guided-diffusion's, from a checkout (openai/guided-diffusion or forever208/DDPM-IP)."""

import contextlib
import inspect
import io
import json
import pathlib
import sys

CONFIG = pathlib.Path(__file__).parent.parent / "weights" / "config.json"


def read_config(path=CONFIG):
    return json.loads(pathlib.Path(path).read_text())


def network(checkout, config):
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
    from guided_diffusion import script_util, unet

    # Attention blocks would be recomputed in the backward pass, outside of autocast.
    unet.checkpoint = lambda function, inputs, parameters, flag: function(*inputs)
    script_util.NUM_CLASSES = config["num_classes"] + config.get("null_label", False)
    accepted = inspect.signature(script_util.create_model_and_diffusion).parameters
    arguments = {k: v for k, v in {**script_util.model_and_diffusion_defaults(), **config}.items() if k in accepted}
    with contextlib.redirect_stdout(io.StringIO()):
        return script_util.create_model_and_diffusion(**arguments)[0]
