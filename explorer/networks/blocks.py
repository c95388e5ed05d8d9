"""Blocks that several of the networks are built of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def residual_blocks(channels: int, blocks: int) -> list[nn.Module]:
    """So many residual blocks, each starting as the identity."""
    return [ResidualBlock(channels) for _ in range(blocks)]


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


class FixedBasis(nn.Module):
    """Multiply flat inputs by a matrix that is set once and not trained; zero until then."""

    matrix: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.zeros(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> (n, outputs)."""
        return x.flatten(1) @ self.matrix
