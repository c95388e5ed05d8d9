"""Helpers of the tests of training and of bundles: tiny photographs, options, runs and bundles."""

import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer.bundle import SPLITS, Bundle
from explorer.bundle_writing import write_bundle
from explorer.decoding import data_uri
from explorer.generation import PixelGeneration
from explorer.latent import Standardisation
from explorer.networks import (
    Autoencoder,
    AutoencoderConfig,
    GanConfig,
    Generator,
    PixelGanConfig,
    PixelGenerator,
)
from training import autoencoder
from training.autoencoder import AutoencoderOptions, run_autoencoder
from training.data import dataset
from training.data.cache import open_store

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(p for p in (ROOT / "pretrained").iterdir() if p.is_dir() and not p.name.startswith("."))

# The smallest networks that still train; as options of the scripts.
TINY_AUTOENCODER: dict[str, Any] = {
    "source": "digits",
    "hold_out": ("7",),
    "image_size": 16,
    "margin": 1,
    "code_channels": 2,
    "code_size": 4,
    "widths": (8, 8),
    "encoder_blocks": (0, 1),
    "decoder_blocks": (1, 0),
    "images": 640,
    "batch": 32,
    "ema_images": 100,
    "evaluate_every": 320,
    "log_every": 7,
    "checkpoint_every": 5,
    "seed": 3,
    "device": "cpu",
}
TINY_GAN: dict[str, Any] = {
    "z_dim": 4,
    "latent_dim": 8,
    "width": 16,
    "blocks": 1,
    "copies": 2,
    "images": 1280,
    "batch": 64,
    "ema_images": 200,
    "snapshots": 6,
    "snapshot_samples": 8,
    "evaluations": 2,
    "log_every": 7,
    "checkpoint_every": 5,
    "seed": 3,
    "device": "cpu",
}
TINY_PIXEL_GAN: dict[str, Any] = {
    "widths": (8, 8),
    "z_dim": 4,
    "images": 320,
    "batch": 16,
    "penalty_every": 2,
    "ema_images": 50,
    "snapshots": 6,
    "snapshot_samples": 8,
    "evaluations": 2,
    "log_every": 7,
    "checkpoint_every": 5,
    "seed": 3,
    "device": "cpu",
}
TINY_DETAIL_PHASE: dict[str, Any] = {
    "preset": "digits",
    "phase": "detail",
    "code_noise": 0.0,
    "width": 8,
    "blocks": 1,
    "discriminator_width": 8,
    "images": 640,
    "batch": 32,
    "ema_images": 100,
    "evaluations": 2,
    "log_every": 7,
    "checkpoint_every": 5,
    "seed": 3,
    "device": "cpu",
}
TINY_IMAGE_PHASE: dict[str, Any] = {
    "phase": "image",
    "images": 320,
    "batch": 16,
    "penalty_every": 2,
    "ema_images": 50,
    "evaluate_every": 160,
    "log_every": 7,
    "checkpoint_every": 5,
    "seed": 3,
    "device": "cpu",
}


def arguments(options: Mapping[str, Any]) -> list[str]:
    """The command line that gives these options."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *(str(v) for v in values)]
    return words


@dataclass(frozen=True)
class Finished:
    """What a script left: its exit status (minus the signal that killed it) and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line of the standard error, where an error has its sentence."""
        return self.stderr.strip().splitlines()[-1]


# Scripts run in processes of their own, forked from one that has imported torch already: that is most of
# the time a tiny run takes.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["training.pipeline", "torch.utils.tensorboard", "sklearn.datasets"])


def run_script(
    module: str,
    options: Mapping[str, Any],
    *flags: str,
    stop: tuple[int, int] | None = None,
    when: Callable[[], bool] = lambda: False,
    by: int = signal.SIGKILL,
) -> Finished:
    """Run ``python -m module`` with these options, on one thread.

    stop: a signal and the step before which the script gets it.
    when: the script gets the signal ``by`` from outside as soon as this holds, or after ten minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        words = [*arguments(options), *flags]
        process = _processes.Process(target=_script, args=(module, words, outputs, stop))
        process.start()
        deadline = time.monotonic() + 600
        while process.is_alive() and time.monotonic() < deadline and not when():
            process.join(0.01)
        if process.is_alive():
            os.kill(process.pid, by)
            process.join()
        assert process.exitcode is not None
        return Finished(process.exitcode, *(path.read_text() for path in outputs))


