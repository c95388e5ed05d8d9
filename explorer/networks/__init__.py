"""The networks, defined once: the autoencoder, and generators and discriminators of codes and of pixels.

Training builds them, the bundle stores their configuration, and the app rebuilds them from it. In evaluation
mode an output depends on its own input alone.
"""

from torch import nn

from explorer.networks.autoencoder import Autoencoder, AutoencoderConfig, Decoder, Encoder
from explorer.networks.blocks import AttentionBlock, FixedBasis, MlpBlock, ResidualBlock
from explorer.networks.cascade import CascadeConfig, CascadeGenerator, CodeDiscriminator
from explorer.networks.images import to_uint8, to_unit_range
from explorer.networks.latent_gan import Discriminator, GanConfig, Generator
from explorer.networks.pixel_gan import PixelDiscriminator, PixelGanConfig, PixelGenerator

__all__ = [
    "AttentionBlock",
    "Autoencoder",
    "AutoencoderConfig",
    "CascadeConfig",
    "CascadeGenerator",
    "CodeDiscriminator",
    "Decoder",
    "Discriminator",
    "Encoder",
    "FixedBasis",
    "GanConfig",
    "Generator",
    "MlpBlock",
    "PixelDiscriminator",
    "PixelGanConfig",
    "PixelGenerator",
    "ResidualBlock",
    "parameter_count",
    "to_uint8",
    "to_unit_range",
]


def parameter_count(module: nn.Module) -> int:
    """Trainable numbers in a module."""
    return sum(p.numel() for p in module.parameters())
