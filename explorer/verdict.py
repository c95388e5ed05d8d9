"""The verdict on one class and one generator: from stored counts to a sentence no stronger than they are.

A class is representable (the codec shows it), reachable on demand (a search finds it in the generator's
range) or produced (samples contain it); each is asked against its own controls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context
from enum import Enum
from math import ceil

from explorer.prevalence import rogan_gladen
from explorer.rates import Count, clopper_pearson, pooled
from explorer.replication import chance_above_all, holm, p_more, seed_interval

SEEDS = 5  # trained generators that a claim about what is produced takes
DETECTED = 0.8  # share of oracle seeds in which the class must be found
REPRESENTED = 0.5  # of how often photographs are recognised: below, a codec does not show the class
NOTHING = Count(0, 10**9)  # the false positives of samples of which nothing is taken for the class
# Searches that rung 2 compares
HELD_OUT, SCRAMBLED, OTHER, UNTRAINED = "held-out", "scrambled", "other classes", "untrained"


class Kind(Enum):
    """What can be said of a class."""

    PRODUCED = "produced"
    PRODUCED_NOT_BY_GAN = "produced, not by the GAN"
    REACHABLE = "reachable on demand"
    REPRESENTABLE = "representable only"
    NOT_REPRESENTABLE = "not representable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Search:
    """What a search for targets of one kind reached.

    reached: results that the judges call the class. distance: median over targets of the result's distance to
    its target, relative to that of the nearest training image; None where it was not measured.
    """

    reached: Count
    distance: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What was counted for one class and one generator, at one threshold of the judges.

    originals, round_trips: test images recognised, as photographs and through the codec; for a generator of
    pixels, which has no codec, the originals twice. tpr: hits among test images in the form in which samples
    come. fpr: hits by false-positive control. produced: hits by seed. attribution: by control that no GAN
    takes part in, and by its seeds. searches: by kind of target, or UNTRAINED for the generator that was
    searched; OTHER may be missing. oracle: by seed of generators trained with the class; oracle_fpr: as fpr,
    of controls that were counted among oracles' own samples; blind: by seed of the same kind without the
    class. shared: what seeds have in common besides the codec, for the sentence. seen: whether the generator
    was trained with it; then what fits its images makes it, too, and nothing is attributed. codec: whether
    there is one. mixed: whether some of fpr have the seen classes mixed as samples do. uncalibrated:
    calibration pictures, where they are too few for a threshold, and how many that takes. What was not
    measured is left empty.
    """

    name: str
    originals: Count
    round_trips: Count
    tpr: Count
    fpr: Mapping[str, Count] = field(default_factory=dict)
    produced: Sequence[Count] = ()
    attribution: Mapping[str, Sequence[Count]] = field(default_factory=dict)
    searches: Mapping[str, Search] = field(default_factory=dict)
    oracle: Sequence[Count] = ()
    oracle_fpr: Mapping[str, Count] = field(default_factory=dict)
    blind: Sequence[Count] = ()
    shared: str = ""
    seen: bool = False
    codec: bool = True
    mixed: bool = False
    uncalibrated: tuple[int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found of a class.

    pi: share of samples, None where the judges cannot tell. low, high: its interval over seeds; (0, 1) where
    nothing is known. p_value: one-sided, that it is 0, adjusted for the classes. limits: what it rests on or,
    where it is inconclusive, lacks.
    """

    kind: Kind
    sentence: str
    pi: float | None
    low: float
    high: float
    p_value: float
    limits: tuple[str, ...]


def worst_control(evidence: Evidence, level: float = 0.95) -> str:
    """The false-positive control that leaves least of the share of samples: by which its lower end is lowest,
    and where that is 0 by several, the one whose rate has the largest upper bound. Its rate is the FPR used.
    Some control must have been counted.
    """
    controls, seeds = _asked(evidence.fpr), [count for count in evidence.produced if count.n]

    def least(name: str) -> tuple[float, float]:
        control = controls[name]
        low = seed_interval(seeds, evidence.tpr, control, level)[0] if seeds else 0.0
        return low, -clopper_pearson(control.hits, control.n, level)[1]

    return min(controls, key=least)


def _asked(fpr: Mapping[str, Count]) -> dict[str, Count]:
    return {name: count for name, count in fpr.items() if count.n}


def _explained(counts: Sequence[Count], controls: Mapping[str, Count]) -> tuple[float, str]:
    """The largest p-value, by false-positive control, that counts are at no higher rate, and the control."""
    ps = {name: p_more(counts, [control]) for name, control in controls.items()}
    hardest = max(ps, key=lambda name: ps[name])
    return ps[hardest], hardest


def corrected_share(evidence: Evidence, level: float = 0.95) -> tuple[float | None, float]:
    """Share of samples that show the class, corrected for the judges' errors by the worst control, and the
    lower end of its interval over seeds; (None, 0) where the judges cannot tell.
    """
    seeds, controls = [count for count in evidence.produced if count.n], _asked(evidence.fpr)
    if not seeds or not controls:
        return None, 0.0
    fpr = controls[worst_control(evidence, level)]
    if evidence.tpr.rate <= fpr.rate:
        return None, 0.0
    pi = rogan_gladen(pooled(seeds).rate, evidence.tpr.rate, fpr.rate)
    return pi, seed_interval(seeds, evidence.tpr, fpr, level)[0]


def verdicts(classes: Sequence[Evidence], level: float = 0.95) -> list[Verdict]:
    """A verdict for each class of one generator, in order.

    level: of the intervals, in (0, 1). Claims are tested one-sided at (1 - level) / 2, as the lower end of an
    interval is, with Holm's adjustment over the classes.
    """
    found = [_Found(evidence, level) for evidence in classes]
    produced = holm([f.p_produced for f in found])
    attributed = holm([f.p_attributed for f in found])
    searched = holm([f.p_searched for f in found])
    return [
        _decide(f, level, p, a, s) for f, p, a, s in zip(found, produced, attributed, searched, strict=True)
    ]


class _Found:
    """The numbers of one class before they are compared with other classes'."""

    def __init__(self, evidence: Evidence, level: float) -> None:
        self.evidence = evidence
        self.seeds = [count for count in evidence.produced if count.n]
        self.controls = _asked(evidence.fpr)
        self.of_oracles = {**self.controls, **_asked(evidence.oracle_fpr)}
        self.attribution = {n: s for n, s in evidence.attribution.items() if any(c.n for c in s)}
        self.pi, self.low = corrected_share(evidence, level)
        self.high = 1.0
        self.p_produced = self.p_attributed = self.p_searched = 1.0
        self.hardest = ""
        self.believed: dict[str, Count] = {}  # false-positive controls and, by no name, that there are none
        self.ends: dict[str, float] = {}  # upper end of the interval, by which of them is believed
        if self.controls:
            self.worst = worst_control(evidence, level)
            self.fpr = self.controls[self.worst]
        if self.pi is not None:
            # Samples may fool the judges less often than any control does: the upper end allows for it.
            self.believed = {**self.controls, "": NOTHING}
            self.ends = {
                name: seed_interval(self.seeds, evidence.tpr, fpr, level)[1]
                for name, fpr in self.believed.items()
            }
            self.high = max(self.ends.values())
            self.p_produced, _ = _explained(self.seeds, self.controls)
        if self.attribution:
            ps = {name: p_more(self.seeds, seeds) for name, seeds in self.attribution.items()}
            self.hardest = max(ps, key=lambda name: ps[name])
            self.p_attributed = ps[self.hardest]
        searches = evidence.searches
        if all(kind in searches for kind in (HELD_OUT, SCRAMBLED, UNTRAINED)):
            reached = [searches[HELD_OUT].reached]
            self.p_searched = max(p_more(reached, [searches[kind].reached]) for kind in _against(evidence))


def _decide(
    found: _Found, level: float, p_produced: float, p_attributed: float, p_searched: float
) -> Verdict:
    evidence, tail = found.evidence, (1 - level) / 2
    limits: list[str] = []

    def said(kind: Kind, text: str) -> Verdict:
        return Verdict(
            kind, f"{evidence.name}: {text}.", found.pi, found.low, found.high, p_produced, tuple(limits)
        )

    def inconclusive(*told: str) -> Verdict:
        text = "inconclusive: " + "; ".join(limits)
        return said(Kind.INCONCLUSIVE, f"{text} (what can be told: {'; '.join(told)})" if told else text)

    limits += _unjudged(found, tail)
    if limits:
        return inconclusive()
    shown, is_produced = _represented(evidence, level), p_produced <= tail
    if shown is False and not is_produced:  # samples may show what few round trips do
        return said(Kind.NOT_REPRESENTABLE, f"{_recognised(evidence)}: not representable")
    if shown is None and not is_produced:
        limits.append(f"{_recognised(evidence)}, on too few images to tell; more test images would settle it")
    limits += _untested(found, tail, is_produced)
    if is_produced and not found.attribution and not evidence.seen:
        limits.append(
            "interpolations and fitted Gaussians were not sampled, so nothing attributes it to the GAN"
        )
    searched = _searched(evidence, p_searched <= tail)
    if limits:
        first_rungs = [_recognised(evidence)] if evidence.codec and shown else []
        return inconclusive(*first_rungs, *([searched] if evidence.searches else []))
    low, high = percent(found.low, "down").removesuffix(" %"), percent(found.high, "up")
    interval = f"{100 * level:g} % interval {low} to {high}; {_size(found.seeds, evidence.shared)}"
    if is_produced:
        limits.append(f"false positives are those of {found.worst} ({_share(found.fpr)})")
        if not evidence.seen and not evidence.mixed:
            limits.append(
                "they are counted on all seen classes alike, so a generator that makes mostly one that is "
                "like this class may pass for one that makes it: see which seen classes its samples are hit "
                "for"
            )
        if shown is False:
            limits.append(f"{_recognised(evidence)}, so its codec shows it badly")
        made = f"produced, in {percent(found.pi or 0)} of samples ({interval})"
        if evidence.seen:
            return said(Kind.PRODUCED, f"{made}, more often than false positives")
        if p_attributed <= tail:
            names = listed(found.attribution)
            return said(Kind.PRODUCED, f"{made}, more often than false positives and than by {names}")
        control = pooled(found.attribution[found.hardest])
        return said(
            Kind.PRODUCED_NOT_BY_GAN,
            f"{made}, but not shown to be so more often than by {found.hardest} "
            f"(hits: {_share(pooled(found.seeds))} against {_share(control)}): nothing to attribute to the "
            "GAN",
        )
    limits.append("the bound takes every hit to show the class, as if there were no false positives")
    closest, makes = _least_denied(found, [count for count in evidence.oracle if count.n])
    limits.append(
        f"it is closest to what oracles make {_if(closest)}: at most "
        f"{percent(found.ends[closest], 'up')} against {percent(makes)}"
    )
    made = f"not produced above {high} of samples ({interval})"
    if found.low > 0:
        made += ", above 0 only until the number of classes is allowed for"
    if p_searched <= tail:
        return said(Kind.REACHABLE, f"{made}, but {searched}: reachable on demand")
    codec = _recognised(evidence) if evidence.codec else "a GAN on pixels needs no codec to show it"
    return said(Kind.REPRESENTABLE, f"{made}; {searched}; {codec}: representable only")


def _unjudged(found: _Found, tail: float) -> list[str]:
    """Why the judges cannot tell even photographs of the class, if they cannot."""
    evidence = found.evidence
    if evidence.uncalibrated is not None:
        few, needed = evidence.uncalibrated
        return [
            f"{few:,} calibration pictures are too few for a threshold at this false-alarm rate, which takes "
            f"{needed:,}; more images of seen classes would settle it"
        ]
    if not found.controls:
        return ["false positives were not counted"]
    asked = {
        "photographs": evidence.originals,
        "round trips": evidence.round_trips,
        "true samples": evidence.tpr,
    }
    missing = [name for name, count in asked.items() if not count.n]
    if missing:
        return [f"the judges were not asked about {listed(missing)} of the class"]
    p, control = _explained([evidence.originals], found.controls)
    if p > tail:
        return [
            f"the judges recognise {_share(evidence.originals)} photographs, and "
            f"{_share(found.controls[control])} of {control}; a better judge would settle it"
        ]
    return []


def _represented(evidence: Evidence, level: float) -> bool | None:
    """Whether round trips are recognised at least half as often as photographs; None if it is too close.

    Without a codec they are photographs.
    """
    if not evidence.codec:
        return True
    originals, trips = (
        clopper_pearson(count.hits, count.n, level) for count in (evidence.originals, evidence.round_trips)
    )
    if trips[0] >= REPRESENTED * originals[1]:
        return True
    return False if trips[1] < REPRESENTED * originals[0] else None


def _untested(found: _Found, tail: float, is_produced: bool) -> list[str]:
    """What stands between the counts and a claim about what is produced."""
    evidence, limits = found.evidence, []
    p, control = _explained([evidence.tpr], found.controls)
    if p > tail:
        limits.append(
            f"the judges find {_share(evidence.tpr)} true samples but also "
            f"{_share(found.controls[control])} of {control}; a better judge would settle it"
        )
    if len(found.seeds) < SEEDS:
        limits.append(f"{len(found.seeds)} of {SEEDS} seeds were sampled; more seeds would settle it")
    oracle = [count for count in evidence.oracle if count.n]
    if not oracle:
        limits.append(
            f"no oracle, trained with the class, shows that it would be seen; {SEEDS} of them would settle it"
        )
    elif undetected := _undetected(oracle, found, tail):
        limits.append(undetected)
    elif len(oracle) < SEEDS and not limits:
        limits.append(f"{len(oracle)} of {SEEDS} oracles were sampled; more would settle it")
    elif not limits and not is_produced and evidence.seen:  # it is its own oracle, so no bound denies it
        told = "holds only until the number of classes is allowed for" if found.low else "is not shown"
        limits.append(
            f"{_share(pooled(found.seeds))} samples are taken for it; that these are more than false "
            f"positives explain ({_share(found.fpr)} of {found.worst}) {told}; more test images or seeds "
            "would settle it"
        )
    elif not limits and not is_produced:
        control, made = _least_denied(found, oracle)
        if found.ends[control] >= made:
            most, size = percent(found.ends[control], "up"), _size(found.seeds, evidence.shared)
            limits.append(
                f"up to {most} of samples may be of it ({100 * (1 - 2 * tail):g} % interval; {size}), and no "
                f"more ({percent(made)}) are where a generator was trained with it, {_if(control)}; more "
                "test images or seeds would settle it"
            )
    return limits


def _least_denied(found: _Found, oracle: Sequence[Count]) -> tuple[str, float]:
    """The control by which the upper end is least below what oracles make, and what they make by it.

    Whatever explains false positives does so in oracles' samples too, where it is counted among these if it
    was counted among samples. Nobody knows which control does, so a bound must deny what oracles make by each
    of them. By one that is no rarer than true positives they make nothing.
    """
    rate, tpr = pooled(oracle).rate, found.evidence.tpr.rate
    rates = {name: found.of_oracles.get(name, fpr).rate for name, fpr in found.believed.items()}
    made = {name: rogan_gladen(rate, tpr, fpr) if fpr < tpr else 0.0 for name, fpr in rates.items()}
    control = max(made, key=lambda name: found.ends[name] - made[name])
    return control, made[control]


def _if(control: str) -> str:
    """Which false positives are believed, in words."""
    return f"if false positives are those of {control}" if control else "if there are no false positives"


def _undetected(oracle: Sequence[Count], found: _Found, tail: float) -> str:
    """Why the class is not detected in enough oracles, if it is not.

    An oracle is detected if the class is found in it more often than false positives explain, or than in
    every generator of its kind that never saw it. The second differs from an oracle in the class alone, so no
    other control is nearer, and it has as many samples, where false positives may rest on few images. Seeds
    differ, so an oracle must beat each of them; and so many must as would too seldom if the class made no
    difference.
    """
    blind = [count for count in found.evidence.blind if count.n]
    explained = [_explained([count], found.of_oracles)[0] > tail for count in oracle]
    highest = max(blind, key=lambda count: count.rate, default=Count(0, 0))  # of no n, so never beaten
    above = [p_more([count], [highest]) <= tail for count in oracle]
    chance = chance_above_all(len(oracle), len(blind), sum(above))
    needed = ceil(DETECTED * len(oracle))
    detected = sum(not e or (a and chance <= tail) for e, a in zip(explained, above, strict=True))
    if detected >= needed:
        return ""
    if sum(not e or a for e, a in zip(explained, above, strict=True)) >= needed:
        return (
            f"{sum(above)} of {len(oracle)} oracles trained with the class are hit more often than each of "
            f"{len(blind)} generators that never saw it, which chance alone brings {percent(chance)} of the "
            f"time, more than the {percent(tail)} that are allowed; more seeds would settle it"
        )
    trained = "of the GANs, which were" if found.evidence.seen else "oracles"
    return (
        f"the class was detected in {detected} of {len(oracle)} {trained} trained with it; a better judge, "
        "codec or generator, or more samples, would settle it"
    )


def _against(evidence: Evidence) -> list[str]:
    """The searches that one for images of the class must beat."""
    return [kind for kind in (SCRAMBLED, OTHER, UNTRAINED) if kind in evidence.searches]


def _searched(evidence: Evidence, beaten: bool) -> str:
    """What the search for it says, beside its controls."""
    searches = evidence.searches
    missing = [kind for kind in (HELD_OUT, SCRAMBLED, UNTRAINED) if kind not in searches]
    if missing:
        return f"a search on demand says nothing without counts for {listed(missing)}"
    reached = f"a search reaches {_share(searches[HELD_OUT].reached)} of its images"
    found = {
        kind: words.format(_share(searches[kind].reached))
        for kind, words in (
            (SCRAMBLED, "of scrambled ones ({})"),
            (OTHER, "of other classes' ({})"),
            (UNTRAINED, "in an untrained generator ({})"),
        )
        if kind in searches
    }
    if beaten:
        distance = searches[HELD_OUT].distance
        near = "" if distance is None else f", {distance:.2g} times as far away as the nearest training image"
        return f"{reached}{near}, more than {' and than '.join(found.values())}"
    hardest = max(_against(evidence), key=lambda kind: searches[kind].reached.rate)
    nothing = "" if hardest == UNTRAINED else ", so it says nothing"
    return f"{reached}, not shown to be more than {found[hardest]}{nothing}"


def _recognised(evidence: Evidence) -> str:
    ratio = evidence.round_trips.rate / evidence.originals.rate
    return f"the judges recognise its round trips {percent(ratio)} as often as photographs"


def listed(names: Iterable[str]) -> str:
    """Names for people: ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _share(count: Count) -> str:
    return f"{count.hits:,} of {count.size}"


def _size(seeds: Sequence[Count], shared: str) -> str:
    sizes = {count.n for count in seeds}
    drawn = (
        f"{sizes.pop():,} samples each" if len(sizes) == 1 else f"{sum(c.n for c in seeds):,} samples in all"
    )
    return f"{len(seeds)} seeds, {drawn}" + (f", {shared}" if shared else "")


def percent(share: float, rounded: str = "nearest") -> str:
    """A share for people, to two digits: ``0.43 %``; bounds are rounded 'up' or 'down', never inwards."""
    rounding = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}[rounded]
    return f"{Context(prec=2, rounding=rounding).create_decimal_from_float(100 * share).normalize():f} %"
