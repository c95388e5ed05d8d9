"""The model card of a bundle: its README.md, for people."""

from dataclasses import dataclass
from typing import Any

from training.codec_table import table
from training.data.dataset import Dataset, alike, held_out_copies

DUAL_SPACE = (
    "An autoencoder and a GAN trained on its codes (the *dual space* of Modrekiladze, arXiv 2410.19009)"
)


@dataclass(frozen=True)
class Words:
    """What a card says of a generator of one kind, and its measurements.

    title: what the bundle is. generator: an entry of the list at the top, or nothing. codes: what its codes
    lack. start: what the Gaussian is to it. components, those: the whitened ones, in full and in short.
    """

    title: str
    generator: str
    codes: str
    start: str
    components: str
    those: str
    measured: dict[str, float]


def _latent_words(manifest: dict[str, Any]) -> Words:
    run = manifest["training"]["latent_gan"]
    components, explained = run["options"]["latent_dim"], run["done"]["explained_variance"]
    return Words(
        title=DUAL_SPACE,
        generator="",
        codes=f"The GAN models {components} principal components, {explained:.1%} of the codes' variance; "
        "the others stay at their mean, which the full code space counts as an error.",
        start=", where this generator started",
        components=f"{components} whitened components of the GAN",
        those="the components of the GAN",
        measured=manifest["metrics"]["latent_gan"],
    )


def _cascade_words(manifest: dict[str, Any]) -> Words:
    first, run = manifest["training"]["latent_gan"], manifest["training"]["detail_phase"]["options"]
    components, explained = first["options"]["latent_dim"], first["done"]["explained_variance"]
    added = "convolutions and attention" if run.get("attention") else "convolutions"
    return Words(
        title=DUAL_SPACE,
        generator=f"- **Generator**: in two stages. A GAN on {components} principal components makes a "
        f"coarse code; {added},\n  trained against a discriminator of whole codes (noise of "
        f"{run['code_noise']:g} on real ones; {run['real_share']:.0%} of the coarse codes\n  were real "
        "images'), add what it lacks.\n",
        codes=f"The first stage makes {components} principal components, {explained:.1%} of the codes' "
        "variance; the second adds the others.",
        start="",
        components=f"{components} whitened components of the first stage",
        those="the components of the first stage",
        measured=manifest["metrics"]["detail_phase"],
    )


def _pixel_words(manifest: dict[str, Any]) -> Words:
    run, measured = manifest["training"]["pixel_gan"], manifest["metrics"]["pixel_gan"]
    return Words(
        title="A GAN on pixels, opponent of GANs in the *dual space* (Modrekiladze, arXiv 2410.19009), with "
        "an autoencoder",
        generator=f"- **Generator**: a GAN on the pixels of the same crops, trained on {run['device']} by\n"
        f"  `{run['command']}`; the autoencoder took no part in that.\n"
        "  Its pictures are its own; the encoder gives them codes, to be placed on the map and compared.\n",
        codes="Generated codes are what the encoder makes of the generated pictures.",
        start="",
        components=f"{measured['components']} leading whitened components",
        those="these components",
        measured=measured,
    )


def _but_for(dataset: Dataset) -> str:
    """Held-out images that the data have in a seen class, too."""
    copies = held_out_copies(alike(dataset.store), dataset.splits)
    if not copies:
        return ""

    def called(row: int) -> str:
        return f"`{dataset.store.names[row]}` ({dataset.classes[dataset.store.labels[row]]})"

    one, other = copies[0]
    more = "" if len(copies) == 1 else f", the first of {len(copies)}"
    return f", but for what the data have in a seen\n  class, too: {called(one)}\n  is {called(other)}{more}"


