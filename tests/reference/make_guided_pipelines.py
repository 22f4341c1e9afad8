"""Writes fixtures/guided_pipelines.json: the latents after whole guided runs of make_pipelines.py's tiny models.

Where diffusers has it right its own code decides: the pipelines of PAG and SAG; the guiders of CFG, APG, CFG-Zero*, TCFG,
FDG (with kornia's pyramids) and SLG in a plain loop. It isn't asked where it is wrong: its SmoothedEnergyGuidance perturbs
nothing and mixes up finite and infinite blurs; its PAG and SLG guiders perturb no branch without CFG; APG's form in its
guider isn't the paper's. There, and for what it lacks, guided_loop.py computes from the formulas.

Usage: python make_guided_pipelines.py > ../fixtures/guided_pipelines.json. Needs torch, transformers, diffusers (0.42.1)
and kornia (0.9.0).
"""

import json
import pathlib
import sys
import tempfile

import diffusers
import guided_loop as loop
import torch
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    FrequencyDecoupledGuidance,
    SkipLayerGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.hooks import LayerSkipConfig
from make_pipelines import NEGATIVE, PROMPT, SAMPLERS, SEED, SIZE, STEPS, half_mask, picture, pipelines

torch.set_num_threads(1)
EVERY = 3  # of the latents' numbers, across all channels
OVER = dict(dim=(1, 2, 3), keepdim=True)
WIDE = {"sd1": ["d0", "u1"], "sd2": ["d0", "u1"], "sdxl": ["d1", "u0", "u1", "u2"]}  # beside the middle block
SAMPLER = {"sd1": "ddim", "sd2": "ddim", "sdxl": "euler"}
APG = "apg:form=diffusers,space=raw,scale=5,eta=0.3,norm_threshold=2,momentum=-0.5"
GUIDERS = {  # of diffusers, and what the same is here
    APG: lambda: AdaptiveProjectedGuidance(guidance_scale=5.0, eta=0.3, adaptive_projected_guidance_rescale=2.0,
                                           adaptive_projected_guidance_momentum=-0.5),
    "cfg-zero:scale=5,zero_init_steps=1": lambda: ClassifierFreeZeroStarGuidance(guidance_scale=5.0),
    "tcfg:scale=5": lambda: TangentialClassifierFreeGuidance(guidance_scale=5.0),
    "fdg:scales=8+4": lambda: FrequencyDecoupledGuidance(guidance_scales=[8.0, 4.0]),
    "fdg:scales=8+4+2,parallel=0.5+0.2+1": lambda: FrequencyDecoupledGuidance(
        guidance_scales=[8.0, 4.0, 2.0], parallel_weights=[0.5, 0.2, 1.0]),
    "cfg:scale=5,from=0.2,to=0.7": lambda: ClassifierFreeGuidance(guidance_scale=5.0, start=0.2, stop=0.7),
}
GUIDED_SAMPLERS = {  # those that draw no noise; guiders count evaluations, we steps, so no steps are named where these differ
    "heun": [APG, "fdg:scales=8+4"],
    "dpm++2m": [APG, "tcfg:scale=5", "cfg-zero:scale=5,zero_init_steps=1"],
    "unipc": [APG, "tcfg:scale=5", "fdg:scales=8+4"],
    "pndm": [APG, "tcfg:scale=5"],
    "lms": [APG, "cfg-zero:scale=5,zero_init_steps=1", "cfg:scale=5,from=0.2,to=0.7"],
}


