"""Run every stage from photographs to bundle, skipping those already done.

    python -m training.pipeline --preset imagewoof64 --hold-out Samoyed "English foxhound"

To resume, run the same command again. Options of a stage can be given to the stage's own script
(``python -m training.autoencoder --help``), with the folders this script prints.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from training.autoencoder import AutoencoderOptions, run_autoencoder
from training.bundle import BundleOptions, run_bundle
from training.cli import preset_options, print_dry_run, run_script
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.presets import DEFAULT_PRESET


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """Options of ``python -m training.pipeline``; what is left out is the preset's."""

    preset: str = DEFAULT_PRESET
    """Named set of options for every stage (see training/presets.py)."""
    hold_out: tuple[str, ...] = ()
    """Classes that no training, validation, normalisation or model selection may see."""
    source: str | None = None
    """folder:PATH, imagewoof[:PATH], digits or torchvision:NAME."""
    crop: str | None = None
    """auto, subject or center."""
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
    seed: int = 0
    """Seed of every stage."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dry_run: bool = False
    """Print the resolved options of every stage and stop."""


def stages(options: PipelineOptions) -> tuple[AutoencoderOptions, LatentGanOptions, BundleOptions]:
    """The options of the three stages."""
    name = options.name or options.preset
    folders = {stage: options.runs / name / stage for stage in ("autoencoder", "latent_gan")}
    common = {"seed": options.seed, "device": options.device, "dry_run": options.dry_run}

    def resolve(kind: Any, stage: str, **values: Any) -> Any:
        known = {f.name for f in fields(kind)}
        given = {k: v for k, v in {**common, **values}.items() if v is not None and k in known}
        return replace(preset_options(kind, stage, options.preset), **given)

    return (
        resolve(
            AutoencoderOptions,
            "autoencoder",
            out=folders["autoencoder"],
            hold_out=options.hold_out,
            source=options.source,
            crop=options.crop,
            images=options.autoencoder_images,
        ),
        resolve(
            LatentGanOptions,
            "latent_gan",
            out=folders["latent_gan"],
            autoencoder=folders["autoencoder"],
            images=options.latent_gan_images,
        ),
        resolve(
            BundleOptions,
            "bundle",
            out=options.out or Path("pretrained") / name,
            latent_gan=folders["latent_gan"],
        ),
    )


def run_pipeline(options: PipelineOptions) -> Path:
    """Run all stages and return the bundle's folder. Each stage finds by itself what is already done."""
    autoencoder, latent_gan, bundle = stages(options)
    if options.dry_run:
        print_dry_run(options, autoencoder=autoencoder, latent_gan=latent_gan, bundle=bundle)
        return bundle.out
    run_autoencoder(autoencoder)
    run_latent_gan(latent_gan)
    return run_bundle(bundle)


if __name__ == "__main__":
    run_script(PipelineOptions, "pipeline", run_pipeline)
