"""Configuration of training windows."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from envs.goal_image.images import AUTO, AXES, MAX_CHANNELS
from worldmodel.config import ConfigError, Count, CountFromTwo, Side, config, number


@config
class DataConfig:
    """Where training windows come from."""

    dataset: str = ""
    """Name of an environment that can be simulated: trajectories are made as they are needed. Anything else: the id of
    a Minari dataset, or the path of recorded data (Minari, LeRobot, DINO-WM, OGBench, stable-worldmodel)."""
    recipe: str = ""
    """How simulated trajectories are drawn, one of the environment's recipes; by default its first."""
    validation_recipe: str = ""
    """The same for validation; by default the recipe of the training."""
    num_frames: CountFromTwo = 9
    """Frames of a window."""
    batch_size: Count = 64
    """Windows in a batch, over all processes."""
    validation_fraction: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.1
    """Part of a dataset's episodes kept for validation."""
    image: str = AUTO
    """Recorded data: key of the images, outer.inner where nested; auto: the only one there is beside goals."""
    axes: str = ""
    """Recorded data: what the axes of the images are, such as HWC or CHW, S for frames of a stack; by default found."""
    channels: Annotated[int, Ge(1), Le(MAX_CHANNELS), number(int, f"in 1…{MAX_CHANNELS}")] | None = None
    """Recorded data: channels of the newest frame, where frames are stacked along the channels."""
    size: tuple[Side, ...] | None = None
    """Recorded data: one or two sides (height, width) to which images are brought by area averaging."""
    in_memory: Literal["auto", "yes", "no"] = "auto"
    """Recorded data: whether frames are held in memory; otherwise they are read from a file beside the data, which is
    written once. auto: in memory where they fit into a third of what is free."""
    cache: str = ""
    """Recorded data: folder for that file; by default $WORLDMODEL_FRAMES, else .frames beside the data."""
    leave_out: bool = False
    """Recorded data: leaves out episodes at fault (values that are not finite or out of bounds, images of other sizes)
    instead of refusing the whole."""

    def rules(self) -> None:
        """Checks how images are to be read."""
        if self.axes and self.axes not in AXES:
            raise ConfigError("axes", f"one of {', '.join(AXES)}", self.axes)
        if self.size is not None and len(self.size) not in (1, 2):
            raise ConfigError("size", "one side, or height and width", self.size)
