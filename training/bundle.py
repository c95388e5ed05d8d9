"""Encode every image, fit the map, place the generated samples, write the bundle.

    python -m training.bundle --latent-gan runs/gan --out pretrained/imagewoof64
    python -m training.bundle --pixel-gan runs/pixels --out pretrained/pixels

Held-out images are encoded here for the first time, when training is over.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from explorer import decoding
from explorer.bundle import SPLITS, Bundle, BundleError
from explorer.bundle_writing import check_replaceable, quantise, write_bundle
from explorer.generation import CascadeGeneration, Generation, LatentGeneration, PixelGeneration
from explorer.latent import Standardisation, nearest
from explorer.projection import NEIGHBOURS, map_features, place, weighted_position
from training import autoencoder, card, codec_table, detail_phase, image_phase, latent_gan, pixel_gan
from training.adversarial import AdversarialOptions, fixed_z, sample, snapshot_path
from training.cli import UserError, command_line, options_json, preset_options, print_dry_run
from training.codes import encode
from training.data.dataset import Dataset
from training.device import resolve_device
from training.files import read_json
from training.metrics_log import read_metrics
from training.runs import package_versions

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Trained:
    """A finished GAN over a finished autoencoder, in the half precision that ships.

    stage: latent_gan, detail_phase or pixel_gan. options: the GAN's; first: those of the GAN whose training
    the snapshots show, the same one but for a detail phase. folders: of the runs, by stage.
    codes, standard: see ``training.latent_gan.seen_codes``.
    """

    stage: str
    options: AdversarialOptions
    first: AdversarialOptions
    folders: dict[str, Path]
    dataset: Dataset
    generation: Generation
    codes: dict[str, torch.Tensor]
    standard: Standardisation


def _latent_gan(options: BundleOptions, device: torch.device) -> Trained:
    generator, standard, gan = latent_gan.load_run(options.latent_gan)
    model, data = autoencoder.load_run(gan.autoencoder)
    folders = {"autoencoder": gan.autoencoder, "latent_gan": options.latent_gan}
    dataset = autoencoder.open_images(gan.autoencoder, data)
    codes = latent_gan.seen_codes(gan, model, dataset, data.seed, device)
    if options.image_phase is not None:  # which has another decoder
        image_phase.load_run(options.image_phase, model.cpu(), generator)
        folders["image_phase"] = options.image_phase
    generation = LatentGeneration(model.cpu().half().float(), generator.half().float(), standard)
    return Trained("latent_gan", gan, gan, folders, dataset, generation, codes, standard)


def _detail_phase(options: BundleOptions, folder: Path, device: torch.device) -> Trained:
    if options.image_phase is not None or options.pixel_gan is not None:
        raise UserError("a bundle holds a detail phase, an image phase or a pixel GAN; name one of them")
    generator, standard, detail = detail_phase.load_run(folder)
    first = latent_gan.load_run(detail.latent_gan)[2]
    model, data = autoencoder.load_run(first.autoencoder)
    folders = {"autoencoder": first.autoencoder, "latent_gan": detail.latent_gan, "detail_phase": folder}
    dataset = autoencoder.open_images(first.autoencoder, data)
    codes = latent_gan.seen_codes(first, model, dataset, data.seed, device)
    generation = CascadeGeneration(model.cpu().half().float(), generator.half().float())
    return Trained("detail_phase", detail, first, folders, dataset, generation, codes, standard)


def _pixel_gan(options: BundleOptions, folder: Path, device: torch.device) -> Trained:
    if options.image_phase is not None:
        raise UserError("an image phase goes on from a latent GAN; leave out --image-phase or --pixel-gan")
    generator, gan = pixel_gan.load_run(folder)
    model, data = autoencoder.load_run(gan.autoencoder)
    dataset = autoencoder.open_images(gan.autoencoder, data)
    # The components that a latent GAN over this autoencoder would model.
    latent = preset_options(latent_gan.LatentGanOptions, "latent_gan", data.preset)
    latent_dim = min(latent.latent_dim, model.config.code_dim)
    latent = replace(latent, autoencoder=gan.autoencoder, latent_dim=latent_dim)
    codes = latent_gan.seen_codes(latent, model, dataset, data.seed, device)
    standard = Standardisation.fit(codes["augmented"], latent_dim)
    generation = PixelGeneration(model.cpu().half().float(), generator.half().float())
    folders = {"autoencoder": gan.autoencoder, "pixel_gan": folder}
    return Trained("pixel_gan", gan, gan, folders, dataset, generation, codes, standard)


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
    if options.detail_phase:
        gan = _detail_phase(options, options.detail_phase, device)
    elif options.pixel_gan:
        gan = _pixel_gan(options, options.pixel_gan, device)
    else:
        gan = _latent_gan(options, device)
    dataset, generation, standard = gan.dataset, gan.generation, gan.standard
    model = generation.autoencoder
    curves = {stage: read_metrics(folder / "metrics.jsonl") for stage, folder in gan.folders.items()}

    everything = np.arange(len(dataset.store.labels))
    pictures = dataset.centers(everything)
    real = _seven_bits(encode(model.to(device), pictures, device).numpy())
    model.cpu()
    draw = torch.Generator().manual_seed(options.seed + 77)
    z = torch.randn(options.generated, gan.options.z_dim, generator=draw).half()
    stored: dict[str, np.ndarray] = {}
    pixel_codes: np.ndarray | None = None
    if isinstance(generation, LatentGeneration):
        latents = sample(generation.generator, z.float()).half()
        stored["generated_latents"] = latents.numpy()
        generated = standard.to_codes(latents.float()).numpy()
    elif isinstance(generation, PixelGeneration):
        generated = _seven_bits(generation.codes(z.numpy()))
        pixel_codes = generated
    else:
        generated = generation.codes(z.numpy())
    snapshot_images, snapshots = _read_snapshots(gan)
    snapshot_z = fixed_z(gan.first, gan.first.snapshot_samples, purpose=2).half()

    features = map_features(real, standard)
    position, placement = _fit_map(real, features, options)

    def placed(codes: np.ndarray) -> np.ndarray:
        return place(map_features(codes, standard), features, position)

    of_snapshots = standard.to_codes(torch.from_numpy(snapshots).float().flatten(0, 1)).numpy()
    positions = {
        "real": position,
        "generated": placed(generated),
        "snapshots": placed(of_snapshots).reshape(*snapshots.shape[:2], 2),
    }
    measured = codec_table.measure(model, dataset, judged=options.judge)
    judged, verdicts = _judge(generation, dataset, pictures.numpy(), real, z.numpy(), generated, options)
    monitor = latent_gan.CodeMonitor(gan.codes, standard, gan.options.seed)
    z_evaluation = fixed_z(gan.options, monitor.n, purpose=1).numpy()
    whole = standard  # of all that the generator models
    if gan.stage == "detail_phase":
        whole = Standardisation.fit(gan.codes["train"], model.config.code_dim)
    gaussian = torch.randn(monitor.n, len(whole.scale), generator=draw)
    manifest: dict[str, Any] = {
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
        "metrics": {
            "codec": measured,
            gan.stage: {
                **monitor(torch.from_numpy(generation.codes(z_evaluation))),
                "components": len(standard.scale),
            },
            "gaussian": monitor(whole.to_codes(gaussian)),
            "map": placement,
        },
        "judge": judged,
    }
    try:
        bundle = write_bundle(
            options.out,
            manifest=manifest,
            autoencoder=model,
            generator=generation.generator,
            standardisation=standard,
            real_codes=real,
            generated_codes=pixel_codes,
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
    _report(bundle)
    return options.out


def _report(bundle: Bundle) -> None:
    size = sum(f.stat().st_size for f in bundle.path.iterdir())
    print(
        f"{bundle.path}: {size / 1e6:.1f} MB, {len(bundle.labels)} real, {len(bundle.generated_z)} generated"
    )


def _seven_bits(codes: np.ndarray) -> np.ndarray:
    """Codes float32 (n, code_dim) as they will be read from a bundle."""
    small, scale = quantise(codes)
    return small * scale


def _read_snapshots(gan: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Training images seen int64 (s,) and latents float16 (s, r, latent_dim) of all snapshots."""
    images = np.array([step * gan.first.batch for step in gan.first.snapshot_steps], np.int64)
    paths = [snapshot_path(gan.first.out, int(i)) for i in images]

    def read(path: Path) -> dict[str, torch.Tensor]:
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}); train the GAN again") from None

    def latents(kept: dict[str, torch.Tensor]) -> torch.Tensor:
        if "latents" in kept:
            return kept["latents"]
        codes = decoding.encode(gan.generation.autoencoder, kept["pictures"].numpy())
        return gan.standard.to_latents(torch.from_numpy(codes)).half()

    return images, torch.stack([latents(read(p)) for p in paths]).numpy()


