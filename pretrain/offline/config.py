"""Configuration of the training of an agent from recorded trajectories, without a model."""

from dataclasses import field
from typing import ClassVar

from agents.offline.agent import MethodConfig
from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from worldmodel.config import Count, config


@config
class OfflineConfig(PretrainConfig):
    """An agent learned from trajectories without reward and without a model: a baseline."""

    training_module: ClassVar[str] = "pretrain.offline.training"

    method: MethodConfig = field(default_factory=MethodConfig)
    """How it learns, and its networks."""
    data: DataConfig = field(default_factory=lambda: DataConfig(num_frames=23, batch_size=32))
    """Trajectories, longer than the world model's."""
    trajectories_per_scene: Count = 1
    """Consecutive trajectories of a batch that share a scene (an episode or a layout). gcivl also takes goals from the
    trajectory before."""
    checkpoint: str = ""
    """gcidm: the world model on whose latents it acts, a folder or the name of a shipped checkpoint."""
