"""Writes fixtures/objectives.json: DDPM-IP's own training losses and its timestep sampler's weights, and EDM's loss.

Images, noise and the network's answers are sines of their place, so that the test makes them anew.

Usage: python make_objectives.py DDPM_IP EDM > ../fixtures/objectives.json, with the paths of checkouts of
github.com/forever208/DDPM-IP and github.com/NVlabs/edm. Needs torch and numpy.
"""

import json
import sys
from unittest import mock

import numpy as np
import torch

SHAPE = (6, 3, 2, 2)
TIMESTEPS = [0, 1, 7, 20, 35, 49]


def wave(channels, speed, height=1.0):
    count = SHAPE[0] * channels * SHAPE[2] * SHAPE[3]
    values = height * np.sin(speed * np.arange(1, count + 1, dtype=np.float64))
    return torch.tensor(values, dtype=torch.float32).reshape(SHAPE[0], channels, *SHAPE[2:])


def losses(gd, schedule, mean, learned, gamma, rescale):
    betas = gd.get_named_beta_schedule(schedule, 50)
    diffusion = gd.GaussianDiffusion(
        betas=betas, model_mean_type=gd.ModelMeanType[mean],
        model_var_type=gd.ModelVarType.LEARNED_RANGE if learned else gd.ModelVarType.FIXED_LARGE,
        loss_type=gd.LossType.RESCALED_MSE if rescale else gd.LossType.MSE)
    diffusion.input_pertub = gamma
    # 8-bit images reach the ends of their range: the likelihood treats these apart.
    images = (wave(3, 0.9, 1.2).clamp(-1, 1) * 127.5).round() / 127.5
    output = wave(6 if learned else 3, 1.7, 0.8)
    with mock.patch.object(gd.th, "randn_like", lambda like: wave(3, 2.3, 1.4)):
        terms = diffusion.training_losses(lambda x, t: output, images, torch.tensor(TIMESTEPS), noise=wave(3, 1.1, 1.4))
    return {"schedule": schedule, "mean": mean, "learned": learned, "gamma": gamma,
            "loss": terms["loss"].tolist(), "mse": terms["mse"].tolist()}


def timestep_weights(resample):
    np.int = int  # numpy has dropped it
    sampler = resample.LossSecondMomentResampler(mock.Mock(num_timesteps=5))
    rng = np.random.default_rng(1)
    ts = np.concatenate([np.arange(5)] * 10 + [rng.integers(0, 5, 23)])
    values = np.abs(np.sin(1.3 * np.arange(1, len(ts) + 1))) * (1 + ts)
    sampler.update_with_all_losses(ts, values)
    weights = sampler.weights()
    return {"timesteps": ts.tolist(), "losses": values.tolist(), "probabilities": (weights / weights.sum()).tolist()}


def edm_losses(checkout):
    """EDMLoss around a network that answers a wave whatever it sees."""
    sys.path.insert(0, checkout)
    sys.modules["torch_utils"] = torch_utils = mock.MagicMock()
    torch_utils.persistence.persistent_class = lambda kind: kind
    from training.loss import EDMLoss

    normals = torch.tensor([-2.5, -1.0, -0.3, 0.2, 1.1, 2.2]).reshape(-1, 1, 1, 1)
    seen = {}

    def net(x, sigma, labels, augment_labels=None):
        norm = (sigma**2 + 0.25).sqrt()
        seen.update(sigma=sigma.flatten().tolist(), input=(x / norm).flatten().tolist()[:20])
        return 0.25 / norm**2 * x + sigma * 0.5 / norm * wave(3, 1.7, 0.8)

    with mock.patch.object(torch, "randn", lambda *_, **__: normals), \
            mock.patch.object(torch, "randn_like", lambda like: wave(3, 1.1, 1.4)):
        loss = EDMLoss()(net, wave(3, 0.9))
    return {"loss": loss.flatten(1).mean(1).tolist(), **seen}


def main(checkout, edm):
    sys.path.insert(0, checkout)
    sys.modules["mpi4py"] = mock.MagicMock()
    from guided_diffusion import gaussian_diffusion as gd
    from guided_diffusion import resample
    gd.logger.log = lambda *_: None

    cases = [losses(gd, schedule, mean, learned, gamma, True)
             for schedule in ("linear", "cosine") for mean in ("EPSILON", "START_X")
             for learned in (False, True) for gamma in (0.0, 0.1)]
    json.dump({"timesteps": TIMESTEPS, "losses": cases, "second_moment": timestep_weights(resample),
               "edm": edm_losses(edm)}, sys.stdout)


main(*sys.argv[1:])