def _fit_map(
    codes: np.ndarray, features: np.ndarray, options: BundleOptions
) -> tuple[np.ndarray, dict[str, float]]:
    """UMAP of real codes, float32 (n, 2), and how faithful it and the placement of new codes are.

    codes: float32 (n, code_dim), the judges of faithfulness. features: float32 (n, d), what is mapped.
    """
    from sklearn.manifold import trustworthiness

    position = fit_umap(features, options.umap_neighbours, options.umap_min_dist, options.seed)

    # Each of some real codes is placed as if it were new, from all the others.
    rng = np.random.default_rng(options.seed)
    probe = rng.choice(len(codes), min(2000, len(codes)), replace=False)
    distances, indices = nearest(features[probe], features, NEIGHBOURS + 1)
    own = indices == probe[:, None]
    own[~own.any(1), -1] = True  # a duplicate of the code took its place: drop the farthest
    others = indices[~own].reshape(len(probe), NEIGHBOURS)
    gaps = distances[~own].reshape(len(probe), NEIGHBOURS)
    placed = weighted_position(gaps, position[others])
    drawn = position[rng.choice(len(codes), len(probe))]

    neighbours = min(15, (len(probe) - 1) // 2)  # it takes twice as many codes

    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(a - b, axis=1)))

    return position, {
        "trustworthiness": float(trustworthiness(codes[probe], position[probe], n_neighbors=neighbours)),
        "trustworthiness_placed": float(trustworthiness(codes[probe], placed, n_neighbors=neighbours)),
        "placed_to_own_position": gap(position[probe], placed) / gap(position[probe], drawn),
        "n": len(probe),
        "components": features.shape[1],
        "umap_neighbours": options.umap_neighbours,
        "umap_min_dist": options.umap_min_dist,
        "umap_seed": options.seed,
    }


def fit_umap(features: np.ndarray, neighbours: int, min_dist: float, seed: int) -> np.ndarray:
    """UMAP (McInnes et al., arXiv 1802.03426) of features float32 (n, d): float32 (n, 2).

    The neighbours are exact. Rows are shuffled first: UMAP moves points in the order of their rows, and
    where neighbourhoods are weak that order shows, as groups of whatever the rows are sorted by.
    """
    import umap

    order = np.random.default_rng(seed).permutation(len(features))
    shuffled = features[order]
    k = min(neighbours, len(features) - 1)
    distances, indices = nearest(shuffled, shuffled, k)
    reducer = umap.UMAP(
        n_neighbors=k, min_dist=min_dist, init="pca", random_state=seed, n_jobs=1,
        precomputed_knn=(indices, distances, None),
    )  # fmt: skip
    position = np.empty((len(features), 2), np.float32)
    position[order] = reducer.fit_transform(shuffled)
    return position


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
    from training.judge import JUDGE_NAME, JUDGE_SIZE, Judge, imagenet_categories, imagenet_index

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
