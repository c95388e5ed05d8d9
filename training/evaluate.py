"""Measure a bundle's generator and its codec in the features of a judge that is in no loss.

    python -m training.evaluate pretrained/imagewoof64

Prints a table and writes evaluation.json into the bundle. Needs the photographs that it was trained on;
held-out classes take no part. A pixel GAN's samples are its own pictures, its codes the encoder's of these.
What each number means: docs/evaluation.md.

The judge alone is no proof of a dog: it calls blurred fur-coloured clouds dogs. So every share stands beside
that of codes drawn from a Gaussian, which show none.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from explorer.bundle import Bundle, BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import check_same_networks, update_bundle
from explorer.decoding import decode, encode
from explorer.generation import load_generation
from explorer.latent import Standardisation, nearest
from explorer.measured import EVALUATION
from explorer.networks import Autoencoder, CascadeConfig
from explorer.quality import too_few
from explorer.rates import share
from training import card, metrics
from training.autoencoder import AutoencoderOptions
from training.cli import UserError, command_line, options_json, print_dry_run
from training.data.dataset import FEWEST, Dataset, open_dataset
from training.device import device_name, resolve_device
from training.files import kept
from training.imagenet_judge import DOG_CLASSES, JUDGE_NAME, JUDGE_SIZE, Judge, imagenet_index
from training.memorisation import memorisation_test, nearest_pairs
from training.runs import options_from_json, package_versions
from training.transform_coding import linear_like

NEIGHBOURS = 5  # k of precision, recall, density and coverage
REPLAY_NOISE = 0.1  # standard deviation, on whitened latents, by which a replay misses its training code
ASKED, ALIKE = 256, 0.95  # photographs that are looked at, and the share that must be the bundle's own
THRESHOLD_PERCENTILE = 5.0  # of training crops' dog probability: below it, a picture counts as no dog


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of ``python -m training.evaluate``."""

    bundle: tyro.conf.Positional[Path]
    """The bundle to measure."""
    source: str | None = None
    """Where the photographs are, if no longer where the bundle's source says."""
    cache: Path = Path("cache")
    """Where decoded photographs and the judge's answers are kept."""
    device: str = "auto"
    """Where the judge runs."""
    seed: int = 0
    """Seed of the subsets and of the Gaussian control."""
    dry_run: bool = False
    """Print the resolved options and stop."""


@dataclass(frozen=True)
class Answers:
    """The judge's answers to n pictures: features float32 (n, 1280) and probabilities float32 (n, 1000)."""

    features: np.ndarray
    probabilities: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Answers":
        return Answers(self.features[rows], self.probabilities[rows])


class CachedJudge:
    """A judge that is asked about the same pictures only once: answers are kept on disk by content."""

    def __init__(self, cache: Path, device: torch.device) -> None:
        self.cache = cache / "judge"
        self.judge = Judge(device)

    def ask(self, name: str, pictures: np.ndarray) -> Answers:
        """Answers to pictures uint8 (n, s, s, 3) that nobody will ask about again."""
        features, logits = self.judge.embed(pictures, progress=f"judging {name}")
        return Answers(features.numpy(), logits.softmax(1).numpy())

    def __call__(self, name: str, pictures: np.ndarray) -> Answers:
        """Answers to pictures uint8 (n, s, s, 3); ``name`` is for the progress bar."""
        content = np.ascontiguousarray(pictures)
        key = f"{JUDGE_NAME} {JUDGE_SIZE} float32 {content.shape}"
        digest = hashlib.sha256(key.encode() + content.tobytes()).hexdigest()
        path = self.cache / f"{digest[:24]}.safetensors"
        return Answers(**kept(path, digest, lambda: vars(self.ask(name, content))))


