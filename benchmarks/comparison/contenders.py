"""Who is compared: world models, reinforcement learning, offline agents, and how each is trained under one budget."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from agents.rl import models as rl
from agents.world_model.config import PlannerConfig
from pretrain.loop.run_log import read_metrics
from pretrain.presets import preset
from pretrain.rl.train import CURVE, TrainRLConfig, hyperparameters
from pretrain.rl.train import UNSAVED_FIELDS as LEARN_UNSAVED
from pretrain.rl.train import run as train_rl
from pretrain.train import UNSAVED_FIELDS as FIT_UNSAVED
from pretrain.train import fit
from worldmodel.checkpoint import CONFIG
from worldmodel.config import changed
from worldmodel.storage.files import current, read_json, read_rows

Kind = Literal["floor", "ceiling", "world model", "reinforcement learning", "offline"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A policy in the comparison.

    Attributes:
        name: For files and the command line.
        title: For tables and plots.
        kind: What sort of method it is.
        sees: What it observes.
        run: Name of its training run; contenders may share one. None: nothing is trained.
        train: Trains that run: from its name, a folder, a seed, minutes, and changed fields of its configuration.
        settings: How it does so, in JSON types: from its name, a seed and changed fields.
        planner: How a world model plans.
        rewarded: Whether its training used the reward.
        budgets: How many times the common budget it gets.
        extends: The contender whose training it goes on with, if any.
        pretrained: Whether it begins with the encoder of a world model, whose training is not in its budget.
    """

    name: str
    title: str
    kind: Kind
    sees: Literal["pixels", "state", "nothing"]
    run: str | None = None
    train: Callable[[str, Path, int, float, Mapping[str, Any]], None] | None = None
    settings: Callable[[str, int, Mapping[str, Any]], dict[str, Any]] | None = None
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    rewarded: bool = False
    budgets: int = 1
    extends: str | None = None
    pretrained: bool = False


def _fit(name: str, folder: Path, seed: int, minutes: float, changes: Mapping[str, Any]) -> None:
    """Trains a preset; the changes are fields, by dotted path."""
    left = _left(folder, minutes)
    if left > 0:
        run = {"seed": seed, "output": str(folder), "max_minutes": left}
        fit(changed(preset(name), {**changes, **run}), name=name)


