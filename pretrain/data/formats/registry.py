"""Which formats there are: one path finds its format. A new one is a file and a line in :data:`FORMATS`."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pretrain.data.formats import dino_wm, lerobot, minari, ogbench, stable_worldmodel
from pretrain.data.formats.recording import DatasetError, Recording
from pretrain.data.paths import datasets_root, local_datasets
from worldmodel.storage.files import absolute


class Format(NamedTuple):
    """A format of recorded data.

    Attributes:
        matches: Whether a path holds it.
        open: Opens what a path holds.
        what: What it is, for messages.
    """

    matches: Callable[[Path], bool]
    open: Callable[[Path], Recording]
    what: str


FORMATS: dict[str, Format] = {
    "minari": Format(minari.matches, minari.MinariRecording, f"a folder with data/{minari.METADATA_FILE}"),
    "lerobot": Format(lerobot.matches, lerobot.LeRobotRecording, f"a folder with {lerobot.INFO}"),
    "dino-wm": Format(dino_wm.matches, dino_wm.DinoWMRecording, f"a folder with {dino_wm.ACTIONS[1]}"),
    "ogbench": Format(ogbench.matches, ogbench.OGBenchRecording, "an .npz file"),
    "stable-worldmodel": Format(
        stable_worldmodel.matches, stable_worldmodel.StableWorldmodelRecording, "an .h5 or .hdf5 file"
    ),
}
"""Formats by name; the first that matches counts."""


def open_recording(dataset: str | Path, *, root: str | Path | None = None) -> Recording:
    """Opens recorded data.

    Args:
        dataset: The id of a local Minari dataset, or the path of a file or folder of any format.
        root: Folder of the Minari datasets; by default Minari's own (``MINARI_DATASETS_PATH``).

    Raises:
        FileNotFoundError: If there is none; the message lists those there are.
        DatasetError: If it cannot be read, or is of no known format.
    """
    given_as_path = Path(dataset).is_absolute() or str(dataset).startswith(("~", "."))
    places = [absolute(dataset)]
    if (found := _opened(places[0])) is not None:
        return found
    if not given_as_path:
        places.append(datasets_root(root) / dataset)
        if (found := _opened(places[1])) is not None:
            return found
    for path in places:
        if path.exists():
            names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
            held = f"holds {', '.join(names[:5]) or 'nothing'}" if path.is_dir() else "is none of them"
            formats = ", ".join(f"{entry.what} ({name})" for name, entry in FORMATS.items())
            raise DatasetError(f"dataset must be {formats}, got {str(path)!r}, which {held}")
    if given_as_path:
        raise FileNotFoundError(f"dataset must be a file or a folder, got {str(places[0])!r}: there is none")
    folder = datasets_root(root)
    local = ", ".join(map(repr, local_datasets(folder)))
    raise FileNotFoundError(
        f"dataset must be a path or one of {local or '(none yet)'} in {folder}, got {str(dataset)!r}; "
        "`worldmodel collect` makes one"
    )


def _opened(path: Path) -> Recording | None:
    """What a path holds, if it is of a known format."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            path.stat()  # what the system refuses, which is_file() hides from Python 3.14 on
        return next((entry.open(path) for entry in FORMATS.values() if entry.matches(path)), None)
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(
            f"dataset must be the id or the path of a dataset, got {str(path)[:100]!r}: {error.strerror}"
        ) from error
