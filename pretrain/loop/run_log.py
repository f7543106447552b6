"""The log of a training run: JSON lines to compute with, TensorBoard and Weights & Biases to look at, where wanted."""

import json
import math
from pathlib import Path
from typing import Any

from worldmodel import import_extra
from worldmodel.storage.files import read_rows, write_text

METRICS = "metrics.jsonl"
"""Name of the JSON lines file in a run's folder."""


class RunLog:
    """Writes rows of metrics.

    A resumed run first drops the rows that come after the step it resumes from, so the file reads like that of an
    uninterrupted run.

    Args:
        folder: The run's folder; made if missing.
        first_step: Step from which the run goes on; 0 for a new run.
        wandb: Whether to log to Weights & Biases too.

    Raises:
        ImportError: If ``wandb`` is asked for and not installed.
    """

    def __init__(self, folder: Path, first_step: int = 0, *, wandb: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS
        kept = [row for row in read_metrics(folder) if row["step"] <= first_step] if first_step else []
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _open_board(folder, first_step)
        self._wandb = _start_wandb(folder, resume=first_step > 0) if wandb else None

    def write(self, split: str, step: int, values: dict[str, float]) -> None:
        """Writes one row; keys become ``split/key``."""
        row = {f"{split}/{key}": value if math.isfinite(value) else None for key, value in values.items()}
        self._file.write(json.dumps({"step": step} | row) + "\n")
        self._file.flush()
        for key, value in row.items():
            if value is not None and self._board is not None:
                self._board.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(row, step=step)

    def close(self) -> None:
        """Closes all writers."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Rows of a run's log; a last line that a kill cut short is left out.

    Raises:
        ValueError: If the file is no log.
    """
    return read_rows(folder / METRICS, {"step": int})


def _open_board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None)


def _start_wandb(folder: Path, *, resume: bool):  # type: ignore[no-untyped-def]
    return import_extra("wandb", "log_wandb").init(
        project="worldmodel", dir=str(folder), name=folder.name, id=folder.name, resume="allow" if resume else None
    )
