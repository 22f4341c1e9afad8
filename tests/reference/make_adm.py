"""Writes fixtures/adm.json: outputs of guided-diffusion's UNet with formula weights (formula.py).

Usage: python make_adm.py GUIDED_DIFFUSION > ../fixtures/adm.json, with the path of a checkout of
github.com/openai/guided-diffusion. Needs torch and numpy.
"""

import json
import sys

import torch

import formula

CONFIGS = [
    dict(image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2,2", attention_resolutions="8,4",
         num_head_channels=16, class_cond=True, learn_sigma=True, resblock_updown=True,
         use_new_attention_order=True, use_scale_shift_norm=True, dropout=0.3),
    dict(image_size=8, num_channels=32, num_res_blocks=2, channel_mult="1,2", attention_resolutions="8,4",
         num_heads=4, num_heads_upsample=2, use_scale_shift_norm=False),
    dict(image_size=16, num_channels=64, num_res_blocks=1, channel_mult="1,1", attention_resolutions="16",
         num_heads=2, class_cond=True, use_scale_shift_norm=True),
]


def outputs(config):
    from guided_diffusion import script_util

    script_util.NUM_CLASSES = 7
    defaults = script_util.model_and_diffusion_defaults()
    model, _ = script_util.create_model_and_diffusion(**{**defaults, **config})
    formula.fill(model)
    size = config["image_size"]
    x = 2 * formula.tensor("x", (2, 3, size, size))
    t = torch.tensor([17.5, 803.0])
    y = {"y": torch.tensor([3, 6])} if config.get("class_cond") else {}
    with torch.no_grad():
        out = model(x, t, **y)
    return dict(config=config, names=formula.digest(model), shape=list(out.shape),
                every=7, values=formula.numbers(out.flatten()[::7]))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    print('{"cases": [\n%s\n]}' % ",\n".join(json.dumps(outputs(config)) for config in CONFIGS))
