"""``python -m benchmarks.readme`` writes the measured figures into README.md, from the JSON files that commands wrote.

No figure is typed in: between the two markers everything is made anew from ``benchmarks/results`` and the shipped
checkpoint. What most readers will not ask for stands on a second page, ``benchmarks/results/README.md``.
"""

import json
from pathlib import Path
from typing import Any

import tyro

from benchmarks.ablation import findings
from benchmarks.ablation.ablate import markdown as ablation_table
from benchmarks.ablation.grids import GRIDS
from benchmarks.analysis import detection
from benchmarks.comparison import compare, tune
from benchmarks.evaluation import headline
from benchmarks.records.provenance import ROOT
from benchmarks.records.results import markdown_table, read_result
from worldmodel.checkpoint import SHIPPED, read_config
from worldmodel.config import config
from worldmodel.storage.files import replacing

RESULTS = ROOT / "benchmarks" / "results"
"""Where the results lie that README shows."""
BEGIN, END = "<!-- figures: python -m benchmarks.readme -->", "<!-- /figures -->"
"""Markers of the part of README that is made here."""
IN_README = ("recipe",)
"""Ablations that README shows; the others are on the second page."""
TITLES = {
    "planning": "What each piece of planning is worth",
    "training": "What each piece of training is worth",
    "losses": "What each term of the loss is worth",
    "recipe": "Beside EB-JEPA's own recipe",
    "rollout": "Rounds of prediction of Video-JEPA",
    "std-cov": "Weights of the regularisers of Video-JEPA",
    "images": "Regulariser and projector of Image-JEPA",
    "image-weights": "Weights of the regularisers of Image-JEPA",
}
"""Headings of the ablations."""
FLOOR_AND_CEILING = ("random-random-wall.json", "expert-random-wall.json")
"""Evaluations that stand below the shipped checkpoint's in the table of policies."""


@config
class ReadmeConfig:
    """Writes the measured figures into README.md, and those for closer reading on a second page."""

    readme: Path = ROOT / "README.md"
    """The file to write into, between its markers."""
    details: Path = RESULTS / "README.md"
    """The second page."""
    check: bool = False
    """Only check that they hold the figures of the JSON files; fail if not."""


def figures() -> str:
    """The measured figures of README as Markdown; what has not been measured is left out."""
    ablations = _ablations([name for name in GRIDS if name in IN_README])
    parts = (_headline(), _comparison(), ablations, _maps(), _detection(), _findings(), _speed())
    more = (
        "**Everything else**: success against latency, model or search, and what each piece of planning, of training "
        "and of the losses is worth: [all results](benchmarks/results/README.md).\n"
    )
    return "\n".join(part for part in (*parts, more) if part)


def details() -> str:
    """The second page."""
    parts = (
        *(_policies(), _comparison_details(), _tuning(), _attribution(), _latency()),
        _ablations([name for name in GRIDS if name not in IN_README]),
    )
    head = (
        "# Results\n\n"
        "What stands behind the [figures of README](../../README.md#what-was-measured): one JSON file a command, and "
        "here what they say. Made by `python -m benchmarks.readme`.\n"
    )
    return "\n".join(part for part in (head, *parts) if part)


def _headline() -> str:
    if not any(headline.RESULTS.glob("*.json")):
        return ""
    contents = [read_result(path) for path in sorted(headline.RESULTS.glob("*.json"))]
    seeds = sorted({c["policy"] for c in contents if headline.NO_CROSSINGS not in c["policy"]})
    machines = " and ".join(sorted({_machine(content) for content in contents}))
    # The commands of the seeds first, that of the run without crossings last.
    commands = dict.fromkeys(c["provenance"]["command"] for c in reversed(contents))
    return (
        "Success is that of the last of 200 steps, all run, on frozen manifests, in brackets 95 % Wilson intervals, on "
        f"{machines}; {', '.join(f'`{seed}`' for seed in seeds)}, every seed reported. The reference is EB-JEPA (20 "
        "episodes, hours on a GPU; its costs on two such cores as we measured them).\n\n"
        f"{headline.markdown(headline.RESULTS)}\n"
        "```bash\n"
        "for seed in 0 1 2; do worldmodel pretrain two-rooms --seed $seed; done\n"
        "worldmodel pretrain two-rooms --data.no-crossings --output runs/two-rooms-no-crossings-seed0\n"
        + "".join(f"{command}\n" for command in commands)
        + "```\n"
    )