def scramble_phases(pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pictures uint8 (n, s, s, 3) with random Fourier phases: colours and spectrum stay, the subject goes.

    The same random phases for the three channels of a picture, so their colours stay together (the usual
    control in vision science, e.g. Oppenheim & Lim 1981).
    """
    noise = np.random.default_rng(seed).random(pictures.shape[:3]).astype(np.float32)
    phase = np.angle(np.fft.fft2(noise, axes=(1, 2)))[..., None]  # that of a real picture: antisymmetric
    scrambled = np.fft.ifft2(
        np.fft.fft2(pictures.astype(np.float32), axes=(1, 2)) * np.exp(1j * phase), axes=(1, 2)
    ).real
    return scrambled.round().clip(0, 255).astype(np.uint8)


def distances(real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS) -> dict[str, float]:
    """Frechet and kernel distance, precision, recall, density, coverage of features (n, d) and (n, d)."""
    kernel, deviation = metrics.kernel_distance(real, fake)
    return {
        "frechet": metrics.frechet_distance(real, fake),
        "kernel": kernel,
        "kernel_sd": deviation,
        **metrics.manifold_measures(real, fake, k),
    }


def breed_entropy(probabilities: np.ndarray, index: list[int]) -> float:
    """Entropy in bits of the breeds that the judge gives n pictures, among classes ``index``.

    Each picture counts for its best class; log2(len(index)) if all are equally frequent, 0 after a
    collapse onto one.
    """
    counts = np.bincount(probabilities[:, index].argmax(1), minlength=len(index))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def recognisability(judged: dict[str, Answers], labels: np.ndarray, index: list[int]) -> dict[str, Any]:
    """Whether the judge sees a dog at all, and which breeds, for each set of pictures.

    judged: answers by set; 'training crops' sets the threshold, 'crops' are the seen validation crops.
    labels: of 'crops', positions in ``index``, the ImageNet classes of the seen breeds.
    """
    dog = {name: j.probabilities[:, list(DOG_CLASSES)].sum(1) for name, j in judged.items()}
    threshold = float(np.percentile(dog["training crops"], THRESHOLD_PERCENTILE))
    own = judged["crops"].probabilities[:, index].argmax(1) == labels
    return {
        "threshold": threshold,
        "dog": {name: {"k": int((p >= threshold).sum()), "n": len(p)} for name, p in dog.items()},
        "dog_mean_probability": {name: float(p.mean()) for name, p in dog.items()},
        "breed_entropy_bits": {name: breed_entropy(j.probabilities, index) for name, j in judged.items()},
        "breeds": len(index),
        "own_breed_of_crops": {"k": int(own.sum()), "n": len(own)},
    }


def structure(replays: np.ndarray, noise: np.ndarray, samples: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """How many samples look built like real ones, and not like noise in the same components.

    Features float (n, d) of pictures of training codes, of Gaussian codes, and of samples' codes, all by one
    decoder and from the same components of the code. A logistic regression learns to tell the first two on
    half of each (a classifier two-sample test, arXiv 1610.06545); returned are the counts on the replays'
    side among the other halves, its own hits and false alarms, and among all samples.
    """
    rng = np.random.default_rng(seed)
    halves = [np.split(rng.permutation(points), [len(points) // 2]) for points in (replays, noise)]
    learnt_on = np.concatenate([half[0] for half in halves])
    sides = np.repeat([1, 0], [len(half[0]) for half in halves])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    classifier.fit(learnt_on, sides)
    tested = {"replays": halves[0][1], "Gaussian codes": halves[1][1], "samples": samples}
    return {k: {"k": int(classifier.predict(v).sum()), "n": len(v)} for k, v in tested.items()}


def open_evaluated(options: EvaluateOptions) -> tuple[Bundle, Dataset]:
    """The bundle and its photographs, checked to be those it was made from."""
    try:
        bundle = open_bundle(options.bundle)
    except BundleError as error:
        raise UserError(str(error)) from None
    saved = bundle.manifest["training"]["autoencoder"]["options"]
    data = options_from_json(AutoencoderOptions, {**saved, "cache": str(options.cache)})
    dataset = open_dataset(replace(data, source=options.source or data.source))
    if not _same_photographs(dataset.store.names, bundle.names):
        raise UserError(
            f"{options.source or data.source} does not hold the photographs that {options.bundle} was made "
            f"from ({len(dataset.store.names)} images, not the same {len(bundle.names)}); "
            "name them with --source"
        )
    if not _show_the_same(bundle, dataset):
        raise UserError(
            f"{options.source or data.source} has the names that {options.bundle} was made of, but other "
            "photographs under them; put back those that were there, or name them with --source"
        )
    return bundle, dataset


def _same_photographs(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists name the same photographs in order. Endings do not count, as in the app: archives of
    one data set have them as JPEG or as WebP.
    """
    bare, wanted = ([PurePosixPath(name).with_suffix("") for name in listed] for listed in (names, others))
    return bare == wanted


def _show_the_same(bundle: Bundle, dataset: Dataset) -> bool:
    """Whether photographs are those of a bundle's codes: of some, the nearest of these codes is their own, or
    equal to it, as those of copies are.

    Names do not tell: of files that were numbered anew since, some would change sides of the split.
    """
    rows = np.linspace(0, len(bundle.labels) - 1, min(len(bundle.labels), ASKED)).round().astype(int)
    codes = encode(bundle.load_autoencoder(), dataset.centers(rows).numpy())
    own = bundle.real_codes[rows]
    _, found = nearest(codes, own, 1)
    return bool((own[found[:, 0]] == own).all(1).mean() > ALIKE)


def evaluate(bundle: Bundle, dataset: Dataset, options: EvaluateOptions) -> dict[str, Any]:
    """Compute everything; returns what evaluation.json holds."""
    device = resolve_device(options.device)
    ask = CachedJudge(options.cache, device)
    generation = load_generation(bundle)
    model = generation.autoencoder
    rng = np.random.default_rng(options.seed)

    train, val = dataset.indices("train"), dataset.indices("val")
    n = min(len(val), len(train), drawn := len(bundle.generated_codes))
    if drawn < FEWEST:
        raise UserError(
            f"{options.bundle} holds {drawn} samples, and measures take at least {FEWEST}; write it anew, "
            "with more --generated"
        )
    val = np.sort(rng.choice(val, n, replace=False))
    subset = np.sort(rng.choice(len(train), n, replace=False))  # of train, as many as val
    standard = modelled(bundle)
    normal = torch.randn(n, len(standard.scale), generator=torch.Generator().manual_seed(options.seed))

    def round_trips(rows: np.ndarray) -> np.ndarray:
        return decode(model, bundle.real_codes[rows])

    crops = dataset.centers(val).numpy()
    every_train = ask("training crops", dataset.centers(train).numpy())
    trips_train, trips_val = (
        ask("training round trips", round_trips(train)), ask("round trips", round_trips(val))
    )  # fmt: skip
    judged = {
        "crops": ask("crops", crops),
        "training crops": every_train[subset],
        "round trips": trips_train[subset],
        "samples": ask("samples", generation.pictures(bundle.generated_z[:n], bundle.generated_codes[:n])),
        "Gaussian codes": ask("Gaussian codes", decode(model, standard.to_codes(normal).numpy())),
    }
    if model.config.code_channels <= 3 * model.config.patch**2:  # no linear code is longer than its pixels
        linear = linear_like(model.config, dataset.centers(train), dataset.options.mirror)
        codes = encode(linear, dataset.centers(train[subset]).numpy())
        judged["linear round trips"] = ask("linear round trips", decode(linear, codes))
    real = judged["crops"].features
    result: dict[str, Any] = {
        "judge": {"name": JUDGE_NAME, "size": JUDGE_SIZE, "features": real.shape[1]},
        "n": n,
        "k": NEIGHBOURS,
        "distances": {name: distances(real, j.features) for name, j in judged.items() if name != "crops"},
    }
    seen = [c for c in dataset.classes if c not in dataset.held_out]
    index = [imagenet_index(name) for name in seen]
    if all(i in DOG_CLASSES for i in index):
        labels = np.array([seen.index(dataset.classes[label]) for label in dataset.store.labels[val]])
        everything = {**judged, "scrambled crops": ask("scrambled crops", scramble_phases(crops))}
        result["recognisability"] = recognisability(everything, labels, [i for i in index if i is not None])
    # Replays for the positive control: training crops through the decoder once more, from a noisy code.
    noise = rng.normal(size=(n, len(standard.scale))).astype(np.float32)
    replays = _in_components(standard, model, bundle.real_codes[train[subset]], REPLAY_NOISE * noise)
    replayed = ask("replays", replays)
    samples = judged["samples"].features
    result["memorisation"] = {
        "latents": _memorised_latents(bundle, dataset, train, val, subset, n, rng),
        "crops": memorisation_test(samples, real, every_train.features, trips_train[subset].features),
        "round trips": memorisation_test(
            samples, trips_val.features, trips_train.features, replayed.features
        ),
    }
    # For a latent GAN these are the samples; a pixel GAN's are so brought to the replays' blur.
    cut = ask("samples by their components", _in_components(standard, model, bundle.generated_codes[:n]))
    result["structure"] = structure(
        replayed.features, judged["Gaussian codes"].features, cut.features, options.seed
    )
    pairs = nearest_pairs(samples, trips_train.features)
    result["nearest_pairs"] = [{**p, "training": int(train[p["training"]])} for p in pairs]
    return result | {
        "options": options_json(options),
        "command": command_line(),
        "versions": package_versions(),
        "device": device_name(device),
    }


def _memorised_latents(
    bundle: Bundle,
    dataset: Dataset,
    train: np.ndarray,
    val: np.ndarray,
    subset: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The memorisation test on whitened latents, where a latent GAN works; mirror images count as known."""

    def latents(codes: np.ndarray) -> np.ndarray:
        return bundle.standardisation.to_latents(torch.from_numpy(codes.astype(np.float32))).numpy()

    known = [latents(bundle.real_codes[train])]
    replayed = known[0][subset] + REPLAY_NOISE * rng.normal(size=(n, known[0].shape[1])).astype(np.float32)
    if dataset.options.mirror:
        mirrored = dataset.centers(train).flip(2).numpy()
        known.append(latents(encode(bundle.load_autoencoder(), mirrored)))
    return memorisation_test(
        latents(bundle.generated_codes[:n]), latents(bundle.real_codes[val]),
        np.concatenate(known), replayed,
    )  # fmt: skip


def modelled(bundle: Bundle) -> Standardisation:
    """Whitened components of what the bundle's generator models: of two stages, all of them."""
    if isinstance(bundle.gan_config, CascadeConfig):
        codes = torch.from_numpy(bundle.real_codes[bundle.splits == "train"])
        return Standardisation.fit(codes, codes.shape[1])
    return bundle.standardisation


def _in_components(
    standard: Standardisation, model: Autoencoder, codes: np.ndarray, noise: np.ndarray | float = 0.0
) -> np.ndarray:
    """Pictures uint8 of codes float32 (n, code_dim), cut to whitened components, plus noise on these."""
    latents = standard.to_latents(torch.from_numpy(codes)) + torch.as_tensor(noise)
    return decode(model, standard.to_codes(latents).numpy())


def table(evaluation: dict[str, Any]) -> str:
    """Markdown tables of an evaluation: sample quality, recognisability, memorisation."""
    rows = [
        *([few, ""] if (few := too_few(evaluation["n"])) else []),
        f"In the features of {evaluation['judge']['name']} at {evaluation['judge']['size']} px, against seen "
        f"validation crops, n = {evaluation['n']} on both sides, k = {evaluation['k']}.",
        "",
        "| set | Frechet | kernel x 1000 | precision | recall | density | coverage |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    titles = {
        "samples": "**samples**",
        "training crops": "training crops (floor)",
        "round trips": "round trips (ceiling of this codec)",
        "linear round trips": "round trips of a linear codec of this size",
        "Gaussian codes": "Gaussian codes (control)",
    }
    for name, title in titles.items():
        if name not in evaluation["distances"]:
            continue
        d = evaluation["distances"][name]
        rows.append(
            f"| {title} | {d['frechet']:.2f} "
            f"| {1000 * d['kernel']:.2f} ± {1000 * d['kernel_sd']:.2f} | "
            + " | ".join(f"{d[key]:.3f}" for key in ("precision", "recall", "density", "coverage"))
            + " |"
        )
    if seen := evaluation.get("recognisability"):
        own = seen["own_breed_of_crops"]
        rows += [
            "",
            f"Called a dog: probability of ImageNet's dogs at least {seen['threshold']:.3f}, the "
            f"{THRESHOLD_PERCENTILE:g}th percentile of training crops. Entropy of the breeds given, of at "
            f"most {np.log2(seen['breeds']):.2f} bits. The judge gives {share(own['k'], own['n'])} of the "
            f"crops their own breed among {seen['breeds']} (n = {own['n']}).",
            "",
            "| set | n | called a dog | mean probability of a dog | entropy, bits |",
            "| --- | --- | --- | --- | --- |",
        ]
        rows += [
            f"| {name} | {c['n']} | {share(c['k'], c['n'])} | {seen['dog_mean_probability'][name]:.3f} "
            f"| {seen['breed_entropy_bits'][name]:.2f} |"
            for name, c in seen["dog"].items()
        ]
    rows += [
        "",
        "Structure: share on the side of replayed training codes, by a classifier that tells them from "
        "Gaussian codes: "
        + "; ".join(
            f"{name} {share(c['k'], c['n'])}, n = {c['n']}" for name, c in evaluation["structure"].items()
        )
        + ".",
        "",
        "Memorisation, by the nearest training images. *Closer*: share nearer than the 1st percentile of "
        "unseen images. *Copied*: share with a ratio of nearest to second nearest below the 1st percentile "
        "of unseen images. *AUC*: 0.5 as far as unseen images are, 1 always nearer. Bland or blurred "
        "pictures are near many training images: closer, but not copied.",
        "",
        "| compared as | set | n | closer | copied | AUC | median distance |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {space} | {name} | {r['n']} | {share(r['closer'], r['n'])} | {share(r['copied'], r['n'])} "
        f"| {r['auc']:.3f} | {r['median']:.2f} |"
        for space, test in evaluation["memorisation"].items()
        for name, r in test.items()
        if isinstance(r, dict)
    ]
    return "\n".join(rows)


def run_evaluate(options: EvaluateOptions) -> Path:
    """Measure, print the table, write evaluation.json and the card into the bundle; returns its folder."""
    if options.dry_run:
        print_dry_run(options)
        return options.bundle
    bundle, dataset = open_evaluated(options)
    evaluation = evaluate(bundle, dataset, options)
    tables = table(evaluation)
    print(tables)
    try:
        update_bundle(
            options.bundle, {EVALUATION: evaluation}, card.model_card(bundle.manifest, dataset, tables),
            check=lambda: check_same_networks(options.bundle, bundle),
        )  # fmt: skip
    except BundleError as error:
        raise UserError(str(error)) from None
    return options.bundle


if __name__ == "__main__":
    from training.cli import run_script

    run_script(EvaluateOptions, "evaluate", run_evaluate)
