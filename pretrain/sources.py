"""The sources of training data that a configuration names, and what a model must know of them."""

import torch

from pretrain.config import DataConfig
from pretrain.data.windows import WindowSource
from pretrain.datasets import MinariWindows
from pretrain.two_rooms.windows import TwoRoomsWindows
from worldmodel.build import DataSpec


def build_sources(config: DataConfig, frame_skip: int, device: torch.device) -> tuple[WindowSource, WindowSource]:
    """The sources of training and of validation windows.

    Raises:
        ValueError: If no dataset is named.
    """
    if config.dataset == "two-rooms":

        def simulated(layout_set: str, crossings: bool) -> WindowSource:
            return TwoRoomsWindows(
                config.num_frames,
                frame_skip,
                recipe=config.recipe,
                layout_set=layout_set,
                crossings=crossings,
                device=device,
            )

        # Validation windows do cross: what is never trained on is measured all the same.
        return simulated(config.layout_set, config.crossings), simulated("validation", True)
    if config.dataset in ("", "?"):
        raise ValueError("dataset must be 'two-rooms' or the id or folder of a Minari dataset, got none")

    def recorded(split: str) -> WindowSource:
        return MinariWindows(
            config.dataset,
            config.num_frames,
            frame_skip,
            split=split,
            validation_fraction=config.validation_fraction,
            device=device,
        )

    return recorded("train"), recorded("validation")


def data_spec(source: WindowSource) -> DataSpec:
    """What a model must know of its data."""
    return DataSpec(
        pixel_shape=source.pixel_shape,
        action_dim=source.action_dim,
        action_low=tuple(source.action_low),
        action_high=tuple(source.action_high),
        action_max_norm=source.action_max_norm,
        position_low=source.position_low,
        position_high=source.position_high,
    )
