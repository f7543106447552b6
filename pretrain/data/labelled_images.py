"""Labelled images from disk: the shipped digits, MNIST and its kin in IDX files, CIFAR-10.

A set is named, or is a folder that holds its published files:

::

    digits            10,000 digits of MNIST that come with the package; 9,000 to train on and 1,000 to validate
    mnist, cifar-10   downloaded once into a cache, checked against their published checksums
    FOLDER            IDX files (MNIST, Fashion-MNIST), plain or gzipped, or the binary version of CIFAR-10
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pretrain.data.image_files import CIFAR_SHAPE, idx_shape, read_cifar, read_idx
from worldmodel.storage.files import absolute

Split = Literal["train", "validation"]
"""Parts of a set. "validation" is the published test part where there is one."""
SHIPPED_DIGITS = Path(__file__).parent.parent / "mnist10k" / "digits.npz"
"""The digits that come with the package."""
NUM_VALIDATION_DIGITS = 1_000
"""How many of them are kept for validation."""
SPLIT_SEED = 10_007
"""Seed of the order in which the shipped digits, sorted by label in their file, are split."""
IDX_NAMES = {"train": "train", "validation": "t10k"}
"""How IDX files name the splits."""
CIFAR_FILES = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "validation": ["test_batch.bin"],
}
"""Files of the binary version of CIFAR-10."""
MIN_SIDE = 2
"""Fewest pixels of a side of an image: one pixel shows nothing, and nothing can be learned from it."""
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""Checksums of MNIST's files, as published with torchvision's data sets."""
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Checksum of the binary version of CIFAR-10, as published on its home page."""


class LabelledImages(NamedTuple):
    """Images and what they show.

    Attributes:
        images: uint8 ``(N, C, H, W)``.
        labels: uint8 ``(N,)``.
    """

    images: UInt8[np.ndarray, "n c h w"]
    labels: UInt8[np.ndarray, " n"]


def load_images(name: str | Path, split: Split, *, what: str = "images") -> LabelledImages:
    """Reads a split of a set of labelled images.

    Args:
        name: Name of a set, or a folder with its files; see the module.
        split: Which part.
        what: What the images are for, for messages.

    Returns:
        All images of the part, at least one.

    Raises:
        ValueError: If there is no such set, a file is not what its name says, or the validation part has images or
            classes of another kind than the training part beside it.
        OSError: If a file is missing or a download fails.
    """
    if split not in IDX_NAMES:
        raise ValueError(f"split must be one of {', '.join(map(repr, IDX_NAMES))}, got {split!r}")
    if name in NAMED:
        return NAMED[str(name)](split)
    folder = absolute(name)
    if not str(name) or not folder.is_dir():
        raise ValueError(f"{what} must be one of {', '.join(map(repr, NAMED))} or a folder, got {str(name)!r}")
    if (folder / CIFAR_FILES[split][0]).exists():
        return _load_cifar(folder, split)
    return _load_idx(folder, split, what)


def _digits(split: Split) -> LabelledImages:
    with np.load(SHIPPED_DIGITS) as file:
        images, labels = file["images"], file["labels"]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    chosen = order[:NUM_VALIDATION_DIGITS] if split == "validation" else order[NUM_VALIDATION_DIGITS:]
    return LabelledImages(images[chosen, None], labels[chosen])


def _mnist(split: Split) -> LabelledImages:
    import pooch

    folder = pooch.os_cache("worldmodel") / "mnist"
    for name, md5 in MNIST_MD5.items():
        if name.startswith(IDX_NAMES[split]):
            pooch.retrieve(MNIST_URL + name, f"md5:{md5}", fname=name, path=folder, progressbar=True)
    return load_images(folder, split)


def _cifar10(split: Split) -> LabelledImages:
    import pooch

    files = pooch.retrieve(
        CIFAR_URL,
        f"md5:{CIFAR_MD5}",
        path=pooch.os_cache("worldmodel") / "cifar-10",
        processor=pooch.Untar(),
        progressbar=True,
    )
    return load_images(Path(files[0]).parent, split)


def _load_cifar(folder: Path, split: Split) -> LabelledImages:
    rows = np.concatenate([read_cifar(folder / name) for name in CIFAR_FILES[split]])
    labels = rows[:, 0].copy()
    training = [folder / name for name in CIFAR_FILES["train"]]
    if split == "validation" and all(path.exists() for path in training):
        trained = np.concatenate([read_cifar(path)[:, 0] for path in training])
        _check_classes(folder / CIFAR_FILES[split][0], labels, trained)
    return LabelledImages(rows[:, 1:].reshape(-1, *CIFAR_SHAPE).copy(), labels)


def _load_idx(folder: Path, split: Split, what: str) -> LabelledImages:
    images_path, labels_path = _idx_files(folder, split)
    if images_path is None or labels_path is None:
        stem = f"{IDX_NAMES[split]}-{'images-idx3' if images_path is None else 'labels-idx1'}-ubyte"
        names = sorted(path.name for path in folder.iterdir())
        listing = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
        raise FileNotFoundError(
            f"{what} must be one of {', '.join(map(repr, NAMED))} or a folder with their files: {folder} must hold "
            f"{stem} or {stem}.gz, or {CIFAR_FILES[split][0]} and its like; it holds {listing or 'nothing'}"
        )
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or not len(images) or min(images.shape[1:]) < MIN_SIDE:
        raise ValueError(
            f"{images_path} must hold images [N, H, W], at least one, of sides of at least {MIN_SIDE} pixels, "
            f"got {list(images.shape)}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{labels_path} must hold a label for each of {len(images)} images, got {list(labels.shape)}")
    trained_images, trained_labels = _idx_files(folder, "train")
    if split == "validation" and trained_images is not None and trained_labels is not None:
        if (trained := idx_shape(trained_images)[1:]) != images.shape[1:]:
            raise ValueError(
                f"{images_path} must hold images of the shape of those to train on, {list(trained)} in "
                f"{trained_images.name}, got {list(images.shape[1:])}"
            )
        _check_classes(labels_path, labels, read_idx(trained_labels))
    return LabelledImages(images[:, None], labels)


def _check_classes(path: Path, labels: UInt8[np.ndarray, " n"], trained: UInt8[np.ndarray, " m"]) -> None:
    """Refuses classes that training never shows."""
    known = np.unique(trained)
    unknown = np.setdiff1d(labels, known)
    if len(unknown):
        span = f"{len(known)} from {known[0]} to {known[-1]}" if len(known) else "none"
        raise ValueError(f"{path} must have classes that the training part has, {span}, got {unknown[0]}")


def _idx_files(folder: Path, split: Split) -> tuple[Path | None, Path | None]:
    """Files with the images and the labels of a part, where they are there."""
    stems = [f"{IDX_NAMES[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    images, labels = (
        next((path for path in (folder / stem, folder / f"{stem}.gz") if path.exists()), None) for stem in stems
    )
    return images, labels


NAMED: dict[str, Callable[[Split], LabelledImages]] = {"digits": _digits, "mnist": _mnist, "cifar-10": _cifar10}
"""Sets by name."""
