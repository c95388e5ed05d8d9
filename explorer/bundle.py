"""The bundle: what training writes (explorer/bundle_writing.py) and the app opens. Format: docs/bundle.md.

safetensors and JSON only, so opening one runs no code of its author's. ``open_bundle`` checks everything
it reads and raises ``BundleError``, one sentence that names the file, for whatever is wrong.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from explorer.decoding import generate
from explorer.latent import Standardisation
from explorer.measured import EVALUATION, INCOMPLETE, MEASURED, RACE, REACHABILITY, check_number
from explorer.networks import (
    Autoencoder,
    AutoencoderConfig,
    CascadeConfig,
    CascadeGenerator,
    GanConfig,
    Generator,
    PixelGanConfig,
    PixelGenerator,
)
from explorer.projection import map_features, place
from explorer.race import CASCADE, LATENT, PIXEL

FORMAT = "dual-space-bundle"
VERSION = 2
SPLITS = ("train", "val", "held_out")
MANIFEST = "bundle.json"
CARD = "README.md"
NAMES = "images.json.gz"
PLAIN_NAMES = "images.json"  # in its place in bundles written until November 2026
# Every file a bundle must have beside its manifest.
FILES = (
    "autoencoder.safetensors",
    "generator.safetensors",
    "standardisation.safetensors",
    "codes.safetensors.gz",
    "latents.safetensors",
    "map.safetensors",
    "judge.safetensors",
    NAMES,
    "curves.json",
    CARD,
)
AnyGanConfig = GanConfig | CascadeConfig | PixelGanConfig
AnyGenerator = Generator | CascadeGenerator | PixelGenerator
# Configuration and network of the generator by kind: one of latents, one of whole codes, one of pictures.
GENERATORS: dict[str, tuple[type[AnyGanConfig], type[AnyGenerator]]] = {
    LATENT: (GanConfig, Generator),
    CASCADE: (CascadeConfig, CascadeGenerator),
    PIXEL: (PixelGanConfig, PixelGenerator),
}
# What reading a damaged file can raise.
UNREADABLE = (
    SafetensorError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError,
)  # fmt: skip


class BundleError(Exception):
    """A bundle cannot be opened or written; the message is one sentence that names the file."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. n real images, m generated samples, s snapshots of r samples each.

    manifest: the whole of bundle.json. classes: names. held_out: those of them held out.
    labels: int64 (n,). splits: str (n,), one of SPLITS. names: file names relative to the source.
    real_codes: float32 (n, code_dim), of 7 bits each where they are stored.
    generated_z: float16 (m, z_dim).
    snapshot_z: float16 (r, z_dim), a cascade's first stage's; snapshot_latents: float16 (s, r, latent_dim);
    snapshot_images: int64 (s,), training images seen at each snapshot.
    map_real (n, 2), map_generated (m, 2), map_snapshots (s, r, 2): float32 map coordinates.
    judge: ImageNet class index int16 and probability float16 that the judge gave to 'photo' (n,),
    'round_trip' (n,) and 'generated' (m,), e.g. judge['photo_top1']; -1 where it was not asked.
    curves: metrics by stage, as written while training. card: README.md.
    evaluation, race, reachability: what ``training.evaluate``, ``.race`` and ``.reachability`` measured; None
    where not run.
    """

    path: Path
    manifest: dict[str, Any]
    classes: tuple[str, ...]
    held_out: tuple[str, ...]
    labels: np.ndarray
    splits: np.ndarray
    names: tuple[str, ...]
    real_codes: np.ndarray
    generated_z: np.ndarray
    snapshot_z: np.ndarray
    snapshot_latents: np.ndarray
    snapshot_images: np.ndarray
    map_real: np.ndarray
    map_generated: np.ndarray
    map_snapshots: np.ndarray
    judge: dict[str, np.ndarray]
    curves: dict[str, list[dict[str, float]]]
    card: str
    evaluation: dict[str, Any] | None
    race: dict[str, Any] | None
    reachability: dict[str, Any] | None
    standardisation: Standardisation
    autoencoder_config: AutoencoderConfig
    gan_config: AnyGanConfig
    _weights: dict[str, dict[str, torch.Tensor]] = field(repr=False)
    _stored_codes: np.ndarray | None = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def held_out_labels(self) -> np.ndarray:
        """Class indices int64 of the held-out classes."""
        return np.array([self.classes.index(c) for c in self.held_out], np.int64)

    @cached_property
    def generated_codes(self) -> np.ndarray:
        """Codes float32 (m, code_dim) of the generated samples.

        Those of a latent generator's output; or of a pixel generator's pictures, then of 7 bits where they
        are stored. A cascade's are not stored, but generated when first asked for: a second's work.
        """
        if self._stored_codes is not None:
            return self._stored_codes
        generator = self.load_generator()
        assert isinstance(generator, CascadeGenerator)  # of the others they are stored
        return generate(generator, self.generated_z)

    @cached_property
    def _map_features(self) -> np.ndarray:
        return map_features(self.real_codes, self.standardisation)

    def place(self, codes: np.ndarray) -> np.ndarray:
        """Map coordinates float32 (k, 2) of codes float (k, code_dim), on the map as it was fitted."""
        return place(map_features(codes, self.standardisation), self._map_features, self.map_real)

    def codes_of_latents(self, latents: np.ndarray) -> np.ndarray:
        """Latents float (..., latent_dim) -> codes float32 (..., code_dim)."""
        return self.standardisation.to_codes(torch.from_numpy(latents.astype(np.float32))).numpy()

    def load_autoencoder(self) -> Autoencoder:
        """The autoencoder in evaluation mode, float32, on the CPU."""
        model = Autoencoder(self.autoencoder_config)
        _load_weights(model, self._weights["autoencoder"], self.path / "autoencoder.safetensors")
        return model

    def load_generator(self) -> AnyGenerator:
        """The averaged generator in evaluation mode, float32, on the CPU."""
        return _load_generator(self.gan_config, self._weights["generator"], self.path)

    def judge_category(self, index: int) -> str:
        """English name of an ImageNet class that the judge gave to some picture of this bundle."""
        return self.manifest["judge"]["categories"].get(str(index), f"ImageNet class {index}")


def _load_generator(config: AnyGanConfig, weights: dict[str, torch.Tensor], folder: Path) -> AnyGenerator:
    networks: dict[Any, Any] = dict(GENERATORS.values())
    model = networks[type(config)](config)
    _load_weights(model, weights, folder / "generator.safetensors")
    return model


def _load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    model.eval().requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # quicker convolutions
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in weights.items()}
    if wanted != found:
        odd = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise BundleError(
            f"{path} does not fit the network that bundle.json describes (first: {odd[0]}: "
            f"{found.get(odd[0])} instead of {wanted.get(odd[0])}); get the bundle again"
        )
    model.load_state_dict({k: v.float() for k, v in weights.items()})


def list_bundles(*folders: Path) -> dict[str, Path]:
    """Bundle folders by name below the given folders: every sub-folder, or the folder itself.

    Broken ones are listed too, as long as they hold any file of a bundle: the app says what is wrong.
    """
    known = {MANIFEST, *FILES} - {CARD}
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in (folder, *sorted(folder.iterdir())):
            hidden = path != folder and path.name.startswith(".")  # one that is being written
            if path.is_dir() and not hidden and any((path / name).is_file() for name in known):
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


def _expect(arrays: Mapping[str, np.ndarray], path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check names, shapes and finiteness of a file's arrays."""
    for name, shape in shapes.items():
        if name not in arrays:
            raise BundleError(f"{path} lacks the array {name!r}; get the bundle again")
        array = arrays[name]
        if array.shape != shape:
            raise BundleError(
                f"{path} is damaged: {name!r} has shape {array.shape}, not {shape}; get the bundle again"
            )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(
                f"{path} is damaged: {name!r} holds NaN or infinite values; get the bundle again"
            )