def _policies() -> str:
    name, path = shipped_run(), RESULTS / "headline"
    paths = [path / f"{name}-random-wall-{planner}.json" for planner in ("mppi", "policy")]
    paths = [p for p in (*paths, *(RESULTS / file for file in FLOOR_AND_CEILING)) if p.exists()]
    if not paths:
        return ""
    training = read_config(SHIPPED / "two-rooms")["training"]
    return (
        f"The shipped checkpoint is `{name}`, the median seed: {training['step']:,} steps in "
        f"{training['seconds'] / 60:.1f} minutes. Beside it a random policy and a scripted expert that knows the "
        "layout; success is that of the last of 200 steps, in brackets 95 % Wilson intervals; latency is that of one "
        f"environment, a plan serving four steps:\n\n{markdown_table(paths)}"
    )


def _comparison() -> str:
    content = _content("compare")
    if content is None:
        return ""
    longer = " Four times the time goes on with the run of the first seed."
    if not any(row["extends"] for row in content["rows"]):
        longer = ""
    return (
        "**Beside reinforcement learning and offline agents.** Each contender was given the same time, "
        f"{compare.CompareConfig().minutes:g} minutes on {_machine(content)} and nothing beside it, and "
        "plays the same frozen episodes of `random-wall`; every seed is shown, the interval is of all "
        "their episodes (of these policies, not of training). The world model's preset ends before its time does. "
        "Steps of the environment count those that a generator simulates for world model and offline agents; that of "
        "these starts most trajectories near the inner wall and aims some at the door, which reinforcement learning "
        "has to find by itself. Agents on JEPA latents begin with the encoder of the shipped world model, whose "
        "training is neither in their minutes nor in their steps. In training, reinforcement learning holds actions "
        "for as many steps as the world model does; its model with the best mean return on validation layouts is "
        f"evaluated.{longer} (`worldmodel compare`; "
        "[all columns, success by difficulty, and how hyperparameters were found](benchmarks/results/README.md)):\n\n"
        f"{compare.markdown(content, compare.SHORT)}\n"
        "![Success against environment steps, minutes of training, and milliseconds an action]"
        "(benchmarks/results/compare-costs.png)\n\n"
        "![Learning curves on validation layouts](benchmarks/results/compare-curves.png)\n"
    )


def _comparison_details() -> str:
    content = _content("compare")
    if content is None:
        return ""
    return (
        "**Beside reinforcement learning and offline agents**, all columns; differences to the world model are paired, "
        f"episode by episode:\n\n{compare.markdown(content)}\n"
        "![Success by length of the path and by detour](compare-difficulty.png)\n"
    )


