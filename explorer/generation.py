"""What a bundle's generator makes of z, in pictures and in codes, whichever of the two it was trained on."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from explorer.bundle import Bundle
from explorer.decoding import decode, draw, encode, generate
from explorer.latent import Standardisation
from explorer.networks import Autoencoder, CascadeGenerator, Generator, PixelGenerator


@dataclass(frozen=True)
class _DrawnByDecoder:
    """A GAN on codes, whose samples the decoder draws.

    drawn_by: who draws a sample. note: what a reader must know of the samples, if anything.
    decoded: what the decoder shows of a sample's code, if that is not the sample's picture.
    """

    autoencoder: Autoencoder
    drawn_by: ClassVar[str] = "the decoder"
    note: ClassVar[str] = ""
    decoded: ClassVar[str] = ""

    def pictures(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Pictures uint8 (n, s, s, 3) of samples, from their z float (n, z_dim) and codes (n, code_dim)."""
        return decode(self.autoencoder, codes)


@dataclass(frozen=True)
class LatentGeneration(_DrawnByDecoder):
    """A GAN on codes: the generator yields latents."""

    generator: Generator
    standardisation: Standardisation

    @torch.inference_mode()
    def codes(self, z: np.ndarray) -> np.ndarray:
        """Codes float32 (n, code_dim) of samples, from their z float (n, z_dim)."""
        latents = self.generator(torch.from_numpy(z.astype(np.float32)))
        return self.standardisation.to_codes(latents).numpy()


@dataclass(frozen=True)
class CascadeGeneration(_DrawnByDecoder):
    """A GAN on codes in two stages: the generator yields whole codes."""

    generator: CascadeGenerator

    def codes(self, z: np.ndarray) -> np.ndarray:
        """Codes float32 (n, code_dim) of samples, from their z float (n, z_dim)."""
        return generate(self.generator, z)


@dataclass(frozen=True)
class PixelGeneration:
    """A GAN on pixels: the generator draws by itself, and the encoder gives its pictures their codes.

    The same methods and words as those drawn by the decoder.
    """

    autoencoder: Autoencoder
    generator: PixelGenerator
    drawn_by: ClassVar[str] = "the generator"
    note: ClassVar[str] = (
        "The generator was trained on pixels: generated pictures are its own, and their codes are what the "
        "encoder makes of them."
    )
    decoded: ClassVar[str] = (
        "A generated end is the decoded code of its picture, not the picture that the generator drew."
    )

    def codes(self, z: np.ndarray) -> np.ndarray:
        """Codes float32 (n, code_dim) of samples, from their z float (n, z_dim)."""
        return encode(self.autoencoder, self._drawn(z))

    def pictures(self, z: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Pictures uint8 (n, s, s, 3) of samples, from their z float (n, z_dim) alone."""
        return self._drawn(z)

    def _drawn(self, z: np.ndarray) -> np.ndarray:
        return draw(self.generator, z, self.autoencoder.config.image_size)


Generation = LatentGeneration | CascadeGeneration | PixelGeneration


def load_generation(bundle: Bundle) -> Generation:
    """The networks of an opened bundle, in evaluation mode, float32, on the CPU."""
    autoencoder, generator = bundle.load_autoencoder(), bundle.load_generator()
    if isinstance(generator, PixelGenerator):
        return PixelGeneration(autoencoder, generator)
    if isinstance(generator, CascadeGenerator):
        return CascadeGeneration(autoencoder, generator)
    return LatentGeneration(autoencoder, generator, bundle.standardisation)
