"""Configuration of training windows."""

from typing import Annotated

from annotated_types import Gt, Lt

from worldmodel.config import Count, CountFromTwo, config, number


@config
class DataConfig:
    """Where training windows come from."""

    dataset: str = ""
    """Name of an environment that can be simulated: trajectories are made as they are needed. Anything else: the id or
    the folder of a Minari dataset."""
    recipe: str = ""
    """How simulated trajectories are drawn, one of the environment's recipes; by default its first."""
    validation_recipe: str = ""
    """The same for validation; by default the recipe of the training."""
    num_frames: CountFromTwo = 9
    """Frames of a window."""
    batch_size: Count = 64
    """Windows in a batch, over all processes."""
    validation_fraction: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.1
    """Part of a Minari dataset's episodes kept for validation."""
