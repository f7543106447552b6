"""Random choices that belong to a training step: the same in a resumed run, and on every process."""

import torch


def step_generator(device: torch.device, seed: int, step: int) -> torch.Generator:
    """A generator that depends on a run's seed and a step alone."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)
