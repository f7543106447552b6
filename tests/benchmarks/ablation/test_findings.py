"""The paper's findings on images, judged from rows."""

from benchmarks.ablation.findings import table
from benchmarks.ablation.grids import GRIDS

TRAITS = {variant.name: variant.traits for name in ("images", "image-weights") for variant in GRIDS[name].variants}


def rows(**accuracies: list[float]) -> list[dict]:
    return [
        {
            "variant": variant,
            "traits": TRAITS[variant],
            "seed": seed,
            "linear": {"accuracy": accuracy / 100, "correct": round(100 * accuracy), "total": 10_000},
        }
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def cells(regularisers: list[dict], weights: list[dict]) -> list[str]:
    lines = table({"ours": (regularisers, weights)}).markdown().splitlines()[2:]
    return [line.split(" | ")[2].removesuffix(" |") for line in lines]


def test_differences_are_judged_by_every_seed() -> None:
    found = cells(
        rows(
            **{
                "SIGReg": [90, 91, 92],
                "SIGReg, no projector": [88, 90, 91],
                "VICReg": [91, 90, 91],
                "VICReg, no projector": [92, 93, 94],
            }
        ),
        [],
    )
    assert found[0] == "+2.0, +1.0, +1.0: confirmed"
    assert found[1] == "-1.0, -3.0, -3.0: the opposite"
    assert found[2] == "-1.0, +1.0, +1.0: undecided"
    assert found[3:] == ["not measured"] * 3
    close = {"SIGReg": [90.2, 90.1], "VICReg": [90.0, 90.0]}
    assert cells(rows(**close), [])[2] == "+0.2, +0.1: undecided"  # with intervals half a point wide


def test_a_setting_worse_than_random_weights_has_collapsed_and_leaves_the_mean() -> None:
    weights = {
        "SIGReg 0.1": [30], "SIGReg 1": [80], "SIGReg 10": [90], "SIGReg 100": [85],
        "VICReg, std 1, cov 1": [70], "VICReg, std 100, cov 1": [60],
    }  # fmt: skip
    found = cells(rows(**{"random weights": [48, 52]}), rows(**weights))
    assert found[3] == "0.1 → 30.0, 1 → 80.0, 10 → 90.0, 100 → 85.0: confirmed"
    assert found[4] == "85.0 against 65.0: confirmed"
    assert found[5] == "1 of 6 settings below random weights (50.0), lowest SIGReg 0.1: 30.0: confirmed"
    # With another best weight and none below random weights:
    weights |= {"SIGReg 0.1": [92]}
    found = cells(rows(**{"random weights": [50]}), rows(**weights))
    assert found[3].endswith("best at 0.1")
    assert found[5].endswith("lowest VICReg, std 100, cov 1: 60.0: not seen")
