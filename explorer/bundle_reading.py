"""Opening a bundle. Format: docs/bundle.md.

safetensors and JSON only, so opening one runs no code of its author's. ``open_bundle`` checks everything
it reads and raises ``BundleError``, one sentence that names the file, for whatever is wrong.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from explorer.bundle import (
    CARD,
    FILES,
    FORMAT,
    GENERATORS,
    MANIFEST,
    NAMES,
    PLAIN_NAMES,
    SPLITS,
    VERSION,
    AnyGanConfig,
    Bundle,
    BundleError,
)
from explorer.latent import Standardisation
from explorer.measured import EVALUATION, INCOMPLETE, MEASURED, RACE, REACHABILITY, check_number
from explorer.networks import (
    AutoencoderConfig,
    CascadeConfig,
    GanConfig,
    PixelGanConfig,
)
from explorer.race import LATENT

# What reading a damaged file can raise.
UNREADABLE = (
    SafetensorError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError,
)  # fmt: skip


def list_bundles(*folders: Path) -> dict[str, Path]:
    """Bundle folders by name below the given folders: every sub-folder, or the folder itself.

    Broken ones are listed too, as long as they hold any file of a bundle: the app says what is wrong. Folders
    that may not be looked into are not.
    """
    known = {MANIFEST, *FILES} - {CARD}
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            inside = sorted(folder.iterdir())
        except OSError:
            continue
        for path in (folder, *inside):
            hidden = path != folder and path.name.startswith(".")  # one that is being written
            if not hidden and any(os.path.isfile(path / name) for name in known):
                name = path.resolve().name
                found.setdefault(name if name not in found else str(path), path)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; get the bundle again or train it anew") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error}); get the bundle again") from None


def _parse(path: Path, parse: Callable[[bytes], Any], content: bytes) -> Any:
    try:
        return parse(content)
    except UNREADABLE as error:
        raise BundleError(f"{path} cannot be read ({error}); get the bundle again") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """bundle.json of a bundle, with its format and version checked."""
    if not path.is_dir():
        raise BundleError(f"there is no bundle {path}; name the folder of one, as those in pretrained/ are")
    manifest = _parse(path / MANIFEST, json.loads, _read(path / MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path / MANIFEST} is not the manifest of a dual-space bundle")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"{path / MANIFEST} has format version {manifest.get('version')!r}, but this program reads "
            f"version {VERSION}; use the version of the program that wrote it"
        )
    return manifest


def open_bundle(path: Path) -> Bundle:
    """Open and validate a bundle. Raises BundleError, one sentence naming the file, if anything is off."""
    manifest = read_manifest(path)
    try:
        return _open(path, manifest)
    except INCOMPLETE as error:
        raise BundleError(
            f"{path / MANIFEST} is incomplete or inconsistent ({type(error).__name__}: {error}); "
            "get the bundle again"
        ) from None


def _check_manifest(manifest: dict[str, Any], classes: tuple[str, ...]) -> None:
    """Raise one of ``INCOMPLETE`` if the manifest lacks what the app shows or reads, or has it otherwise."""
    if not isinstance(manifest["data"]["source"], str):
        raise TypeError("the source of the data is no text")
    measured = manifest["metrics"]
    for key in ("components", "trustworthiness", "trustworthiness_placed", "placed_to_own_position", "n"):
        check_number(measured["map"][key])
    for part in measured["codec"].values():
        for key in ("n", "psnr", "ssim", "sharpness"):
            check_number(part[key])
    judge = manifest["judge"]
    for key in ("name", "categories"):
        judge[key]
    for name in classes:
        judge["class_index"][name]


def check_measured(found: Any, path: Path, images: int) -> dict[str, Any]:
    """What was measured, as read from a file of ``MEASURED``, if it has what the app shows.

    images: how many real images there are. Raises BundleError, naming the file and what to run, if not.
    """
    check, script = MEASURED[path.name]
    try:
        check(found, images)
    except INCOMPLETE as error:
        raise BundleError(
            f"{path} is incomplete ({type(error).__name__}: {error}); run python -m {script} again"
        ) from None
    return found


class _Files:
    """The files of a bundle, their digests compared with the manifest's."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.names = NAMES if NAMES in manifest["files"] else PLAIN_NAMES
        needed = (self.names if name == NAMES else name for name in FILES)
        listed = [*needed, *(name for name in MEASURED if name in manifest["files"])]
        self._contents = {name: _read(path / name) for name in listed}
        for name, content in self._contents.items():
            if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
                raise BundleError(
                    f"{path / name} is damaged or was changed (its SHA-256 differs from bundle.json); "
                    "get the bundle again"
                )

    def parsed(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        """What a file holds, uncompressed."""

        def load(content: bytes) -> Any:
            return parse(gzip.decompress(content) if name.endswith(".gz") else content)

        return _parse(self.path / name, load, self._contents[name])

    def arrays(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Arrays of a file, those named being of the shapes given, and all finite."""
        arrays = self.parsed(name, load_arrays)
        path = self.path / name
        for array_name, shape in shapes.items():
            if array_name not in arrays:
                raise BundleError(f"{path} lacks the array {array_name!r}; get the bundle again")
            found = arrays[array_name].shape
            if found != shape:
                raise BundleError(
                    f"{path} is damaged: {array_name!r} has shape {found}, not {shape}; get the bundle again"
                )
        for array_name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BundleError(
                    f"{path} is damaged: {array_name!r} holds NaN or infinite values; get the bundle again"
                )
        return arrays

    def weights(self, network: str) -> dict[str, torch.Tensor]:
        """Weights of a network by name, as they are stored."""
        return {k: torch.from_numpy(v) for k, v in self.arrays(f"{network}.safetensors", {}).items()}

    def measured(self, name: str, images: int) -> dict[str, Any] | None:
        """What one of ``MEASURED`` holds, or None where that was not run."""
        if name not in self._contents:
            return None
        return check_measured(self.parsed(name, json.loads), self.path / name, images)


def _networks(manifest: dict[str, Any], path: Path) -> tuple[AutoencoderConfig, AnyGanConfig]:
    """What the networks look like, if they fit each other."""
    autoencoder = AutoencoderConfig(**manifest["networks"]["autoencoder"])
    kind = manifest["networks"].get("kind", LATENT)
    if kind not in GENERATORS:
        raise BundleError(
            f"{path / MANIFEST} holds a generator of the unknown kind {kind!r}; "
            "use the version of the program that wrote it"
        )
    gan = GENERATORS[kind][0](**manifest["networks"]["generator"])
    if isinstance(gan, PixelGanConfig) and gan.image_size != autoencoder.image_size:
        raise ValueError(f"pictures of {gan.image_size} px for a codec of {autoencoder.image_size} px")
    if isinstance(gan, CascadeConfig) and gan.code_shape != autoencoder.code_shape:
        raise ValueError(f"codes of {gan.code_shape} for a codec of {autoencoder.code_shape}")
    return autoencoder, gan


def _classes(manifest: dict[str, Any], path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of all classes, and of those held out."""
    classes, held_out = tuple(manifest["classes"]), tuple(manifest["held_out"])
    if not set(held_out) <= set(classes):
        raise BundleError(
            f"{path / MANIFEST} holds out classes that are not among its classes; get the bundle again"
        )
    return classes, held_out


def _check_labels(
    labels: np.ndarray, splits: np.ndarray, held_out: list[int], classes: int, path: Path
) -> None:
    """Raise BundleError unless labels and splits exist and say the same of what is held out."""
    if not (np.isin(labels, range(classes)).all() and np.isin(splits, range(len(SPLITS))).all()):
        raise BundleError(f"{path} is damaged: a label is out of range; get the bundle again")
    if (np.isin(labels, held_out) != (splits == SPLITS.index("held_out"))).any():
        raise BundleError(
            f"{path} is damaged: its splits contradict the held-out classes; get the bundle again"
        )


def _open(path: Path, manifest: dict[str, Any]) -> Bundle:
    files = _Files(path, manifest)
    autoencoder, gan = _networks(manifest, path)
    classes, held_out = _classes(manifest, path)
    _check_manifest(manifest, classes)
    first = gan.coarse if isinstance(gan, CascadeConfig) else gan  # whose training the snapshots show
    # Whitened components: a latent generator's, or those fitted for the map beside a pixel generator.
    latent_dim = first.latent_dim if isinstance(first, GanConfig) else manifest["counts"]["components"]
    code_dim = autoencoder.code_dim
    n, m = manifest["counts"]["real"], manifest["counts"]["generated"]
    s, r = manifest["counts"]["snapshots"], manifest["counts"]["snapshot_samples"]

    # A cascade's codes are not stored, but generated when first asked for.
    of_pictures = {"generated": (m, code_dim), "generated_scale": (code_dim,)}
    codes = files.arrays(
        "codes.safetensors.gz",
        {
            "codes": (n, code_dim),
            "scale": (code_dim,),
            **(of_pictures if isinstance(gan, PixelGanConfig) else {}),
        },
    )
    latents = files.arrays(
        "latents.safetensors",
        {
            "real_labels": (n,),
            "real_splits": (n,),
            "generated_z": (m, gan.z_dim),
            "snapshot_z": (r, first.z_dim),
            "snapshot_latents": (s, r, latent_dim),
            "snapshot_images": (s,),
            **({"generated_latents": (m, latent_dim)} if isinstance(gan, GanConfig) else {}),
        },
    )
    labels, splits = latents["real_labels"].astype(np.int64), latents["real_splits"]
    held_out_labels = [classes.index(name) for name in held_out]
    _check_labels(labels, splits, held_out_labels, len(classes), path / "latents.safetensors")
    positions = files.arrays("map.safetensors", {"real": (n, 2), "generated": (m, 2), "snapshots": (s, r, 2)})
    judged = {"photo": n, "round_trip": n, "generated": m}
    judge = files.arrays(
        "judge.safetensors",
        {f"{k}_{v}": (count,) for k, count in judged.items() for v in ("top1", "confidence")},
    )
    fitted = files.arrays(
        "standardisation.safetensors",
        {"mean": (code_dim,), "components": (latent_dim, code_dim), "scale": (latent_dim,)},
    )
    standard = Standardisation(
        *(torch.from_numpy(fitted[k].astype(np.float32)) for k in ("mean", "components", "scale"))
    )
    stored_codes: np.ndarray | None = None
    if isinstance(gan, PixelGanConfig):
        stored_codes = codes["generated"] * codes["generated_scale"]
    elif isinstance(gan, GanConfig):
        stored = torch.from_numpy(latents["generated_latents"].astype(np.float32))
        stored_codes = standard.to_codes(stored).numpy()
    names = files.parsed(files.names, lambda text: tuple(json.loads(text)["names"]))
    if len(names) != n:
        raise BundleError(f"{path / files.names} names {len(names)} images, not {n}; get the bundle again")
    bundle = Bundle(
        path=path,
        manifest=manifest,
        classes=classes,
        held_out=held_out,
        labels=labels,
        splits=np.array(SPLITS)[splits],
        names=names,
        real_codes=codes["codes"] * codes["scale"],
        generated_z=latents["generated_z"],
        snapshot_z=latents["snapshot_z"],
        snapshot_latents=latents["snapshot_latents"],
        snapshot_images=latents["snapshot_images"].astype(np.int64),
        map_real=positions["real"],
        map_generated=positions["generated"],
        map_snapshots=positions["snapshots"],
        judge=judge,
        curves=files.parsed("curves.json", json.loads),
        card=files.parsed(CARD, bytes.decode),
        evaluation=files.measured(EVALUATION, n),
        race=files.measured(RACE, n),
        reachability=files.measured(REACHABILITY, n),
        standardisation=standard,
        autoencoder_config=autoencoder,
        gan_config=gan,
        _weights={network: files.weights(network) for network in ("autoencoder", "generator")},
        _stored_codes=stored_codes,
    )
    bundle.load_autoencoder(), bundle.load_generator()  # checks the weights' names and shapes
    return bundle
