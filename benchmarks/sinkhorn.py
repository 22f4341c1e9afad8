"""Sinkhorn attention (ASAG's) beside its dense form in PyTorch: seconds, and memory beyond the inputs'. On a GPU also one iteration
of its potentials beside LibTorch's attention of the same queries, keys and values: flash attention, in float32, which that doesn't
take, the memory-efficient kernel.

Usage: ninja -C build bench_sinkhorn && python benchmarks/sinkhorn.py
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import side_by_side

TOKENS = {256: 8, 1024: 8, 4096: 8, 16384: 2}  # heads, so that the dense form fits into memory
WIDTH, ITERATIONS = 64, 2


def inputs(tokens, heads, dtype, device):
    return [torch.randn(1, heads, tokens, WIDTH, dtype=dtype, device=device) for _ in range(3)]


def dense(tokens, heads, dtype, device):
    q, k, v = inputs(tokens, heads, dtype, device)

    def work():
        s = -(q @ k.mT).float() / WIDTH**0.5
        g = torch.zeros(1, heads, tokens, device=device)
        for _ in range(ITERATIONS):
            f = -torch.logsumexp(s + g[..., None, :], -1)
            g = -torch.logsumexp(s + f[..., :, None], -2)
        return torch.softmax(s + g[..., None, :], -1).to(dtype) @ v

    return work


def attention(tokens, heads, dtype, device):
    q, k, v = inputs(tokens, heads, dtype, device)
    kernel = SDPBackend.EFFICIENT_ATTENTION if dtype == torch.float32 else SDPBackend.FLASH_ATTENTION

    def work():
        with sdpa_kernel(kernel):
            return scaled_dot_product_attention(q, k, v)

    return work


def one_iteration(options, tokens, heads, dtype, flops):
    tiller = side_by_side.Tiller(options, "sinkhorn", tokens, heads, WIDTH, dtype, options.device, 1, "potentials")
    name = "memory-efficient attention" if dtype == "float32" else "flash attention"
    peer = side_by_side.Peer(options, attention, tokens, heads, getattr(torch, dtype), options.device)
    yield from side_by_side.compare(options, f"a Sinkhorn iteration, N = {tokens}, {heads} heads", dtype, tiller, {name: peer}, flops)


def rows(options):
    gpu = options.device == "cuda"
    for tokens, heads in TOKENS.items():
        # Two products: the dense form's q k^T and plan times v; the two half steps of an iteration.
        flops = 4 * heads * tokens**2 * WIDTH
        for dtype in options.dtypes if options.full or gpu else options.dtypes[:1]:
            tiller = side_by_side.Tiller(options, "sinkhorn", tokens, heads, WIDTH, dtype, options.device, ITERATIONS)
            peer = side_by_side.Peer(options, dense, tokens, heads, getattr(torch, dtype), options.device)
            yield from side_by_side.compare(options, f"Sinkhorn attention, N = {tokens}, {heads} heads", dtype, tiller,
                                            {"dense": peer}, flops)
            if gpu:
                yield from one_iteration(options, tokens, heads, dtype, flops)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__, "bench_sinkhorn")
