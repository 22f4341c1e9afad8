"""Writes tests/fixtures/textual_inversion/: one small embedding in each form that is about.

Needs torch (made with 2.11) and safetensors. Row i of a file's vectors is i + 0, 1, 2, ... hundredths.
"""

import pathlib

import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "textual_inversion"


def vectors(count, width):
    return (torch.arange(count).unsqueeze(1) + torch.arange(width) / 100).to(torch.float16)


def webui(parameters):
    return {"string_to_token": {"*": 265}, "string_to_param": parameters, "name": "webui", "step": 500,
            "sd_checkpoint": "1a2b", "sd_checkpoint_name": "v1-5"}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save({"<cat-toy>": vectors(1, 8)[0].float()}, FOLDER / "diffusers.bin")
    save_file({"<cat-toy>": vectors(2, 8)}, FOLDER / "diffusers.safetensors")
    torch.save(webui({"*": vectors(3, 8)}), FOLDER / "webui.pt")
    torch.save(webui(torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors(3, 8).float())})), FOLDER / "original.pt")
    save_file({"emb_params": vectors(3, 8)}, FOLDER / "webui.safetensors")
    save_file({"clip_l": vectors(2, 8), "clip_g": vectors(2, 12)}, FOLDER / "sdxl.safetensors")
    save_file({"clip_l": vectors(2, 8), "clip_g": vectors(3, 12)}, FOLDER / "unequal.safetensors")
    save_file({"a": vectors(1, 8), "b": vectors(1, 8)}, FOLDER / "several.safetensors")
    save_file({"long": vectors(76, 2)}, FOLDER / "long.safetensors")
    save_file({"nan": vectors(1, 2) * float("nan")}, FOLDER / "nan.safetensors")


if __name__ == "__main__":
    main()
