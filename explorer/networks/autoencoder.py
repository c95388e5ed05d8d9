"""The autoencoder, whose codes are the dual space."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from explorer.networks.blocks import ResidualBlock


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of an autoencoder.

    image_size: side of the square RGB images, pixels.
    code_channels, code_size: the code is (code_channels, code_size, code_size).
    network: 'residual', convolutions in residual blocks; 'linear', one linear map of each square of pixels
    that a cell of the code stands for, and one back, which has no use for what follows.
    widths: channels at each resolution, from image_size/2 down to code_size (a factor of 2 each).
    encoder_blocks, decoder_blocks: residual blocks at each of those resolutions.
    """

    image_size: int = 64
    code_channels: int = 8
    code_size: int = 8
    widths: tuple[int, ...] = (48, 96, 160)
    encoder_blocks: tuple[int, ...] = (0, 1, 1)
    decoder_blocks: tuple[int, ...] = (1, 1, 2)
    network: str = "residual"

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        if min(self.image_size, self.code_channels, self.code_size, *self.widths) < 1:
            raise ValueError("sizes, channels and widths must be at least 1")
        if self.network not in ("residual", "linear"):
            raise ValueError(f"unknown network {self.network!r}; use residual or linear")
        if self.network == "linear":
            most = 3 * self.patch**2
            if self.image_size % self.code_size or self.code_channels > most:
                raise ValueError(
                    f"a linear code of {self.code_size} x {self.code_size} cells needs images whose side "
                    f"it divides, and has at most {most} channels, the numbers that a cell stands for"
                )
            return
        levels = len(self.widths)
        if self.code_size * 2**levels != self.image_size:
            raise ValueError(
                f"{levels} widths take {self.image_size} px to {self.image_size / 2**levels:g}, "
                f"not to a code of {self.code_size}"
            )
        if not levels == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError("widths, encoder_blocks and decoder_blocks must be equally long")

    @property
    def patch(self) -> int:
        """Side of the square that a cell of the code stands for, pixels."""
        return self.image_size // self.code_size

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one code."""
        return (self.code_channels, self.code_size, self.code_size)

    @property
    def code_dim(self) -> int:
        """Numbers in one code."""
        return math.prod(self.code_shape)


class Encoder(nn.Module):
    """Images float (n, 3, s, s) in [-1, 1] -> codes float (n, c, h, w), unbounded."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.layers: nn.Module
        if config.network == "linear":
            self.layers = nn.Conv2d(3, config.code_channels, config.patch, stride=config.patch)
            return
        # Pixels are folded into channels first: at full resolution a convolution costs most and sees least.
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, config.widths[0], 3, padding=1),
        ]
        for i, (width, blocks) in enumerate(zip(config.widths, config.encoder_blocks, strict=True)):
            if i:
                layers.append(nn.Conv2d(config.widths[i - 1], width, 3, stride=2, padding=1))
            layers += [ResidualBlock(width) for _ in range(blocks)]
        layers += [nn.SiLU(), nn.Conv2d(config.widths[-1], config.code_channels, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Encode a batch."""
        return self.layers(images)


class Decoder(nn.Module):
    """Codes float (n, c, h, w) -> images float (n, 3, s, s); training aims at [-1, 1], no bound."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.layers: nn.Module
        if config.network == "linear":
            self.layers = nn.ConvTranspose2d(config.code_channels, 3, config.patch, stride=config.patch)
            return
        widths = config.widths[::-1]
        layers: list[nn.Module] = [nn.Conv2d(config.code_channels, widths[0], 3, padding=1)]
        for i, (width, blocks) in enumerate(zip(widths, config.decoder_blocks[::-1], strict=True)):
            if i:
                layers += [nn.Conv2d(widths[i - 1], 4 * width, 1), nn.PixelShuffle(2)]
            layers += [ResidualBlock(width) for _ in range(blocks)]
        layers += [nn.SiLU(), nn.Conv2d(widths[-1], 12, 3, padding=1), nn.PixelShuffle(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Decode a batch."""
        return self.layers(codes)


class Autoencoder(nn.Module):
    """Encoder and decoder of one configuration."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, images: Tensor) -> Tensor:
        """Round trip of images float (n, 3, s, s) in [-1, 1]; same shape."""
        return self.decoder(self.encoder(images))
