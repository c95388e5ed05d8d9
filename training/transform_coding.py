"""The linear autoencoder: principal components of squares of pixels, computed and not trained.

Transform coding with the Karhunen-Loeve transform (Goyal 2001, doi:10.1109/79.952802), of which JPEG's
cosines are the fixed cousin. What an autoencoder that was trained is worth is what it does better than this.
"""

from dataclasses import replace

import torch
from torch import Tensor

from explorer.latent import leading_components
from explorer.networks import Autoencoder, AutoencoderConfig, to_unit_range


def linear_like(config: AutoencoderConfig, images: Tensor, mirror: bool) -> Autoencoder:
    """The linear autoencoder, fitted on these images, whose codes have the shape that a configuration says:
    what to compare a trained one with. See ``fit_linear``.
    """
    model = Autoencoder(replace(config, network="linear"))
    fit_linear(model, images, mirror)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def fit_linear(model: Autoencoder, images: Tensor, mirror: bool) -> None:
    """Set a linear autoencoder's weights to the leading components of its squares in these images.

    images: uint8 (n, s, s, 3), their mirror images too where ``mirror`` says so. The code's mean square
    is 1, and the decoder's rows are orthogonal and equally long: codes are as far apart as their round trips,
    but for one factor for all.
    """
    config = model.config
    side, numbers = config.patch, 3 * config.patch**2
    sums, products, n = torch.zeros(numbers).double(), torch.zeros(numbers, numbers).double(), 0
    for part in images.split(256):
        pixels = to_unit_range(part.cpu())
        for crops in (pixels, pixels.flip(3)) if mirror else (pixels,):
            squares = crops.unfold(2, side, side).unfold(3, side, side)  # (n, 3, h, w, side, side)
            rows = squares.permute(0, 2, 3, 1, 4, 5).reshape(-1, numbers).double()
            sums += rows.sum(0)
            products += rows.T @ rows
            n += len(rows)
    # One mean for each colour, as a decoder's bias is: where in a square a pixel lies says next to nothing.
    colour = (sums / n).view(3, -1).mean(1)
    mean = colour.repeat_interleave(side**2)
    cross = torch.outer(sums / n, mean)
    moments = products / n - cross - cross.T + torch.outer(mean, mean)
    variance, basis = leading_components(moments, config.code_channels)
    scale, shaped = variance.mean().sqrt(), basis.reshape(-1, 3, side, side)
    encoder, decoder = model.encoder.layers, model.decoder.layers
    assert isinstance(encoder, torch.nn.Conv2d)
    assert isinstance(decoder, torch.nn.ConvTranspose2d)
    for parameter, value in (
        (encoder.weight, shaped / scale), (encoder.bias, -(basis @ mean) / scale),
        (decoder.weight, shaped * scale), (decoder.bias, colour),
    ):  # fmt: skip
        assert parameter is not None
        parameter.copy_(value)
