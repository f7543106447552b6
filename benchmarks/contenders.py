"""Who is compared: world models, reinforcement learning, offline agents, and how each is trained under one budget."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from agents import rl
from agents.planner_config import PlannerConfig
from benchmarks.train_rl import CURVE, TrainRLConfig
from benchmarks.train_rl import run as train_rl
from pretrain.presets import preset
from pretrain.run_log import METRICS
from pretrain.train import fit
from worldmodel.checkpoint import CONFIG
from worldmodel.config import changed

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
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    rewarded: bool = False
    budgets: int = 1
    extends: str | None = None
    pretrained: bool = False


def _fit(name: str, folder: Path, seed: int, minutes: float, changes: Mapping[str, Any]) -> None:
    """Trains a preset; the changes are fields, by dotted path."""
    run = {"seed": seed, "output": str(folder), "max_minutes": _left(folder, minutes)}
    fit(changed(preset(name), {**changes, **run}), name=name)


def _left(folder: Path, minutes: float) -> float:
    """Minutes of the budget that a run has not spent yet."""
    path = folder / CONFIG
    spent = json.loads(path.read_text(encoding="utf-8"))["training"]["seconds"] / 60 if path.exists() else 0.0
    return max(0.0, minutes - spent)


def _learn(name: str, folder: Path, seed: int, minutes: float, changes: Mapping[str, Any]) -> None:
    """Trains an algorithm; the changes are fields of its configuration, or keywords of the algorithm."""
    algorithm, observation = name.split("-")
    known = {f.name for f in fields(TrainRLConfig)}
    config: dict[str, Any] = {key: value for key, value in changes.items() if key in known}
    config |= {"algorithm": algorithm, "observation": observation, "seed": seed, "output": folder}
    options = {key: value for key, value in changes.items() if key not in known}
    train_rl(TrainRLConfig(**config, options=options, max_minutes=minutes))


def _planned(name: str, title: str, planner: str) -> Contender:
    return Contender(
        name=name,
        title=title,
        kind="world model",
        sees="pixels",
        run="two-rooms",
        train=_fit,
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
        lines = (folder / CURVE).read_text(encoding="utf-8").splitlines() if (folder / CURVE).exists() else []
        images = spent.steps if contender.sees == "pixels" else 0
        return {
            "minutes": spent.seconds / 60,
            "env_steps": spent.steps * rl.read_config(folder)["action_repeat"],
            "images": images,
            "curve": [json.loads(line) for line in lines],
        }
    training = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["training"]
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
            for line in map(json.loads, (folder / METRICS).read_text(encoding="utf-8").splitlines())
            if (loss := line.get("validation/loss")) is not None
        ],
    }
