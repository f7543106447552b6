"""The sources of training data that a configuration names, and what a model must know of them."""

import torch

import envs
from pretrain.data.config import DataConfig
from pretrain.data.formats.registry import FORMATS
from pretrain.data.recorded.windows import open_windows
from pretrain.data.simulated import SimulatedWindows
from pretrain.data.windows import WindowSource
from worldmodel.build import DataSpec
from worldmodel.config import ConfigError


def build_sources(
    config: DataConfig, frame_skip: int, device: torch.device, context: int = 1
) -> tuple[WindowSource, WindowSource]:
    """The sources of training and of validation windows.

    Args:
        config: Where they come from.
        frame_skip: Environment steps between two frames.
        device: Where windows are put.
        context: Frames that a model sees at once.

    Raises:
        ValueError: If there are no such data, or no such recipe.
    """
    simulated = {domain.name: domain for domain in envs.domains() if domain.simulate}
    if config.dataset in simulated:
        domain = simulated[config.dataset]

        def endless(layout_set: str, recipe: str) -> WindowSource:
            return SimulatedWindows(
                domain.simulation(),
                config.num_frames,
                frame_skip,
                context=context,
                recipe=recipe,
                layout_set=layout_set,
                action_max_norm=domain.action_max_norm,
                device=device,
            )

        # Validation windows show everything: what is never trained on is measured all the same.
        return endless("train", config.recipe), endless("validation", config.validation_recipe or config.recipe)
    if not config.dataset:
        others = ", ".join(name for name in FORMATS if name != "minari")
        rule = f"one of {', '.join(simulated)}, or the id or folder of a Minari dataset, or a path of {others} data"
        raise ConfigError("data.dataset", rule, "")
    if config.recipe or config.validation_recipe:
        raise ConfigError("data.recipe", f"left out for recorded data (dataset {config.dataset!r})", config.recipe)

    train, validation = open_windows(
        config.dataset,
        config.num_frames,
        frame_skip,
        context=context,
        validation_fraction=config.validation_fraction,
        device=device,
        image=config.image,
        axes=config.axes,
        channels=config.channels,
        size=config.size[0] if config.size and len(config.size) == 1 else config.size,
        in_memory=config.in_memory,
        cache=config.cache,
        leave_out=config.leave_out,
    )
    return train, validation


def data_spec(source: WindowSource) -> DataSpec:
    """What a model must know of its data."""
    known = source.simulation
    return DataSpec(
        pixel_shape=source.pixel_shape,
        action_dim=source.action_dim,
        action_low=tuple(source.action_low),
        action_high=tuple(source.action_high),
        action_max_norm=source.action_max_norm,
        position_low=None if known is None else known.position_low,
        position_high=None if known is None else known.position_high,
    )
