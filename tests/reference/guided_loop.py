"""A plain sampling loop around a diffusers UNet, and the perturbations of that UNet from their formulas: what
make_guided_pipelines.py compares guidance with where diffusers has no pipeline for it.
"""

import contextlib
import math
from dataclasses import dataclass

import diffusers
import make_guidance
import torch
from make_pipelines import NEGATIVE, PROMPT, SAMPLERS, SEED, SIZE, STEPS


@dataclass
class Step:
    index: int
    t: torch.Tensor
    x: torch.Tensor
    scheduler: object
    text: dict  # the UNet's arguments: of the prompt, "c", the negative one, "u", and the empty one, "e"
    unet: torch.nn.Module

    def net(self, text, x=None):
        """The raw output with the prompt of that name, or with the UNet's arguments."""
        scaled = self.scheduler.scale_model_input(self.x if x is None else x, self.t)
        return self.unet(scaled, self.t, **(self.text[text] if isinstance(text, str) else text)).sample

    def into_sample(self, output):
        """The estimate of x_0 that a raw output stands for."""
        if hasattr(self.scheduler, "sigmas"):
            return self.x - self.scheduler.sigmas[self.index] * output
        alpha = self.scheduler.alphas_cumprod[self.t]
        if self.scheduler.config.prediction_type == "v_prediction":
            return alpha.sqrt() * self.x - (1 - alpha).sqrt() * output
        return (self.x - (1 - alpha).sqrt() * output) / alpha.sqrt()

    def from_sample(self, sample):
        if hasattr(self.scheduler, "sigmas"):
            return (self.x - sample) / self.scheduler.sigmas[self.index]
        alpha = self.scheduler.alphas_cumprod[self.t]
        if self.scheduler.config.prediction_type == "v_prediction":
            return (alpha.sqrt() * self.x - sample) / (1 - alpha).sqrt()
        return (self.x - alpha.sqrt() * sample) / (1 - alpha).sqrt()


def conditioning(pipe, prompt):
    options = dict(device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    encoded = pipe.encode_prompt(prompt, **options)
    if len(encoded) == 2:
        return dict(encoder_hidden_states=encoded[0])
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=torch.float32)
    return dict(encoder_hidden_states=encoded[0], added_cond_kwargs=dict(text_embeds=encoded[2], time_ids=sizes))


def scheduler_of(pipe, sampler):
    kind, options = SAMPLERS[sampler]
    return getattr(diffusers, kind).from_config(pipe.scheduler.config, **options)


def latents(pipe, sampler, predict):
    """The latents after STEPS steps, each with the raw output that predict(step) gives."""
    scheduler = scheduler_of(pipe, sampler)
    scheduler.set_timesteps(STEPS)
    text = {"c": conditioning(pipe, PROMPT), "u": conditioning(pipe, NEGATIVE), "e": conditioning(pipe, "")}
    noise = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(SEED))
    x = noise * scheduler.init_noise_sigma
    for index, t in enumerate(scheduler.timesteps):
        output = predict(Step(index, t, x, scheduler, text, pipe.unet))
        leap = isinstance(output, Next)
        stepped = scheduler.step(x if leap else output, t, x).prev_sample  # in any case: the scheduler counts its steps
        x = output.next if leap else stepped
    return x


@dataclass
class Next:
    """In place of a raw output: where the step ends."""

    next: torch.Tensor


def blocks(unet, layers):
    """The transformer blocks that names as d0, m1, u3 stand for: each part's, counted as they run."""
    found = {}
    for part in ("down", "mid", "up"):
        names = [name for name, module in unet.named_modules()
                 if type(module).__name__ == "BasicTransformerBlock" and name.startswith(part)]
        found.update({f"{part[0]}{i}": unet.get_submodule(name) for i, name in enumerate(names)})
    if layers == ["mid"]:
        layers = [name for name in found if name[0] == "m"]
    return [found[name] for name in layers]


class Attention:
    """An attention processor: rule(q, k, v) on (B, heads, N, d) in float64, between the projections."""

    def __init__(self, rule):
        self.rule = rule

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        inputs = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (x.double().unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in inputs)
        return attn.to_out[0](self.rule(q, k, v).transpose(1, 2).flatten(2).to(hidden_states.dtype))


@contextlib.contextmanager
def attention(modules, rule):
    before = [module.processor for module in modules]
    for module in modules:
        module.processor = Attention(rule)
    yield
    for module, processor in zip(modules, before):
        module.processor = processor


@contextlib.contextmanager
def hooked(handles):
    yield
    for handle in handles:
        handle.remove()


def tokens(modules, rule):
    """rule(x) in place of the tokens x that enter each block."""
    return hooked([m.register_forward_pre_hook(lambda _, inputs: (rule(inputs[0]), *inputs[1:])) for m in modules])


def identity(unet, layers, step):  # PAG
    return attention([block.attn1 for block in blocks(unet, layers)], lambda q, k, v: v)


def smoothed(sigma):  # SEG
    def rule(q, k, v):
        side = math.isqrt(q.shape[2])
        blurred = make_guidance.blurred(q, side, side, sigma)
        return torch.softmax(blurred @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v

    return lambda unet, layers, step: attention([block.attn1 for block in blocks(unet, layers)], rule)


def adversarial(iterations):  # ASAG
    rule = lambda q, k, v: make_guidance.transported(q, k, v, iterations)[1]
    return lambda unet, layers, step: attention([block.attn1 for block in blocks(unet, layers)], rule)


def shuffled(unet, layers, step):  # TPG, the tokens of every block shuffled where they enter it
    generator = torch.Generator().manual_seed(SEED * 1000003 + step.index)
    return tokens(blocks(unet, layers), lambda x: x[:, torch.randperm(x.shape[1], generator=generator)])


def skipped(unet, layers, step):  # SLG
    return hooked([block.register_forward_hook(lambda _, inputs, output: inputs[0]) for block in blocks(unet, layers)])


def swapped(ratio):  # SSG
    rule = lambda x: torch.stack([make_guidance.swapped(make_guidance.swapped(y, ratio).T, ratio).T for y in x])
    return lambda unet, layers, step: tokens(blocks(unet, layers), rule)
