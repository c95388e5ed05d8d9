"""What a training step costs, and which share of this machine's measured peak it reaches.

    python -m benchmarks.throughput --autoencoder runs/imagewoof64/autoencoder

Peak: the best of square matrix products in the precision that training uses, on the same threads, measured in
turns with the steps, so that a noisy machine hits both alike. Operations are counted by torch's formulas.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from training.autoencoder import AutoencoderTraining, load_run
from training.cli import preset_options
from training.data.dataset import open_dataset
from training.device import has_fast_bf16, resolve_device
from training.flops import flops_per_step
from training.latent_gan import LatentGan, LatentGanOptions
from training.pixel_gan import PixelGan, PixelGanOptions

ROUNDS = 5
SECONDS = 2.0  # of each in a round


Step = Callable[[int], object]


def rate(step: Step, device: torch.device) -> float:
    """Steps a second, over about ``SECONDS``."""
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS or not done:
        step(done)
        done += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return done / elapsed


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of a finished autoencoder")
    parser.add_argument("--preset", default="imagewoof64")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = resolve_device(given.device)
    _, data = load_run(given.autoencoder)
    dataset = open_dataset(data)
    out = Path(tempfile.mkdtemp())
    shared = {"autoencoder": given.autoencoder, "device": given.device, "out": out}
    # By name: the step, its batch, and after how many steps the kinds of steps repeat.
    trained: dict[str, tuple[Step, int, int]] = {
        "autoencoder": (AutoencoderTraining(replace(data, out=out), dataset, device).step, data.batch, 1)
    }
    on_codes = replace(preset_options(LatentGanOptions, "latent_gan", given.preset), **shared)
    trained["latent GAN"] = (LatentGan(on_codes, device).step, on_codes.batch, on_codes.penalty_every)
    for preset in ("modern", "dcgan"):
        on_pixels = replace(preset_options(PixelGanOptions, "pixel_gan", preset), **shared)
        step = PixelGan(on_pixels, dataset, device).step
        trained[f"pixel GAN, {preset}"] = (step, on_pixels.batch, on_pixels.penalty_every)
    flops = {name: flops_per_step(one, cycle) for name, (one, _, cycle) in trained.items()}

    dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    square = torch.randn(size, size, device=device, dtype=dtype)
    rates: dict[str, list[float]] = {name: [] for name in ("peak", *trained)}
    for _ in range(ROUNDS):
        rates["peak"].append(rate(lambda _: square @ square, device))
        for name, (one, _, _) in trained.items():
            rates[name].append(rate(one, device))
    peak = 2 * size**3 * max(rates["peak"])
    print(
        f"{torch.get_num_threads()} threads, {dtype}, peak {peak / 1e9:,.0f} GFLOP/s (products of {size})\n"
    )
    print("| stage | batch | GFLOP a step | images/s | GFLOP/s | share of peak |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (_, batch, _) in trained.items():
        speed = statistics.median(rates[name])
        print(
            f"| {name} | {batch} | {flops[name] / 1e9:.2f} | {batch * speed:,.0f} "
            f"| {flops[name] * speed / 1e9:,.0f} | {flops[name] * speed / peak:.2f} |"
        )


if __name__ == "__main__":
    main()
