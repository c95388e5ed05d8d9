"""Encode every image, fit the map, place the generated samples, write the bundle.

    python -m training.bundle --latent-gan runs/gan --out pretrained/imagewoof64
    python -m training.bundle --pixel-gan runs/pixels --out pretrained/pixels

Held-out images are encoded here for the first time, when training is over.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer import decoding
from explorer.bundle import SPLITS, Bundle, BundleError
from explorer.bundle_writing import check_replaceable, quantise, write_bundle
from explorer.generation import Generation, LatentGeneration, PixelGeneration
from explorer.latent import Standardisation
from explorer.projection import map_features, place
from training import card, codec_table, latent_gan
from training.adversarial import fixed_z, sample
from training.cli import UserError, command_line, options_json, print_dry_run
from training.codes import encode
from training.data.dataset import FEWEST, Dataset
from training.device import resolve_device
from training.files import read_json
from training.metrics_log import read_metrics
from training.runs import package_versions
from training.trained import Trained, open_trained, read_snapshots
from training.umap_map import measured_map


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """Options of ``python -m training.bundle``."""

    preset: str = "imagewoof64"
    """Named set of options to start from (see training/presets.py); the others override it."""
    latent_gan: Path = Path("runs/latent_gan")
    """Folder of the finished GAN run; it names the autoencoder's, and that one the data."""
    pixel_gan: Path | None = None
    """Folder of a finished pixel GAN run: the bundle holds it in the latent GAN's place."""
    detail_phase: Path | None = None
    """Folder of a finished detail phase, which names the latent GAN's: the bundle holds both stages."""
    image_phase: Path | None = None
    """Folder of a finished image phase over this GAN: its decoder ships in the autoencoder's place."""
    out: Path = Path("pretrained/bundle")
    """Folder of the bundle."""
    generated: int = 3500
    """Samples of the generator to store, with their z."""
    judge: bool = True
    """Ask the ImageNet judge what it sees (only for classes that ImageNet has)."""
    umap_neighbours: int = 15
    """UMAP's n_neighbors."""
    umap_min_dist: float = 0.1
    """UMAP's min_dist."""
    note: str = ""
    """A sentence for the card: what a reader must know about this very run."""
    seed: int = 0
    """Seed of the samples and of UMAP."""
    device: str = "auto"
    """Where to encode."""
    dry_run: bool = False
    """Print the resolved options and stop."""

    def __post_init__(self) -> None:
        if self.generated < FEWEST:  # training.evaluate compares as many
            raise UserError(f"--generated must be at least {FEWEST}, not {self.generated}")


def check_out(out: Path) -> None:
    """Raise UserError, before anything is computed, where a bundle must not be written."""
    try:
        check_replaceable(out)
    except BundleError as error:
        raise UserError(str(error)) from None


def run_bundle(options: BundleOptions) -> Path:
    """Write the bundle and return its folder."""
    if options.dry_run:
        print_dry_run(options)
        return options.out
    check_out(options.out)
    device = resolve_device(options.device)
    # What ships is float16, and 7 bits of codes: compute everything from what the app will have.
    gan = open_trained(
        latent=options.latent_gan, detail=options.detail_phase, pixel=options.pixel_gan,
        image=options.image_phase, device=device,
    )  # fmt: skip
    dataset, generation, standard = gan.dataset, gan.generation, gan.standard
    model = generation.autoencoder
    curves = {stage: read_metrics(folder / "metrics.jsonl") for stage, folder in gan.folders.items()}

    everything = np.arange(len(dataset.store.labels))
    pictures = dataset.centers(everything)
    real = _seven_bits(encode(model.to(device), pictures, device).numpy())
    model.cpu()
    draw = torch.Generator().manual_seed(options.seed + 77)
    z = torch.randn(options.generated, gan.options.z_dim, generator=draw).half()
    generated, stored = _generated(generation, standard, z)
    snapshot_images, snapshots = read_snapshots(gan)
    snapshot_z = fixed_z(gan.first, gan.first.snapshot_samples, purpose=2).half()
    positions, placement = _map(options, standard, real, generated, snapshots)
    measured = codec_table.measure(model, dataset, judged=options.judge)
    judged, verdicts = _judge(generation, dataset, pictures.numpy(), real, z.numpy(), generated, options)
    metrics = {"codec": measured, **_measure_codes(gan, draw), "map": placement}
    manifest = _manifest(options, gan, metrics=metrics, judged=judged)
    try:
        bundle = write_bundle(
            options.out,
            manifest=manifest,
            autoencoder=model,
            generator=generation.generator,
            standardisation=standard,
            real_codes=real,
            generated_codes=generated if isinstance(generation, PixelGeneration) else None,
            latents={
                **stored,
                "real_labels": dataset.store.labels,
                "real_splits": np.array([SPLITS.index(s) for s in dataset.splits]),
                "generated_z": z.numpy(),
                "snapshot_z": snapshot_z.numpy(),
                "snapshot_latents": snapshots,
                "snapshot_images": snapshot_images,
            },
            positions=positions,
            judge=verdicts,
            names=list(dataset.store.names),
            curves=curves,
            card=card.model_card(manifest, dataset),
        )
    except BundleError as error:
        raise UserError(str(error)) from None
    _report(bundle, options.out)
    return options.out


