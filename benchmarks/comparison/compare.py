"""``worldmodel compare``: world model, reinforcement learning and offline agents, one budget, the same episodes.

::

    contender, seed ──► train for so many minutes ──► evaluate on each manifest ──► one file each in the results store
    results store ──► compare.json, compare.md, plots

What the store holds is not run again, so the table can be filled over days, by anyone.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from rich.console import Console
from rich.markdown import Markdown

from agents.evaluation.evaluate import EvalResult
from agents.evaluation.statistics import compare_paired, wilson_interval
from benchmarks.comparison.contenders import CONTENDERS, Contender, training_facts
from benchmarks.comparison.plots import draw
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.evaluation.policies import find_hash
from benchmarks.records import provenance
from benchmarks.records.provenance import ROOT
from benchmarks.records.results import read_result, write_result
from worldmodel.config import Count, Positive, Seed, config
from worldmodel.storage.files import write_json, write_text
from worldmodel.storage.locks import locked

logger = logging.getLogger(__name__)

STORE = ROOT / "benchmarks" / "results" / "compare"
"""Where the evaluations lie."""
MANIFESTS = ("random-wall", "held-out", "bounce")
"""Episodes that every contender is evaluated on; latency is measured on the first."""
LATENCY_EPISODES = 3
"""Episodes on which latency is measured, with a single environment."""
COSTS: dict[str, Any] = {"minutes": int | float, "env_steps": int, "images": int, "curve": list}
"""What an evaluation in the store says of the training (:func:`benchmarks.comparison.contenders.training_facts`)."""
BASE = "jepa-mppi"
"""What the others are compared with."""
WORDS = ("policy", "sees", "reward")
"""Columns of the table that hold words."""
COLUMNS = (
    *(*WORDS, "final success", "with 4× time", "ever", "SPL", "steps to goal", "held-out", "bounce"),
    *("env steps", "minutes", "ms an action", "difference to JEPA + MPPI"),
)
"""Columns of the table."""
SHORT = (*WORDS, *("final success", "with 4× time", "held-out", "env steps", "minutes", "ms an action"))
"""Those of a narrower one."""


@config
class CompareConfig:
    """Trains and evaluates all contenders under one budget, and draws how they stand."""

    contenders: tuple[str, ...] = tuple(CONTENDERS)
    """Which of them."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0, 1, 2)
    """Seeds of the training runs; more than the common budget only the first of them gets."""
    minutes: Positive = 15.0
    """Minutes that each is trained, on this machine."""
    num_episodes: Count | None = None
    """Only the first so many episodes of each manifest; by default all."""
    runs: Path = Path("runs/compare")
    """Folder of the training runs."""
    store: Path = STORE
    """Folder of the evaluations; those that are there already are not run again."""
    output: Path = ROOT / "benchmarks" / "results" / "compare.json"
    """JSON file to write; table and plots go beside it."""
    only_report: bool = False
    """Only make JSON, table and plots of what the store holds."""
    progress: bool = True
    """Whether to show how training goes, and the table."""


def run(config: CompareConfig) -> dict[str, Any]:
    """Runs what is missing, and reports on all that there is.

    Returns:
        What was written to the JSON file.

    Raises:
        ValueError: If a contender is unknown or there is nothing to report.
    """
    for name in config.contenders:
        if name not in CONTENDERS:
            raise ValueError(f"contenders must be among {', '.join(map(repr, CONTENDERS))}, got {name!r}")
    with locked(config.store, "results store"):
        return _run(config)


def _run(config: CompareConfig) -> dict[str, Any]:
    if not config.only_report:
        for contender in (CONTENDERS[name] for name in config.contenders):
            for seed in _seeds(config, contender):
                measure(config, contender, seed)
                report(config)
    content = report(config)
    if config.progress:
        Console().print(Markdown(markdown(content)))
        logger.info("written to %s", config.output)
    return content


def _seeds(config: CompareConfig, contender: Contender) -> tuple[int, ...]:
    """Seeds that a contender is trained with."""
    if contender.run is None:
        return (0,)
    return config.seeds[:1] if contender.extends else config.seeds


def measure(config: CompareConfig, contender: Contender, seed: int) -> None:
    """Trains and evaluates a contender, as far as the store lacks it.

    Raises:
        ValueError: If the store holds another evaluation in the place of one of this contender's.
    """
    paths = {manifest: config.store / _file(config, contender, str(seed), manifest) for manifest in MANIFESTS}
    if all(_is_done(config, contender, seed, *entry) for entry in paths.items()):
        return
    logger.info("%s, seed %d", contender.title, seed)
    folder = _folder(config, contender, seed)
    if folder is not None and contender.run is not None and contender.train is not None:
        if contender.extends:
            _begin_with(folder, _folder(config, CONTENDERS[contender.extends], seed))
        minutes = config.minutes * contender.budgets
        contender.train(contender.run, folder, seed, minutes, {"progress": config.progress})
    for manifest, path in paths.items():
        if _is_done(config, contender, seed, manifest, path):
            continue
        evaluation = success.EvaluateConfig(
            policy=contender.name if folder is None else str(folder),
            manifest=manifest,
            num_episodes=config.num_episodes and min(config.num_episodes, len(load_manifest(manifest))),
            planner=contender.planner,
            latency_episodes=LATENCY_EPISODES if manifest == MANIFESTS[0] else 0,
            output=path,
            progress=False,
        )
        # What is there and not done is of other weights, or not finished.
        stale = path.exists() and read_result(path)["fingerprint"] != success.fingerprint(evaluation)
        content = success.run(replace(evaluation, overwrite=stale))
        facts = {
            "contender": contender.name,
            "training_seed": seed,
            "key": _key(config, contender, seed),
            "training": training_facts(contender, folder or Path()),
        }
        write_result(path, content | facts)


