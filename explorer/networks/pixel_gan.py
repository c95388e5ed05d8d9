"""The GAN on pixels."""

import itertools
import math
from dataclasses import dataclass

from torch import Tensor, nn

from explorer.networks.autoencoder import AutoencoderConfig, Decoder, Encoder


@dataclass(frozen=True)
class PixelGanConfig:
    """Shape of a GAN on pixels.

    z_dim: numbers drawn from the standard normal prior. image_size: side of the square RGB images, pixels.
    widths: channels at each resolution, from image_size/2 down (a factor of 2 each), to 4 for 'dcgan'.
    network: 'residual', the autoencoder's own blocks, one at each resolution; 'dcgan', as Radford et al.
    2015 (arXiv 1511.06434), whose batch norms follow their running statistics once trained.
    """

    z_dim: int = 128
    image_size: int = 64
    widths: tuple[int, ...] = (64, 128, 192, 256)
    network: str = "residual"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON gives lists
        if self.network not in ("residual", "dcgan"):
            raise ValueError(f"unknown network {self.network!r}; use residual or dcgan")
        if not self.widths or self.side * 2 ** len(self.widths) != self.image_size or self.side < 1:
            raise ValueError(f"{self.image_size} px cannot be halved {len(self.widths)} times")
        if self.network == "dcgan" and self.side != 4:
            raise ValueError(f"a DCGAN starts at 4 px, but {len(self.widths)} widths lead to {self.side} px")

    @property
    def side(self) -> int:
        """Pixels at the lowest resolution."""
        return self.image_size // 2 ** len(self.widths)

    @property
    def autoencoder(self) -> AutoencoderConfig:
        """The autoencoder whose decoder and encoder the residual networks borrow."""
        one_each = (1,) * len(self.widths)
        return AutoencoderConfig(
            self.image_size, self.widths[-1], self.side, self.widths, (0, *one_each[1:]), one_each
        )


def _dcgan(config: PixelGanConfig) -> tuple[nn.Sequential, nn.Sequential]:
    """Generator and discriminator of Radford et al. 2015."""
    up, down = [*config.widths[::-1], 3], [3, *config.widths]
    generator: list[nn.Module] = [
        nn.Unflatten(1, (config.z_dim, 1, 1)),
        nn.ConvTranspose2d(config.z_dim, up[0], 4, bias=False),
    ]
    for inner, outer in itertools.pairwise(up):
        generator += [nn.BatchNorm2d(inner), nn.ReLU(), nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False)]
    discriminator: list[nn.Module] = []
    for i, (outer, inner) in enumerate(itertools.pairwise(down)):
        discriminator += [nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
        discriminator += [nn.BatchNorm2d(inner)] if i else []
        discriminator += [nn.LeakyReLU(0.2)]
    discriminator += [nn.Conv2d(down[-1], 1, 4, bias=False), nn.Flatten()]
    networks = nn.Sequential(*generator, nn.Tanh()), nn.Sequential(*discriminator)
    for module in (m for network in networks for m in network):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
    return networks


class PixelGenerator(nn.Module):
    """z float (n, z_dim) from a standard normal -> images float (n, 3, s, s) around [-1, 1]."""

    def __init__(self, config: PixelGanConfig) -> None:
        super().__init__()
        self.config = config
        if config.network == "dcgan":
            self.layers = _dcgan(config)[0]
        else:
            shape = config.autoencoder.code_shape
            self.layers = nn.Sequential(
                nn.Linear(config.z_dim, math.prod(shape)), nn.Unflatten(1, shape), Decoder(config.autoencoder)
            )

    def forward(self, z: Tensor) -> Tensor:
        """Generate a batch."""
        return self.layers(z)


class PixelDiscriminator(nn.Module):
    """Images float (n, 3, s, s) in [-1, 1] -> critic scores (n,), unbounded."""

    def __init__(self, config: PixelGanConfig) -> None:
        super().__init__()
        if config.network == "dcgan":
            self.layers = _dcgan(config)[1]
        else:
            shape = config.autoencoder.code_shape
            self.layers = nn.Sequential(
                Encoder(config.autoencoder), nn.SiLU(), nn.Flatten(), nn.Linear(math.prod(shape), 1)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch."""
        return self.layers(images).squeeze(-1)
