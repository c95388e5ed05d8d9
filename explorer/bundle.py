"""The bundle, as it is when opened (explorer/bundle_reading.py). Format: docs/bundle.md."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer.decoding import generate
from explorer.latent import Standardisation
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
        """The folder's name, also where it is called ``.``."""
        return self.path.resolve().name

    @cached_property
    def key(self) -> str:
        """What tells its networks and arrays from another bundle's, even one that has taken its place."""
        files = [self.manifest["files"].get(name) for name in FILES]
        return hashlib.sha256(repr((files, self.classes, self.held_out)).encode()).hexdigest()

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