def _folder(config: CompareConfig, contender: Contender, seed: int) -> Path | None:
    """Folder of a contender's training run; None where nothing is trained."""
    if contender.run is None:
        return None
    return config.runs / f"{contender.run}-{config.minutes * contender.budgets:g}min-seed{seed}"


def _begin_with(folder: Path, begun: Path | None) -> None:
    """Lets a run begin with what another, shorter one has learned: a copy, whole or not at all."""
    if begun is None or not begun.exists() or folder.exists():
        return
    copied = folder.with_name(f".{folder.name}.tmp")
    if copied.exists():
        shutil.rmtree(copied)  # of a process that was killed
    shutil.copytree(begun, copied)
    copied.rename(folder)


def _key(config: CompareConfig, contender: Contender, seed: int) -> str:
    """What two evaluations of a contender must share, beside weights and episodes: a hash of how it is trained."""
    training = contender.settings(contender.run, seed, {}) if contender.settings and contender.run else None
    decides = {"training": training, "minutes": config.minutes * contender.budgets if contender.run else None}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _file(config: CompareConfig, contender: Contender, seed: str, manifest: str) -> str:
    """Name of an evaluation in the store; without a training there is no budget."""
    budget = f"-{config.minutes:g}min" if contender.run else ""
    return f"{contender.name}{budget}-seed{seed}-{manifest}.json"


def _is_done(config: CompareConfig, contender: Contender, seed: int, manifest: str, path: Path) -> bool:
    """Whether the store holds an evaluation of what the contender has learned, with what its training cost.

    Raises:
        ValueError: If it holds an evaluation of something else.
    """
    if not path.exists():
        return False
    content, episodes = read_result(path), load_manifest(manifest)
    count = len(episodes)
    stored, asked = content["config"].get("num_episodes"), config.num_episodes
    if min(stored or count, count) != min(asked or count, count):
        raise ValueError(
            f"{path} must be of {asked or 'all'} episodes, got {stored or 'all'}; choose another --store, and --output"
        )
    if content["manifest_hash"] != episodes.hash:
        raise ValueError(f"{path} must be of manifest {manifest!r}, got another; choose another --store, and --output")
    if "planner" in content["config"] and content["config"]["planner"] != asdict(contender.planner):
        raise ValueError(f"{path} must be of an agent that plans as {contender.name!r} does; choose another --store")
    # Evaluations that were made before there were keys are known by their other fields.
    if content.get("key", _key(config, contender, seed)) != _key(config, contender, seed):
        raise ValueError(f"{path} must be of {contender.name!r} as it is trained now; choose another --store")
    folder = _folder(config, contender, seed)
    here = None if folder is None else find_hash(folder)
    return content["finished"] and "training" in content and here in (None, content["provenance"]["checkpoint_hash"])


def report(config: CompareConfig) -> dict[str, Any]:
    """Makes JSON, table and plots of what the store holds.

    Raises:
        ValueError: If it holds nothing.
    """
    results = {name: found for name, one in CONTENDERS.items() if (found := list(_read(config, one)))}
    if not results:
        raise ValueError(f"store must hold evaluations of contenders, got none in {config.store}")
    content = {
        "rows": [_row(CONTENDERS[name], found, results.get(BASE, [])) for name, found in results.items()],
        "provenance": provenance.collect(),
    }
    write_json(config.output, content)
    write_text(config.output.with_suffix(".md"), markdown(content))
    draw(content, results, config.output)
    return content


