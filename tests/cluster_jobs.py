"""Jobs for tests of the cluster: what tasks of other processes can import once the module is sent to them."""

import os
import time
from pathlib import Path


class UnreadableError(ValueError):
    """An error that cannot be made again from its message alone, as other processes do."""

    def __init__(self, place: str, value: float) -> None:
        super().__init__(f"{place} must be small, got {value}")


def take(number: int, folder: Path, seconds: float) -> tuple[int, str]:
    """Leaves a mark that it ran, and takes a while; returns the square of a number, and where that was."""
    import torch

    with (folder / f"{number}").open("a") as file:
        file.write("x")
    time.sleep(seconds)
    assert torch.get_num_threads() == 1
    return number**2, str(Path.cwd())


def fail(number: int) -> None:
    """Raises an error."""
    raise UnreadableError("number", number)


def die(number: int) -> None:
    """Ends its process."""
    os._exit(number)
