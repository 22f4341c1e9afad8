"""Writes fixtures/adamw.json: torch.optim.AdamW with torch.nn.utils.clip_grad_norm_ over several steps.

Gradients are 3 sin(w * (step + 1)) + 0.1 (step 3: a hundredth of it, so that nothing is clipped).

Usage: python make_adamw.py > ../fixtures/adamw.json. Needs torch.
"""

import json

import torch

torch.set_num_threads(1)
options = {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.1}
limit, steps = 1.5, 6
start = [torch.linspace(-1, 1, 6), torch.linspace(0.5, 2, 4).reshape(2, 2)]
weights = [w.clone().requires_grad_() for w in start]
optimizer = torch.optim.AdamW(
    weights,
    lr=options["lr"],
    betas=(options["beta1"], options["beta2"]),
    eps=options["eps"],
    weight_decay=options["weight_decay"],
)
trace = []
for step in range(steps):
    for w in weights:
        w.grad = (3 * torch.sin(w.detach() * (step + 1)) + 0.1) * (0.01 if step == 3 else 1)
    norm = torch.nn.utils.clip_grad_norm_(weights, limit)
    optimizer.step()
    trace.append({"norm": norm.item(), "weights": [w.flatten().tolist() for w in weights]})
moments = [optimizer.state[w] for w in weights]
print(
    json.dumps(
        {
            "options": options,
            "limit": limit,
            "steps": trace,
            "first": [m["exp_avg"].flatten().tolist() for m in moments],
            "second": [m["exp_avg_sq"].flatten().tolist() for m in moments],
        },
        indent=1,
    )
)
