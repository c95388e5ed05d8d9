"""Run every stage from photographs to bundle.

    python -m training.pipeline --preset imagewoof64 --hold-out Samoyed "English foxhound"

To resume, run the same command again: what is trained already is not trained again; the bundle is written,
and evaluated, anew each time. Options of a stage can be given to the stage's own script
(``python -m training.autoencoder --help``), with the folders this script prints.
"""

from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.autoencoder import AutoencoderOptions, run_autoencoder
from training.bundle import BundleOptions, check_out, run_bundle
from training.cli import UserError, preset_options, print_dry_run, run_script
from training.data.dataset import check_enough, hold_out, open_listing
from training.data.sources import is_here
from training.detail_phase import DetailPhaseOptions, run_detail_phase
from training.evaluate import EvaluateOptions, run_evaluate
from training.image_phase import ImagePhaseOptions, run_image_phase
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.presets import DEFAULT_PRESET, PRESETS
from training.runs import check_resumable


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """Options of ``python -m training.pipeline``; what is left out is the preset's."""

    preset: str = DEFAULT_PRESET
    """Named set of options for every stage (see training/presets.py)."""
    hold_out: tuple[str, ...] = ()
    """Classes that no training, validation, normalisation or model selection may see."""
    source: str | None = None
    """folder:PATH, imagewoof[:PATH], digits or torchvision:NAME."""
    crop: Literal["auto", "subject", "center"] | None = None
    """Crop around the subject (needs boxes) or the central square; auto: subject where boxes ship."""
    boxes: Path | None = None
    """CSV of subject boxes; by default the one that ships for the source."""
    name: str | None = None
    """Name of the bundle and of the folder in runs/; the preset's name by default."""
    runs: Path = Path("runs")
    """Where the runs of the stages are kept."""
    out: Path | None = None
    """Folder of the bundle; pretrained/<name> by default."""
    autoencoder_images: int | None = None
    """Training length of the autoencoder, in images."""
    latent_gan_images: int | None = None
    """Training length of the GAN, in codes."""
    detail_phase_images: int | None = None
    """Training length of the detail phase, in codes; where the preset has none, this asks for one."""
    image_phase_images: int | None = None
    """Training length of the image phase, in images; where the preset has none, this asks for one, in place
    of a detail phase."""
    seed: int = 0
    """Seed of every stage."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dry_run: bool = False
    """Print the resolved options of every stage and stop."""


@dataclass(frozen=True)
class Stages:
    """The options of every stage; None where the preset leaves a stage out."""

    autoencoder: AutoencoderOptions
    latent_gan: LatentGanOptions
    detail_phase: DetailPhaseOptions | None
    image_phase: ImagePhaseOptions | None
    bundle: BundleOptions
    evaluate: EvaluateOptions | None


def stages(options: PipelineOptions) -> Stages:
    """What every stage is to do."""
    if options.preset in PRESETS and "autoencoder" not in PRESETS[options.preset]:
        raise UserError(f"{options.preset} is a preset of training.pixel_gan, not of a whole pipeline")
    name = options.name or options.preset
    if name in (".", "..") or name != Path(name).name:
        raise UserError(f"--name is the name of a folder, not a path like {name!r}; say where with --out")
    folders = {
        stage: options.runs / name / stage
        for stage in ("autoencoder", "latent_gan", "detail_phase", "image_phase")
    }
    common = {"seed": options.seed, "device": options.device, "dry_run": options.dry_run}

    def resolve(kind: Any, stage: str, **values: Any) -> Any:
        known = {f.name for f in fields(kind)}
        given = {k: v for k, v in {**common, **values}.items() if v is not None and k in known}
        return replace(preset_options(kind, stage, options.preset), **given)

    autoencoder = resolve(
        AutoencoderOptions, "autoencoder", out=folders["autoencoder"], hold_out=options.hold_out,
        source=options.source, crop=options.crop, boxes=options.boxes, images=options.autoencoder_images,
    )  # fmt: skip
    latent_gan = resolve(
        LatentGanOptions, "latent_gan", out=folders["latent_gan"], autoencoder=folders["autoencoder"],
        images=options.latent_gan_images,
    )  # fmt: skip
    detail_phase = resolve(
        DetailPhaseOptions, "detail_phase", out=folders["detail_phase"], latent_gan=folders["latent_gan"],
        images=options.detail_phase_images,
    )  # fmt: skip
    image_phase = resolve(
        ImagePhaseOptions, "image_phase", out=folders["image_phase"], latent_gan=folders["latent_gan"],
        images=options.image_phase_images,
    )  # fmt: skip
    if options.image_phase_images and options.detail_phase_images:
        raise UserError("a bundle holds a detail phase or an image phase; ask for one of them")
    if options.image_phase_images:  # in place of what the preset may have
        detail_phase = replace(detail_phase, images=0)
    bundle = replace(
        resolve(
            BundleOptions, "bundle", out=options.out or Path("pretrained") / name,
            latent_gan=folders["latent_gan"],
        ),
        detail_phase=detail_phase.out if detail_phase.images else None,
        image_phase=image_phase.out if image_phase.images else None,
    )  # fmt: skip
    evaluate = EvaluateOptions(
        bundle=bundle.out, cache=autoencoder.cache, device=options.device, seed=options.seed
    )
    return Stages(
        autoencoder, latent_gan, detail_phase if detail_phase.images else None,
        image_phase if image_phase.images else None, bundle, evaluate if bundle.judge else None,
    )  # fmt: skip


def _listed(options: AutoencoderOptions) -> dict[str, dict[str, int]]:
    """Images by class and split, as they are listed: some may turn out not to be readable.

    Raises UserError where they are too few.
    """
    source, held_out = open_listing(options)
    labels = np.array([item.label for item in source.items])
    splits = np.array([item.split for item in source.items])
    splits = hold_out(labels, splits, [source.classes.index(name) for name in held_out])
    check_enough(options.source, splits)
    return {
        name: dict(Counter(splits[labels == label].tolist())) for label, name in enumerate(source.classes)
    }


def run_pipeline(options: PipelineOptions) -> Path:
    """Run all stages and return the bundle's folder. Each stage finds by itself what is already done."""
    todo = stages(options)
    if options.dry_run:
        # Not the detail phase: its first stage completes its options.
        for stage in filter(None, (todo.autoencoder, todo.latent_gan, todo.image_phase)):
            check_resumable(stage)
        listed = _listed(todo.autoencoder) if is_here(todo.autoencoder.source) else {}
        print_dry_run(options, images=listed, **{f.name: getattr(todo, f.name) for f in fields(todo)})
        return todo.bundle.out
    check_out(todo.bundle.out)
    run_autoencoder(todo.autoencoder)
    run_latent_gan(todo.latent_gan)
    if todo.detail_phase:
        run_detail_phase(todo.detail_phase)
    if todo.image_phase:
        run_image_phase(todo.image_phase)
    run_bundle(todo.bundle)
    if todo.evaluate:
        run_evaluate(todo.evaluate)
    return todo.bundle.out


if __name__ == "__main__":
    run_script(PipelineOptions, "pipeline", run_pipeline)
