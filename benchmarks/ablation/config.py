"""Configuration of ``worldmodel ablate``."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import MinLen

from envs.domain import domains
from pretrain.presets import DEFAULT
from worldmodel.cluster.config import Cluster, ClusterConfig
from worldmodel.config import Count, CountFromZero, Seed, config


@config
class AblateConfig:
    """Measures what each piece of the method is worth."""

    name: tyro.conf.Positional[Literal["planning", "training", "recipe", "video", "images", "image-weights"]]
    """planning: variants of the search, with one checkpoint. training: encoders, the predictor, data, terms of the loss
    and stages; for each variant a training run of the world model that an environment's comparison has. recipe: this
    project's method beside that of EB-JEPA at equal time and at equal frames; hours. video: encoder, loss and rounds of
    prediction of Video-JEPA on Moving MNIST. images, image-weights: regulariser and projector, and weights of the
    regularisers, of Image-JEPA."""
    policy: str = DEFAULT
    """planning: the checkpoint."""
    environment: str = domains()[0].name
    """planning, training: the environment whose validation episodes are played. training: its world model is trained;
    variants that do not apply there, or change nothing, are left out."""
    only: tuple[str, ...] = ()
    """Measure only these variants and the full method."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0,)
    """Seeds of the training runs."""
    num_steps: Count | None = None
    """Steps of the model in each training run; by default the preset's."""
    refinement_steps: CountFromZero | None = None
    """World models: steps of the predictor's refinement in each training run; by default the preset's."""
    policy_steps: CountFromZero | None = None
    """World models: steps of actor and critic in each training run; by default the preset's."""
    head_steps: Count | None = None
    """Moving MNIST: steps of detection head and decoder in each training run; by default the preset's."""
    num_episodes: Count = 500
    """World models: episodes of the validation manifest."""
    num_videos: Count = 2_048
    """Moving MNIST: videos."""
    images: str = "digits"
    """Image-JEPA: set of images, or its folder."""
    runs: Path = Path("runs")
    """Folder of the runs and of single evaluations."""
    output: Path | None = None
    """JSON file to write, by default benchmarks/results/ablation-NAME.json, or ablation-NAME-ENVIRONMENT.json where the
    environment is not the first one, and ablation-NAME-IMAGES.json where images are not digits. Beside it, a picture
    and a folder of records have the same name."""
    overwrite: bool = False
    """Measure everything anew, even where the folder holds a record of it."""
    cluster: Cluster = field(default_factory=ClusterConfig)
    """Whether trainings and measurements run side by side as tasks of Ray. On a cluster, runs must be a folder that all
    machines see."""
    progress: bool = True
    """Whether to show progress bars and the table."""
