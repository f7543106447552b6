"""What EB-JEPA (arXiv 2602.03604) found on images, and whether it shows here too, from the rows of two ablations.

The accuracies are those of linear probes, in percent, EB-JEPA's on CIFAR-10.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from statistics import mean
from typing import Any

from agents.evaluation.statistics import wilson_interval
from benchmarks.ablation.yardsticks import Figures
from benchmarks.records.tables import Table

SIGREG_SWEEP = {0.1: 27.2, 1.0: 86.94, 10.0: 90.88, 100.0: 80.86}
"""EB-JEPA's accuracy by the weight of SIGReg."""
SIGREG, VICREG, RANDOM = ({"method": name} for name in ("SIGReg", "VICReg", "random weights"))
"""Traits of variants; one that is worse than random weights has collapsed."""
WITH, WITHOUT = ({"projector": projector} for projector in (True, False))
"""Traits of variants with and without a projector."""
Traits = Mapping[str, Any]
Rows = Sequence[Figures]


def table(images: Mapping[str, tuple[Rows, Rows]]) -> Table:
    """The findings, a column for each set of images.

    Args:
        images: For each set of images the rows of the ablations "images" and "image-weights"; either may be empty.
    """
    columns = ["EB-JEPA's finding", "EB-JEPA, CIFAR-10", *images]
    rows: list[Sequence[str]] = [
        [claim, paper, *(ours(*found) for found in images.values())] for claim, paper, ours in FINDINGS
    ]
    return Table(columns, rows, num_words=len(columns))


def _difference(regularisers: Rows, weights: Rows, *, first: Traits, second: Traits) -> str:
    """How much better one variant is than another, seed by seed."""
    compared = [_of(regularisers, traits) for traits in (first, second)]
    a, b = map(_by_seed, compared)
    gains = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    if not gains:
        return "not measured"
    return f"{', '.join(f'{gain:+.1f}' for gain in gains)}: {_verdict(gains, *map(_interval, compared))}"


def _sweep(regularisers: Rows, weights: Rows) -> str:
    """Accuracy by the weight of SIGReg."""
    found = {weight: _by_seed(_of(weights, {**SIGREG, "weight": weight})) for weight in SIGREG_SWEEP}
    if not all(found.values()):
        return "not measured"
    means = {weight: mean(accuracies.values()) for weight, accuracies in found.items()}
    best = max(means, key=means.__getitem__)
    verdict = "confirmed" if best == max(SIGREG_SWEEP, key=SIGREG_SWEEP.__getitem__) else f"best at {best:g}"
    return f"{_listed(means)}: {verdict}"


def _average(regularisers: Rows, weights: Rows) -> str:
    """Mean accuracy over the settings of each regulariser that did not collapse."""
    floor = _floor(regularisers)
    settings = [_settings(_of(weights, traits)) for traits in (SIGREG, VICREG)]
    if floor is None or not all(settings):
        return "not measured"
    kept = [[rows for rows in of_method.values() if _mean(rows) > floor] for of_method in settings]
    means = [mean([_mean(rows) for rows in of_method] or [0.0]) for of_method in kept]
    intervals = (_interval(list(chain.from_iterable(of_method))) for of_method in kept)
    return f"{means[0]:.1f} against {means[1]:.1f}: {_verdict([means[0] - means[1]], *intervals)}"


def _collapse(regularisers: Rows, weights: Rows) -> str:
    """Settings that are worse than random weights."""
    floor = _floor(regularisers)
    settings = {name: _mean(rows) for name, rows in _settings(weights).items()}
    if floor is None or not settings:
        return "not measured"
    collapsed = {name: accuracy for name, accuracy in settings.items() if accuracy <= floor}
    lowest = min(settings, key=settings.__getitem__)
    return (
        f"{len(collapsed)} of {len(settings)} settings below random weights ({floor:.1f}), lowest {lowest}: "
        f"{settings[lowest]:.1f}: {'confirmed' if collapsed else 'not seen'}"
    )


def _of(rows: Rows, traits: Traits) -> list[Figures]:
    """Rows of variants with these traits."""
    return [row for row in rows if traits.items() <= row["traits"].items()]


def _settings(rows: Rows) -> dict[str, list[Figures]]:
    """The rows of each variant."""
    return {row["variant"]: [other for other in rows if other["variant"] == row["variant"]] for row in rows}


def _by_seed(rows: Rows) -> dict[int, float]:
    return {row["seed"]: 100 * row["linear"]["accuracy"] for row in rows}


def _mean(rows: Rows) -> float:
    return mean(_by_seed(rows).values())


def _verdict(gains: Sequence[float], first: tuple[float, float], second: tuple[float, float]) -> str:
    """Whether the first is better: in every gain, and with an interval above the second's."""
    if min(gains) > 0 and first[0] > second[1]:
        return "confirmed"
    if max(gains) <= 0 and first[1] < second[0]:
        return "the opposite"
    return "undecided"


def _interval(rows: Rows) -> tuple[float, float]:
    """Wilson's interval of the test images of all rows together; of no rows, zero."""
    accuracies = [row["linear"] for row in rows]
    if not accuracies:
        return 0.0, 0.0
    return wilson_interval(*(sum(accuracy[key] for accuracy in accuracies) for key in ("correct", "total")))


def _floor(regularisers: Rows) -> float | None:
    """Accuracy of random weights, where it was measured."""
    rows = _of(regularisers, RANDOM)
    return _mean(rows) if rows else None


def _listed(accuracies: Mapping[float, float]) -> str:
    return ", ".join(f"{weight:g} → {accuracy:.1f}" for weight, accuracy in accuracies.items())


FINDINGS: tuple[tuple[str, str, Callable[[Rows, Rows], str]], ...] = (
    ("a projector helps SIGReg (points)", "+3.3", partial(_difference, first=SIGREG | WITH, second=SIGREG | WITHOUT)),
    ("a projector helps VICReg (points)", "+2.9", partial(_difference, first=VICREG | WITH, second=VICREG | WITHOUT)),
    ("SIGReg is better than VICReg (points)", "+0.9", partial(_difference, first=SIGREG | WITH, second=VICREG | WITH)),
    ("SIGReg's one weight has a best value near 10", _listed(SIGREG_SWEEP), _sweep),
    ("SIGReg has the wider good range: mean of the settings that do not collapse", "89.2 against 84.9", _average),
    ("extreme weights collapse", "SIGReg 0.1: 27.2", _collapse),
)
"""The paper's findings on images: what was found, EB-JEPA's figures, and what gives ours with a verdict.

From the rows of regularisers and projectors, and of weights.
"""