def _generated(
    generation: Generation, standard: Standardisation, z: torch.Tensor
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Codes float32 (n, code_dim) of z float16 (n, z_dim), as they will be read from a bundle, and the
    latents that it holds of them, if any.
    """
    if isinstance(generation, LatentGeneration):
        latents = sample(generation.generator, z.float()).half()
        return standard.to_codes(latents.float()).numpy(), {"generated_latents": latents.numpy()}
    codes = generation.codes(z.numpy())
    return _seven_bits(codes) if isinstance(generation, PixelGeneration) else codes, {}


def _map(
    options: BundleOptions,
    standard: Standardisation,
    real: np.ndarray,
    generated: np.ndarray,
    snapshots: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The map's positions float32 (..., 2), and how well it places.

    real, generated: codes float32 (n, code_dim). snapshots: latents float16 (times, m, latent_dim).
    """
    features = map_features(real, standard)
    position, placement = measured_map(
        real, features, neighbours=options.umap_neighbours, min_dist=options.umap_min_dist, seed=options.seed
    )

    def placed(codes: np.ndarray) -> np.ndarray:
        return place(map_features(codes, standard), features, position)

    of_snapshots = standard.to_codes(torch.from_numpy(snapshots).float().flatten(0, 1)).numpy()
    positions = {
        "real": position,
        "generated": placed(generated),
        "snapshots": placed(of_snapshots).reshape(*snapshots.shape[:2], 2),
    }
    return positions, placement


def _measure_codes(gan: Trained, draw: torch.Generator) -> dict[str, dict[str, float]]:
    """Generated codes, and draws of a Gaussian as a control, against those of seen validation images."""
    monitor = latent_gan.CodeMonitor(gan.codes, gan.standard, gan.options.seed)
    z = fixed_z(gan.options, monitor.n, purpose=1).numpy()
    whole = gan.standard  # of all that the generator models
    if gan.stage == "detail_phase":
        whole = Standardisation.fit(gan.codes["train"], gan.generation.autoencoder.config.code_dim)
    gaussian = torch.randn(monitor.n, len(whole.scale), generator=draw)
    return {
        gan.stage: {
            **monitor(torch.from_numpy(gan.generation.codes(z))),
            "components": len(gan.standard.scale),
        },
        "gaussian": monitor(whole.to_codes(gaussian)),
    }


def _manifest(
    options: BundleOptions, gan: Trained, *, metrics: dict[str, Any], judged: dict[str, Any]
) -> dict[str, Any]:
    """bundle.json: the data, how each stage was trained, and what was measured (docs/bundle.md)."""
    dataset = gan.dataset
    return {
        "name": options.out.name,
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "classes": list(dataset.classes),
        "held_out": list(dataset.held_out),
        "data": {
            "source": dataset.options.source,
            "description": dataset.description,
            "licence": dataset.licence,
            "image_size": dataset.options.image_size,
            "crop": dataset.crop,
            "margin": dataset.options.margin,
            "skipped": len(dataset.store.skipped),
        },
        "training": {
            stage: {
                **read_json(folder / "options.json"),
                "done": read_json(folder / "done.json"),
            }
            for stage, folder in gan.folders.items()
        },
        "bundle": {
            "options": options_json(options),
            "command": command_line(),
            "versions": package_versions(),
        },
        "metrics": metrics,
        "judge": judged,
    }


def _report(bundle: Bundle, out: Path) -> None:
    size = sum(f.stat().st_size for f in bundle.path.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB, {len(bundle.labels)} real, {len(bundle.generated_z)} generated")


def _seven_bits(codes: np.ndarray) -> np.ndarray:
    """Codes float32 (n, code_dim) as they will be read from a bundle."""
    small, scale = quantise(codes)
    return small * scale


def _judge(
    generation: Generation,
    dataset: Dataset,
    photos: np.ndarray,
    real: np.ndarray,
    z: np.ndarray,
    generated: np.ndarray,
    options: BundleOptions,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the judge calls validation and held-out photographs, their round trips and the samples.

    photos: uint8 (n, s, s, 3). real, generated: codes float32 (n, code_dim) and (m, code_dim); z: of the
    samples, float (m, z_dim).
    """
    from training.imagenet_judge import JUDGE_NAME, JUDGE_SIZE, Judge, imagenet_categories, imagenet_index

    counts = {"photo": len(real), "round_trip": len(real), "generated": len(generated)}
    verdicts = {f"{k}_top1": np.full(n, -1, np.int16) for k, n in counts.items()}
    verdicts |= {f"{k}_confidence": np.full(n, -1, np.float16) for k, n in counts.items()}
    index = {name: imagenet_index(name) for name in dataset.classes}
    if not options.judge or not any(i is not None for i in index.values()):
        return {"name": None, "class_index": index, "categories": {}, "size": None}, verdicts
    judge = Judge()
    asked = np.flatnonzero(dataset.splits != "train")
    for kind, rows, pictures in (
        ("photo", asked, photos[asked]),
        ("round_trip", asked, decoding.decode(generation.autoencoder, real[asked])),
        ("generated", np.arange(len(generated)), generation.pictures(z, generated)),
    ):
        confidence, top1 = judge.probabilities(pictures).max(1)
        verdicts[f"{kind}_top1"][rows] = top1.numpy()
        verdicts[f"{kind}_confidence"][rows] = confidence.numpy()
    seen = np.unique(np.concatenate([verdicts[f"{k}_top1"] for k in counts]))
    categories = imagenet_categories()
    return {
        "name": JUDGE_NAME,
        "size": JUDGE_SIZE,
        "class_index": index,
        "categories": {str(i): categories[i] for i in seen if i >= 0},
    }, verdicts


if __name__ == "__main__":
    from training.cli import run_script

    run_script(BundleOptions, "bundle", run_bundle)