def read_manifest(path: Path) -> dict[str, Any]:
    """bundle.json of a bundle, with its format and version checked."""
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


def _open(path: Path, manifest: dict[str, Any]) -> Bundle:
    names_file = NAMES if NAMES in manifest["files"] else PLAIN_NAMES
    needed = (names_file if name == NAMES else name for name in FILES)
    listed = [*needed, *(name for name in MEASURED if name in manifest["files"])]
    contents = {name: _read(path / name) for name in listed}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
            raise BundleError(
                f"{path / name} is damaged or was changed (its SHA-256 differs from bundle.json); "
                "get the bundle again"
            )

    def parsed(name: str, parse: Callable[[bytes], Any]) -> Any:
        def load(content: bytes) -> Any:
            return parse(gzip.decompress(content) if name.endswith(".gz") else content)

        return _parse(path / name, load, contents[name])

    def arrays_of(name: str) -> dict[str, np.ndarray]:
        return parsed(name, load_arrays)

    def added(name: str) -> dict[str, Any] | None:
        if name not in contents:
            return None
        return check_measured(_parse(path / name, json.loads, contents[name]), path / name, n)

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
    first = gan.coarse if isinstance(gan, CascadeConfig) else gan  # whose training the snapshots show
    # Whitened components: a latent generator's, or those fitted for the map beside a pixel generator.
    latent_dim = first.latent_dim if isinstance(first, GanConfig) else manifest["counts"]["components"]
    classes, held_out = tuple(manifest["classes"]), tuple(manifest["held_out"])
    if not set(held_out) <= set(classes):
        raise BundleError(
            f"{path / MANIFEST} holds out classes that are not among its classes; get the bundle again"
        )
    _check_manifest(manifest, classes)
    n, m = manifest["counts"]["real"], manifest["counts"]["generated"]
    s, r = manifest["counts"]["snapshots"], manifest["counts"]["snapshot_samples"]

    code_dim = autoencoder.code_dim
    codes = arrays_of("codes.safetensors.gz")
    _expect(codes, path / "codes.safetensors.gz", {"codes": (n, code_dim), "scale": (code_dim,)})
    latents = arrays_of("latents.safetensors")
    _expect(
        latents,
        path / "latents.safetensors",
        {
            "real_labels": (n,),
            "real_splits": (n,),
            "generated_z": (m, gan.z_dim),
            "snapshot_z": (r, first.z_dim),
            "snapshot_latents": (s, r, latent_dim),
            "snapshot_images": (s,),
        },
    )
    labels = latents["real_labels"].astype(np.int64)
    splits = latents["real_splits"]
    if not (np.isin(labels, range(len(classes))).all() and np.isin(splits, range(len(SPLITS))).all()):
        raise BundleError(
            f"{path / 'latents.safetensors'} is damaged: a label is out of range; get the bundle again"
        )
    held_out_labels = [classes.index(name) for name in held_out]
    if (np.isin(labels, held_out_labels) != (splits == SPLITS.index("held_out"))).any():
        raise BundleError(
            f"{path / 'latents.safetensors'} is damaged: its splits contradict the held-out classes; "
            "get the bundle again"
        )
    positions = arrays_of("map.safetensors")
    _expect(
        positions,
        path / "map.safetensors",
        {"real": (n, 2), "generated": (m, 2), "snapshots": (s, r, 2)},
    )
    judge = arrays_of("judge.safetensors")
    counts = {"photo": n, "round_trip": n, "generated": m}
    _expect(
        judge,
        path / "judge.safetensors",
        {f"{k}_{v}": (c,) for k, c in counts.items() for v in ("top1", "confidence")},
    )
    fitted = arrays_of("standardisation.safetensors")
    _expect(
        fitted,
        path / "standardisation.safetensors",
        {
            "mean": (code_dim,),
            "components": (latent_dim, code_dim),
            "scale": (latent_dim,),
        },
    )
    standard = Standardisation(
        *(torch.from_numpy(fitted[k].astype(np.float32)) for k in ("mean", "components", "scale"))
    )
    weights = {}
    for network in ("autoencoder", "generator"):
        arrays = arrays_of(f"{network}.safetensors")
        _expect(arrays, path / f"{network}.safetensors", {})
        weights[network] = {k: torch.from_numpy(v) for k, v in arrays.items()}
    stored_codes: np.ndarray | None = None
    if isinstance(gan, PixelGanConfig):
        shapes = {"generated": (m, code_dim), "generated_scale": (code_dim,)}
        _expect(codes, path / "codes.safetensors.gz", shapes)
        stored_codes = codes["generated"] * codes["generated_scale"]
    elif isinstance(gan, GanConfig):
        _expect(latents, path / "latents.safetensors", {"generated_latents": (m, latent_dim)})
        stored = torch.from_numpy(latents["generated_latents"].astype(np.float32))
        stored_codes = standard.to_codes(stored).numpy()
    names = parsed(names_file, lambda text: tuple(json.loads(text)["names"]))
    if len(names) != n:
        raise BundleError(f"{path / names_file} names {len(names)} images, not {n}; get the bundle again")
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
        curves=_parse(path / "curves.json", json.loads, contents["curves.json"]),
        card=_parse(path / CARD, bytes.decode, contents[CARD]),
        evaluation=added(EVALUATION),
        race=added(RACE),
        reachability=added(REACHABILITY),
        standardisation=standard,
        autoencoder_config=autoencoder,
        gan_config=gan,
        _weights=weights,
        _stored_codes=stored_codes,
    )
    bundle.load_autoencoder(), bundle.load_generator()  # checks the weights' names and shapes
    return bundle
