"""Named sets of options; any option given on the command line overrides its preset.

A preset holds, by stage, what differs from the defaults that stand in the stage's options.
"""

from pathlib import Path
from typing import Any

DEFAULT_PRESET = "imagewoof64"
_IMAGEWOOF64 = Path("runs/imagewoof64/autoencoder")

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # ImageWoof at 64 px: an hour and a half on one CPU core with native bf16. Its numbers are the defaults,
    # but for the GAN on components: fewer of them, where a second stage adds the rest.
    "imagewoof64": {
        "autoencoder": {"source": "imagewoof", "image_size": 64},
        "latent_gan": {"latent_dim": 96, "z_dim": 96, "images": 3_000_000},
        "detail_phase": {},
        "image_phase": {"images": 0},  # sharper, and farther from photographs: see docs/lab-notebook.md
        "bundle": {},
    },
    # Under half an hour on two cores, to see whether photographs are worth more: fewer components are
    # learnt sooner, and blur the pictures.
    "quick": {
        "autoencoder": {
            "source": "imagewoof",
            "image_size": 64,
            "code_channels": 8,
            "widths": (48, 96, 160),
            "images": 48_000,
        },
        "latent_gan": {
            "images": 1_500_000,
            "copies": 8,
            "latent_dim": 96,
            "z_dim": 96,
        },
        "detail_phase": {"images": 0},
        "image_phase": {"images": 0},
        "bundle": {},
    },
    # scikit-learn's 8x8 digits, doubled: the whole pipeline in a few minutes.
    "digits": {
        "autoencoder": {
            "source": "digits",
            "image_size": 16,
            "margin": 0,
            "mirror": False,
            "code_channels": 4,
            "code_size": 4,
            "widths": (32, 64),
            "encoder_blocks": (0, 1),
            "decoder_blocks": (1, 1),
            "lr": 2e-3,
            "images": 40_000,
            "ema_images": 4_000,
            "evaluate_every": 10_000,
            "ssim": 0.0,
        },
        "latent_gan": {
            "copies": 0,
            "code_noise": 0.0,
            "gamma": 0.1,
            "z_dim": 32,
            "latent_dim": 32,
            "width": 256,
            "blocks": 2,
            "batch": 128,
            "lr": 1e-3,
            "images": 256_000,
            "ema_images": 50_000,
        },
        "detail_phase": {"images": 0},  # 32 components are half of a code, and digits lack no detail
        "image_phase": {"images": 0},  # at 16 px nothing is blurred
        "bundle": {"generated": 2_000, "judge": False},
        "pixel_gan": {"widths": (64, 128), "z_dim": 32, "batch": 64, "images": 128_000},
    },
    # The opponents of the latent GAN, over the data of imagewoof64 unless --autoencoder says otherwise.
    "modern": {"pixel_gan": {"autoencoder": _IMAGEWOOF64}},
    "dcgan": {
        "pixel_gan": {
            "autoencoder": _IMAGEWOOF64,
            "network": "dcgan",
            "widths": (64, 128, 256, 512),
            "z_dim": 100,
            "loss": "non-saturating",
            "gamma": 0.0,
            "batch": 128,
            "lr": 2e-4,
            "beta1": 0.5,
            "decay": 0.0,
            "ema_images": 1,
        },
    },
}
