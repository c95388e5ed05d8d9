"""The bundle: what training writes and the app opens. Format: docs/bundle.md.

safetensors and JSON only, so opening one runs no code of its author's. ``open_bundle`` checks everything
it reads and raises ``BundleError``, one sentence that names the file, for whatever is wrong.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save_file as save_arrays

from explorer.latent import Standardisation
from explorer.networks import Autoencoder, AutoencoderConfig, GanConfig, Generator

FORMAT = "dual-space-bundle"
VERSION = 1
SPLITS = ("train", "val", "held_out")
MANIFEST = "bundle.json"
CARD = "README.md"
# Every file a bundle must have beside its manifest.
FILES = (
    "autoencoder.safetensors",
    "generator.safetensors",
    "standardisation.safetensors",
    "latents.safetensors",
    "map.safetensors",
    "judge.safetensors",
    "images.json",
    "curves.json",
    CARD,
)


class BundleError(Exception):
    """A bundle cannot be opened or written; the message is one sentence that names the file."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. n real images, m generated samples, s snapshots of r samples each.

    manifest: the whole of bundle.json. classes: names. held_out: those of them held out.
    labels: int64 (n,). splits: str (n,), one of SPLITS. names: file names relative to the source.
    real_codes: float16 (n, code_dim).
    generated_z: float16 (m, z_dim); generated_latents: float16 (m, latent_dim), the generator's output.
    snapshot_z: float16 (r, z_dim); snapshot_latents: float16 (s, r, latent_dim);
    snapshot_images: int64 (s,), training images seen at each snapshot.
    map_real (n, 2), map_generated (m, 2), map_snapshots (s, r, 2): float32 map coordinates.
    judge: ImageNet class index int16 and probability float16 that the judge gave to 'photo' (n,),
    'round_trip' (n,) and 'generated' (m,), e.g. judge['photo_top1']; -1 where it was not asked.
    curves: metrics by stage, as written while training. card: README.md.
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
    generated_latents: np.ndarray
    snapshot_z: np.ndarray
    snapshot_latents: np.ndarray
    snapshot_images: np.ndarray
    map_real: np.ndarray
    map_generated: np.ndarray
    map_snapshots: np.ndarray
    judge: dict[str, np.ndarray]
    curves: dict[str, list[dict[str, float]]]
    card: str
    standardisation: Standardisation
    autoencoder_config: AutoencoderConfig
    gan_config: GanConfig
    _weights: dict[str, dict[str, torch.Tensor]] = field(repr=False)

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
        """Codes float32 (m, code_dim) of the generated samples."""
        return self.codes_of_latents(self.generated_latents)

    def codes_of_latents(self, latents: np.ndarray) -> np.ndarray:
        """Latents float (..., latent_dim) -> codes float32 (..., code_dim)."""
        flat = torch.from_numpy(latents.reshape(-1, latents.shape[-1]).astype(np.float32))
        codes = self.standardisation.to_codes(flat).numpy()
        return codes.reshape(*latents.shape[:-1], -1)

    def load_autoencoder(self) -> Autoencoder:
        """The autoencoder in evaluation mode, float32, on the CPU."""
        model = Autoencoder(self.autoencoder_config)
        _load_weights(model, self._weights["autoencoder"], self.path / "autoencoder.safetensors")
        return model

    def load_generator(self) -> Generator:
        """The averaged generator in evaluation mode, float32, on the CPU."""
        model = Generator(self.gan_config)
        _load_weights(model, self._weights["generator"], self.path / "generator.safetensors")
        return model

    def judge_category(self, index: int) -> str:
        """English name of an ImageNet class that the judge gave to some picture of this bundle."""
        return self.manifest["judge"]["categories"].get(str(index), f"ImageNet class {index}")


