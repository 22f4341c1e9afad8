"""Self-attention beside each of LibTorch's kernels, at the shapes of SD1.5 at 512x512 and of SDXL at 1024x1024, two rows as CFG
has them. Tiller's is its own for bfloat16 on some CPUs (models/attention.h), elsewhere LibTorch's first choice: there a ratio
above 1 says that another one is faster at that shape.

Usage: ninja -C build bench_attention && python benchmarks/attention.py
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import side_by_side

SHAPES = {"SD1.5, 64x64 tokens": (8, 4096, 40), "SD1.5, 32x32 tokens": (8, 1024, 80), "SDXL, 64x64 tokens": (10, 4096, 64),
          "SDXL, 32x32 tokens": (20, 1024, 64)}  # heads, tokens, width of a head
ROWS = 2
KERNELS = {"flash": "FLASH_ATTENTION", "cuDNN": "CUDNN_ATTENTION", "memory efficient": "EFFICIENT_ATTENTION", "plain": "MATH"}


def attention(shape, dtype, device, kernel):
    heads, tokens, width = shape
    # as a network has them: (rows, tokens, heads, width) seen as (rows, heads, tokens, width)
    q, k, v = (torch.randn(ROWS, tokens, heads, width, dtype=dtype, device=device).transpose(1, 2) for _ in range(3))

    def work():
        with sdpa_kernel(getattr(SDPBackend, kernel)):
            return scaled_dot_product_attention(q, k, v)

    return work


def runs(shape, dtype, device, kernel):
    """Whether the kernel takes such tensors: flash and cuDNN take no float32 on a GPU."""
    try:
        attention((shape[0], 64, shape[2]), dtype, device, kernel)()
    except RuntimeError:
        return False
    return True


def rows(options):
    for dtype in options.dtypes:
        kind = getattr(torch, dtype)
        for name, shape in SHAPES.items():
            kernels = {kernel_name: kernel for kernel_name, kernel in KERNELS.items() if runs(shape, kind, options.device, kernel)}
            flops = 4 * ROWS * shape[0] * shape[1] ** 2 * shape[2]
            tiller = side_by_side.Tiller(options, "attention", ROWS, *shape, dtype, options.device)
            peers = {kernel_name: side_by_side.Peer(options, attention, shape, kind, options.device, kernel)
                     for kernel_name, kernel in kernels.items()}
            yield from side_by_side.compare(options, f"attention, {name}", dtype, tiller, peers, flops)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__, "bench_attention")
