"""An evaluation of the demo model (weights/) beside guided-diffusion's network in PyTorch, in its usual layout and channels last.

Usage: ninja -C build bench_unet_evaluation && python benchmarks/demo_model.py --guided-diffusion CHECKOUT
"""

import torch

import guided_diffusion_network
import side_by_side

BATCHES = (1, 64, 512)


def evaluation(checkout, batch, dtype, device, layout, compiled=False):
    config = guided_diffusion_network.read_config()
    # bfloat16 as its authors' half precision: the norms stay in float32.
    model = guided_diffusion_network.network(checkout, config).eval().to(device, memory_format=layout)
    work = torch.compile(model, mode="max-autotune") if compiled else model
    size = config["image_size"]
    x = torch.randn(batch, 3, size, size, device=device).to(memory_format=layout)
    t = torch.full((batch,), 500, device=device)
    y = torch.arange(batch, device=device) % config["num_classes"]

    def once():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            return work(x, t, y=y)

    return once


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
    side_by_side.main(rows, __doc__)