def model_card(manifest: dict[str, Any], dataset: Dataset, evaluation: str = "") -> str:
    """Markdown card: what it is, what was held out, how it was made, what it must not be used for.

    evaluation: the tables of ``training.evaluate``, where it was run.
    """
    training, data, metrics = manifest["training"], manifest["data"], manifest["metrics"]
    gaussian, placement = metrics["gaussian"], metrics["map"]
    words = {"pixel_gan": _pixel_words, "detail_phase": _cascade_words, "latent_gan": _latent_words}
    about = next(say for stage, say in words.items() if stage in training)(manifest)
    gan = about.measured
    measures = "\n".join(
        f"| {name} | {gan[key]:.3f} | {gaussian[key]:.3f} | {gan[f'{key}_floor']:.3f} |"
        for name, key in (
            (f"Frechet distance, the {about.components}", "latent_frechet"),
            ("Frechet distance, full code space", "frechet"),
            (f"coverage (k = 5), {about.those}", "latent_coverage"),
            ("coverage (k = 5), full code space", "coverage"),
        )
    )
    decoder = ""
    if "image_phase" in training:
        done = training["image_phase"]["done"]
        before, after = done["before"], done["after"]
        decoder = (
            "- **Decoder**: it went on after the autoencoder, as a generator of images against an image "
            "discriminator trained from scratch on seen crops (the second phase of Express Construction, "
            f"Appl. Sci. 2022, 12, 3910). On {done['n']} seen validation images that took round trips from "
            f"{before['psnr_whole']:.2f} to {after['psnr_whole']:.2f} dB; codes cut to the GAN's components "
            f"from {before['psnr_cut']:.2f} to {after['psnr_cut']:.2f} dB; the sharpness of samples from "
            f"{before['sharpness_generated']:.2f} to {after['sharpness_generated']:.2f} of the crops'.\n"
        )
    note = manifest["bundle"]["options"]["note"]
    note = f"**Note.** {note}\n\n" if note else ""
    cropped = ""
    if data["crop"] == "subject":
        boxes = training["autoencoder"]["options"].get("boxes")
        cropped = (
            f" The subject crops of the photographs are those of `{boxes}`, which was given;"
            " `training.subject` would find them by an ImageNet classifier."
            if boxes
            else " An ImageNet classifier found the subject crops of the photographs (the boxes ship with the"
            " code): that is all it has done before training ended."
        )
    if evaluation:
        evaluation = f"## Evaluated\n\n`{manifest['name']}/evaluation.json`. {evaluation}\n\n"
    recognised = (
        "*Recognised*: share to which the ImageNet judge gives their own class among\n"
        f"the {len(manifest['classes'])} classes."
        if any("recognised_original" in part for part in metrics["codec"].values())
        else "The ImageNet judge was not asked: it does not know\nevery class."
    )
    held_out = ", ".join(manifest["held_out"]) or "none"
    counts = {s: int((dataset.splits == s).sum()) for s in ("train", "val", "held_out")}
    stages = "\n".join(
        f"| {stage} | {run['device']} | {run['done']['seconds'] / 60:.1f} | {run['done']['images']:,} "
        f"| {run['options']['seed']} | `{run['command']}` |"
        for stage, run in training.items()
    )
    versions = ", ".join(f"{k} {v}" for k, v in manifest["bundle"]["versions"].items())
    return f"""# {manifest["name"]}

{about.title}, for
the Dual-Space Explorer. No photographs inside: weights, codes, map coordinates and curves.

- **Data**: {data["description"]}; source `{data["source"]}`, {data["image_size"]} px, crop: {data["crop"]}.
  Licence of the data: {data["licence"]}.
- **Held out**: {held_out}. None of their {counts["held_out"]:,} images took part in training, validation,
  normalisation or model selection{_but_for(dataset)}.
- **Seen**: {counts["train"]:,} training and {counts["val"]:,} validation images of
  {len(manifest["classes"]) - len(manifest["held_out"])} classes. Unreadable and skipped: {data["skipped"]}.
{about.generator}{decoder}- **No pretrained network** is in any loss.{cropped}

{note}## How it was made

| stage | device | training minutes | images | seed | command |
| --- | --- | --- | --- | --- | --- |
{stages}

Bundle: `{manifest["bundle"]["command"]}`. Versions: {versions}.

## Measured

Round trips (decode of encode). {recognised}

{table({manifest["name"]: metrics["codec"]})}

Generated codes against codes of seen validation images, n = {gan["n"]} each. {about.codes}
*Gaussian*: draws from a Gaussian with the mean and covariance of the training codes{about.start}.
By construction it is near the real codes in Frechet distance, and shows no subject, so this distance alone
proves nothing.

| measure | generated | Gaussian | train vs val (real against real) |
| --- | --- | --- | --- |
{measures}

The map is an illustration: a UMAP of the {placement["components"]} leading components of the real codes,
neighbours exact, rows shuffled. No number is computed from it. Trustworthiness towards the full code space
(15 neighbours, n = {placement["n"]}; 0.5 is chance, 1 is perfect): {placement["trustworthiness"]:.3f}, and
{placement["trustworthiness_placed"]:.3f} for real codes placed as if they were new. Median distance from a
real code so placed to its own point: {placement["placed_to_own_position"]:.3f} of that between random points.

{evaluation}## Not for

Research and teaching only. Not for identifying animals or people, not for telling real photographs from
generated ones, and no evidence by itself that a held-out class can or cannot be generated. The data's
licence binds what is derived from it.
"""