def _fit_settings(name: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    values = asdict(changed(preset(name), {**changes, "seed": seed}))
    return {key: value for key, value in values.items() if key not in (*FIT_UNSAVED, "output")}


def _left(folder: Path, minutes: float) -> float:
    """Minutes of the budget that a run has not spent yet."""
    if not current(folder, CONFIG).exists():
        return minutes
    return max(0.0, minutes - read_json(current(folder, CONFIG))["training"]["seconds"] / 60)


def _learn(name: str, folder: Path, seed: int, minutes: float, changes: Mapping[str, Any]) -> None:
    """Trains an algorithm; the changes are fields of its configuration, or keywords of the algorithm."""
    train_rl(replace(_learn_config(name, seed, changes), output=folder, max_minutes=minutes))


def _learn_settings(name: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    config = _learn_config(name, seed, changes)
    values = {key: value for key, value in asdict(config).items() if key not in LEARN_UNSAVED}
    return values | {"options": hyperparameters(config)}


def _learn_config(name: str, seed: int, changes: Mapping[str, Any]) -> TrainRLConfig:
    algorithm, observation = name.split("-")
    known = {f.name for f in fields(TrainRLConfig)}
    given: dict[str, Any] = {key: value for key, value in changes.items() if key in known}
    given |= {"algorithm": algorithm, "observation": observation, "seed": seed}
    return TrainRLConfig(**given, options={key: value for key, value in changes.items() if key not in known})


def _planned(name: str, title: str, planner: str) -> Contender:
    return Contender(
        name=name,
        title=title,
        kind="world model",
        sees="pixels",
        run="two-rooms",
        train=_fit,
        settings=_fit_settings,
        planner=PlannerConfig(planner=planner),  # type: ignore[arg-type]
    )


def _learned(name: str, title: str, sees: Literal["pixels", "state"]) -> Contender:
    return Contender(
        name=name,
        title=title,
        kind="reinforcement learning",
        sees=sees,
        run=name,
        train=_learn,
        settings=_learn_settings,
        rewarded=True,
        pretrained=name.endswith("-latents"),
    )


def longer(contender: Contender, budgets: int = 4) -> Contender:
    """A contender that is trained for several times the common budget, beginning with the one that is not."""
    return replace(
        contender,
        name=f"{contender.name}-{budgets}x",
        title=f"{contender.title}, {budgets}× time",
        budgets=budgets,
        extends=contender.name,
    )


def _offline(name: str, title: str) -> Contender:
    return Contender(
        name=name,
        title=title,
        kind="offline",
        sees="pixels",
        run=name,
        train=_fit,
        settings=_fit_settings,
        pretrained=name == "gcidm",
    )


TQC_STATE = _learned("tqc-state", "TQC + HER, state", "state")
SAC_PIXELS = _learned("sac-pixels", "SAC + HER, pixels", "pixels")
SAC_LATENTS = _learned("sac-latents", "SAC + HER, JEPA latents", "pixels")

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(name="random", title="random actions", kind="floor", sees="nothing"),
        Contender(name="expert", title="scripted expert", kind="ceiling", sees="state"),
        _planned("jepa-mppi", "JEPA + MPPI", "mppi"),
        _planned("jepa-cem", "JEPA + CEM", "cem"),
        _planned("jepa-actor", "JEPA, its actor alone", "policy"),
        _learned("ppo-state", "PPO, state", "state"),
        _learned("sac-state", "SAC + HER, state", "state"),
        TQC_STATE,
        _learned("ppo-pixels", "PPO, pixels", "pixels"),
        SAC_PIXELS,
        SAC_LATENTS,
        _offline("gcbc", "GCBC"),
        _offline("gcidm", "GCIDM on JEPA latents"),
        _offline("gcivl", "GCIVL"),
        *(longer(best) for best in (TQC_STATE, SAC_PIXELS, SAC_LATENTS)),
    )
}
"""Contenders by name; the first world model is what all are compared with."""


def training_facts(contender: Contender, folder: Path) -> dict[str, Any]:
    """What training cost: minutes, steps of the environment, images learned from, and the learning curve, if any.

    Steps that a generator simulates count as steps of the environment. Points of a curve have ``seconds``, and
    ``success`` or ``loss``, on validation layouts.
    """
    if contender.run is None:
        return {"minutes": 0.0, "env_steps": 0, "images": 0, "curve": []}
    if contender.kind == "reinforcement learning":
        spent = rl.spent(folder)
        images = spent.steps if contender.sees == "pixels" else 0
        return {
            "minutes": spent.seconds / 60,
            "env_steps": spent.steps * rl.read_run(folder).action_repeat,
            "images": images,
            "curve": read_rows(folder / CURVE),
        }
    training = read_json(current(folder, CONFIG))["training"]
    config = training["config"]
    data, policy = config["data"], config.get("policy")
    steps = min(training["step"], config["num_steps"])
    windows = steps * data["batch_size"]
    images = windows * data["num_frames"]
    if policy is not None:  # an actor and a critic, in imagination
        images += (training["step"] - steps) * policy["batch_size"] * policy["images_per_scene"]
    skip = config["model"]["frame_skip"] if "model" in config else config["frame_skip"]
    return {
        "minutes": training["seconds"] / 60,
        "env_steps": windows * (data["num_frames"] - 1) * skip,
        "images": images,
        "curve": [
            {"step": line["step"], "seconds": training["seconds"] * line["step"] / training["step"], "loss": loss}
            for line in read_metrics(folder)
            if (loss := line.get("validation/loss")) is not None
        ],
    }
