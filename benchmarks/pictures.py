"""How many pictures a second are decoded and judged, by how many are taken at a time.

    python -m benchmarks.pictures pretrained/imagewoof64

Each size in turns with the others, in processor time of one thread, so that a busy machine hits all alike.
Printed as ratios to the largest size too, which travel better than rates.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from explorer.bundle_reading import open_bundle
from explorer.decoding import decode
from training import imagenet_judge

ROUNDS = 3
SIZES = (256, 64, 32, 16, 8)
PICTURES = 256


def rate(task: Callable[[], object]) -> float:
    """Pictures a second of processor time."""
    start = time.process_time()
    task()
    return PICTURES / (time.process_time() - start)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    bundle = open_bundle(parser.parse_args().bundle)
    torch.set_num_threads(1)
    codes, asked = bundle.real_codes[:PICTURES], imagenet_judge.Judge()
    rows, columns = bundle.load_autoencoder(), bundle.load_autoencoder()
    rows.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    pictures = decode(columns, codes)

    def judged(size: int) -> object:
        with patch.dict(imagenet_judge.BATCH, cpu=size):
            return asked.embed(pictures)

    tasks: dict[str, Callable[[int], object]] = {
        "decoder, channels first": lambda size: decode(rows, codes, size),
        "decoder, channels last": lambda size: decode(columns, codes, size),
        "judge": judged,
    }
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            for size in SIZES:
                rates.setdefault((name, size), []).append(rate(lambda task=task, size=size: task(size)))
    print(f"one thread, {torch.backends.cpu.get_cpu_capability()}, pictures/s (ratio to {SIZES[0]})\n")
    print("| network | " + " | ".join(map(str, SIZES)) + " |\n| --- |" + " --- |" * len(SIZES))
    for name in tasks:
        speeds = [float(np.median(rates[name, size])) for size in SIZES]
        cells = (f"{speed:.0f} ({speed / speeds[0]:.2f})" for speed in speeds)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
