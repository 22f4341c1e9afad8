"""Writes fixtures/lora.json: LoRAs in each style of names, and weights that diffusers and PEFT make of them; DoRA, LoHa, LoKr and
whole changes, by PEFT where diffusers reads them, else by LyCORIS' functions.

All tensors have formula.py's values. A style lists its tensors as [name, shape], and of the weights that it changes,
after fusing, the sum and six values at even distances.

Usage: python make_lora.py > ../fixtures/lora.json. Needs torch, diffusers (0.42.1), transformers, peft, accelerate and
lycoris-lora (4.1.3).
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
from lycoris.functional import general, loha, lokr

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


def peft_dora(module):
    return *peft(module), f"unet.{module}.lora_magnitude_vector"


def lengths(weight):
    """The shape of PEFT's magnitudes."""
    out, _, *kernel = weight.shape
    return [1, out, *kernel_of_ones(kernel)] if kernel else [out]


def kernel_of_ones(kernel):
    return [1 for _ in kernel]


def summary(tensor):
    flat = tensor.detach().double().flatten()
    return [float(f"{value:.10g}") for value in [flat.sum(), *flat[:: max(1, len(flat) // 6)][:6]]]


def run(style, naming, modules, alpha, weight, metadata=None):
    unet = formula.fill(UNet2DConditionModel(**UNET))
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    state, shapes = {}, []
    for module in modules:
        down, up, alpha_name, *magnitude = naming(module)
        weight_before = before[module + ".weight"]
        for name, shape in zip((down, up, *magnitude), (*factors(weight_before), lengths(weight_before))):
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


def lyc_name(module, ending):
    return "lora_unet_" + module.replace(".", "_") + ending


def loha_shapes(weight):
    out, into, *kernel = weight.shape
    if kernel and kernel[0] > 1:
        return {f".hada_{name}": shape for i in (1, 2) for name, shape in
                ((f"w{i}_a", [RANK, out]), (f"w{i}_b", [RANK, into]), (f"t{i}", [RANK, RANK, *kernel]))}
    return {f".hada_{name}": shape for i in (1, 2) for name, shape in
            ((f"w{i}_a", [out, RANK]), (f"w{i}_b", [RANK, into]))}


def loha_flat_shapes(weight):
    out, into = weight.shape[0], weight[0].numel()
    return {f".hada_{name}": shape for i in (1, 2) for name, shape in ((f"w{i}_a", [out, RANK]), (f"w{i}_b", [RANK, into]))}


def loha_change(weight, named):
    w = {name[6:]: value for name, value in named.items() if name.startswith(".hada_")}
    change = loha.diff_weight(w["w1_b"], w["w1_a"], w["w2_b"], w["w2_a"], w.get("t1"), w.get("t2"))
    return change.reshape(weight.shape), RANK


def lokr_shapes(weight):
    """The second matrix whole, of a kernel with a core, else of two factors."""
    out, into, *kernel = weight.shape
    first, second = [2, 4], [out // 2, into // 4]
    if not kernel:
        return {".lokr_w1": first, ".lokr_w2_a": [second[0], RANK], ".lokr_w2_b": [RANK, second[1]]}
    return {".lokr_w1": first, ".lokr_w2_a": [RANK, second[0]], ".lokr_w2_b": [RANK, second[1]],
            ".lokr_t2": [RANK, RANK, *kernel]}


def lokr_factored_shapes(weight):
    out, into, *kernel = weight.shape
    pixels = kernel[0] * kernel[1] if kernel else 1
    return {".lokr_w1_a": [2, RANK], ".lokr_w1_b": [RANK, 4], ".lokr_w2_a": [out // 2, RANK],
            ".lokr_w2_b": [RANK, into // 4 * pixels]}


def lokr_whole_shapes(weight):
    out, into, *kernel = weight.shape
    return {".lokr_w1": [2, 4], ".lokr_w2": [out // 2, into // 4, *kernel]}


def lokr_change(weight, named):
    get = lambda name: named.get(f".lokr_{name}")
    change = lokr.kron_weight(get("w1"), get("w1_a"), get("w1_b"), get("w2"), get("w2_a"), get("w2_b"), get("t2"))
    return change.reshape(weight.shape), RANK if ".lokr_w2_b" in named else None


def locon_shapes(weight):
    down, up = factors(weight)
    return {".lora_down.weight": down, ".lora_up.weight": up}


def locon_change(weight, named):
    up, down = named[".lora_up.weight"], named[".lora_down.weight"]
    return (up.flatten(1) @ down.flatten(1)).reshape(weight.shape), RANK


def row_lengths(weight):
    return [weight.shape[0], *[1 for _ in weight.shape[1:]]]


def column_lengths(weight):
    return [1, weight.shape[1], *[1 for _ in weight.shape[2:]]]


def run_lycoris(style, modules, shapes, change_of, alpha, weight, dora=None):
    """dora: the shape of the lengths that rows or columns get."""
    before = formula.fill(UNet2DConditionModel(**UNET)).state_dict()
    listed, changed, alphas = [], {}, {}
    for module in modules:
        own = before[module + ".weight"]
        named = shapes(own) | ({".dora_scale": dora(own)} if dora else {})
        named = {ending: formula.weight(lyc_name(module, ending), tuple(shape)) for ending, shape in named.items()}
        listed += [[lyc_name(module, ending), list(value.shape)] for ending, value in named.items()]
        alphas[lyc_name(module, ".alpha")] = alpha
        change, rank = change_of(own, named)
        after = own + weight * (alpha / rank if rank else 1) * change
        if dora:
            after = general.weight_decompose(after, named[".dora_scale"], 1, dora is row_lengths, backend="torch")
        changed[module + ".weight"] = summary(after)
    return {"style": style, "tensors": listed, "weight": weight, "changed": changed, "alphas": alphas}


def run_whole(weight):
    """Whole changes of weights, biases and norms, in the original layout's names."""
    before = formula.fill(UNet2DConditionModel(**UNET)).state_dict()
    entries = [("down_blocks.0.resnets.1.conv1.weight", "input_blocks_2_0_in_layers_2.diff"),
               ("down_blocks.0.resnets.1.conv1.bias", "input_blocks_2_0_in_layers_2.diff_b"),
               ("down_blocks.0.resnets.1.norm1.weight", "input_blocks_2_0_in_layers_0.w_norm"),
               ("down_blocks.0.resnets.1.norm1.bias", "input_blocks_2_0_in_layers_0.b_norm"),
               (f"{DOWN}{BLOCK}.attn2.to_k.weight", "input_blocks_5_1_transformer_blocks_0_attn2_to_k.diff")]
    listed, changed = [], {}
    for parameter, name in entries:
        own, name = before[parameter], "lora_unet_" + name
        listed.append([name, list(own.shape)])
        changed[parameter] = summary(own + weight * formula.weight(name, tuple(own.shape)))
    return {"style": "whole", "tensors": listed, "weight": weight, "changed": changed}


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
        run("dora", peft_dora, ATTENTION + CONVOLUTIONS[:2], None, 0.7),
        run_lycoris("dora_rows", everything, locon_shapes, locon_change, 2.0, 1.0, row_lengths),
        run_lycoris("dora_columns", everything, locon_shapes, locon_change, 1.0, 0.6, column_lengths),
        run_lycoris("loha", everything, loha_shapes, loha_change, 2.0, 0.8),
        run_lycoris("loha_flat", CONVOLUTIONS, loha_flat_shapes, loha_change, 1.0, 1.0, row_lengths),
        run_lycoris("lokr", everything, lokr_shapes, lokr_change, 2.0, 0.9),
        run_lycoris("lokr_factored", everything, lokr_factored_shapes, lokr_change, 1.0, 1.2),
        run_lycoris("lokr_whole", everything, lokr_whole_shapes, lokr_change, 1.0, 1.0, column_lengths),
        run_whole(0.5),
    ]
    names = [[name, list(value.shape)] for name, value in UNet2DConditionModel(**UNET).state_dict().items()]
    print('{"unet": ' + json.dumps(names) + ',\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}")


main()