def run_together(
    module: str, *options: Mapping[str, Any], stop: tuple[int, int] | None = None
) -> list[Finished]:
    """Run ``python -m module`` in processes that train together, with the environment that torchrun gives.

    options: those of each process. stop: a signal and the step before which the last process gets it.
    """
    ranks = range(len(options))
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(len(options))}
    with tempfile.TemporaryDirectory() as folder:
        outputs = [[Path(folder) / f"{name}-{rank}" for name in ("stdout", "stderr")] for rank in ranks]
        processes = []
        for rank, (given, paths) in enumerate(zip(options, outputs, strict=True)):
            environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            stops = stop if rank == ranks[-1] else None
            words = (module, arguments(given), paths, stops, environment)
            processes.append(_processes.Process(target=_script, args=words))
            processes[-1].start()
        for process in processes:
            process.join(120)
            process.kill()  # does nothing, unless it hangs
            process.join()
        return [
            Finished(process.exitcode or 0, *(path.read_text() for path in paths))
            for process, paths in zip(processes, outputs, strict=True)
        ]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _script(
    module: str,
    words: list[str],
    outputs: list[Path],
    stop: tuple[int, int] | None,
    environment: Mapping[str, str] | None = None,
) -> None:
    os.environ.update(environment or {})
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    if stop is not None:
        from training import loop

        seed_step = loop.seed_step

        def stopping(seed: int, step: int) -> None:
            if step == stop[1]:
                os.kill(os.getpid(), stop[0])
            seed_step(seed, step)

        loop.seed_step = stopping
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    """A photograph of one colour with a little grain, without losses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[::4, ::4] ^= 1
    Image.fromarray(pixels).save(path)
    return path


def write_classes(root: Path, classes: Mapping[str, tuple[int, int, int]], n: int = 6) -> Path:
    """A class-per-folder tree: ``n`` photographs of each class, all of the class's colour."""
    for name, colour in classes.items():
        for i in range(n):
            write_image(root / name / f"{name}-{i:03d}.png", colour)
    return root


def tiny_autoencoder(folder: Path, **values: Any) -> Path:
    """A finished autoencoder run on digits, in ``folder``/ae."""
    given = {**TINY_AUTOENCODER, "cache": folder / "cache", "out": folder / "ae", **values}
    return run_autoencoder(AutoencoderOptions(**given))


def paint_over(monkeypatch: pytest.MonkeyPatch, label: int) -> None:
    """From here on, every image of a class is one flat grey to whoever opens the data, and nobody minds."""

    def painted(*args: Any, **kwargs: Any) -> Any:
        store = open_store(*args, **kwargs)
        images = np.array(store.images)
        images[store.labels == label] = 77
        return replace(store, images=images)

    monkeypatch.setattr(dataset, "open_store", painted)
    monkeypatch.setattr(autoencoder, "SAME_COLOUR", 255)


def one_sentence(error: object) -> bool:
    """Whether a message can stand alone for a user: one line, and no exception's name in front."""
    text = str(error)
    return bool(text) and "\n" not in text and "Traceback" not in text


def tiny_parts(seed: int = 0, real: int = 12, generated: int = 5) -> dict[str, Any]:
    """Everything ``write_bundle`` needs, from random networks: three classes, 'fox' held out."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    autoencoder = Autoencoder(AutoencoderConfig(8, 2, 2, (4, 4), (0, 1), (1, 0))).requires_grad_(False)
    generator = Generator(GanConfig(3, 4, 8, 1)).requires_grad_(False)
    labels = np.arange(real) % 3
    splits = np.where(labels == 2, SPLITS.index("held_out"), np.arange(real) % 2)
    code_dim, snapshots, samples = 8, 3, 2

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return {
        "manifest": {
            "name": "tiny",
            "classes": ["ape", "bee", "fox"],
            "held_out": ["fox"],
            "data": {"source": "digits"},
            "judge": {
                "name": None,
                "class_index": {"ape": None, "bee": None, "fox": None},
                "categories": {"3": "tiger shark"},
            },
            "metrics": {
                "codec": {"seen val": {"n": 4, "psnr": 20.0, "ssim": 0.5, "sharpness": 0.5}},
                "map": {
                    "n": 12,
                    "components": 4,
                    "trustworthiness": 0.9,
                    "trustworthiness_placed": 0.8,
                    "placed_to_own_position": 0.1,
                },
            },
        },
        "autoencoder": autoencoder,
        "generator": generator,
        "standardisation": Standardisation.fit(torch.from_numpy(normal(50, code_dim)), 4),
        "real_codes": normal(real, code_dim),
        "latents": {
            "real_labels": labels,
            "real_splits": splits,
            "generated_z": normal(generated, 3),
            "generated_latents": normal(generated, 4),
            "snapshot_z": normal(samples, 3),
            "snapshot_latents": normal(snapshots, samples, 4),
            "snapshot_images": np.array([1, 10, 100]),
        },
        "positions": {
            "real": normal(real, 2),
            "generated": normal(generated, 2),
            "snapshots": normal(snapshots, samples, 2),
        },
        "judge": {
            f"{kind}_{value}": np.full(n, -1)
            for kind, n in (("photo", real), ("round_trip", real), ("generated", generated))
            for value in ("top1", "confidence")
        },
        "names": [f"train/{i}.png" for i in range(real)],
        "curves": {"autoencoder": [{"step": 1, "loss": 0.5}], "latent_gan": []},
        "card": "# tiny\n",
    }


def tiny_pixel_parts(network: str = "residual") -> dict[str, Any]:
    """``tiny_parts`` with a random pixel generator and the codes of what it makes of its z."""
    parts = tiny_parts()
    config = PixelGanConfig(3, 8, (4, 4) if network == "residual" else (4,), network)
    parts["generator"] = PixelGenerator(config).eval().requires_grad_(False)
    # As it ships, in half precision.
    generation = PixelGeneration(parts["autoencoder"].half().float(), parts["generator"].half().float())
    del parts["latents"]["generated_latents"]
    z = parts["latents"]["generated_z"] = parts["latents"]["generated_z"].astype(np.float16)
    parts["generated_codes"] = generation.codes(z)
    return parts


def copy_unmeasured(path: Path) -> Path:
    """A copy of the shipped digits as they are before anybody has asked what is within their GAN's reach."""
    from explorer.measured import REACHABILITY

    shutil.copytree(ROOT / "pretrained" / "digits", path)
    (path / REACHABILITY).unlink()
    manifest = json.loads((path / "bundle.json").read_text())
    del manifest["files"][REACHABILITY]
    (path / "bundle.json").write_text(json.dumps(manifest))
    return path


