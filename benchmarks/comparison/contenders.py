"""Who is compared in which environment: floor and ceiling, world models, reinforcement learning, offline agents.

To compare in an environment of your own, add a list of contenders to :data:`CONTENDERS`::

    CONTENDERS["my-env"] = named(
        "my-env",
        RANDOM,
        planned("jepa-mppi", "JEPA + MPPI", preset="my-env"),
        learned("sac", "state", "SAC + HER, state"),
    )
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agents.world_model.config import PlannerConfig
from worldmodel.config import changed


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A policy in the comparison; it is trained with a preset, with an algorithm, or not at all.

    Attributes:
        name: For files and the command line.
        title: For tables and plots.
        kind: What sort of method it is.
        sees: What it observes.
        environment: Name of the environment's domain.
        preset: Preset of its pretraining.
        algorithm: Algorithm of reinforcement learning.
        observation: What the algorithm is trained on, as ``worldmodel train-rl`` calls it.
        planner: How a world model plans.
        rewarded: Whether its training used the reward.
        budgets: How many times the common budget it gets.
        extends: The contender whose training it continues, if any.
        pretrained: Whether it begins with the encoder of a world model, whose training is not in its budget.
        changes: Fields of the preset by dotted path, or of ``worldmodel train-rl``, that are other than the default.
    """

    name: str
    title: str
    kind: Literal["floor", "ceiling", "world model", "reinforcement learning", "offline"]
    sees: Literal["pixels", "state", "nothing"]
    environment: str = ""
    preset: str | None = None
    algorithm: str | None = None
    observation: str = "state"
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    rewarded: bool = False
    budgets: int = 1
    extends: str | None = None
    pretrained: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> str | None:
        """Name of its training run, which contenders may share; None: nothing is trained."""
        return self.preset if self.algorithm is None else f"{self.algorithm}-{self.observation}"


RANDOM = Contender(name="random", title="random actions", kind="floor", sees="nothing")
EXPERT = Contender(name="expert", title="scripted expert", kind="ceiling", sees="state")


def planned(name: str, title: str, *, preset: str, planner: str = "mppi") -> Contender:
    """A world model that is trained with a preset and plans."""
    plan = changed(PlannerConfig(), {"planner": planner})
    return Contender(name=name, title=title, kind="world model", sees="pixels", preset=preset, planner=plan)


def learned(algorithm: str, observation: str, title: str) -> Contender:
    """An algorithm of reinforcement learning on a kind of observation."""
    return Contender(
        name=f"{algorithm}-{observation}",
        title=title,
        kind="reinforcement learning",
        sees="state" if observation == "state" else "pixels",
        algorithm=algorithm,
        observation=observation,
        rewarded=True,
        pretrained=observation == "latents",
    )


def offline(preset: str, title: str, *, pretrained: bool = False) -> Contender:
    """An offline agent that is trained with a preset of its name."""
    return Contender(name=preset, title=title, kind="offline", sees="pixels", preset=preset, pretrained=pretrained)


def adapted(contender: Contender, changes: Mapping[str, Any]) -> Contender:
    """A contender whose training differs in some fields."""
    return replace(contender, changes={**contender.changes, **changes})


def longer(contender: Contender, budgets: int = 4) -> Contender:
    """A contender that is trained for several times the common budget, beginning with the run that had it once."""
    return replace(
        contender,
        name=f"{contender.name}-{budgets}x",
        title=f"{contender.title}, {budgets}× time",
        budgets=budgets,
        extends=contender.name,
    )


def recorded(dataset: str) -> tuple[Contender, ...]:
    """Who is compared where trajectories are recorded and velocity matters: all see the last two images.

    What learns from images takes about as many steps as a quarter of an hour on one core allows.

    Args:
        dataset: Id of the dataset; its guide says how it is collected.
    """
    model = {"data.dataset": dataset}
    sees = {"data.dataset": dataset, "method.encoder": "strided", "method.context": 2}
    return (
        RANDOM,
        EXPERT,
        adapted(planned("jepa-mppi", "JEPA + MPPI", preset="dataset"), model),
        adapted(planned("jepa-actor", "JEPA, its actor alone", preset="dataset", planner="policy"), model),
        learned("sac", "state", "SAC + HER, state"),
        adapted(offline("gcbc", "GCBC"), {**sees, "num_steps": 2_000}),
        adapted(offline("gcivl", "GCIVL"), {**sees, "num_steps": 1_200}),
    )


def named(environment: str, *contenders: Contender) -> dict[str, Contender]:
    """The contenders of an environment, by name."""
    return {contender.name: replace(contender, environment=environment) for contender in contenders}


CONTENDERS = {
    "two-rooms": named(
        "two-rooms",
        RANDOM,
        EXPERT,
        planned("jepa-mppi", "JEPA + MPPI", preset="two-rooms"),
        planned("jepa-cem", "JEPA + CEM", preset="two-rooms", planner="cem"),
        planned("jepa-actor", "JEPA, its actor alone", preset="two-rooms", planner="policy"),
        learned("ppo", "state", "PPO, state"),
        learned("sac", "state", "SAC + HER, state"),
        learned("tqc", "state", "TQC + HER, state"),
        learned("ppo", "pixels", "PPO, pixels"),
        learned("sac", "pixels", "SAC + HER, pixels"),
        learned("sac", "latents", "SAC + HER, JEPA latents"),
        offline("gcbc", "GCBC"),
        offline("gcidm", "GCIDM on JEPA latents", pretrained=True),
        offline("gcivl", "GCIVL"),
        longer(learned("tqc", "state", "TQC + HER, state")),
        longer(learned("sac", "pixels", "SAC + HER, pixels")),
    ),
    "pillars": named(
        "pillars",
        RANDOM,
        EXPERT,
        planned("jepa-mppi", "JEPA + MPPI", preset="pillars"),
        learned("sac", "state", "SAC + HER, state"),
    ),
    "pendulum": named("pendulum", *recorded("pendulum-pixels/swing-v0")),
    "push-t": named("push-t", *recorded("push-t/mixed-v0")),
    "point-maze": named("point-maze", *recorded("point-maze-u-maze-pixels/wander-v0")),
    "point-maze-medium": named("point-maze-medium", *recorded("point-maze-medium-pixels/bump-v0")),
    "reacher": named("reacher", *recorded("reacher-pixels/swing-v0")),
}
"""Contenders by environment and name."""