def by_pipeline(kind, pipe, sampler, scale, **more):
    parts = {**pipe.components, "scheduler": loop.scheduler_of(pipe, sampler)}
    layers = {"pag_applied_layers": more.pop("layers")} if "layers" in more else {}
    off = {} if "XL" in kind else {"requires_safety_checker": False}
    job = getattr(diffusers, kind)(**parts, **layers, **off)
    job.set_progress_bar_config(disable=True)
    return job(PROMPT, negative_prompt=NEGATIVE, height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=scale,
               generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images


def by_pag(pipe, sampler, scale, names, **more):
    layers = ["mid"] if names == ["mid"] else [path_of(pipe.unet, block) for block in loop.blocks(pipe.unet, names)]
    kind = "StableDiffusionXLPAGPipeline" if "XL" in type(pipe).__name__ else "StableDiffusionPAGPipeline"
    return by_pipeline(kind, pipe, sampler, scale, layers=layers, **more)


def path_of(unet, block):
    return next(name for name, module in unet.named_modules() if module is block)


def by_guider(guider):
    def predict(step):
        guider.set_state(step=step.index, num_inference_steps=len(step.scheduler.timesteps), timestep=step.t)
        batches = guider.prepare_inputs({"text": (step.text["c"], step.text["u"])})
        for batch in batches:
            guider.prepare_models(step.unet)
            batch.noise_pred = step.net(batch.text)
            guider.cleanup_models(step.unet)
        return guider(batches).pred

    return predict


def skip_mid(unet, **options):
    count = len(unet.mid_block.attentions[0].transformer_blocks)
    config = LayerSkipConfig(indices=list(range(count)), fqn="mid_block.attentions.0.transformer_blocks")
    return SkipLayerGuidance(skip_layer_config=config, **options)


def affine(perturbations, cfg=1.0, phi=0.0):
    """D_c + (cfg - 1) (D_c - D_u) + sum of scale (D_c - D_p) over (perturbation, layers, scale)."""

    def predict(step):
        c = step.net("c")
        d = c if cfg == 1 else c + (cfg - 1) * (c - step.net("u"))
        for perturbation, layers, scale in perturbations:
            with perturbation(step.unet, layers, step):
                d = d + scale * (c - step.net("c"))
        return d * (phi * c.std(**OVER) / d.std(**OVER) + 1 - phi)

    return predict


def projected(scale, eta, threshold, momentum):  # APG, algorithm 1 of its paper, on estimates of x_0
    average = 0

    def predict(step):
        nonlocal average
        c, u = (step.into_sample(step.net(text)) for text in "cu")
        average = c - u + momentum * average
        d = average * (threshold / average.square().sum(**OVER).sqrt()).clamp(max=1)
        along = (d * c).sum(**OVER) / c.square().sum(**OVER) * c
        return step.from_sample(c + (scale - 1) * (d - along + eta * along))

    return predict


def manifold(scale):  # CFG++ with DDIM and Euler: the way to x_0 guided, the noise left in it unconditional
    def predict(step):
        c, u = step.net("c"), step.net("u")
        sample = step.into_sample(u + scale * (c - u))
        if hasattr(step.scheduler, "sigmas"):
            here, there = step.scheduler.sigmas[step.index : step.index + 2]
            return loop.Next(sample + there * (step.x - step.into_sample(u)) / here)
        back = step.scheduler.config.num_train_timesteps // STEPS
        s = step.scheduler
        now = s.alphas_cumprod[step.t]
        before = s.alphas_cumprod[step.t - back] if step.t >= back else s.final_alpha_cumprod
        epsilon = (step.x - now.sqrt() * step.into_sample(u)) / (1 - now).sqrt()
        return loop.Next(before.sqrt() * sample + (1 - before).sqrt() * epsilon)

    return predict


def perpendicular(scale, weight):  # Perp-Neg
    def predict(step):
        c, n, e = (step.net(text) for text in "cue")
        towards, away = c - e, n - e
        across = away - (away * towards).sum(**OVER) / towards.square().sum(**OVER) * towards
        return e + scale * (towards - weight * across)

    return predict


def normalized(scale, tau, alpha):  # NAG in every cross-attention
    def predict(step):
        modules = [module for name, module in step.unet.named_modules() if name.endswith("attn2")]
        negative = step.text["u"]["encoder_hidden_states"]
        before = [module.processor for module in modules]
        for module in modules:
            module.processor = Both(negative, scale, tau, alpha)
        d = step.net("c")
        for module, processor in zip(modules, before):
            module.processor = processor
        return d

    return predict


class Both:
    def __init__(self, negative, scale, tau, alpha):
        self.negative, self.scale, self.tau, self.alpha = negative, scale, tau, alpha

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        heads = lambda x: x.double().unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        q = heads(attn.to_q(hidden_states))
        found = []
        for context in (encoder_hidden_states, self.negative):
            k, v = heads(attn.to_k(context)), heads(attn.to_v(context))
            found.append((torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v).transpose(1, 2).flatten(2))
        own, other = found
        z = own + (self.scale - 1) * (own - other)
        ratio = z.abs().sum(-1, keepdim=True) / own.abs().sum(-1, keepdim=True)
        z = self.alpha * z * ratio.clamp(max=self.tau) / ratio + (1 - self.alpha) * own
        return attn.to_out[0](z.to(hidden_states.dtype))


def diffusers_cases(family, pipe):
    """Guidance as the program takes it, and the latents by diffusers."""
    sampler, wide = SAMPLER[family], WIDE[family]
    layers = "+".join(wide)
    guided = lambda guider: loop.latents(pipe, sampler, by_guider(guider))
    plain = type(pipe).__name__
    cases = {
        "pag:scale=3": lambda: by_pag(pipe, sampler, 1.0, ["mid"], pag_scale=3.0),
        f"cfg:scale=5 + pag:scale=3,layers={layers}": lambda: by_pag(pipe, sampler, 5.0, wide, pag_scale=3.0),
        "cfg:scale=5 + pag:scale=3 + rescale:phi=0.7": lambda: by_pag(
            pipe, sampler, 5.0, ["mid"], pag_scale=3.0, guidance_rescale=0.7),
        "cfg:scale=5 + rescale:phi=0.7": lambda: by_pipeline(plain, pipe, sampler, 5.0, guidance_rescale=0.7),
        **{text: lambda make=make: guided(make()) for text, make in GUIDERS.items()},
        "cfg:scale=5 + slg:scale=2.8,from=0.1,to=0.6": lambda: guided(
            skip_mid(pipe.unet, guidance_scale=5.0, skip_layer_guidance_start=0.0, skip_layer_guidance_stop=0.6)),
    }
    if family != "sdxl":
        cases["sag"] = lambda: by_pipeline("StableDiffusionSAGPipeline", pipe, sampler, 1.0, sag_scale=0.75)
        cases["cfg:scale=5 + sag"] = lambda: by_pipeline("StableDiffusionSAGPipeline", pipe, sampler, 5.0, sag_scale=0.75)
    return cases


def formula_cases(family, pipe):
    wide = WIDE[family]
    layers = "+".join(wide)
    alone = lambda *perturbation: affine([perturbation])
    cases = {
        "seg:scale=3": alone(loop.smoothed(float("inf")), ["mid"], 3),
        f"cfg:scale=5 + seg:scale=3,sigma=1,layers={layers}": affine([(loop.smoothed(1.0), wide, 3)], cfg=5),
        f"tpg:scale=3,layers={layers}": alone(loop.shuffled, wide, 3),
        "cfg:scale=5 + tpg:scale=3,layers=mid": affine([(loop.shuffled, ["mid"], 3)], cfg=5),
        "asag:scale=1.5": alone(loop.adversarial(2), ["mid"], 1.5),
        f"cfg:scale=5 + asag:scale=1.5,iterations=3,layers={layers}": affine([(loop.adversarial(3), wide, 1.5)], cfg=5),
        f"slg:scale=2.8,layers={layers}": alone(loop.skipped, wide, 2.8),
        "ssg:scale=3,ratio=0.07": alone(loop.swapped(0.07), ["mid"], 3),  # no two pairs in it closer than 1e-4
        "apg:scale=7.5,norm_threshold=2": projected(7.5, 0, 2, -0.5),
        "cfg++:scale=0.6": manifold(0.6),
        "perp-neg:scale=5,negative=1.5": perpendicular(5, 1.5),
        "nag:scale=5,tau=1.2": normalized(5, 1.2, 0.5),
        f"cfg:scale=4 + tpg:scale=1,layers={layers} + asag:scale=1 + pag:scale=2,layers=u0 + seg:scale=1"
        " + rescale:phi=0.5": affine(
            [(loop.shuffled, wide, 1), (loop.adversarial(2), ["mid"], 1), (loop.identity, ["u0"], 2),
             (loop.smoothed(float("inf")), ["mid"], 1)], cfg=4, phi=0.5),
    }
    return {text: lambda rule=rule: loop.latents(pipe, SAMPLER[family], rule) for text, rule in cases.items()}


def picture_cases(pipe):
    """From a picture, whole or masked: the pipelines of PAG."""
    extra = dict(pag_applied_layers=["mid"], requires_safety_checker=False)

    def run(kind, **more):
        job = kind(**{**pipe.components, "scheduler": loop.scheduler_of(pipe, "ddim")}, **extra)
        job.set_progress_bar_config(disable=True)
        return job(PROMPT, image=picture("picture"), negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=5.0,
                   pag_scale=3.0, generator=torch.Generator("cpu").manual_seed(SEED), output_type="latent", **more).images

    image, mask = "--init-image picture.png --strength 0.6", " --mask mask.png"
    return {
        image: lambda: run(diffusers.StableDiffusionPAGImg2ImgPipeline, strength=0.6),
        image + mask: lambda: run(diffusers.StableDiffusionPAGInpaintPipeline, strength=0.6, mask_image=half_mask(),
                                  height=SIZE, width=SIZE),
    }


def sampler_cases(pipe):
    """(sampler, guidance): latents by diffusers, PAG with every sampler."""
    cases = {(sampler, "cfg:scale=5 + pag:scale=3"): lambda sampler=sampler: by_pag(pipe, sampler, 5.0, ["mid"], pag_scale=3.0)
             for sampler in SAMPLERS}
    for sampler, texts in GUIDED_SAMPLERS.items():
        for text in texts:
            cases[sampler, text] = lambda sampler=sampler, text=text: loop.latents(pipe, sampler, by_guider(GUIDERS[text]()))
    return cases


def distance(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def check_loop(family, pipe):
    """The plain loop must agree with the pipelines where both can run."""
    sampler, wide = SAMPLER[family], WIDE[family]
    runs = {"cfg": (by_pipeline(type(pipe).__name__, pipe, sampler, 5.0), affine([], cfg=5)),
            "pag": (by_pag(pipe, sampler, 5.0, wide, pag_scale=3.0), affine([(loop.identity, wide, 3)], cfg=5))}
    for name, (expected, rule) in runs.items():
        error = distance(loop.latents(pipe, sampler, rule), expected)
        assert error < 2e-5, (family, name, error)


def entry(family, sampler, guidance, values, flags=""):
    print(f"{family:5} {sampler:14} {guidance} {flags}", file=sys.stderr)
    return {"sampler": sampler, "guidance": guidance, "flags": flags, "largest": float(f"{values.abs().max().item():.7g}"),
            "values": [float(f"{v:.7g}") for v in values.flatten()[::EVERY].tolist()]}


def record(family, pipe):
    check_loop(family, pipe)
    bare = {cfg: loop.latents(pipe, SAMPLER[family], affine([], cfg=cfg)) for cfg in (1, 4, 5)}
    runs = []
    for text, latents in {**diffusers_cases(family, pipe), **formula_cases(family, pipe)}.items():
        values = latents()
        # far above the tolerance, so that a guidance that does nothing fails
        assert min(distance(values, plain) for plain in bare.values()) > 5e-3, text
        runs.append(entry(family, SAMPLER[family], text, values))
    if family == "sd1":
        runs += [entry(family, sampler, text, latents()) for (sampler, text), latents in sampler_cases(pipe).items()]
        runs += [entry(family, "ddim", "cfg:scale=5 + pag:scale=3", latents(), flags)
                 for flags, latents in picture_cases(pipe).items()]
    return runs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        made = {family: record(family, pipe) for family, pipe in pipelines(pathlib.Path(name)) if family in SAMPLER}
    runs = ",\n".join('"%s": [\n%s\n]' % (family, ",\n".join(map(json.dumps, cases))) for family, cases in made.items())
    print('{"every": %d,\n%s}' % (EVERY, runs))
