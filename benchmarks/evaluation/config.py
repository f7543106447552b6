"""Configuration of ``worldmodel evaluate``."""

from dataclasses import field
from pathlib import Path

import tyro

from agents.evaluation.task import GoalImageConfig
from agents.world_model.config import PlannerConfig
from envs.domain import domains
from pretrain.presets import DEFAULT
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.config import Count, CountFromZero, JsonDict, Seed, config

DEFAULT_EPISODES = 50
"""Episodes in an environment without a manifest, unless another number is asked for."""


@config
class EvaluateConfig:
    """Measures success rate, SPL and latency of a policy."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """'random', 'expert', the folder of a training run (of a world model, an offline agent or reinforcement learning),
    the name of a checkpoint that ships with the package, or hub:owner/name."""
    manifest: str = domains()[0].compared_on[0]
    """Episodes: MANIFEST or ENVIRONMENT/MANIFEST, such as random-wall, two-rooms/held-out, or validation (for all
    tuning)."""
    env_id: str | None = None
    """Evaluate in this Gymnasium environment instead ('module:Id-v0' imports the module first). It must report
    is_success in info; a checkpoint needs the image observations 'observation' and 'desired_goal'. Where it does not
    give these, goal-image adds them."""
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """How an environment without goal images is shown; any of these wraps it in envs.GoalImage."""
    goals_from: str | None = None
    """With env-id: id or folder of a Minari dataset that was collected there. Episodes start at recorded states, and
    goals are what was seen some steps later."""
    steps_ahead: Count = 25
    """With goals-from: steps from start to goal in the dataset; an episode has twice as many."""
    num_episodes: Count | None = None
    """How many episodes, the first of the manifest; by default all, or 50 in an environment without a manifest."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Keywords of the environment in place of the manifest's, as JSON, such as {"collision": "bounce"}."""
    appearance: str | None = None
    """Show the policy all images with another appearance: background-colour, background-texture, brightness,
    distractor, agent-colour or agent-size; by default as they are."""
    num_envs: Count = 50
    """Episodes that run at once."""
    seed: Seed = 0
    """Seed of the policy, and of the episodes of an environment without a manifest."""
    deterministic: bool = True
    """Whether the policy acts deterministically, as far as it can."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How a checkpoint plans."""
    device: str = "cpu"
    """Where a checkpoint plans: cpu, cuda, mps."""
    latency_episodes: CountFromZero = 1
    """Episodes on which latency is measured afterwards, with a single environment; 0: it is not measured."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether batches of episodes run side by side as tasks of Ray."""
    output: Path | None = None
    """JSON file to write; by default in runs/evaluate/, its name made from the configuration."""
    overwrite: bool = False
    """Start anew even if the file holds an evaluation already."""
    progress: bool = True
    """Whether to show a progress bar and the table."""
