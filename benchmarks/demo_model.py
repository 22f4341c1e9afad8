"""An evaluation of the demo model (weights/) beside guided-diffusion's network in PyTorch, in its usual layout and channels last.

Usage: ninja -C build bench_unet_evaluation && python benchmarks/demo_model.py --guided-diffusion CHECKOUT
"""

import torch

import guided_diffusion_network
import side_by_side

BATCHES = (1, 64, 512)


def in_bfloat16(model):
    """As its authors' half precision: weights of convolutions in the blocks, the rest in float32."""
    for block in (model.input_blocks, model.middle_block, model.output_blocks):
        for layer in block.modules():
            if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d)):
                layer.to(torch.bfloat16)
    model.dtype = torch.bfloat16


def evaluation(checkout, batch, dtype, device, layout, compiled=False):
    config = guided_diffusion_network.read_config()
    model = guided_diffusion_network.network(checkout, config).eval().to(device, memory_format=layout)
    if dtype == "bfloat16":
        in_bfloat16(model)
    work = torch.compile(model, mode="max-autotune") if compiled else model
    size = config["image_size"]
    x = torch.randn(batch, 3, size, size, device=device).to(memory_format=layout)
    t = torch.full((batch,), 500, device=device)
    y = torch.arange(batch, device=device) % config["num_classes"]
    return lambda: work(x, t, y=y)


def rows(options):
    if not options.guided_diffusion:
        print("demo_model.py: skipped: --guided-diffusion names no checkout.", flush=True)
        return
    for batch in BATCHES:
        for dtype in options.dtypes:
            tiller = side_by_side.Tiller(options, "unet_evaluation", side_by_side.ROOT / "weights", 32, batch, dtype,
                                         options.device, "none")
            known = {"PyTorch": (torch.contiguous_format,), "PyTorch, channels last": (torch.channels_last,)}
            if options.compile:
                known["torch.compile"] = (torch.channels_last, True)
            peers = {name: side_by_side.Peer(options, evaluation, options.guided_diffusion, batch, dtype, options.device, *how)
                     for name, how in known.items()}
            yield from side_by_side.compare(options, f"demo model, batch {batch}", dtype, tiller, peers)


if __name__ == "__main__":
    side_by_side.main(rows, __doc__, "bench_unet_evaluation")
