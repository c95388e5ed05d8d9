"""The GAN on the leading components of the codes."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from explorer.networks.blocks import FixedBasis, MlpBlock, residual_blocks


@dataclass(frozen=True)
class GanConfig:
    """Shape of the latent GAN, which works on whitened principal components of the codes.

    z_dim: numbers drawn from the standard normal prior.
    latent_dim: numbers the generator yields (the leading principal components of the codes).
    width, blocks: of both networks. network: 'mlp', residual MLPs on the components; 'conv', residual
    convolutions on the code's own layout ``code_shape``, at its full and at half its resolution, where
    the channels are twice the width.
    """

    z_dim: int = 160
    latent_dim: int = 160
    width: int = 512
    blocks: int = 4
    network: str = "mlp"
    code_shape: tuple[int, int, int] = (8, 8, 8)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code_shape", tuple(self.code_shape))  # JSON gives lists
        if self.network not in ("mlp", "conv"):
            raise ValueError(f"unknown network {self.network!r}; use mlp or conv")
        if self.network == "conv" and self.code_shape[1] % 2:
            raise ValueError(f"convolutions halve the code, so its side of {self.code_shape[1]} must be even")


def _mlp(inputs: int, outputs: int, config: GanConfig, normalise: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, config.width),
        *(MlpBlock(config.width, normalise) for _ in range(config.blocks)),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, outputs),
    )


def _conv_generator(config: GanConfig) -> nn.Sequential:
    (channels, side, _), width = config.code_shape, config.width
    return nn.Sequential(
        nn.Linear(config.z_dim, 2 * width * (side // 2) ** 2),
        nn.Unflatten(1, (2 * width, side // 2, side // 2)),
        *residual_blocks(2 * width, config.blocks),
        nn.Conv2d(2 * width, 4 * width, 1),
        nn.PixelShuffle(2),
        *residual_blocks(width, config.blocks),
        nn.SiLU(),
        nn.Conv2d(width, channels, 3, padding=1),
        FixedBasis(math.prod(config.code_shape), config.latent_dim),
    )


def code_critic(code_shape: tuple[int, int, int], width: int, blocks: int) -> list[nn.Module]:
    """Flat codes (n, code_dim) -> scores (n, 1), by convolutions at the code's full and half resolution."""
    channels, side, _ = code_shape
    return [
        nn.Unflatten(1, code_shape),
        nn.Conv2d(channels, width, 3, padding=1),
        *residual_blocks(width, blocks),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        *residual_blocks(2 * width, blocks),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 2) ** 2, 1),
    ]


def _conv_discriminator(config: GanConfig) -> nn.Sequential:
    return nn.Sequential(
        FixedBasis(config.latent_dim, math.prod(config.code_shape)),
        *code_critic(config.code_shape, config.width, config.blocks),
    )


class Generator(nn.Module):
    """z float (n, z_dim) from a standard normal -> latents float (n, latent_dim).

    A residual map that starts as the identity. Latents are whitened, so an untrained generator draws
    from the Gaussian with the mean and covariance of the training codes, and what training adds is what
    sets the images apart from that Gaussian.
    """

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.config = config
        if config.network == "conv":
            self.layers = _conv_generator(config)
        else:
            self.layers = _mlp(config.z_dim, config.latent_dim, config, normalise=True)
        last = [m for m in self.layers if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor) -> Tensor:
        """Generate a batch. Where z and latents differ in length, the identity is cut or padded."""
        return F.pad(z, (0, self.config.latent_dim - self.config.z_dim)) + self.layers(z)


class Discriminator(nn.Module):
    """Latents float (n, latent_dim) -> critic scores (n,), unbounded."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        if config.network == "conv":
            self.layers = _conv_discriminator(config)
        else:
            self.layers = _mlp(config.latent_dim, 1, config, normalise=False)

    def forward(self, latents: Tensor) -> Tensor:
        """Score a batch."""
        return self.layers(latents).squeeze(-1)
