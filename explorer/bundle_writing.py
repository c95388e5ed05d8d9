"""Writing a bundle, and adding to one: whole or not at all. Format: docs/bundle.md."""

import gzip
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.numpy import save as to_bytes

from explorer.bundle import (
    CARD,
    FILES,
    FORMAT,
    GENERATORS,
    MANIFEST,
    NAMES,
    PLAIN_NAMES,
    VERSION,
    AnyGenerator,
    Bundle,
    BundleError,
)
from explorer.bundle_reading import open_bundle, read_manifest
from explorer.latent import Standardisation
from explorer.measured import MEASURED, RACE, REACHABILITY
from explorer.networks import Autoencoder

log = logging.getLogger(__name__)
WEIGHTS = ("autoencoder.safetensors", "generator.safetensors")
PATIENCE = 120.0  # seconds to wait for another program that writes into the same bundle


def quantise(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes float (n, d) as 7-bit int8 (n, d), -63 to 63, and scales float32 (d,); off by half a scale.

    Symmetric, by each number's largest magnitude (absmax). What it rounds away is far below the noise that
    decoders are trained with. A number that is not finite makes its scale so.
    """
    codes = np.asarray(codes, np.float32)
    scale = np.maximum(np.abs(codes).max(0), 1e-12) / 63
    with np.errstate(invalid="ignore"):
        return np.round(codes / scale).astype(np.int8), scale


def check_replaceable(path: Path) -> None:
    """Raise BundleError if more than a bundle stands at ``path``: one that is written takes its place."""
    ours = {MANIFEST, PLAIN_NAMES, *FILES, *MEASURED, ".DS_Store", "Thumbs.db", "desktop.ini"}
    if path.is_dir():
        foreign = sorted(p.name for p in path.iterdir() if p.name not in ours and not p.name.startswith("._"))
        what = f"holds {foreign[0]}, which is no part of a bundle" if foreign else ""
    else:
        what = "is a file" if path.exists() else ""
    if what:
        raise BundleError(f"{path} {what} and would be lost; name another folder with --out")


def _halves(model: torch.nn.Module) -> dict[str, tuple[np.ndarray, type]]:
    state = {k: v.detach().cpu() for k, v in model.state_dict().items()}
    # Batch norms count their batches, past what float16 can hold.
    return {k: (v.numpy(), np.float16 if v.is_floating_point() else np.int64) for k, v in state.items()}


def write_bundle(
    path: Path,
    *,
    manifest: Mapping[str, Any],
    autoencoder: Autoencoder,
    generator: AnyGenerator,
    standardisation: Standardisation,
    real_codes: np.ndarray,
    generated_codes: np.ndarray | None = None,
    latents: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    judge: Mapping[str, np.ndarray],
    names: list[str],
    curves: Mapping[str, list[dict[str, float]]],
    card: str,
) -> Bundle:
    """Write a bundle into ``path`` and open it again to check it.

    It is written beside ``path`` first and takes its place only when it is whole, so a failure leaves
    the bundle that stood there before untouched. What took long to measure of that one (its race and its
    reachability) is kept if its networks and images are the same. Weights and latents become float16,
    codes 7 bits.
    latents: 'real_labels', 'real_splits' (indices into SPLITS), 'generated_z', 'generated_latents' (m,
    latent_dim), 'snapshot_z', 'snapshot_latents', 'snapshot_images'; see ``Bundle`` for shapes.
    generated_codes: a pixel generator's, in place of 'generated_latents'; a cascade takes neither.
    Raises BundleError when the disk is full, what was written cannot be opened, or ``path`` holds more.
    """
    check_replaceable(path)
    path = path.resolve()  # of a link, what it leads to is replaced
    with _alone(path), _replacing(path) as temporary:
        codes = {}
        codes["codes"], codes["scale"] = quantise(real_codes)
        if generated_codes is not None:
            codes["generated"], codes["generated_scale"] = quantise(generated_codes)
        halves = {"generated_z", "generated_latents", "snapshot_z", "snapshot_latents"}
        others = {"real_labels": np.int16, "real_splits": np.uint8, "snapshot_images": np.int64}
        files: dict[str, dict[str, tuple[np.ndarray, type]]] = {
            "latents": {k: (v, np.float16 if k in halves else others[k]) for k, v in latents.items()},
            "map": {k: (v, np.float32) for k, v in positions.items()},
            "judge": {k: (v, np.int16 if k.endswith("top1") else np.float16) for k, v in judge.items()},
            "standardisation": {
                k: (getattr(standardisation, k).cpu().numpy(), np.float32)
                for k in ("mean", "components", "scale")
            },
            "autoencoder": _halves(autoencoder),
            "generator": _halves(generator),
        }
        for name, arrays in files.items():
            # Not ascontiguousarray, which would make a row of a single number.
            content = to_bytes({k: np.asarray(v, dtype, order="C") for k, (v, dtype) in arrays.items()})
            (temporary / f"{name}.safetensors").write_bytes(content)
        (temporary / "codes.safetensors.gz").write_bytes(gzip.compress(to_bytes(codes), mtime=0))
        named = json.dumps({"names": names}).encode()
        (temporary / NAMES).write_bytes(gzip.compress(named, mtime=0))
        (temporary / "curves.json").write_text(json.dumps(curves))
        (temporary / CARD).write_text(card, encoding="utf-8")
        _keep_measured(path, temporary, names)
        whole = {
            "format": FORMAT,
            "version": VERSION,
            **manifest,
            "networks": {
                "kind": next(k for k, (_, network) in GENERATORS.items() if type(generator) is network),
                "autoencoder": asdict(autoencoder.config),
                "generator": asdict(generator.config),
            },
            "counts": {
                "real": len(names),
                "generated": len(latents["generated_z"]),
                "components": len(standardisation.scale),
                "snapshots": len(latents["snapshot_images"]),
                "snapshot_samples": len(latents["snapshot_z"]),
            },
        }
        _write_manifest(temporary, whole)
    return open_bundle(path)


def _keep_measured(before: Path, after: Path, names: list[str]) -> None:
    """Take over what took long to measure of the bundle that stood there, if it is of the same networks and
    of images of the same names.
    """
    held = [name for name in (RACE, REACHABILITY) if (before / name).is_file()]
    same = False
    with suppress(BundleError):  # of a damaged one nothing is taken over
        same = bool(held) and list(open_bundle(before).names) == names and all(
            (before / name).read_bytes() == (after / name).read_bytes()
            for name in (*WEIGHTS, "standardisation.safetensors")
        )  # fmt: skip
    for name in held:
        if same:
            shutil.copyfile(before / name, after / name)
        else:
            log.warning(
                "%s was measured of other networks or images, and is no longer in %s; to measure it again, "
                "run python -m %s", name, before, MEASURED[name][1],
            )  # fmt: skip


def update_bundle(
    path: Path,
    added: Mapping[str, Mapping[str, Any]],
    card: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> Bundle:
    """Put what was measured (by file name, of ``MEASURED``) and perhaps a new card into a bundle; open it.

    As with ``write_bundle``, a failure leaves the bundle untouched; raises BundleError. check: asked before,
    while nobody else can write; what it raises is passed on.
    """
    here = path.resolve()  # where one stands, say, in what is about to be replaced
    with _alone(here):
        manifest = open_bundle(path).manifest  # damage must not get new hashes
        check()
        with _replacing(here) as temporary:
            shutil.copytree(here, temporary, dirs_exist_ok=True)
            for name, content in added.items():
                (temporary / name).write_text(json.dumps(content, separators=(",", ":")) + "\n")
            if card is not None:
                (temporary / CARD).write_text(card, encoding="utf-8")
            _write_manifest(temporary, manifest)
    return open_bundle(here)


def check_same_networks(path: Path, before: Bundle) -> None:
    """Raise BundleError if a bundle has other networks by now than when it was opened."""
    now, then = read_manifest(path)["files"], before.manifest["files"]
    if any(now[f]["sha256"] != then[f]["sha256"] for f in WEIGHTS):
        raise BundleError(f"{path} was replaced meanwhile, so nothing was put into it")


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write bundle.json with the hashes of the files that are there."""
    listed = [f for f in (*FILES, *MEASURED) if (folder / f).is_file()]
    if NAMES not in listed:
        listed.append(PLAIN_NAMES)
    contents = {f: (folder / f).read_bytes() for f in listed}
    files = {f: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for f, c in contents.items()}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": files}, indent=2) + "\n")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else writes into the bundle at ``path``: of two at once, one would lose what it put in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE)
        lock.acquire()
    except OSError as error:
        raise BundleError(
            f"{path} could not be written ({error}); free some space, or let what else writes into it end, "
            "and run the same command again"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when the block ends and the bundle in it opens.

    Raises BundleError when the disk is full or what was written cannot be opened; ``path`` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    old = path.with_name(f".{path.name}.old{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        open_bundle(temporary)
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:  # an interrupt too: nothing would look for what was there
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise BundleError(
            f"{path} could not be written ({error}); free some space and run the same command again"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
