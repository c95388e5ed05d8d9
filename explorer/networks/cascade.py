"""A generator of codes in two stages: a latent GAN, then the detail that its components leave out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.networks.blocks import AttentionBlock, ResidualBlock, residual_blocks
from explorer.networks.latent_gan import GanConfig, Generator, code_critic


@dataclass(frozen=True)
class CascadeConfig:
    """Shape of a generator of codes in two stages, and of the second stage's discriminator.

    coarse: the first stage, a GAN on the leading components. noise_channels: of the standard normal noise on
    the code's own layout that the second stage draws detail from. width, blocks: of the second stage's
    convolutions; the discriminator has its own. attention: blocks of attention in either, after ``blocks`` of
    convolutions and, in the generator, before as many again; 0 for convolutions alone, without normalisation.
    """

    coarse: GanConfig
    noise_channels: int = 2
    width: int = 96
    blocks: int = 3
    discriminator_width: int = 96
    discriminator_blocks: int = 1
    attention: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.coarse, dict):  # JSON gives dictionaries
            object.__setattr__(self, "coarse", GanConfig(**self.coarse))
        if min(self.noise_channels, self.width, self.blocks, self.discriminator_width) < 1:
            raise ValueError("channels, widths and blocks must be at least 1")
        if self.attention < 0:
            raise ValueError("blocks of attention must be at least 0")
        if self.attention and (self.width % 2 or self.discriminator_width % 2):
            raise ValueError("attention has four heads over twice the width, so widths must be even")
        if self.code_shape[1] % 2:
            raise ValueError(f"convolutions halve the code, so its side of {self.code_shape[1]} must be even")

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one code."""
        return self.coarse.code_shape

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the second stage's noise."""
        return (self.noise_channels, *self.code_shape[1:])

    @property
    def z_dim(self) -> int:
        """Numbers drawn from the prior: the first stage's z, then the second stage's noise."""
        return self.coarse.z_dim + math.prod(self.noise_shape)


class AttentiveTrunk(nn.Module):
    """What convolutions see at each cell of a code, and attention among its patches of 2 x 2 cells.

    Patches are seen through the convolutions and as they are: what tells that components do not fit is spread
    over the whole code, and linear in it.
    """

    def __init__(self, channels: int, side: int, width: int, blocks: int, attention: int) -> None:
        super().__init__()
        self.cells = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            *(ResidualBlock(width, normalise=True) for _ in range(blocks)),
        )
        self.from_cells = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.from_code = nn.Conv2d(channels, 2 * width, 2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // 2) ** 2, 2 * width))
        self.attention = nn.Sequential(*(AttentionBlock(2 * width) for _ in range(attention)))
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, s, s) -> cells (n, width, s, s) and patches (n, s^2 / 4, 2 width)."""
        cells = self.cells(x)
        patches = self.from_cells(cells) + self.from_code(x)
        return cells, F.silu(self.norm(self.attention(patches.flatten(2).transpose(1, 2) + self.position)))


class AttentiveGenerator(nn.Module):
    """Maps on a code's layout (n, channels, s, s) to flat codes (n, code_dim), patches heeding each other."""

    def __init__(
        self, channels: int, code_shape: tuple[int, int, int], width: int, blocks: int, attention: int
    ) -> None:
        super().__init__()
        self.trunk = AttentiveTrunk(channels, code_shape[1], width, blocks, attention)
        self.to_cells = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.blocks = nn.Sequential(*(ResidualBlock(width, normalise=True) for _ in range(blocks)))
        self.norm = nn.GroupNorm(1, width)
        self.last = nn.Conv2d(width, code_shape[0], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Generate a batch."""
        cells, patches = self.trunk(x)
        side = x.shape[-1] // 2
        cells = cells + self.to_cells(patches.transpose(1, 2).unflatten(2, (side, side)))
        return self.last(F.silu(self.norm(self.blocks(cells)))).flatten(1)


class AttentiveCritic(nn.Module):
    """Flat codes (n, code_dim) -> scores (n, 1)."""

    def __init__(self, code_shape: tuple[int, int, int], width: int, blocks: int, attention: int) -> None:
        super().__init__()
        self.code_shape = code_shape
        self.trunk = AttentiveTrunk(code_shape[0], code_shape[1], width, blocks, attention)
        self.score = nn.Linear(2 * width, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Score a batch."""
        return self.score(self.trunk(codes.unflatten(1, self.code_shape))[1].mean(1))


class CascadeGenerator(nn.Module):
    """z float (n, z_dim) from a standard normal -> flat codes float (n, code_dim), in two stages.

    The first stage makes the leading components. The second adds to the code of these alone, by
    convolutions and perhaps attention, what they leave out, and may mend them too. The idea of the Laplacian
    pyramid of GANs (Denton et al. 2015, arXiv 1506.05751), in the components of a code instead of the octaves
    of an image. mean, components, scale: of ``explorer.latent.Standardisation``, set once and not trained.
    deviation: by how much codes differ from their mean, root mean square.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor
    deviation: Tensor

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.config = config
        channels, width = config.code_shape[0], config.width
        code_dim, latent_dim = math.prod(config.code_shape), config.coarse.latent_dim
        self.coarse = Generator(config.coarse)
        inputs = channels + config.noise_channels
        self.detail: nn.Module
        if config.attention:
            self.detail = AttentiveGenerator(
                inputs, config.code_shape, width, config.blocks, config.attention
            )
            last = self.detail.last
        else:
            self.detail = nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=1),
                *residual_blocks(width, config.blocks),
                nn.SiLU(),
                last := nn.Conv2d(width, channels, 3, padding=1),
                nn.Flatten(),
            )
        nn.init.normal_(last.weight, 0, 0.01)  # hardly any detail at first
        shapes = {"mean": (code_dim,), "components": (latent_dim, code_dim), "scale": (latent_dim,)}
        for name, shape in {**shapes, "deviation": ()}.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        """Generate a batch."""
        z_coarse, noise = z.split([self.config.coarse.z_dim, z.shape[1] - self.config.coarse.z_dim], 1)
        return self.refine(self.coarse(z_coarse), noise)

    def refine(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Codes float (n, code_dim) with detail, from whitened components float (n, latent_dim), generated or
        real, and noise float (n, noise_dim).
        """
        coarse = (latents.to(self.scale.dtype) * self.scale) @ self.components
        layers = torch.cat(
            [
                (coarse / self.deviation).view(-1, *self.config.code_shape),
                noise.view(-1, *self.config.noise_shape),
            ],
            1,
        )
        return self.mean + coarse + self.detail(layers) * self.deviation


class CodeDiscriminator(nn.Module):
    """Flat codes float (n, code_dim), less their mean and over their deviation -> critic scores (n,)."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        width, blocks = config.discriminator_width, config.discriminator_blocks
        self.layers: nn.Module
        if config.attention:
            self.layers = AttentiveCritic(config.code_shape, width, blocks, config.attention)
        else:
            self.layers = nn.Sequential(*code_critic(config.code_shape, width, blocks))

    def forward(self, codes: Tensor) -> Tensor:
        """Score a batch."""
        return self.layers(codes).squeeze(-1)
