"""What more processes are worth: images a second that they train on together, as CSV.

    python -m benchmarks.scaling --autoencoder runs/imagewoof64/autoencoder --processes 1 2 4 8

Every number of processes has the preset's batch, divided among them, and then that batch for each of them.
The numbers take turns, so that a noisy machine hits all alike. ``ratio`` is to the first number with the
preset's batch: the median over the rounds, as the speed is. Under torchrun, on several nodes say, one number
is measured and printed. On a CPU a process has one thread, unless OMP_NUM_THREADS says otherwise.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training import parallel
from training.autoencoder import AutoencoderTraining, load_run
from training.cli import preset_options
from training.data.dataset import open_dataset
from training.device import device_name, resolve_device
from training.pixel_gan import PixelGan, PixelGanOptions

ROUNDS = 3
SECONDS = 5.0  # of each in a round


def rate(step: Callable[[int], object], cycle: int, device: torch.device) -> float:
    """Steps a second over about ``SECONDS``, in whole cycles: the same steps in every process."""
    done, start = -cycle, 0.0  # the first cycle warms up
    while done <= 0 or not parallel.any_process(time.perf_counter() - start >= SECONDS):
        for index in range(cycle):
            step(index)
        done += cycle
        if done == 0:
            start = _finished(device)
    return done / (_finished(device) - start)


def _finished(device: torch.device) -> float:
    """The time once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Speed of each stage, in the processes of torchrun that this is one of."""
    _, data = load_run(given.autoencoder)
    where = {"device": given.device, "out": Path(tempfile.mkdtemp())}
    codec = replace(data, **where)
    pixels = replace(
        preset_options(PixelGanOptions, "pixel_gan", given.preset), autoencoder=given.autoencoder, **where
    )
    with parallel.joined("autoencoder", codec):
        device = resolve_device(given.device)
        dataset = open_dataset(codec)
        for stage, options, training in (
            ("autoencoder", codec, AutoencoderTraining), ("pixel GAN", pixels, PixelGan),
        ):  # fmt: skip
            for batch in dict.fromkeys((options.batch, options.batch * parallel.world())):
                step = training(replace(options, batch=batch), dataset, device).step
                speed = batch * rate(step, pixels.penalty_every, device)
                yield {
                    "device": device_name(device), "stage": stage, "processes": parallel.world(),
                    "batch": batch, "images_per_second": speed,
                }  # fmt: skip


def compare(counts: list[int]) -> list[dict[str, Any]]:
    """Rows of the CSV, by numbers of processes."""
    rounds = []
    for _ in range(ROUNDS):
        rows: list[dict[str, Any]] = []
        for count in counts:
            command = f"-m torch.distributed.run --standalone --nproc-per-node {count} -m {__spec__.name}"
            done = subprocess.run(
                [sys.executable, *command.split(), *sys.argv[1:]],
                env={"OMP_NUM_THREADS": "1", **os.environ}, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        first = {row["stage"]: row["images_per_second"] for row in reversed(rows)}
        rounds.append([{**row, "ratio": row["images_per_second"] / first[row["stage"]]} for row in rows])
    return [
        {
            **same[0],
            **{k: f"{statistics.median(r[k] for r in same):.4g}" for k in ("images_per_second", "ratio")},
        }
        for same in zip(*rounds, strict=True)
    ]


def main() -> None:
    """Write the CSV; under torchrun, print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of a finished autoencoder")
    parser.add_argument("--preset", default="modern", help="of the pixel GAN")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("scaling.csv"))
    given = parser.parse_args()
    if "RANK" in os.environ:
        for row in measure(given):
            if parallel.is_first():
                print(json.dumps(row), flush=True)
        return
    rows = compare(given.processes)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(given.out.read_text())


if __name__ == "__main__":
    main()
