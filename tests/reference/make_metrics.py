"""Writes fixtures/metrics.json: figures of torch-fidelity, pytorch-fid, prdc and numpy on formula.py's features.

Usage: python make_metrics.py > ../fixtures/metrics.json. Needs torch, numpy, scipy, torch-fidelity 0.4.0, pytorch-fid 0.3.0, prdc 0.2,
scikit-learn and vendi-score.
"""

import contextlib
import json
import sys

import formula
import numpy as np
import torch
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from sklearn.linear_model import LinearRegression
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric, kernel_mmd
from torch_fidelity.metric_prc import prc_features_to_metric
from vendi_score import vendi

torch.set_num_threads(1)
WIDTH = 24


def features(name, count):
    """Of different scales by column, so that the covariance is far from the identity."""
    return formula.uniform(name, count * WIDTH).reshape(count, WIDTH).astype(np.float64) * (1 + np.arange(WIDTH) % 5)


REAL = features("real", 150)
FAKE = features("fake", 180) * 1.125 + 0.25


def moments(x):
    return x.mean(0), np.cov(x, rowvar=False)


def fidelity_distance(x, y):
    a, b = (fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y))
    return fid_statistics_to_metric(a, b, False)["frechet_inception_distance"]


def distance_by_singular_values(x, y):
    """tr (S1 S2)^(1/2) is the sum of the singular values of A1 A2^T, S = A^T A: right for any rank."""
    (m1, s1), (m2, s2) = moments(x), moments(y)
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    roots = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return np.square(m1 - m2).sum() + np.trace(s1) + np.trace(s2) - 2 * roots


def frechet():
    few = FAKE[:10]
    return {"torch_fidelity": fidelity_distance(FAKE, REAL), "pytorch_fid": calculate_frechet_distance(*moments(FAKE), *moments(REAL)),
            "few": distance_by_singular_values(few, REAL), "few_both": distance_by_singular_values(few, REAL[:12]),
            "trace": np.trace(moments(FAKE)[1]), "mean": moments(FAKE)[0].tolist()}


def infinity(points, smallest, seed):
    """dgm-eval's and FID-infinity's: subsets of growing size, a line in 1 / N."""
    random = np.random.RandomState(seed)
    sizes = [int(n) for n in np.linspace(smallest, len(FAKE), points)]
    distances = [fidelity_distance(FAKE[random.choice(len(FAKE), n, replace=False)], REAL) for n in sizes]
    line = LinearRegression().fit(1 / np.array(sizes).reshape(-1, 1), distances)
    return {"points": points, "smallest": smallest, "seed": seed, "value": float(line.intercept_), "slope": float(line.coef_[0])}


def kid():
    kernel = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    cases = []
    for subsets, size in ((100, 50), (7, 150)):
        result = kid_features_to_metric(torch.from_numpy(FAKE), torch.from_numpy(REAL), kid_subsets=subsets, kid_subset_size=size,
                                        rng_seed=2020, verbose=False, **kernel)
        cases.append({"subsets": subsets, "size": size, "mean": result["kernel_inception_distance_mean"],
                      "std": result["kernel_inception_distance_std"]})
    return {"cases": cases, "whole": kernel_mmd(FAKE[:150], REAL, **kernel)}


def inception_score():
    logits = torch.from_numpy(formula.uniform("logits", 103 * 12).reshape(103, 12) * 6)
    cases = []
    for splits, shuffle in ((10, True), (10, False), (1, False)):
        result = isc_features_to_metric(logits, splits, shuffle, 2020)
        cases.append({"splits": splits, "shuffle": shuffle, "mean": result["inception_score_mean"], "std": result["inception_score_std"]})
    return cases


def neighbours():
    improved = prc_features_to_metric(torch.from_numpy(FAKE), torch.from_numpy(REAL), prc_neighborhood=3, prc_batch_size=1000,
                                      save_cpu_ram=False, verbose=False)
    with contextlib.redirect_stdout(sys.stderr):
        all_four = compute_prdc(REAL, FAKE, 5)
    return {"improved": {key: improved[key] for key in ("precision", "recall")}, "prdc": {k: float(v) for k, v in all_four.items()}}


def cmmd():
    """By the paper's formula in float64."""
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (FAKE, REAL))

    def mean(a, b):
        return np.exp(-np.square(a[:, None] - b[None]).sum(2) / 200).mean()

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def vendi_scores():
    return {"many": vendi.score_X(FAKE), "few": vendi.score_X(FAKE[:10])}


def random_orders():
    order = np.random.RandomState(2020).permutation(70000)
    random = np.random.RandomState(7)
    return {"short": np.random.RandomState(2020).permutation(12).tolist(), "long": order[:8].tolist(),
            "digest": int((order * np.arange(70000)).sum()),
            "choices": [random.choice(40, 5, replace=False).tolist() for _ in range(3)]}


if __name__ == "__main__":
    print(json.dumps({"frechet": frechet(), "infinity": infinity(6, 40, 3), "kid": kid(), "inception_score": inception_score(),
                      "neighbours": neighbours(), "cmmd": cmmd(), "vendi": vendi_scores(), "random": random_orders()}, indent=1))
