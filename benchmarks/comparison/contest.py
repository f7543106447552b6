"""A comparison's environment, episodes and contenders: an environment with manifests, or one that nobody registered.

::

    environment           the manifests of its domain, and the contenders that are listed for it
    task (env_id, …)      the seeds that worldmodel evaluate takes, and who can learn with what is there
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.evaluation.manifest import Manifest
from agents.evaluation.task import GoalImageConfig
from benchmarks.comparison.contenders import CONTENDERS, EXPERT, RANDOM, Contender, adapted, learned, named, planned
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.evaluation.episodes import find_episodes
from benchmarks.evaluation.manifests import load_manifest
from envs.domain import STATE, find_domain
from worldmodel.config import from_json


@dataclass(frozen=True)
class Contest:
    """Who is compared, and on what.

    Attributes:
        environment: Name of the environment, for keys and files.
        title: The same for people.
        unit: Unit of its distances.
        manifests: The episodes by name, the main ones first.
        measures: Which success tables show of each, "final" or "ever".
        evaluations: How they are named to ``worldmodel evaluate``, by the same names.
        contenders: Who is compared, by name.
    """

    environment: str
    title: str
    unit: str
    manifests: Mapping[str, Manifest]
    measures: Mapping[str, str]
    evaluations: Mapping[str, Mapping[str, Any]]
    contenders: Mapping[str, Contender]

    @property
    def base(self) -> Contender | None:
        """What the others are compared with: the first world model."""
        return next((one for one in self.contenders.values() if one.kind == "world model"), None)


def find_contest(environment: str, task: Mapping[str, Any] | None = None) -> Contest:
    """Who is compared in an environment.

    Args:
        environment: Name of a domain; the Gymnasium id where there is a task.
        task: An environment that nobody registered, in JSON types: ``goal_image``, the number of episodes
            ``num_episodes``, and ``dataset``, the id or path of what world models learn from, or None.

    Raises:
        ValueError: If there is no such environment, or nobody knows success in it.
    """
    if task is None:
        domain = find_domain(environment)
        names = {manifest: f"{domain.name}/{manifest}" for manifest in domain.compared_on}
        return Contest(
            environment=domain.name,
            title=domain.title,
            unit=domain.unit,
            manifests={manifest: load_manifest(name) for manifest, name in names.items()},
            measures={manifest: domain.recipes[manifest].measure for manifest in names},
            evaluations={manifest: {"manifest": name} for manifest, name in names.items()},
            contenders=CONTENDERS[domain.name],
        )
    goal_image = from_json(GoalImageConfig, task["goal_image"], "goal_image.")
    evaluation = {"env_id": environment, "goal_image": goal_image, "num_episodes": task["num_episodes"]}
    manifest, found = find_episodes(EvaluateConfig(policy=RANDOM.name, **evaluation))
    contenders = [RANDOM]
    if found.domain.expert is not None:
        contenders.append(EXPERT)
    if (dataset := task["dataset"]) is not None:
        planner = planned("jepa-mppi", "JEPA + MPPI", preset="dataset")
        contenders.append(adapted(planner, {"data.dataset": dataset}))
    if STATE in found.domain.observations:
        learner = learned("sac", "state", "SAC + HER, state")
        contenders.append(adapted(learner, {"env_id": environment, "goal_image": goal_image}))
    return Contest(
        environment=environment,
        title=environment,
        unit=found.domain.unit,
        manifests={manifest.name: manifest},
        measures={manifest.name: "final"},
        evaluations={manifest.name: evaluation},
        contenders=named(environment, *contenders),
    )


def contest_of(content: Mapping[str, Any]) -> Contest:
    """The contest that the JSON of a comparison tells of."""
    return find_contest(content["environment"], content.get("task"))