def _tuning() -> str:
    """How the contenders got their hyperparameters."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / "tune").glob("*.json"))]
    if not contents:
        return ""
    lines = ["| contender | tried | minutes each | chosen | final success, validation |", "|---|--:|--:|---|--:|"]
    for content in contents:
        best = max(content["rows"], key=lambda row: (row["final_success"], row["spl"]))
        best = next((row for row in content["rows"] if row["changes"] == tune.SHARED), best)
        low, high = best["final_success_interval"]
        lines.append(
            f"| {content['contender']} | {len(content['rows'])} | {content['minutes']:g} | "
            f"{tune.describe(best['changes'])} | {best['final_success']:.1%} [{low:.1%}, {high:.1%}] |"
        )
    return (
        f"**Their hyperparameters** were the best of a few, tried on {contents[0]['num_episodes']} validation episodes "
        f"with seed {contents[0]['seed']} and one core each (`worldmodel tune CONTENDER`). "
        "SAC and TQC have one setting for all that they see, TQC untried. "
        "The world model's come from its development, on validation layouts too, which took much longer.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _attribution() -> str:
    content = _content("attribution")
    if content is None:
        return ""
    lines = ["| variant | final success | difference | SPL |", "|---|--:|--:|--:|"]
    for name, row in content["variants"].items():
        summary, gain = row["summary"], row["gain"]
        low, high = summary["final_success_interval"]
        lines.append(
            f"| {name} | {summary['final_success']:.1%} [{low:.1%}, {high:.1%}] "
            f"| {gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}] | {summary['spl']:.3f} |"
        )
    num_episodes = content["variants"]["as configured"]["summary"]["num_episodes"]
    return (
        f"**Model or search?** The same planner on {num_episodes} validation episodes, with the true dynamics in the "
        f"model's place, and with 16 times the samples and twice the horizon (`{content['provenance']['command']}`):"
        "\n\n" + "\n".join(lines) + "\n"
    )


def _latency() -> str:
    content = _content("latency")
    if content is None:
        return ""
    return (
        f"**Success against latency**, on {_machine(content)} (`{content['provenance']['command']}`):\n\n"
        "![Success against latency](latency.png)\n"
    )


def _maps() -> str:
    content = _content("maps")
    if content is None:
        return ""
    return (
        "**What imagination adds.** Distance to the goal (star) from everywhere: in truth, between latents, and as the "
        f"critic has learned it in imagination (`{content['provenance']['command']}`):\n\n"
        "![True distances, distances between latents, learned cost-to-go](benchmarks/results/maps.png)\n"
    )


def _detection() -> str:
    path = RESULTS / "moving-mnist.json"
    if not path.exists():
        return ""
    content = json.loads(path.read_text(encoding="utf-8"))
    training = content["training"]
    return (
        f"**Video-JEPA on Moving MNIST**, `{training['preset']}`, {training['seconds'] / 60:.0f} minutes on "
        f"{_machine(content)}: average precision of digits found on an 8 × 8 grid in latents rolled out T steps, by "
        "EB-JEPA's protocol (cells of drawn shapes, frames t ≥ T; EB-JEPA reports an mAP of 0.607), and of the true "
        f"centres exactly T steps ahead, on {content['num_videos']:,} videos with digits never trained on "
        f"(`{content['provenance']['command']}`). {_heads(training)}{_untrained(content)}\n\n"
        f"{detection.markdown(path)}\n"
        "![Truth, what the model imagines after two frames, and the digits found in it]"
        "(benchmarks/results/moving-mnist.gif)\n\n"
        "```bash\n"
        "worldmodel pretrain moving-mnist\n"
        "worldmodel pretrain moving-mnist --no-train-encoder --output runs/moving-mnist-untrained-seed0\n"
        "worldmodel pretrain moving-mnist --heads.no-on-rollouts --heads.num-steps 4500 "
        "--output runs/moving-mnist-seen-heads-seed0\n"
        "```\n"
    )


def _heads(training: dict[str, Any]) -> str:
    """What the detection head has learned from, and what difference that makes."""
    if not training["head_on_rollouts"]:
        return "The detection head has learned from latents of seen frames."
    text = "The detection head has learned from latents of seen frames and from those rolled out from training videos"
    path = RESULTS / "moving-mnist-seen-heads.json"
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        row = content["rows"][detection.MODEL]
        text += (
            f"; from seen frames alone, the same model reaches {row['reference_mean']:.3f}, and "
            f"{row['strict_mean']:.3f} on true centres (`{content['provenance']['command']}`)"
        )
    return f"{text}."


def _untrained(content: dict[str, Any]) -> str:
    """What training the encoder is worth beside training the predictor alone."""
    rows = content["rows"]
    if detection.UNTRAINED not in rows:
        return ""
    trained, untrained = rows[detection.MODEL], rows[detection.UNTRAINED]
    gains = [trained[key] - untrained[key] for key in ("reference_mean", "strict_mean")]
    return (
        " Beside it the same predictor and heads, trained for as many steps on the latents of an encoder that stayed "
        f"as it was initialised: training the encoder changes mAP by {gains[0]:+.3f}, and by {gains[1]:+.3f} on true "
        "centres."
    )


def _ablations(names: list[str]) -> str:
    parts = []
    for name in names:
        grid = GRIDS[name]
        # The grid of another set of images has that name too.
        for path in sorted(RESULTS.glob(f"ablation-{name}.json")) + sorted(
            RESULTS.glob(f"ablation-{name}-*-mnist.json")
        ):
            content = json.loads(path.read_text(encoding="utf-8"))
            amount = {
                "success": f"{content['num_episodes']} validation episodes, differences to the first row paired",
                "detection": f"{content.get('num_videos')} videos",
                "probe": f"the test images of {content['rows'][0].get('images')}",
            }[grid.measured]
            reduced = content["rows"][0].get("reduced", {})
            source = f"(`{content['provenance']['command']}`){content.get('remark', '')}"
            if reduced:
                changes = ", ".join(f"`{field}` {value}" for field, value in reduced.items())
                source += f"; in all of them, to fit two cores, {changes}"
            parts.append(f"**{TITLES[name]}**, on {amount} {source}:\n\n{ablation_table(path)}")
    return "\n".join(parts)


def _findings() -> str:
    images = {}
    for name, suffix in (("digits", ""), ("Fashion-MNIST", "-fashion-mnist")):
        paths = [RESULTS / f"ablation-{grid}{suffix}.json" for grid in ("images", "image-weights")]
        if any(path.exists() for path in paths):
            regularisers, weights = (
                json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else [] for path in paths
            )
            images[name] = regularisers, weights
    if not images:
        return ""
    return f"**EB-JEPA's findings on images**, and whether they show here, seed by seed:\n\n{findings.markdown(images)}"


def shipped_run() -> str:
    """Name of the run that the shipped checkpoint is of."""
    training = read_config(SHIPPED / "two-rooms")["training"]
    return f"{training['preset']}-seed{training['config']['seed']}"


def run(config: ReadmeConfig) -> None:
    """Writes the figures into both pages, or checks them.

    Raises:
        ValueError: If README lacks the markers, or, when checking, a page holds other figures.
    """
    text = config.readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{config.readme} must contain {BEGIN!r} and {END!r} once each")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    pages = {config.readme: f"{head}{BEGIN}\n\n{figures()}\n{END}{tail}", config.details: details()}
    for path, new in pages.items():
        if not config.check:
            with replacing(path) as temporary:
                temporary.write_text(new, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != new:
            raise ValueError(f"{path} must hold the figures of the results; run python -m benchmarks.readme")


def _content(name: str) -> dict[str, Any] | None:
    """What a JSON file of the results holds; None: there is none yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _machine(content: dict[str, Any]) -> str:
    machine = content["provenance"]["machine"]
    return f"{machine['num_cpus']} cores of {machine['processor']}"


def _speed() -> str:
    speed = _content("speed")
    if speed is None:
        return ""
    lines = ["| what | best | median | unit |", "|---|--:|--:|---|"]
    lines += [
        f"| {name} | {figure['best']:,.0f} | {figure['median']:,.0f} | {figure['unit']} |"
        for name, figure in speed["figures"].items()
    ]
    table = "\n".join(lines)
    return (
        f"**Speed**, best and median of several runs on {_machine(speed)} (`{speed['provenance']['command']}`):\n\n"
        f"{table}\n"
    )


if __name__ == "__main__":
    run(tyro.cli(ReadmeConfig))
