"""Writes fixtures/lora.json: LoRAs in each style of names, and weights that diffusers and PEFT make of them.

All tensors have formula.py's values. A style lists its tensors as [name, shape], and of the weights that it changes,
after fusing, the sum and six values at even distances.

Usage: python make_lora.py > ../fixtures/lora.json. Needs torch, diffusers (0.42.1), transformers, peft and accelerate.
"""

import json
import sys

import formula
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)

UNET = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": [1, 2],
    "layers_per_block": 2,
    "use_linear_projection": True,
}
RANK = 3
DOWN, UP, MID = "down_blocks.1.attentions.1", "up_blocks.0.attentions.2", "mid_block.attentions.0"
BLOCK = ".transformer_blocks.0"
ATTENTION = [f"{stack}{BLOCK}.{name}" for stack in (DOWN, UP, MID)
             for name in ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "attn2.to_v")]
OTHERS = [f"{DOWN}{BLOCK}.ff.net.0.proj", f"{UP}{BLOCK}.ff.net.2", f"{MID}.proj_in", f"{MID}.proj_out"]
CONVOLUTIONS = ["down_blocks.0.resnets.1.conv1", "mid_block.resnets.1.conv2", "up_blocks.0.resnets.0.conv_shortcut",
                "up_blocks.1.resnets.2.time_emb_proj", "down_blocks.0.downsamplers.0.conv",
                "up_blocks.0.upsamplers.0.conv"]
# The same modules as the original repository of SDXL names them.
ORIGINAL = {
    DOWN: "input_blocks.5.1", UP: "output_blocks.2.1", MID: "middle_block.1",
    "down_blocks.0.resnets.1.conv1": "input_blocks.2.0.in_layers.2",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "up_blocks.0.resnets.0.conv_shortcut": "output_blocks.0.0.skip_connection",
    "up_blocks.1.resnets.2.time_emb_proj": "output_blocks.5.0.emb_layers.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
}


def original(module):
    for diffusers, ldm in ORIGINAL.items():
        if module.startswith(diffusers):
            return ldm + module[len(diffusers):]
    raise KeyError(module)


def factors(weight):
    """Shapes of down and up."""
    out, into, *kernel = weight.shape
    return [RANK, into, *kernel], [out, RANK, *[1 for _ in kernel]]


def kohya(module):
    name = "lora_unet_" + module.replace(".", "_")
    return name + ".lora_down.weight", name + ".lora_up.weight", name + ".alpha"


def kohya_original(module):
    return kohya(original(module))


def peft(module):
    return f"unet.{module}.lora_A.weight", f"unet.{module}.lora_B.weight", None


def plain(module):
    return f"unet.{module}.lora.down.weight", f"unet.{module}.lora.up.weight", None


def processor(module):
    head, projection = module.rsplit(".to_", 1)
    name = f"unet.{head}.processor.to_{projection.split('.')[0]}_lora"
    return name + ".down.weight", name + ".up.weight", None


def convert(state, config):
    """What diffusers' own loader makes of the names."""
    if not any(key.startswith("lora_unet_") for key in state):
        return state, None
    state = _maybe_map_sgm_blocks_to_diffusers(dict(state), config)
    return _convert_non_diffusers_lora_to_diffusers(state)


def summary(tensor):
    flat = tensor.detach().double().flatten()
    return [float(f"{value:.10g}") for value in [flat.sum(), *flat[:: max(1, len(flat) // 6)][:6]]]


def run(style, naming, modules, alpha, weight, metadata=None):
    unet = formula.fill(UNet2DConditionModel(**UNET))
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    state, shapes = {}, []
    for module in modules:
        down, up, alpha_name = naming(module)
        for name, shape in zip((down, up), factors(before[module + ".weight"])):
            state[name] = formula.weight(name, tuple(shape))
            shapes.append([name, shape])
        if alpha_name and alpha is not None:
            state[alpha_name] = torch.tensor(alpha)
    if metadata:
        metadata = {f"unet.{key}": value for key, value in metadata.items()}
    converted, alphas = convert(state, unet.config)
    StableDiffusionXLPipeline.load_lora_into_unet(converted, alphas, unet, adapter_name="x", metadata=metadata)
    unet.fuse_lora(lora_scale=weight)
    after = {name.replace(".base_layer", ""): value for name, value in unet.state_dict().items() if "lora_" not in name}
    changed = {name: summary(value) for name, value in after.items() if not torch.equal(value, before[name])}
    assert len(changed) == len(modules), (style, len(changed), len(modules))
    case = {"style": style, "tensors": shapes, "weight": weight, "changed": changed}
    if alpha is not None:
        case["alphas"] = {naming(module)[2]: alpha for module in modules}
    if metadata:
        case["metadata"] = {"lora_adapter_metadata": json.dumps(metadata)}
    return case


def main():
    torch.set_num_threads(1)
    everything = ATTENTION + OTHERS + CONVOLUTIONS
    cases = [
        run("kohya", kohya, everything, 2.0, 0.8),
        run("kohya_original", kohya_original, everything, 1.0, 1.0),
        run("peft", peft, everything, None, -0.5),
        run("peft_alpha", peft, ATTENTION, None, 1.0,
            {"r": RANK, "lora_alpha": 5, "target_modules": ATTENTION, "use_rslora": True}),
        run("plain", plain, ATTENTION, None, 1.0),
        run("processor", processor, ATTENTION, None, 1.5),
    ]
    names = [[name, list(value.shape)] for name, value in UNet2DConditionModel(**UNET).state_dict().items()]
    print('{"unet": ' + json.dumps(names) + ',\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}")


main()
