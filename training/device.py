"""Which device a script runs on, and whether it computes in bf16 there."""

import os
import platform
from contextlib import AbstractContextManager

import torch

from training.cli import UserError


def resolve_device(name: str) -> torch.device:
    """``auto`` is the GPU when there is one; any torch device name is taken as it is."""
    if name == "auto":
        gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((gpu for gpu, available in gpus.items() if available), "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used here ({error}); try --device auto") from None
    return device


def device_name(device: torch.device) -> str:
    """What a person calls this device, for the bundle's card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.cpu_count()} cores, {platform.machine()})"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is native (Ampere or later GPU; AVX512-BF16 or AMX CPU)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[None]:
    """bf16 autocast where it pays. precision: 'auto' (bf16 where it is native), 'bf16' or 'fp32'."""
    enabled = has_fast_bf16(device) if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
