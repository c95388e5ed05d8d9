"""Photographs as users have them, made alike: upright, RGB, 8 bits a channel."""

import struct
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

# What opening and decoding a damaged picture raises.
BAD_PICTURE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened picture turned as its EXIF data say, in RGB, 8 bits a channel, transparent parts on white.

    Grey values of 16 bits become 8, where PIL clips them. Raises one of ``BAD_PICTURE`` where that cannot be,
    as with numbers of 32 bits, whose white nobody knows. Damaged EXIF data are as good as none.
    """
    image.load()
    of_16_bits = image.format in ("PNG", "PPM")  # whose white is known, though PIL may read them as 32
    with suppress(struct.error, ValueError, SyntaxError, KeyError, TypeError, ZeroDivisionError):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and of_16_bits):
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit numbers (mode {image.mode}); save it with 8 bits a channel")
    if image.mode[-1] in "Aa" or "transparency" in image.info:  # else what was left under them is seen
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")
