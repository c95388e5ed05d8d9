"""Images as networks take and give them."""

import torch
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 (n, h, w, 3) in 0-255 -> float32 (n, 3, h, w) in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float (n, 3, h, w) around [-1, 1] -> uint8 (n, h, w, 3), rounded and clipped to 0-255."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
