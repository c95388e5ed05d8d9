"""Draw new samples from the generator and place them on the bundle's fixed map."""

import numpy as np

from explorer.bundle import Bundle
from explorer.networks import Generator
from explorer.points import NewSamples


def draw_samples(bundle: Bundle, generator: Generator, count: int, seed: int) -> NewSamples:
    """``count`` samples of a seed, placed between their nearest real codes. Nothing is fitted again.

    The same seed gives the same samples, and a larger count begins with those of a smaller one.
    """
    import torch

    z = np.random.default_rng(seed).standard_normal((count, bundle.gan_config.z_dim), np.float32)
    with torch.inference_mode():
        latents = generator(torch.from_numpy(z)).numpy()
    codes = bundle.codes_of_latents(latents)
    return NewSamples(seed=seed, z=z, codes=codes, positions=bundle.place(codes))
