"""Draw new samples from the generator and place them on the bundle's fixed map."""

import numpy as np

from explorer.bundle import Bundle
from explorer.generation import Generation
from explorer.points import NewSamples


def draw_samples(bundle: Bundle, generation: Generation, count: int, seed: int) -> NewSamples:
    """``count`` samples of a seed, placed between their nearest real codes. Nothing is fitted again.

    The same seed gives the same samples, and a larger count begins with those of a smaller one.
    """
    z = np.random.default_rng(seed).standard_normal((count, bundle.gan_config.z_dim), np.float32)
    codes = generation.codes(z)
    return NewSamples(seed=seed, z=z, codes=codes, positions=bundle.place(codes))
