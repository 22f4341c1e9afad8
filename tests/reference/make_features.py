"""Writes fixtures/features.json: what feature networks of random weights make of images, by the packages that define them.

Usage: python make_features.py > ../fixtures/features.json. Needs torch, torchvision, pytorch-fid, torch-fidelity, clean-fid and
efficientnet-lite-pytorch. The CIFAR ResNet is written down here after arXiv 1512.03385, section 4.2, option A.
"""

import json
import os
import tempfile

import efficientnet_lite_pytorch
import formula
import numpy as np
import pytorch_fid.inception
import torch
import torch.nn.functional as F
from cleanfid.resize import make_resizer
from efficientnet_lite_pytorch.model import EfficientNet
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

torch.set_num_threads(1)
torch.set_grad_enabled(False)


def value(name, shape):
    """formula.py's weights, twice their variance where a ReLU follows, and variances around 1."""
    if name.endswith("running_var"):
        return 1 + 0.125 * formula.tensor(name, shape)
    return formula.weight(name, shape) * (2**0.5 if len(shape) == 4 else 1)


def fill(module, prefix=""):
    state = {n: v if n.endswith("num_batches_tracked") else value(prefix + n, tuple(v.shape)) for n, v in module.state_dict().items()}
    module.load_state_dict(state)
    return module.eval()


def shapes(module):
    return {n: list(v.shape) for n, v in module.state_dict().items()}


def images(name, count, height, width):
    """Of formula.py's numbers, in blocks of 4 pixels."""
    blocks = formula.tensor(name, (count, 3, -(-height // 4), -(-width // 4)))
    whole = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :height, :width]
    return ((whole + 1) * 128).clamp(0, 255).to(torch.uint8)


def numbers(values):
    """The first 24 of each image, and its mean and standard deviation."""
    flat = values.flatten(1).double()
    return {
        "shape": list(flat.shape),
        "first": formula.numbers(flat[:, :24]),
        "mean": formula.numbers(flat.mean(1)),
        "std": formula.numbers(flat.std(1)),
    }


def clean(batch, size):
    resize = make_resizer("PIL", False, "bicubic", size)
    return torch.stack([torch.from_numpy(resize(x.permute(1, 2, 0).numpy())).permute(2, 0, 1) for x in batch]).float()


def pytorch_fid_features(state, batch, **options):
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: state
    network = pytorch_fid.inception.InceptionV3([0, 1, 2, 3], **options).eval()
    return [x.mean((2, 3)) for x in network(batch)]


def spatial(network, batch):
    """guided-diffusion's node mixed_6/conv: the first 7 channels of Mixed_6d's 1x1 branch."""
    kept = []
    handle = network.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, y: kept.append(F.relu(y)))
    network(batch)
    handle.remove()
    return kept[0][:, :7].permute(0, 2, 3, 1)


def inception():
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: {}
    network = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for name, block in {
        "Mixed_5b": pytorch_fid.inception.FIDInceptionA(192, pool_features=32),
        "Mixed_5c": pytorch_fid.inception.FIDInceptionA(256, pool_features=64),
        "Mixed_5d": pytorch_fid.inception.FIDInceptionA(288, pool_features=64),
        **{f"Mixed_6{x}": pytorch_fid.inception.FIDInceptionC(768, channels_7x7=c) for x, c in zip("bcde", (128, 160, 160, 192))},
        "Mixed_7b": pytorch_fid.inception.FIDInceptionE_1(1280),
        "Mixed_7c": pytorch_fid.inception.FIDInceptionE_2(2048),
    }.items():
        setattr(network, name, block)
    state = fill(network, "inception.").state_dict()
    batch = images("inception images", 2, 40, 56)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "inception.pth")
        torch.save(state, path)
        extractor = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], feature_extractor_weights_path=path)
    pooled, logits = extractor(batch)
    tf1 = interpolate_bilinear_2d_like_tensorflow1x(batch.float(), size=(299, 299), align_corners=False)
    widths = ["64", "192", "768", "2048"]
    own = pytorch_fid_features(state, batch.float() / 255)
    cleaned = pytorch_fid_features(state, (clean(batch, (299, 299)) - 128) / 128, resize_input=False, normalize_input=False)
    return {
        "shapes": shapes(network),
        "pytorch-fid": {w: numbers(x) for w, x in zip(widths, own)},
        "tf1": {"2048": numbers(pooled), "logits": numbers(logits), "spatial": numbers(spatial(network, (tf1 - 128) / 128))},
        "clean": {"2048": numbers(cleaned[3])},
    }


def imagenet(values):
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (values / 255 - mean) / std


def efficientnet():
    network = fill(EfficientNet.from_name("efficientnet-lite0"), "efficientnet.")
    x = imagenet(clean(images("efficientnet images", 2, 40, 56), (224, 224)))
    pooled = network.extract_features(x).mean((2, 3))
    return {"shapes": shapes(network), "pooled": numbers(pooled), "logits": numbers(network(x))}


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        more = (y.shape[1] - x.shape[1]) // 2
        return F.relu(y + (F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more)) if more else x))


class CifarResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for i, (before, after) in enumerate(((16, 16), (16, 32), (32, 64))):
            layers = [Block(before if j == 0 else after, after) for j in range(blocks)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return x.mean((2, 3))


def resnet():
    network = fill(CifarResNet(2), "resnet.")
    pooled = network(imagenet(images("resnet images", 2, 32, 32).float()))
    return {"shapes": shapes(network), "pooled": numbers(pooled), "logits": numbers(network.linear(pooled))}


def resizes():
    """One image larger and one smaller than 24 x 19."""
    results = {}
    for name, (height, width) in {"smaller": (13, 11), "larger": (61, 47)}.items():
        batch = images(f"resize {name}", 1, height, width)
        results[name] = {
            "size": [height, width],
            "pytorch-fid": formula.numbers(F.interpolate(batch.float(), (24, 19), mode="bilinear")),
            "tf1": formula.numbers(interpolate_bilinear_2d_like_tensorflow1x(batch.float(), size=(24, 19), align_corners=False)),
            "clean": formula.numbers(clean(batch, (19, 24))),
            "bicubic": formula.numbers(F.interpolate(batch.float(), (24, 19), mode="bicubic")),
        }
    return results


print(json.dumps({"resizes": resizes(), "inception": inception(), "efficientnet": efficientnet(), "resnet": resnet()}))
