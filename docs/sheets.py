"""Draw the sheets of pictures in docs/img: samples that nobody picked, and round trips.

    python docs/sheets.py pretrained/imagewoof64

Photographs are never written.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from explorer.bundle_reading import open_bundle
from explorer.decoding import decode, grid, png
from explorer.generation import load_generation
from explorer.points import Point, pictures_of

IMAGES = Path(__file__).parent / "img"


def main(folder: Path) -> None:
    """Write <bundle>-samples.png, -round-trips.png, -training.png and, once evaluated, -nearest.png."""
    bundle = open_bundle(folder)
    generation = load_generation(bundle)
    IMAGES.mkdir(exist_ok=True)

    def write(kind: str, pictures: np.ndarray, columns: int) -> None:
        sheet = png(grid(pictures, columns, gap=2), scale=max(1, 128 // pictures.shape[1]))
        (IMAGES / f"{bundle.name}-{kind}.png").write_bytes(sheet)

    # The first 64 stored samples: the order is that of the seed's draws.
    write("samples", pictures_of(bundle, generation, [Point("generated", i) for i in range(64)]), 16)

    # Eight random images a class, one class a row: validation images of seen ones.
    rng = np.random.default_rng(0)
    rows = [
        rng.choice(np.flatnonzero((bundle.labels == i) & (bundle.splits != "train")), 8, replace=False)
        for i in range(len(bundle.classes))
    ]
    write("round-trips", decode(generation.autoencoder, bundle.real_codes[np.concatenate(rows)]), 16)

    # The same 16 z at every third snapshot, one snapshot a row: what the decoder makes of their latents.
    codes = bundle.codes_of_latents(bundle.snapshot_latents[::3, :16])
    write("training", decode(generation.autoencoder, codes.reshape(-1, codes.shape[-1])), 16)
    # The ten closest pairs of a sample (above) and a training image (below, as its round trip).
    if bundle.evaluation:
        pairs = bundle.evaluation["nearest_pairs"]
        points = [Point("generated", p["sample"]) for p in pairs]
        points += [Point("real", p["training"]) for p in pairs]
        write("nearest", pictures_of(bundle, generation, points), len(pairs))
    print(
        *sorted(p.name for p in IMAGES.glob(f"{bundle.name}-*")),
        [Image.open(p).size for p in IMAGES.glob("*.png")],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
