"""How contenders are trained under a budget of minutes, and what that costs."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from agents import rl
from benchmarks.comparison.contenders import Contender
from envs.domain import domains, find_domain
from pretrain.config import UNSAVED_FIELDS as FIT_UNSAVED
from pretrain.config import PretrainConfig
from pretrain.loop.run_log import read_metrics
from pretrain.presets import preset
from pretrain.rl.train import CURVE, TrainRLConfig, hyperparameters
from pretrain.rl.train import UNSAVED_FIELDS as LEARN_UNSAVED
from pretrain.rl.train import run as train_rl
from pretrain.train import fit
from worldmodel.checkpoint import CONFIG
from worldmodel.config import changed
from worldmodel.storage.files import current, read_json, read_rows


def train(
    contender: Contender, folder: Path, seed: int, minutes: float, changes: Mapping[str, Any] | None = None
) -> None:
    """Trains a contender, or goes on where its training was stopped; nothing where nothing is trained.

    Args:
        contender: Whom.
        folder: Folder of the run.
        seed: Seed of the run.
        minutes: The budget.
        changes: Fields of the preset by dotted path, or fields of TrainRLConfig and keywords of the algorithm.
    """
    configuration = _configuration(contender, seed, changes or {})
    if isinstance(configuration, TrainRLConfig):
        train_rl(replace(configuration, output=folder, max_minutes=minutes))
    elif configuration is not None and contender.preset and (left := _left(folder, minutes)) > 0:
        fit(replace(configuration, output=str(folder), max_minutes=left), name=contender.preset)


def settings(contender: Contender, seed: int, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How :func:`train` trains a contender, in JSON types, but for minutes and folder; empty where nothing is."""
    configuration = _configuration(contender, seed, changes or {})
    if configuration is None:
        return {}
    unsaved = LEARN_UNSAVED if isinstance(configuration, TrainRLConfig) else (*FIT_UNSAVED, "output")
    values = {name: value for name, value in asdict(configuration).items() if name not in unsaved}
    if isinstance(configuration, TrainRLConfig):
        return values | {"options": hyperparameters(configuration)}
    return {"preset": contender.preset, **values}


def defaults(contender: Contender) -> dict[str, Any]:
    """Defaults of what :func:`settings` gives, as far as they have some."""
    configuration = _configuration(contender, 0, {})
    if configuration is None:
        return {}
    values = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(configuration)}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
        if value is not MISSING
    }


def costs(contender: Contender, folder: Path) -> dict[str, Any]:
    """What training cost: minutes, steps of the environment, images learned from, and the learning curve, if any.

    Simulated steps count as steps of the environment. Points of a curve have ``seconds``, and ``success`` or ``loss``,
    on validation layouts.
    """
    if contender.run is None:
        return {"minutes": 0.0, "env_steps": 0, "images": 0, "curve": []}
    if contender.algorithm is not None:
        spent = rl.spent(folder)
        return {
            "minutes": spent.seconds / 60,
            "env_steps": spent.steps * rl.read_run(folder).action_repeat,
            "images": spent.steps if contender.sees == "pixels" else 0,
            "curve": read_rows(folder / CURVE),
        }
    training = read_json(current(folder, CONFIG))["training"]
    config = training["config"]
    data, steps = config["data"], min(training["step"], config["num_steps"])
    drawn = [(steps * data["batch_size"], data["num_frames"])]
    if training["step"] > steps and data["dataset"] in {domain.name for domain in domains() if domain.simulate}:
        # Encoded for the stages behind the model's; where episodes are recorded, windows are of the same ones.
        drawn.append((config["trajectories"]["count"], config["trajectories"]["num_frames"]))
    skip = config["model" if "model" in config else "method"]["frame_skip"]
    return {
        "minutes": training["seconds"] / 60,
        "env_steps": sum(count * (num_frames - 1) * skip for count, num_frames in drawn),
        "images": sum(count * num_frames for count, num_frames in drawn),
        "curve": [
            {"step": line["step"], "seconds": training["seconds"] * line["step"] / training["step"], "loss": loss}
            for line in read_metrics(folder)
            if (loss := line.get("validation/loss")) is not None
        ],
    }


def _configuration(
    contender: Contender, seed: int, changes: Mapping[str, Any]
) -> PretrainConfig | TrainRLConfig | None:
    """How a contender is trained; None: it is not."""
    changes = {**contender.changes, **changes}
    if contender.preset is not None:
        return changed(preset(contender.preset), {**changes, "seed": seed})
    if contender.algorithm is None:
        return None
    known = {f.name for f in fields(TrainRLConfig)}
    given: dict[str, Any] = {key: value for key, value in changes.items() if key in known}
    given |= {"algorithm": contender.algorithm, "observation": contender.observation, "seed": seed}
    if "env_id" not in given:
        given["env_id"] = find_domain(contender.environment).env_id
    return TrainRLConfig(**given, options={key: value for key, value in changes.items() if key not in known})


def _left(folder: Path, minutes: float) -> float:
    """Minutes of the budget that a run has not spent yet."""
    if not current(folder, CONFIG).exists():
        return minutes
    return max(0.0, minutes - read_json(current(folder, CONFIG))["training"]["seconds"] / 60)
