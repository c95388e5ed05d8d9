"""The networks, defined once: the autoencoder, and generators and discriminators of codes and of pixels.

Training builds them, the bundle stores their configuration, and the app rebuilds them from it. In evaluation
mode an output depends on its own input alone.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of an autoencoder.

    image_size: side of the square RGB images, pixels.
    code_channels, code_size: the code is (code_channels, code_size, code_size).
    widths: channels at each resolution, from image_size/2 down to code_size (a factor of 2 each).
    encoder_blocks, decoder_blocks: residual blocks at each of those resolutions.
    """

    image_size: int = 64
    code_channels: int = 8
    code_size: int = 8
    widths: tuple[int, ...] = (48, 96, 160)
    encoder_blocks: tuple[int, ...] = (0, 1, 1)
    decoder_blocks: tuple[int, ...] = (1, 1, 2)

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        levels = len(self.widths)
        if self.code_size * 2**levels != self.image_size:
            raise ValueError(
                f"{levels} widths take {self.image_size} px to {self.image_size / 2**levels:g}, "
                f"not to a code of {self.code_size}"
            )
        if not levels == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError("widths, encoder_blocks and decoder_blocks must be equally long")

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one code."""
        return (self.code_channels, self.code_size, self.code_size)

    @property
    def code_dim(self) -> int:
        """Numbers in one code."""
        return math.prod(self.code_shape)


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions.

    It starts as the identity; not so where a layer norm over channels and positions comes before each
    activation (``normalise``), which does without.
    """

    def __init__(self, channels: int, normalise: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(1, channels) if normalise else nn.Identity() for _ in range(2))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        if not normalise:
            nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class AttentionBlock(nn.Module):
    """Pre-norm transformer block (Vaswani et al. 2017, arXiv 1706.03762): tokens look at each other, then
    each at itself. Written out: a gradient penalty differentiates twice, and fused attention only once.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv, self.from_heads = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) -> (n, tokens, width)."""
        qkv = self.to_qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, tokens, width / heads)
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1).to(value.dtype)
        x = x + self.from_heads((weights @ value).transpose(1, 2).flatten(2))
        return x + self.linear2(F.silu(self.linear1(self.norm2(x))))


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


class Encoder(nn.Module):
    """Images float (n, 3, s, s) in [-1, 1] -> codes float (n, c, h, w), unbounded."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
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


class MlpBlock(nn.Module):
    """Residual block of two linear layers; starts as the identity.

    normalise: a parameter-free layer norm comes first, instead of an activation. Not in the discriminator:
    a gradient penalty must see the true slope.
    """

    def __init__(self, width: int, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        nn.init.zeros_(self.linear2.weight)
        nn.init.zeros_(self.linear2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) -> (n, width)."""
        h = F.layer_norm(x, x.shape[-1:]) if self.normalise else F.leaky_relu(x, 0.2)
        return x + self.linear2(F.leaky_relu(self.linear1(h), 0.2))


def _mlp(inputs: int, outputs: int, config: GanConfig, normalise: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, config.width),
        *(MlpBlock(config.width, normalise) for _ in range(config.blocks)),
        nn.LeakyReLU(0.2),
        nn.Linear(config.width, outputs),
    )


class FixedBasis(nn.Module):
    """Multiply flat inputs by a matrix that is set once and not trained; zero until then."""

    matrix: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.zeros(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> (n, outputs)."""
        return x.flatten(1) @ self.matrix


def _residual(channels: int, blocks: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(blocks)]


def _conv_generator(config: GanConfig) -> nn.Sequential:
    (channels, side, _), width = config.code_shape, config.width
    return nn.Sequential(
        nn.Linear(config.z_dim, 2 * width * (side // 2) ** 2),
        nn.Unflatten(1, (2 * width, side // 2, side // 2)),
        *_residual(2 * width, config.blocks),
        nn.Conv2d(2 * width, 4 * width, 1),
        nn.PixelShuffle(2),
        *_residual(width, config.blocks),
        nn.SiLU(),
        nn.Conv2d(width, channels, 3, padding=1),
        FixedBasis(math.prod(config.code_shape), config.latent_dim),
    )


def _code_critic(code_shape: tuple[int, int, int], width: int, blocks: int) -> list[nn.Module]:
    """Flat codes (n, code_dim) -> scores (n, 1), by convolutions at the code's full and half resolution."""
    channels, side, _ = code_shape
    return [
        nn.Unflatten(1, code_shape),
        nn.Conv2d(channels, width, 3, padding=1),
        *_residual(width, blocks),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        *_residual(2 * width, blocks),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 2) ** 2, 1),
    ]


def _conv_discriminator(config: GanConfig) -> nn.Sequential:
    return nn.Sequential(
        FixedBasis(config.latent_dim, math.prod(config.code_shape)),
        *_code_critic(config.code_shape, config.width, config.blocks),
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
                *_residual(width, config.blocks),
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
            self.layers = nn.Sequential(*_code_critic(config.code_shape, width, blocks))

    def forward(self, codes: Tensor) -> Tensor:
        """Score a batch."""
        return self.layers(codes).squeeze(-1)


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


def parameter_count(module: nn.Module) -> int:
    """Trainable numbers in a module."""
    return sum(p.numel() for p in module.parameters())


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 (n, h, w, 3) in 0-255 -> float32 (n, 3, h, w) in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float (n, 3, h, w) around [-1, 1] -> uint8 (n, h, w, 3), rounded and clipped to 0-255."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
