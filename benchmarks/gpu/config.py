"""Configuration of ``worldmodel gpu-check``."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from benchmarks.ablation.trainings import world_model
from benchmarks.comparison.contenders import CONTENDERS
from pretrain.presets import DEFAULT
from worldmodel.config import Count, Positive, config

RECORDED = next(name for name in CONTENDERS if "data.dataset" in world_model(name).changes)
"""The first environment whose world model learns from recorded episodes."""


@config
class GpuConfig:
    """Checks training, evaluation, planning, memory and agreement with the CPU on a GPU."""

    device: Literal["cuda", "cpu"] = "cuda"
    """What is checked; cpu tries the stages where there is no GPU."""
    environments: Annotated[tuple[str, ...], MinLen(1)] = (DEFAULT, RECORDED)
    """Environments whose world models are trained and evaluated."""
    num_episodes: Count = 50
    """Validation episodes of each."""
    tiny: bool = False
    """Networks, trainings and evaluations so small that nothing is learned: for a try of all stages."""
    max_minutes: Positive = 9.5
    """Begins no stage that is not likely to end within so many minutes; the same command does the rest."""
    runs: Path = Path("runs/gpu-check")
    """Folder of trainings, data and evaluations."""
    output: Path | None = None
    """JSON file to write; by default benchmarks/results/gpu.json, and for a try gpu.json in the folder of runs."""
    overwrite: bool = False
    """Repeats all stages; by default those that went well stay as they are."""
