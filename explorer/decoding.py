"""Turn z into codes, codes into pictures, and pictures into sheets, strips and animations."""

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import nn

from explorer.networks import Autoencoder, CascadeGenerator, to_uint8, to_unit_range

# Pictures at a time: few, so that what a layer yields stays in the cache (python -m benchmarks.pictures).
BATCH = 32


@torch.inference_mode()
def generate(generator: CascadeGenerator, z: np.ndarray, batch: int = 8 * BATCH) -> np.ndarray:
    """Flat codes float32 (n, code_dim) of z float (n, z_dim)."""
    parts = torch.from_numpy(np.ascontiguousarray(z, np.float32)).split(batch)
    return torch.cat([generator(part) for part in parts]).numpy()


@torch.inference_mode()
def draw(network: nn.Module, inputs: np.ndarray, size: int, batch: int = BATCH) -> np.ndarray:
    """Pictures uint8 (n, size, size, 3) that a decoder or a pixel generator makes of float (n, ...)."""
    parts = [
        to_uint8(network(part)).numpy()
        for part in torch.from_numpy(np.ascontiguousarray(inputs, np.float32)).split(batch)
        if len(part)
    ]
    return np.concatenate(parts) if parts else np.empty((0, size, size, 3), np.uint8)


def decode(model: Autoencoder, codes: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """Pictures uint8 (n, s, s, 3) of flat codes float (n, code_dim)."""
    shaped = codes.reshape(len(codes), *model.config.code_shape)
    return draw(model.decoder, shaped, model.config.image_size, batch)


@torch.inference_mode()
def encode(model: Autoencoder, images: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """Flat codes float32 (n, code_dim) of pictures uint8 (n, s, s, 3)."""
    parts = [
        model.encoder(to_unit_range(part)).float().flatten(1).numpy()
        for part in torch.from_numpy(np.ascontiguousarray(images)).split(batch)
        if len(part)
    ]
    return np.concatenate(parts) if parts else np.empty((0, model.config.code_dim), np.float32)


def grid(pictures: np.ndarray, columns: int, gap: int = 0, fill: int = 255) -> np.ndarray:
    """Pictures uint8 (n, h, w, 3) side by side, ``columns`` a row: uint8 (H, W, 3), empty cells filled."""
    n, h, w, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), fill, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = picture
    return sheet


def _bytes(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(picture: np.ndarray, scale: int = 1) -> bytes:
    """PNG file of a picture uint8 (h, w, 3), each pixel repeated ``scale`` times."""
    return _bytes(Image.fromarray(picture.repeat(scale, 0).repeat(scale, 1)), "PNG")


def gif(pictures: np.ndarray, seconds: float = 3.0, scale: int = 4) -> bytes:
    """Looping GIF file of pictures uint8 (n, h, w, 3), there and back again in ``seconds``."""
    loop = [*pictures, *pictures[-2:0:-1]]
    frames = [Image.fromarray(p.repeat(scale, 0).repeat(scale, 1)) for p in loop]
    duration = max(20, round(1000 * seconds / len(frames)))  # browsers slow anything below 20 ms
    return _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)


def data_uri(picture: np.ndarray, quality: int = 90) -> str:
    """WebP data URI of a picture uint8 (h, w, 3), for the browser."""
    # method=2: a sixth of the default's encoding time for a few per cent more bytes.
    encoded = _bytes(Image.fromarray(picture), "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()
