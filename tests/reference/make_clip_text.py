"""Writes fixtures/clip_text.json: what transformers' CLIP text encoders make of token ids, and the tensors of the full-size ones.

Weights are formula.py's, under the names with the prefix "text_model.". Full sizes are summed up as formula.inventory does.

Usage: python make_clip_text.py > ../fixtures/clip_text.json. Needs torch and transformers (5.24.0).
"""

import json

import formula
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

PROJECTING = "CLIPTextModelWithProjection"
TINY = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 12, "projection_dim": 16, "hidden_act": "quick_gelu", "eos_token_id": 2,
        "architectures": ["CLIPTextModel"]}
CASES = {
    "clip_l": TINY,
    "openclip_h": {**TINY, "hidden_act": "gelu", "num_hidden_layers": 4, "num_attention_heads": 2},
    "openclip_bigg": {**TINY, "hidden_act": "gelu", "hidden_size": 20, "num_attention_heads": 5, "projection_dim": 12,
                      "architectures": [PROJECTING]},
    "new_eos": {**TINY, "eos_token_id": 58, "architectures": [PROJECTING], "layer_norm_eps": 1e-3},
}
IDS = [[57, 5, 33, 12, 58, 58, 58, 58, 58], [57, 1, 0, 41, 41, 19, 58, 3, 3]]
EXTRA_IDS = [[57, 60, 33, 61, 62, 58, 58, 58, 58], [57, 1, 0, 62, 41, 19, 58, 3, 3]]
FULL_SIZE = {
    "sd15": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
             "architectures": ["CLIPTextModel"]},
    "sd21": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
             "hidden_act": "gelu", "architectures": ["CLIPTextModel"]},
    "sdxl_2": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
               "hidden_act": "gelu", "projection_dim": 1280, "architectures": [PROJECTING]},
}


def build(config):
    keys = {key: value for key, value in config.items() if key != "architectures"}
    model = CLIPTextModelWithProjection if config["architectures"] == [PROJECTING] else CLIPTextModel
    return model(CLIPTextConfig(**keys)).eval()


def prefix_of(net):
    return "" if any(name.startswith("text_model.") for name in net.state_dict()) else "text_model."


def fill(net, extra=None):
    prefix = prefix_of(net)
    state = {name: formula.weight(prefix + name, tuple(value.shape)) for name, value in net.state_dict().items()}
    if extra is not None:
        name = next(name for name in state if name.endswith("token_embedding.weight"))
        rows, width = state[name].shape
        old = formula.weight(prefix + name, (rows - len(extra), width))
        state[name] = torch.cat([old, extra])
    net.load_state_dict(state)
    return net


@torch.no_grad()
def encode(net, ids):
    """last, raw and pooled as TextStates has them, context for clip_skip 1, and raw for clip_skip 1."""
    output = net(torch.tensor(ids), output_hidden_states=True)
    text_model = getattr(net, "text_model", net)
    pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
    states = {"last": output.last_hidden_state, "context_skip1": text_model.final_layer_norm(output.hidden_states[-2]),
              "raw": output.hidden_states[-2], "raw_skip1": output.hidden_states[-3], "pooled": pooled}
    return {name: formula.numbers(value) for name, value in states.items()}


def run(name, config):
    return {"name": name, "config": config, "ids": IDS, **encode(fill(build(config)), IDS)}


def run_extra(config, count):
    extra = formula.tensor("extra", (count, config["hidden_size"]))
    net = fill(build({**config, "vocab_size": config["vocab_size"] + count}), extra)
    return {"config": config, "ids": EXTRA_IDS, "extra": count, **encode(net, EXTRA_IDS)}


def full_size(config):
    with torch.device("meta"):
        net = build(config)
    return {"config": config, "inventory": formula.inventory(net, prefix_of(net))}


def main():
    torch.set_num_threads(1)
    cases = [run(name, config) for name, config in CASES.items()]
    sizes = {name: full_size(config) for name, config in FULL_SIZE.items()}
    print('{"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n],")
    print('"extra": ' + json.dumps(run_extra(CASES["new_eos"], 3)) + ",")
    print('"full_size": {\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sizes.items()) + "\n}}")


main()
