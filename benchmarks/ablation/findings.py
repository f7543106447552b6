"""What EB-JEPA (arXiv 2602.03604) found on images, and whether it shows here too, from the rows of two ablations.

The accuracies are those of linear probes, in percent, EB-JEPA's on CIFAR-10.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from agents.evaluation.statistics import wilson_interval

Row = Mapping[str, Any]

SIGREG_SWEEP = {0.1: 27.2, 1.0: 86.94, 10.0: 90.88, 100.0: 80.86}
"""EB-JEPA's accuracy by the weight of SIGReg."""
RANDOM = "random weights"
"""Variant that a collapsed one is worse than."""


class Finding(NamedTuple):
    """A finding of the paper.

    Attributes:
        claim: What was found.
        paper: EB-JEPA's figures.
        ours: From the rows of regularisers and projectors, and of weights, to our figures and a verdict.
    """

    claim: str
    paper: str
    ours: Callable[[Sequence[Row], Sequence[Row]], str]


def markdown(images: Mapping[str, tuple[Sequence[Row], Sequence[Row]]]) -> str:
    """The findings as a Markdown table.

    Args:
        images: For each set of images the rows of the ablations "images" and "image-weights"; either may be empty.
    """
    lines = ["| EB-JEPA's finding | EB-JEPA, CIFAR-10 | " + " | ".join(images) + " |"]
    lines += ["|---|---|" + "---|" * len(images)]
    for finding in FINDINGS:
        cells = [finding.ours(*rows) for rows in images.values()]
        lines.append(f"| {finding.claim} | {finding.paper} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _difference(first: str, second: str) -> Callable[[Sequence[Row], Sequence[Row]], str]:
    """How much better one variant is than another, seed by seed."""

    def ours(regularisers: Sequence[Row], weights: Sequence[Row]) -> str:
        a, b = (_by_seed(regularisers, name) for name in (first, second))
        gains = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
        if not gains:
            return "not measured"
        verdict = _verdict(gains, *(_interval(regularisers, name) for name in (first, second)))
        return f"{', '.join(f'{gain:+.1f}' for gain in gains)}: {verdict}"

    return ours


def _sweep(regularisers: Sequence[Row], weights: Sequence[Row]) -> str:
    """Accuracy by the weight of SIGReg."""
    found = {weight: _by_seed(weights, f"SIGReg {weight:g}") for weight in SIGREG_SWEEP}
    if not all(found.values()):
        return "not measured"
    means = {weight: mean(accuracies.values()) for weight, accuracies in found.items()}
    best = max(means, key=means.__getitem__)
    verdict = "confirmed" if best == max(SIGREG_SWEEP, key=SIGREG_SWEEP.__getitem__) else f"best at {best:g}"
    return f"{_listed(means)}: {verdict}"


def _average(regularisers: Sequence[Row], weights: Sequence[Row]) -> str:
    """Mean accuracy over the settings of each regulariser that did not collapse."""
    floor = _floor(regularisers)
    names = ("SIGReg", "VICReg")
    if floor is None or not all(_settings(weights, name) for name in names):
        return "not measured"
    kept = [[name for name, a in _settings(weights, first).items() if a > floor] for first in names]
    means = [mean([mean(_by_seed(weights, name).values()) for name in settings] or [0.0]) for settings in kept]
    verdict = _verdict([means[0] - means[1]], *(_interval(weights, *settings) for settings in kept))
    return f"{means[0]:.1f} against {means[1]:.1f}: {verdict}"


def _collapse(regularisers: Sequence[Row], weights: Sequence[Row]) -> str:
    """Settings that are worse than random weights."""
    floor, settings = _floor(regularisers), _settings(weights, "")
    if floor is None or not settings:
        return "not measured"
    collapsed = {name: accuracy for name, accuracy in settings.items() if accuracy <= floor}
    lowest = min(settings, key=settings.__getitem__)
    return (
        f"{len(collapsed)} of {len(settings)} settings below random weights ({floor:.1f}), lowest {lowest}: "
        f"{settings[lowest]:.1f}: {'confirmed' if collapsed else 'not seen'}"
    )


def _by_seed(rows: Sequence[Row], variant: str) -> dict[int, float]:
    return {row["seed"]: 100 * row["linear"]["accuracy"] for row in rows if row["variant"] == variant}


def _verdict(gains: Sequence[float], first: tuple[float, float], second: tuple[float, float]) -> str:
    """Whether the first is better: in every gain, and with an interval above the second's."""
    if min(gains) > 0 and first[0] > second[1]:
        return "confirmed"
    if max(gains) <= 0 and first[1] < second[0]:
        return "the opposite"
    return "undecided"


def _interval(rows: Sequence[Row], *variants: str) -> tuple[float, float]:
    """Wilson's interval of the test images of all seeds and variants together; of no variants, zero."""
    accuracies = [row["linear"] for row in rows if row["variant"] in variants]
    if not accuracies:
        return 0.0, 0.0
    return wilson_interval(*(sum(accuracy[key] for accuracy in accuracies) for key in ("correct", "total")))


def _settings(rows: Sequence[Row], prefix: str) -> dict[str, float]:
    """Mean accuracy over seeds of all variants whose names begin so."""
    names = dict.fromkeys(row["variant"] for row in rows if row["variant"].startswith(prefix))
    return {name: mean(_by_seed(rows, name).values()) for name in names}


def _floor(regularisers: Sequence[Row]) -> float | None:
    accuracies = _by_seed(regularisers, RANDOM)
    return mean(accuracies.values()) if accuracies else None


def _listed(accuracies: Mapping[float, float]) -> str:
    return ", ".join(f"{weight:g} → {accuracy:.1f}" for weight, accuracy in accuracies.items())


FINDINGS = (
    Finding("a projector helps SIGReg (points)", "+3.3", _difference("SIGReg", "SIGReg, no projector")),
    Finding("a projector helps VICReg (points)", "+2.9", _difference("VICReg", "VICReg, no projector")),
    Finding("SIGReg is better than VICReg (points)", "+0.9", _difference("SIGReg", "VICReg")),
    Finding("SIGReg's one weight has a best value near 10", _listed(SIGREG_SWEEP), _sweep),
    Finding(
        "SIGReg has the wider good range: mean of the settings that do not collapse", "89.2 against 84.9", _average
    ),
    Finding("extreme weights collapse", "SIGReg 0.1: 27.2", _collapse),
)
"""The paper's findings on images."""
