"""Where datasets are: their folder, their ids, and the folders of unfinished ones."""

import os
from pathlib import Path

from minari.dataset.minari_dataset import parse_dataset_id

from worldmodel.storage.files import absolute

MAX_NAME_BYTES = 255
"""Longest name of a file or folder on common file systems."""
WORK_NAME = ".{}.collecting"
"""How the folder of an unfinished collection is called."""
DISCARDED = ".done"
"""End of the name of such a folder while it is being removed."""


def datasets_root(root: str | Path | None = None) -> Path:
    """The folder of Minari datasets: ``root``, else ``MINARI_DATASETS_PATH``, else Minari's default in the home.

    Returns:
        The folder, absolute.

    Raises:
        ValueError: If none is given and no home folder can be found.
    """
    if root is not None:
        return absolute(root)
    if given := os.environ.get("MINARI_DATASETS_PATH"):
        return absolute(given)
    try:
        return (Path.home() / ".minari" / "datasets").absolute()
    except RuntimeError as error:
        raise ValueError(
            "root must be given (--root), or the environment variable MINARI_DATASETS_PATH: "
            "there is no home folder to put datasets into"
        ) from error


def check_dataset_id(dataset_id: str) -> None:
    """Checks the id of a dataset that is to be made.

    Raises:
        ValueError: If Minari could not find a dataset of this id again.
    """
    rule = (
        "dataset_id must be 'name-v0' or 'namespace/name-v0', of letters, digits, '_' and '-' (a namespace of two "
        "characters or more, as Minari wants it; '/' in it nests it)"
    )
    *namespace, name = dataset_id.split("/")
    room = MAX_NAME_BYTES - len(WORK_NAME.format("") + DISCARDED)
    for part, longest in [(part, MAX_NAME_BYTES) for part in namespace] + [(name, room)]:
        if (size := len(os.fsencode(part))) > longest:
            raise ValueError(f"dataset_id must have names of at most {longest} bytes, got {size} in '{part[:40]}…'")
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{rule}, got {dataset_id!r}") from error
    if "" in namespace:
        raise ValueError(f"{rule}, got {dataset_id!r}")
    if "data" in namespace:
        raise ValueError(
            "dataset_id must have no namespace called 'data', which Minari takes for the files of a dataset, "
            f"got {dataset_id!r}"
        )


def dataset_folder(dataset_id: str, root: str | Path | None = None) -> Path:
    """Where the dataset of an id belongs.

    Raises:
        ValueError: If the id is not one, its namespace is a dataset itself, or the folder holds something else.
    """
    check_dataset_id(dataset_id)
    folder = datasets_root(root)
    target = folder / dataset_id
    for parent in target.parents[: len(Path(dataset_id).parts) - 1]:
        if (parent / "data").is_dir():
            raise ValueError(f"dataset_id must not lie within a dataset, got {dataset_id!r}, and one is in {parent}")
    if target.exists() and not (target / "data").is_dir():
        raise ValueError(f"dataset_id must name a dataset or nothing yet, got {dataset_id!r}: {target} is no dataset")
    return target


def work_folder(target: Path) -> Path:
    """Where the unfinished collection of a dataset is."""
    return target.with_name(WORK_NAME.format(target.name))


def local_datasets(folder: Path) -> list[str]:
    """Ids of the datasets in a folder, sorted."""
    found = (path.parent.parent.relative_to(folder) for path in folder.glob("**/data/metadata.json"))
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