def _load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    model.eval().requires_grad_(False)
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in weights.items()}
    if wanted != found:
        odd = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise BundleError(
            f"{path} does not fit the network that bundle.json describes (first: {odd[0]}: "
            f"{found.get(odd[0])} instead of {wanted.get(odd[0])}); get the bundle again"
        )
    model.load_state_dict({k: v.float() for k, v in weights.items()})


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            if path.is_dir() and any((path / name).is_file() for name in known):
                name = path.resolve().name
                found.setdefault(name if name not in found else str(path), path)
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; get the bundle again or train it anew") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}); get the bundle again") from None


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_arrays(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
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
    manifest = _read_json(path / MANIFEST)
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
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise BundleError(
            f"{path / MANIFEST} is incomplete or inconsistent ({type(error).__name__}: {error}); "
            "get the bundle again"
        ) from None


def _open(path: Path, manifest: dict[str, Any]) -> Bundle:
    for name in FILES:
        if not (path / name).is_file():
            raise BundleError(f"{path / name} is missing; get the bundle again or train it anew")
        if sha256(path / name) != manifest["files"][name]["sha256"]:
            raise BundleError(
                f"{path / name} is damaged or was changed (its SHA-256 differs from bundle.json); "
                "get the bundle again"
            )
    autoencoder = AutoencoderConfig(**manifest["networks"]["autoencoder"])
    gan = GanConfig(**manifest["networks"]["generator"])
    classes, held_out = tuple(manifest["classes"]), tuple(manifest["held_out"])
    if not set(held_out) <= set(classes):
        raise BundleError(f"{path / MANIFEST} holds out classes that are not among its classes")
    n, m = manifest["counts"]["real"], manifest["counts"]["generated"]
    s, r = manifest["counts"]["snapshots"], manifest["counts"]["snapshot_samples"]

    latents = _read_arrays(path / "latents.safetensors")
    _expect(
        latents,
        path / "latents.safetensors",
        {
            "real_codes": (n, autoencoder.code_dim),
            "real_labels": (n,),
            "real_splits": (n,),
            "generated_z": (m, gan.z_dim),
            "generated_latents": (m, gan.latent_dim),
            "snapshot_z": (r, gan.z_dim),
            "snapshot_latents": (s, r, gan.latent_dim),
            "snapshot_images": (s,),
        },
    )
    labels = latents["real_labels"].astype(np.int64)
    splits = latents["real_splits"]
    if n and not (labels.min() >= 0 and labels.max() < len(classes) and splits.max() < len(SPLITS)):
        raise BundleError(f"{path / 'latents.safetensors'} is damaged: a label is out of range")
    positions = _read_arrays(path / "map.safetensors")
    _expect(
        positions,
        path / "map.safetensors",
        {"real": (n, 2), "generated": (m, 2), "snapshots": (s, r, 2)},
    )
    judge = _read_arrays(path / "judge.safetensors")
    counts = {"photo": n, "round_trip": n, "generated": m}
    _expect(
        judge,
        path / "judge.safetensors",
        {f"{k}_{v}": (c,) for k, c in counts.items() for v in ("top1", "confidence")},
    )
    standard = _read_arrays(path / "standardisation.safetensors")
    _expect(
        standard,
        path / "standardisation.safetensors",
        {
            "mean": (autoencoder.code_dim,),
            "components": (gan.latent_dim, autoencoder.code_dim),
            "scale": (gan.latent_dim,),
        },
    )
    weights = {}
    for network in ("autoencoder", "generator"):
        arrays = _read_arrays(path / f"{network}.safetensors")
        _expect(arrays, path / f"{network}.safetensors", {})
        weights[network] = {k: torch.from_numpy(v) for k, v in arrays.items()}
    names = _read_json(path / "images.json")["names"]
    if len(names) != n:
        raise BundleError(f"{path / 'images.json'} names {len(names)} images, not {n}")
    bundle = Bundle(
        path=path,
        manifest=manifest,
        classes=classes,
        held_out=held_out,
        labels=labels,
        splits=np.array(SPLITS)[splits],
        names=tuple(names),
        real_codes=latents["real_codes"],
        generated_z=latents["generated_z"],
        generated_latents=latents["generated_latents"],
        snapshot_z=latents["snapshot_z"],
        snapshot_latents=latents["snapshot_latents"],
        snapshot_images=latents["snapshot_images"].astype(np.int64),
        map_real=positions["real"],
        map_generated=positions["generated"],
        map_snapshots=positions["snapshots"],
        judge=judge,
        curves=_read_json(path / "curves.json"),
        card=(path / CARD).read_text(encoding="utf-8"),
        standardisation=Standardisation(
            *(torch.from_numpy(standard[k].astype(np.float32)) for k in ("mean", "components", "scale"))
        ),
        autoencoder_config=autoencoder,
        gan_config=gan,
        _weights=weights,
    )
    bundle.load_autoencoder()  # checks the weights' names and shapes
    bundle.load_generator()
    return bundle


def write_bundle(
    path: Path,
    *,
    manifest: Mapping[str, Any],
    autoencoder: Autoencoder,
    generator: Generator,
    standardisation: Standardisation,
    latents: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    judge: Mapping[str, np.ndarray],
    names: list[str],
    curves: Mapping[str, list[dict[str, float]]],
    card: str,
) -> Bundle:
    """Write a bundle into ``path`` and open it again to check it.

    It is written beside ``path`` first and takes its place only when it is whole, so a failure leaves
    the bundle that stood there before untouched. Weights and codes become float16.
    latents: 'real_codes', 'real_labels', 'real_splits' (indices into SPLITS), 'generated_z',
    'generated_latents', 'snapshot_z', 'snapshot_latents', 'snapshot_images'; see ``Bundle`` for shapes.
    Raises BundleError when the disk is full or what was written cannot be opened.
    """
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        halves = {
            "real_codes",
            "generated_z",
            "generated_latents",
            "snapshot_z",
            "snapshot_latents",
        }
        integers = {"real_labels": np.int16, "real_splits": np.uint8, "snapshot_images": np.int64}
        save_arrays(
            {
                k: np.ascontiguousarray(v, np.float16 if k in halves else integers[k])
                for k, v in latents.items()
            },
            temporary / "latents.safetensors",
        )
        save_arrays(
            {k: np.ascontiguousarray(v, np.float32) for k, v in positions.items()},
            temporary / "map.safetensors",
        )
        save_arrays(
            {
                k: np.ascontiguousarray(v, np.int16 if k.endswith("top1") else np.float16)
                for k, v in judge.items()
            },
            temporary / "judge.safetensors",
        )
        save_arrays(
            {k: getattr(standardisation, k).cpu().numpy() for k in ("mean", "components", "scale")},
            temporary / "standardisation.safetensors",
        )
        for name, model in (("autoencoder", autoencoder), ("generator", generator)):
            save_arrays(
                {k: v.detach().cpu().half().numpy() for k, v in model.state_dict().items()},
                temporary / f"{name}.safetensors",
            )
        (temporary / "images.json").write_text(json.dumps({"names": names}))
        (temporary / "curves.json").write_text(json.dumps(curves))
        (temporary / CARD).write_text(card, encoding="utf-8")
        whole = {
            "format": FORMAT,
            "version": VERSION,
            **manifest,
            "networks": {
                "autoencoder": asdict(autoencoder.config),
                "generator": asdict(generator.config),
            },
            "counts": {
                "real": len(names),
                "generated": len(latents["generated_z"]),
                "snapshots": len(latents["snapshot_images"]),
                "snapshot_samples": len(latents["snapshot_z"]),
            },
            "files": {
                f: {"sha256": sha256(temporary / f), "bytes": (temporary / f).stat().st_size} for f in FILES
            },
        }
        (temporary / MANIFEST).write_text(json.dumps(whole, indent=2) + "\n")
        open_bundle(temporary)
        old = path.with_name(f".{path.name}.old{os.getpid()}")
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise BundleError(
            f"{path} could not be written ({error}); free some space and run the same command again"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_bundle(path)