def markdown(content: dict[str, Any], columns: Sequence[str] = COLUMNS) -> str:
    """The comparison as a Markdown table; every seed is shown, and more time is a column."""
    heads = [column for column in COLUMNS if column in columns]
    lines = ["| " + " | ".join(heads) + " |", "|" + "".join("---|" if h in WORDS else "--:|" for h in heads)]
    longer = {row["extends"]: row["random-wall"] for row in content["rows"] if row["extends"]}
    for row in content["rows"]:
        if not row["extends"] and row["random-wall"]:
            cells = _cells(row, longer.get(row["contender"]))
            lines.append("| " + " | ".join(cells[head] for head in heads) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], longer: dict[str, Any] | None) -> dict[str, str]:
    final, gain = row["random-wall"], row["difference"]
    return {
        "policy": row["title"],
        "sees": row["sees"],
        "reward": "yes" if row["rewarded"] else "no",
        "final success": _with_interval(final),
        "with 4× time": _with_interval(longer) if longer else "–",
        "ever": _rates(final["ever"]),
        "SPL": f"{np.mean(final['spl']):.3f}",
        "steps to goal": _mean(final["steps_to_goal"]),
        "held-out": _rates(row["held-out"]["final"]) if row["held-out"] else "–",
        "bounce": _rates(row["bounce"]["final"]) if row["bounce"] else "–",
        "env steps": _count(row["env_steps"]),
        "minutes": _mean(row["minutes"]) + (" + world model" if row["pretrained"] else ""),
        "ms an action": f"{np.mean(final['ms']):.2f}" if final["ms"] else "–",
        "difference to JEPA + MPPI": describe_difference(gain),
    }


def describe_difference(gain: dict[str, Any] | None) -> str:
    """A paired difference and its interval."""
    return f"{gain['difference']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]" if gain else "–"


def _read(config: CompareConfig, contender: Contender) -> Iterator[dict[str, Any]]:
    """The finished evaluations of a contender under this budget, all seeds and manifests."""
    for path in sorted(config.store.glob(_file(config, contender, "*", "*"))):
        content = read_result(path)
        if content.get("contender") != contender.name or not content["finished"]:
            continue
        if content["manifest"] not in MANIFESTS or content["manifest_hash"] != load_manifest(content["manifest"]).hash:
            raise ValueError(f"{path} must be of one of the manifests {MANIFESTS}, got {content['manifest']!r}")
        training = content.get("training")
        if not isinstance(training, dict) or not all(
            isinstance(training.get(key), kind) for key, kind in COSTS.items()
        ):
            raise ValueError(
                f"{path} must say what its training cost, in {', '.join(COSTS)}, got {str(training)[:200]}"
            )
        yield content


def _row(contender: Contender, found: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    by_manifest = {manifest: [c for c in found if c["manifest"] == manifest] for manifest in MANIFESTS}
    first = by_manifest[MANIFESTS[0]]
    return {
        "contender": contender.name,
        "title": contender.title,
        "kind": contender.kind,
        "run": contender.run,
        "sees": contender.sees,
        "rewarded": contender.rewarded,
        "extends": contender.extends,
        "pretrained": contender.pretrained,
        "seeds": [content["training_seed"] for content in first],
        "minutes": [content["training"]["minutes"] for content in first],
        "env_steps": [content["training"]["env_steps"] for content in first],
        "images": [content["training"]["images"] for content in first],
        "curves": [content["training"]["curve"] for content in first],
        **{manifest: _measures(contents) for manifest, contents in by_manifest.items()},
        "difference": _difference(first, [c for c in base if c["manifest"] == MANIFESTS[0]]),
    }


def _measures(contents: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Measures of a manifest, one entry a seed; the interval is of all seeds' episodes together."""
    if not contents:
        return None
    summaries = [content["summary"] for content in contents]
    trials = sum(summary["num_episodes"] for summary in summaries)
    successes = sum(round(summary["final_success"] * summary["num_episodes"]) for summary in summaries)
    return {
        "final": [summary["final_success"] for summary in summaries],
        "ever": [summary["ever_success"] for summary in summaries],
        "spl": [summary["spl"] for summary in summaries],
        "steps_to_goal": [summary["mean_steps_to_goal"] for summary in summaries],
        "ms": [content["latency"]["step_p50_ms"] for content in contents if content["latency"]],
        "interval": list(wilson_interval(successes, trials)),
        "intervals": [list(summary["final_success_interval"]) for summary in summaries],
    }


def _difference(found: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Paired difference to the base: the same episodes, seed by seed, all pairs together.

    A seed that only one of them was trained with is left out; what is not trained is compared with every seed.
    """
    pairs = [
        (content, other)
        for other in base
        for content in found
        if content["training_seed"] == other["training_seed"] or not content["training"]["minutes"]
    ]
    if not pairs:
        return None
    first: list[bool] = []
    second: list[bool] = []
    for pair in pairs:
        ours, theirs = (EvalResult.from_dict(content["result"]).successes().tolist() for content in pair)
        count = min(len(ours), len(theirs))
        first += ours[:count]
        second += theirs[:count]
    return asdict(compare_paired(first, second))


def _with_interval(measures: dict[str, Any]) -> str:
    """Final success, every seed's, and the interval of all."""
    low, high = measures["interval"]
    return f"{_rates(measures['final'])} [{low:.1%}, {high:.1%}]"


def _rates(values: list[float]) -> str:
    """Every seed's rate, or the one where there is one."""
    return "; ".join(f"{value:.1%}" for value in values)


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1f}" if known else "–"


def _count(values: list[int]) -> str:
    mean = float(np.mean(values))
    return "–" if mean == 0 else f"{mean / 1e6:.2f} M"