def write_tiny_bundle(path: Path, seed: int = 0) -> Bundle:
    """A whole bundle of a few kilobytes."""
    return write_bundle(path, **tiny_parts(seed))


def visit(at: AppTest, page: str) -> None:
    """Go to another page of app.py as a browser does, which says nothing of the widgets of the one before."""
    at.switch_page(f"explorer/pages/{page}.py")
    at._run()  # ``run`` would say what they were
    assert not at.exception


def columns(line: str) -> int:
    """How many cells a line of a Markdown table has."""
    return re.sub(r"\\.", "", line).count("|") - 1


def file_names(folder: Path) -> Iterable[str]:
    """Names of everything in a folder, sorted; not of the lock that stays beside a bundle."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def tiny_race(**curves: list[tuple[float, float]]) -> dict[str, Any]:
    """A race of one seed from (seconds, Frechet distance) of latent=, pixel= and others; codec and encoding
    took 30 s.
    """
    sheet = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="

    def contestant(curve: list[tuple[float, float]], before: float) -> dict[str, Any]:
        points = [
            {"seconds": s, "total": s + before, "images": int(10 * s), "frechet": f, "sheet": sheet}
            for s, f in curve
        ]
        return {
            "batch": 10, "steps": 100, "stopped": None, "seconds": curve[-1][0],
            "seconds_per_step": 0.01, "flops_per_step": 1e6, "curve": points,
        }  # fmt: skip

    return {
        "format": 1, "device": "test device", "options": {"budget": 1.0, "preset": "digits"}, "n": 100,
        "floor": 5.0, "judge": {"name": "Test judge", "size": 128},
        "seeds": [
            {
                "seed": 0, "ceiling": 20.0, "encoding": {"seconds": 10.0, "images": 100},
                "codec": {"seconds": 20.0, "batch": 10, "seconds_per_step": 0.02, "flops_per_step": 2e6},
                "contestants": {
                    name: contestant(curve, 0.0 if name.startswith("pixel") else 30.0)
                    for name, curve in curves.items()
                },
            }
        ],
    }  # fmt: skip


def counts_in(found: Any) -> list[dict[str, Any]]:
    """Every count of a report, wherever it stands."""
    if isinstance(found, dict):
        own = [found] if {"hits", "n"} <= found.keys() else []
        return own + [count for value in found.values() for count in counts_in(value)]
    return [count for value in found for count in counts_in(value)] if isinstance(found, list) else []


def tiny_reachability(
    classes: Iterable[str], held_out: Iterable[str], produced: Mapping[float, Iterable[int]]
) -> dict[str, Any]:
    """A report of ``training.reachability`` with five seeds and an oracle, whose classes all fare alike.

    produced: by alpha, the hits of each seed among 10,000 samples. With (8, 12, 9, 11, 7) there is nothing
    beyond false positives, with (100, 130, 90, 110, 120) there is.
    """
    names, kept_out = list(classes), set(held_out)

    def count(hits: int, n: int) -> dict[str, int]:
        return {"hits": hits, "n": n}

    def seeds(*hits: int) -> list[dict[str, int]]:
        return [count(h, 10_000) for h in hits]

    def at(hits: Iterable[int]) -> dict[str, Any]:
        sources = ("untrained", "interpolations", "Gaussian", "Gaussian mixture", "latent", "oracle")
        return {
            "thresholds": [-1.5, -0.5], "negatives": 1_000, "photographs": count(282, 300),
            "photographs through the gate": count(270, 300),
            "round trips": count(228, 300), "cut round trips": count(180, 300),
            "false_positives": {
                "photographs": count(4, 3_000), "round trips": count(3, 3_000),
                "cut round trips": count(2, 3_000),
            },
            "permuted labels": {source: count(0, 10_000) for source in sources},
            "samples": {
                "untrained": seeds(0), "interpolations": seeds(9), "Gaussian": seeds(5),
                "Gaussian mixture": seeds(6), "latent": seeds(*hits),
                "oracle": seeds(400, 380, 500, 450, 300),
            },
            "searches": {
                "untrained": {"class": [count(1, 32)], "scrambled": [count(0, 32)]},
                "latent": {"class": [count(6, 32)] * 5, "scrambled": [count(5, 32)] * 5},
                "oracle": {"class": [count(20, 32)] * 5, "scrambled": [count(5, 32)] * 5},
            },
        }  # fmt: skip

    sheet = data_uri(np.zeros((16, 16 * 8, 3), np.uint8))
    searched = {source: {"class": 0.9, "scrambled": 0.95} for source in ("untrained", "latent", "oracle")}
    found: dict[str, Any] = {}
    for name in names:
        found[name] = {
            "held_out": name in kept_out,
            "levels": {f"{alpha:g}": at(hits) for alpha, hits in produced.items()},
            "distances": searched,
        }
        if name in kept_out:
            found[name]["examples"] = {
                "round trips": list(range(8)),
                "samples": {
                    source: {"sheet": sheet, "nearest": list(range(8)), "probability": [0.5] * 8}
                    for source in ("latent", "oracle", "interpolations")
                },
                "searches": {
                    source: {"sheet": sheet, "targets": list(range(8)), "relative": [0.8] * 8}
                    for source in ("latent", "untrained")
                },
            }
    one = count(9, 10)
    return {
        "format": 1, "command": "python -m training.reachability digits", "options": {"cheap": False},
        "device": "test device", "codec": "blind", "features": "test features",
        "split": {
            "seed": 0, "parts": "lct",
            "counts": {name: {"learn": 9, "calibration": 4, "test": 5} for name in names},
        },
        "gate": {"share": 0.95, "distance": 1.0, "passed": {"latent": [one] * 5}},
        "judges": {
            judge: dict.fromkeys(("photographs", "round trips", "cut round trips"), one)
            for judge in ("head", "network")
        },
        "alphas": list(produced), "samples": 10_000,
        "seeds": {
            "untrained": [0], "interpolations": [0], "Gaussian": [0], "Gaussian mixture": [0],
            "latent": [0, 1, 2, 3, 4], "oracle": [0, 1, 2, 3, 4],
        },
        "classes": found,
    }  # fmt: skip


def remade_eight_times(report: dict[str, Any], name: str, alpha: float) -> dict[str, Any]:
    """A copy of a report with images of one class, and of others for it, that were remade eight times."""
    copy = deepcopy(report)
    level = copy["classes"][name]["levels"][f"{alpha:g}"]
    own = {"hits": 300, "n": 600, "images": 300, "pictures": 2_400, "pictures_hit": 1_200}
    others = {"hits": 20, "n": 9_000, "images": 3_000, "pictures": 24_000, "pictures_hit": 53}
    level["cut round trips"], level["false_positives"]["cut round trips"] = own, others
    return copy


def mixed_as(report: dict[str, Any], name: str, alpha: float, latent: Sequence[int]) -> dict[str, Any]:
    """A copy of a report with false positives of one class by the seen class that pictures are most like: the
    first, which is taken for it in 50 of 1,000, and two others, which never are. latent: samples of the GANs
    that are most like each. Of the oracles' as many are like any.
    """
    copy = deepcopy(report)
    level = copy["classes"][name]["levels"][f"{alpha:g}"]
    seen = [other for other, found in copy["classes"].items() if not found["held_out"]]
    level["strata"] = {
        "false_positives": {
            "cut round trips": {
                other: {"hits": 0 if i else 50, "n": 1_000} for i, other in enumerate(seen)
            },
        },
        "samples": {
            source: {other: {"hits": 0, "n": n} for other, n in zip(seen, mix, strict=True)}
            for source, mix in (("latent", latent), ("oracle", [16_000] * len(seen)))
        },
    }  # fmt: skip
    return copy
