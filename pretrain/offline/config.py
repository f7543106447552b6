"""Configuration of the training of an agent from recorded trajectories, without a model."""

from dataclasses import field
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from agents.offline.agent import MethodConfig
from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from worldmodel.config import Count, config, number


@config
class OfflineConfig(PretrainConfig):
    """An agent learned from trajectories without reward and without a model: a baseline."""

    training_module: ClassVar[str] = "pretrain.offline.training"

    method: MethodConfig = field(default_factory=MethodConfig)
    """How it learns, and its networks."""
    data: DataConfig = field(default_factory=lambda: DataConfig(num_frames=23, batch_size=32))
    """Trajectories, longer than the world model's."""
    frame_skip: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 4
    """Environment steps between two images; their mean action is learned."""
    trajectories_per_scene: Count = 1
    """Consecutive trajectories of a batch that share a scene (an episode or a layout). gcivl also takes goals from the
    trajectory before."""
    checkpoint: str = ""
    """gcidm: the world model on whose latents it acts, a folder or the name of a shipped checkpoint."""
