"""Writes fixtures/edit_controls.json: edit controls at the level of tensors, written anew from their papers and from what the authors'
code computes: prompt-to-prompt (arXiv 2208.01626, google/prompt-to-prompt at 9c472e4), MasaCtrl (2304.08465, TencentARC/MasaCtrl) and
plug-and-play (2211.12572, MichalGeyer/pnp-diffusers).

Usage: python make_edit_controls.py > ../fixtures/edit_controls.json. Needs torch and numpy.
"""

import json
import sys

import formula
import numpy as np
import torch
import torch.nn.functional as F

BEGIN, END, LENGTH = 100, 101, 10
HEADS, QUERIES, CHANNELS = 2, 4, 3


def encoded(words):
    """Tokens of a prompt, padded with the end's; words are lists of ids."""
    ids = [BEGIN, *[i for word in words for i in word], END]
    return ids, ids + [END] * (LENGTH - len(ids))


def places(words, number):
    first = 1 + sum(len(word) for word in words[:number])
    return list(range(first, first + len(words[number])))


def replacement(source, edit):
    """M of AttentionReplace: identity but for words that changed, whose tokens share what the source's tokens get where they aren't
    as many. Returns the number of columns up to the last change's end, too: behind it the authors go on with the edit's own places."""
    matrix = np.zeros((LENGTH, LENGTH))
    i = j = 0
    for number in [n for n in range(len(source)) if source[n] != edit[n]]:
        ours, theirs = places(source, number), places(edit, number)
        while i < ours[0]:
            matrix[i, j] = 1
            i, j = i + 1, j + 1
        for k, place in enumerate(theirs):
            if len(ours) == len(theirs):
                matrix[ours[k], place] = 1
            else:
                matrix[ours, place] = 1 / len(theirs)
        i, j = i + len(ours), j + len(theirs)
    columns = j
    for rest in range(j, LENGTH):
        matrix[rest, rest] = 1
    return torch.from_numpy(matrix), LENGTH if i == j else columns


def refinement(source, edit):
    """Of AttentionRefine: the partner of each of the edit's tokens (-1: new), by Needleman and Wunsch with gap 0, match 1, mismatch -1,
    where equal scores prefer the step that leaves out a token of the edit, then of the source."""
    x, y = encoded(source)[0], encoded(edit)[0]
    score = np.zeros((len(x) + 1, len(y) + 1), dtype=int)
    came = np.zeros((len(x) + 1, len(y) + 1), dtype="U1")
    came[0, 1:], came[1:, 0] = "y", "x"
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            options = {"y": score[i, j - 1], "x": score[i - 1, j], "b": score[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)}
            score[i, j] = max(options.values())
            came[i, j] = next(name for name in "yxb" if options[name] == score[i, j])
    partners, i, j = {}, len(x), len(y)
    while came[i, j]:
        step = came[i, j]
        i, j = i - (step != "y"), j - (step != "x")
        if step == "b":
            partners[j] = i
        elif step == "y":
            partners[j] = -1
    return [partners.get(k, -1) if k < len(y) else k for k in range(LENGTH)]


def probabilities(q, k):
    return (torch.einsum("hid,hjd->hij", q, k) * CHANNELS**-0.5).softmax(-1)


def wave(phase, *shape):
    """Numbers that the tests compute, too."""
    i = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    return torch.sin(0.7 * i + 0.01 * i**2 + phase).reshape(shape)


def tensors(keys):
    """Queries, keys and values of the source and the edit, (2, heads, tokens, channels)."""
    return [2 * wave(phase, 2, HEADS, tokens, CHANNELS) for phase, tokens in enumerate([QUERIES, keys, keys])]


def cross_attention(source, edit, mode, weights):
    """The edit's output: first the words' probabilities, then their weights."""
    q, k, v = tensors(LENGTH)
    base, own = probabilities(q[0], k[0]), probabilities(q[1], k[1])
    if mode == "replace":
        mixed = torch.einsum("hpw,wn->hpn", base, replacement(source, edit)[0])
    else:
        partners = torch.tensor(refinement(source, edit))
        known = (partners >= 0).double()
        mixed = base[:, :, partners] * known + own * (1 - known)
    equalizer = torch.ones(LENGTH, dtype=torch.float64)
    for token, weight in weights:
        equalizer[token] = weight
    return (mixed * equalizer) @ v[1]


PROMPTS = {
    "one word": ([[1], [2], [3]], [[1], [9], [3]]),
    "two words": ([[1], [2], [3], [4]], [[8], [2], [9], [4]]),
    "many tokens": ([[1, 2], [3], [4, 5]], [[1, 2], [7], [8, 9]]),
    "more tokens": ([[1], [2], [3]], [[1], [7, 8, 9], [3]]),
    "fewer tokens": ([[1], [7, 8, 9], [3]], [[1], [2], [3]]),
    "twice the word": ([[1], [2], [1]], [[1], [1], [2]]),
}
ADDED = {
    "a word": ([[1], [2]], [[1], [9], [2]]),
    "words at both ends": ([[1], [2]], [[8], [1], [2], [9, 7]]),
    "words dropped": ([[1], [9], [2], [3]], [[1], [3]]),
    "another order": ([[1], [2], [3]], [[3], [1], [2]]),
}


def prompt_to_prompt():
    cases = []
    for name, (source, edit) in {**PROMPTS, **ADDED}.items():
        case = {"name": name, "source": source, "edit": edit, "refine": refinement(source, edit)}
        weights = [[2, 1.7], [1, -0.5]]
        case["weights"] = weights
        case["refined"] = formula.numbers(cross_attention(source, edit, "refine", weights))
        if name in PROMPTS:
            matrix, columns = replacement(source, edit)
            case |= {"replace": formula.numbers(matrix), "columns": columns}
            if columns == LENGTH:
                case["replaced"] = formula.numbers(cross_attention(source, edit, "replace", weights))
        cases.append(case)
    return {"length": LENGTH, "begin": BEGIN, "end": END, "cases": cases}


def self_attention():
    """The edit's output of self-attention: p2p takes the map, MasaCtrl keys and values, plug-and-play queries and keys."""
    q, k, v = tensors(QUERIES)
    return {
        "p2p": formula.numbers(probabilities(q[0], k[0]) @ v[1]),
        "masactrl": formula.numbers(probabilities(q[1], k[0]) @ v[0]),
        "pnp": formula.numbers(probabilities(q[0], k[0]) @ v[1]),
        "source": formula.numbers(probabilities(q[0], k[0]) @ v[0]),
    }


def local_blend():
    """LocalBlend of one word in each prompt on a latent as large as its maps: pooled over 3x3, over 0.3 of the greatest, in either."""
    side = 16
    maps = wave(0, 2, side, side).abs() ** 4000
    latents = wave(1, 2, 3, side, side)
    pooled = F.max_pool2d(maps.unsqueeze(1), 3, 1, 1)[:, 0]
    masks = pooled / pooled.amax((1, 2), keepdim=True) > 0.3
    mask = masks[0] | masks[1]
    after = latents[0] + mask * (latents[1] - latents[0])
    return {"mask": mask.int().flatten().tolist(), "after": formula.numbers(after)}


if __name__ == "__main__":
    json.dump({"prompt_to_prompt": prompt_to_prompt(), "self_attention": self_attention(), "local_blend": local_blend()}, sys.stdout)
