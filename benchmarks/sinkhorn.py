"""Sinkhorn attention (ASAG's) beside its dense form in PyTorch: seconds, and memory beyond the inputs'.

Usage: ninja -C build bench_sinkhorn && python benchmarks/sinkhorn.py
"""

import torch

import side_by_side

TOKENS = {256: 8, 1024: 8, 4096: 8, 16384: 2}  # heads, so that the dense form fits into memory
WIDTH, ITERATIONS = 64, 2


def dense(tokens, heads, dtype, device):
    q, k, v = (torch.randn(1, heads, tokens, WIDTH, dtype=dtype, device=device) for _ in range(3))

    def work():
        s = -(q @ k.mT).float() / WIDTH**0.5
        g = torch.zeros(1, heads, tokens, device=device)
        for _ in range(ITERATIONS):
            f = -torch.logsumexp(s + g[..., None, :], -1)
            g = -torch.logsumexp(s + f[..., :, None], -2)
        return torch.softmax(s + g[..., None, :], -1).to(dtype) @ v

    return work


def rows(options):
    for tokens, heads in TOKENS.items():
        for dtype in options.dtypes if options.full else options.dtypes[:1]:
            tiller = side_by_side.Tiller(options, "sinkhorn", tokens, heads, WIDTH, dtype, options.device, ITERATIONS)
            peer = side_by_side.Peer(options, dense, tokens, heads, getattr(torch, dtype), options.device)
            # Products that the dense form does too: q k^T and the plan times v.
            flops = 4 * heads * tokens**2 * WIDTH
            yield from side_by_side.compare(options, f"Sinkhorn attention, N = {tokens}, {heads} heads", dtype, tiller,
                                            {"dense": peer}, flops)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__)
