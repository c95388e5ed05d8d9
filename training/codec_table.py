"""Compare trained autoencoders: fidelity, sharpness, and breeds still recognised after the round trip.

    python -m training.codec_table runs/ae-a runs/ae-b

Prints a Markdown table, one row per run and part of the data: seen validation images and each held-out
class. Held-out classes are measured here, after training; choose by the seen rows alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from explorer import markdown
from explorer.decoding import decode, encode
from explorer.networks import Autoencoder, parameter_count
from explorer.rates import share
from training import autoencoder, metrics
from training.cli import UserError
from training.data.dataset import Dataset
from training.imagenet_judge import Judge, imagenet_index

NOISE = 0.3  # on codes, over their deviation: how much a generator may err


@dataclass(frozen=True)
class TableOptions:
    """Options of ``python -m training.codec_table``."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished autoencoder runs on the same data."""
    judge: bool = True
    """Ask the ImageNet judge."""


def recognised(judge: Judge, pictures: np.ndarray, labels: np.ndarray, index: list[int]) -> np.ndarray:
    """Whether the judge gives each picture its own class among the dataset's classes, bool (n,).

    pictures: uint8 (n, s, s, 3). labels: int64 (n,). index: ImageNet index of each class.
    """
    logits = judge.logits(pictures)[:, index]
    return logits.argmax(1).numpy() == labels


def noisy_round_trip(model: Autoencoder, codes: np.ndarray, deviation: float) -> Tensor:
    """Pictures uint8 (n, s, s, 3) of codes (n, code_dim) with noise of ``NOISE`` of a deviation on them."""
    noise = np.random.default_rng(0).standard_normal(codes.shape, np.float32)
    return torch.from_numpy(decode(model, codes + NOISE * deviation * noise))


def measure(model: Autoencoder, dataset: Dataset, judged: bool = True) -> dict[str, dict[str, Any]]:
    """Fidelity of the round trip on seen validation images and on each held-out class.

    Returns by part: n, psnr (dB), ssim, sharpness (ratio to the originals'), psnr_noisy (dB, with Gaussian
    noise of ``NOISE`` of the seen validation codes' deviation), and, when every class is one of ImageNet's,
    recognised_original and recognised_round_trip (how many of n).
    """
    index = [imagenet_index(name) for name in dataset.classes]
    judge = Judge() if judged and all(i is not None for i in index) else None
    parts = {"seen val": dataset.indices("val")}
    for name in dataset.held_out:
        label = dataset.classes.index(name)
        parts[name] = np.flatnonzero(dataset.store.labels == label)
    images = {part: dataset.centers(chosen) for part, chosen in parts.items()}
    codes = {part: encode(model, originals.numpy()) for part, originals in images.items()}
    deviation = float((codes["seen val"] - codes["seen val"].mean(0)).std())  # one for all: the same noise
    results = {}
    for part, originals in images.items():
        output = autoencoder.round_trip(model, originals, torch.device("cpu"), "auto")
        noisy = noisy_round_trip(model, codes[part], deviation)
        result: dict[str, Any] = {
            "n": len(originals),
            "psnr": metrics.psnr(output, originals).mean().item(),
            "ssim": metrics.ssim(output, originals).mean().item(),
            "sharpness": (metrics.sharpness(output).mean() / metrics.sharpness(originals).mean()).item(),
            "psnr_noisy": metrics.psnr(noisy, originals).mean().item(),
        }
        if judge is not None:
            labels = dataset.store.labels[parts[part]]
            for kind, pictures in (("original", originals), ("round_trip", output)):
                hits = recognised(judge, pictures.numpy(), labels, [i for i in index if i is not None])
                result[f"recognised_{kind}"] = int(hits.sum())
        results[part] = result
    return results


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown table of ``measure`` results by run; shares with their 95 % Wilson intervals."""
    rows: list[list[object]] = [
        ["run", "part", "n", "PSNR dB", "SSIM", "sharpness", f"PSNR dB with code noise of {NOISE:g}",
         "recognised: original", "round trip"],
    ]  # fmt: skip
    for run, parts in results.items():
        for part, r in parts.items():
            judged = [
                share(r[k], r["n"]) if k in r else "-"
                for k in ("recognised_original", "recognised_round_trip")
            ]
            noisy = f"{r['psnr_noisy']:.2f}" if "psnr_noisy" in r else "-"  # bundles from before have none
            rows.append([
                run, part, r["n"], f"{r['psnr']:.2f}", f"{r['ssim']:.3f}", f"{r['sharpness']:.2f}", noisy,
                *judged,
            ])  # fmt: skip
    return markdown.table(rows)


def main(options: TableOptions) -> None:
    """Measure every run and print the table."""
    if not options.runs:
        raise UserError(
            "name the folder of at least one autoencoder's run, e.g. runs/imagewoof64/autoencoder"
        )
    results = {}
    for folder in options.runs:
        model, run_options = autoencoder.load_run(folder)
        results[f"{folder} ({parameter_count(model) / 1e6:.1f} M)"] = measure(
            model, autoencoder.open_images(folder, run_options), options.judge
        )
    print(table(results))


if __name__ == "__main__":
    from training.cli import run_script

    run_script(TableOptions, "codec_table", main)
