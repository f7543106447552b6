"""Labelled images from disk: the shipped digits, MNIST and its kin in IDX files, CIFAR-10.

A set is named, or is a folder that holds its published files:

::

    digits            10,000 digits of MNIST that come with the package; 9,000 to train on and 1,000 to validate
    mnist, cifar-10   downloaded once into a cache, checked against their published checksums
    FOLDER            IDX files (MNIST, Fashion-MNIST), plain or gzipped, or the binary version of CIFAR-10
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

Split = Literal["train", "validation"]
"""Parts of a set. "validation" is the published test part where there is one."""
SHIPPED_DIGITS = Path(__file__).parent / "mnist10k" / "digits.npz"
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
CIFAR_ROW = 1 + 3 * 32 * 32
"""Bytes of an image in them: its label, then red, green and blue planes."""
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


def load_images(name: str | Path, split: Split) -> LabelledImages:
    """Reads a split of a set of labelled images.

    Args:
        name: Name of a set, or a folder with its files; see the module.
        split: Which part.

    Returns:
        All images of the part.

    Raises:
        ValueError: If there is no such set, or a file is not what its name says.
        OSError: If a file is missing or a download fails.
    """
    if split not in IDX_NAMES:
        raise ValueError(f"split must be one of {', '.join(map(repr, IDX_NAMES))}, got {split!r}")
    if name in NAMED:
        return NAMED[str(name)](split)
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"images must be one of {', '.join(map(repr, NAMED))} or a folder, got {str(name)!r}")
    if (folder / CIFAR_FILES[split][0]).exists():
        return _read_cifar(folder, split)
    prefix = IDX_NAMES[split]
    images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"{folder} must hold images and a label for each, got {images.shape} and {labels.shape}")
    return LabelledImages(images[:, None], labels)


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Reads an IDX file of bytes, plain or gzipped.

    Raises:
        ValueError: If it is no such file.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    # Two zeros, the type (8: unsigned bytes), the number of dimensions, their sizes as big-endian 32-bit integers.
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} must be an IDX file of unsigned bytes, got one that begins with {data[:4].hex()}")
    num_dims = data[3]
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", num_dims, 4))
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims)
    if body.size != np.prod(shape):
        raise ValueError(f"{path} must hold {shape} bytes as it says, got {body.size}")
    return body.reshape(shape).copy()


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


def _read_cifar(folder: Path, split: Split) -> LabelledImages:
    parts = []
    for name in CIFAR_FILES[split]:
        rows = np.frombuffer((folder / name).read_bytes(), np.uint8)
        if rows.size == 0 or rows.size % CIFAR_ROW:
            raise ValueError(f"{folder / name} must hold rows of {CIFAR_ROW} bytes, got {rows.size} bytes")
        parts.append(rows.reshape(-1, CIFAR_ROW))
    rows = np.concatenate(parts)
    return LabelledImages(rows[:, 1:].reshape(-1, 3, 32, 32).copy(), rows[:, 0].copy())


def _find(folder: Path, stem: str) -> Path:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} must hold {stem} or {stem}.gz, or {CIFAR_FILES['train'][0]} and its like")


NAMED: dict[str, Callable[[Split], LabelledImages]] = {"digits": _digits, "mnist": _mnist, "cifar-10": _cifar10}
"""Sets by name."""
