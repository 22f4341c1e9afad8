"""Writes fixtures/reconstruction.json: figures of scikit-image, torchmetrics, scipy, lpips, transformers and timm on formula.py's
images and weights.

Usage: python make_reconstruction.py > ../fixtures/reconstruction.json. Needs torch, torchvision, torchmetrics, lpips 0.1.4, scikit-image,
scipy, timm and transformers.
"""

import json
import pathlib
import sys
import tempfile

import formula
import lpips
import numpy as np
import scipy.stats
import skimage.metrics
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

torch.set_num_threads(1)


def image(name, height, width):
    """Of formula.py's numbers, in blocks of 5 pixels, with a little noise."""
    h, w = -(-height // 5), -(-width // 5)
    blocks = formula.uniform(name, h * w * 3).reshape(h, w, 3).repeat(5, 0).repeat(5, 1)[:height, :width]
    noise = formula.uniform(name + " noise", height * width * 3).reshape(height, width, 3)
    return np.clip(blocks * 100 + noise * 20 + 128, 0, 255).astype(np.uint8)


def batch(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def distances(a, b, mask):
    """mask: (H, W) or None; as PIE-Bench's authors, images times 1 - mask in [0, 1]."""
    x, y = (p.astype(np.float32) / 255 for p in (a, b))
    if mask is not None:
        x, y = (p * (1 - mask)[:, :, None] for p in (x, y))
    tx, ty = (torch.from_numpy(p).double().permute(2, 0, 1)[None] for p in (x, y))
    similarity = skimage.metrics.structural_similarity(x.astype(np.float64), y.astype(np.float64), gaussian_weights=True, sigma=1.5,
                                                       use_sample_covariance=False, data_range=1, channel_axis=2)
    whole = structural_similarity_index_measure(tx, ty, data_range=1.0, return_full_image=True)[1]
    inner = whole[..., 5:-5, 5:-5].mean().item()
    assert abs(inner - similarity) < 1e-6, (inner, similarity)
    return {"mse": F.mse_loss(tx, ty).item(), "psnr": peak_signal_noise_ratio(tx, ty, data_range=1.0).item(), "ssim": similarity}


def reconstruction():
    cases = []
    for height, width in ((11, 11), (24, 37), (64, 48)):
        name = f"pair {height}"
        a = image(name, height, width)
        b = np.clip(a.astype(int) + (30 * formula.uniform(name + " change", a.size).reshape(a.shape)).astype(int), 0, 255).astype(np.uint8)
        mask = np.zeros((height, width))
        mask[height // 4: height // 2, width // 3:] = 1
        cases.append({"name": name, "height": height, "width": width, "whole": distances(a, b, None), "outside": distances(a, b, mask)})
    return cases


def moments():
    x = formula.uniform("moments", 4000).astype(np.float64)
    x = x + 0.25 * x**3
    return {"mean": x.mean(), "std": x.std(), "kurtosis": scipy.stats.kurtosis(x, fisher=False)}


def trunk_name(name):
    return "features." + name.split(".", 2)[2] if name.startswith("net.") else name


def perceptual():
    result = {}
    a, b = (batch(image(name, 67, 50)) for name in ("lpips a", "lpips b"))
    for net in ("alex", "vgg", "squeeze"):
        module = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        names = [name for name in module.state_dict() if not name.startswith(("lins.", "scaling_layer."))]
        state = {name: formula.weight(trunk_name(name), tuple(module.state_dict()[name].shape)) for name in names}
        state = {name: value.abs() if name.startswith("lin") else value for name, value in state.items()}  # heads aren't negative
        module.load_state_dict(state, strict=False)
        with torch.no_grad():
            value = module(a / 127.5 - 1, b / 127.5 - 1).item()
        result[net] = {"distance": value, "names": names, "shapes": [list(state[name].shape) for name in names]}
    return result


CLIP = {"text_config": {"vocab_size": 514, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                        "max_position_embeddings": 77, "eos_token_id": 513, "bos_token_id": 512, "hidden_act": "quick_gelu"},
        "vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
                          "patch_size": 8, "hidden_act": "quick_gelu"}, "projection_dim": 20}


def clip():
    letters = json.loads((pathlib.Path(__file__).parent / "../fixtures/pipelines.json").read_text())["letters"]
    begin, end = letters["<|startoftext|>"], letters["<|endoftext|>"]
    config = json.loads(json.dumps(CLIP))
    config["text_config"] |= {"vocab_size": max(letters.values()) + 1, "bos_token_id": begin, "eos_token_id": end}
    model = formula.fill(CLIPModel(CLIPConfig(**config)))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "vocab.json").write_text(json.dumps(letters))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    cases = []
    for text, name, height, width in (("a red fox", "clip 1", 96, 64), ("an empty street at night", "clip 2", 32, 32)):
        ids = tokenizer(text, return_tensors="pt", padding="max_length", max_length=77, truncation=True)
        pixels = processor(image(name, height, width), return_tensors="pt").pixel_values
        with torch.no_grad():
            out = model(input_ids=ids.input_ids, attention_mask=ids.attention_mask, pixel_values=pixels)
        cosine = F.cosine_similarity(out.image_embeds.double(), out.text_embeds.double()).item()
        cases.append({"text": text, "name": name, "height": height, "width": width, "score": 100 * cosine})
    shapes = {name: list(value.shape) for name, value in model.state_dict().items() if value.dim()}
    return {"config": config, "shapes": shapes, "cases": cases}


def self_similarity(model, picture):
    pixels = F.interpolate(batch(picture).float(), size=(32, 32), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    kept = []
    handle = model.blocks[-1].attn.qkv.register_forward_hook(lambda module, given, got: kept.append(got))
    with torch.no_grad():
        model((pixels - mean) / std)
    handle.remove()
    keys = kept[0][0].chunk(3, -1)[1]
    keys = keys / keys.norm(dim=1, keepdim=True)
    return keys @ keys.T


def structure():
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=128, depth=3, num_heads=2, num_classes=0)
    formula.fill(model)
    a, b = (self_similarity(model, image(name, 45, 61)) for name in ("structure a", "structure b"))
    return {"shapes": {name: list(value.shape) for name, value in model.state_dict().items()}, "distance": F.mse_loss(a, b).item()}


if __name__ == "__main__":
    print(json.dumps({"reconstruction": reconstruction(), "moments": moments(), "lpips": perceptual(), "clip": clip(),
                      "structure": structure()}, separators=(",", ":")))
    sys.stdout.flush()
