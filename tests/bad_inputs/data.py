"""What may be wrong with files of images, videos and datasets: how one is made, and what is said.

Images are a folder with whole IDX files before something is done to it; a dataset is a whole one of Two Rooms, six
episodes of ten steps.
"""

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CLASSES = np.arange(40, dtype=np.uint8) % 5


def idx_bytes(*shape: int, kind: int = 8, content: bytes | None = None) -> bytes:
    """An IDX file, of zeros by default."""
    filled = bytes(int(np.prod(shape))) if content is None else content
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + filled


def write_images(folder: Path) -> None:
    """Forty images to train on and to validate on, of five classes."""
    folder.mkdir()
    for images, labels in ((TRAIN, LABELS), (TEST, TEST_LABELS)):
        (folder / images).write_bytes(idx_bytes(40, 28, 28))
        (folder / labels).write_bytes(idx_bytes(40, content=CLASSES.tobytes()))


def put(name: str, content: bytes | None) -> Callable[[Path], Any]:
    """Replaces a file, or takes it away."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return damage


def packed(content: bytes) -> Callable[[Path], Any]:
    """Puts a file that ends in .gz in place of the images."""

    def damage(folder: Path) -> None:
        put(TRAIN, None)(folder)
        put(f"{TRAIN}.gz", content)(folder)

    return damage


def to_device(folder: Path) -> None:
    (folder / TRAIN).unlink()
    (folder / TRAIN).symlink_to("/dev/zero")


def bomb() -> bytes:
    """Two megabytes that become two gigabytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
        file.write(idx_bytes(40, 28, 28))
        piece = gzip.compress(bytes(2**24), compresslevel=9)
    return out.getvalue() + piece * 128


def cifar(rows: bytes, tests: bytes) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        for i in range(1, 6):
            (folder / f"data_batch_{i}.bin").write_bytes(rows)
        (folder / "test_batch.bin").write_bytes(tests)

    return damage


WHOLE = gzip.compress(idx_bytes(40, 28, 28))
IMAGES = (
    ("0 dimensions", "train", put(TRAIN, idx_bytes(content=b"")), rf"{TRAIN} must have 1 to 4 dimensions, got 0"),
    ("2 dimensions", "train", put(TRAIN, idx_bytes(40, 28)), rf"{TRAIN} must hold images \[N, H, W\].*\[40, 28\]"),
    (
        "images of 0 x 0",
        "train",
        put(TRAIN, idx_bytes(40, 0, 0)),
        rf"{TRAIN} must hold images .*of at least 2 pixels, got \[40, 0, 0\]",
    ),
    ("images of 1 x 1", "train", put(TRAIN, idx_bytes(40, 1, 1)), rf"{TRAIN} must hold images.*got \[40, 1, 1\]"),
    (
        "no images",
        "train",
        put(TRAIN, idx_bytes(0, 28, 28)),
        rf"{TRAIN} must hold images .*at least one.*, got \[0, 28, 28\]",
    ),
    (
        "sizes of 2^31",
        "train",
        put(TRAIN, idx_bytes(2**31, 2**31, 4, content=b"")),
        rf"{TRAIN} must hold .*2147483648.* as it says, got 0",
    ),
    (
        "sizes cut",
        "train",
        put(TRAIN, idx_bytes(40, 28, 28)[:9]),
        rf"{TRAIN} must hold 3 sizes as it says, got 5 bytes of them",
    ),
    ("images cut", "train", put(TRAIN, idx_bytes(40, 28, 28)[:-1]), rf"{TRAIN} must hold .* as it says, got 31359"),
    (
        "images of floats",
        "train",
        put(TRAIN, idx_bytes(40, 28, 28, kind=13)),
        rf"{TRAIN} must be an IDX file of unsigned bytes, got one that begins with 00000d03",
    ),
    (
        "empty file",
        "train",
        put(TRAIN, b""),
        rf"{TRAIN} must be an IDX file of unsigned bytes, got one that begins with",
    ),
    (
        "text",
        "train",
        put(TRAIN, b"hello, world"),
        rf"{TRAIN} must be an IDX file of unsigned bytes, got one that begins with 68656c6c",
    ),
    ("no labels", "train", put(LABELS, None), rf"must hold {LABELS} or {LABELS}.gz"),
    (
        "fewer labels",
        "train",
        put(LABELS, idx_bytes(39)),
        rf"{LABELS} must hold a label for each of 40 images, got \[39\]",
    ),
    ("labels of 2 dimensions", "train", put(LABELS, idx_bytes(40, 1)), rf"{LABELS} must .*got \[40, 1\]"),
    (
        "a class to validate only",
        "validation",
        put(TEST_LABELS, idx_bytes(40, content=bytes([9] * 40))),
        rf"{TEST_LABELS} must have classes that the training part has, 5 from 0 to 4, got 9",
    ),
    (
        "other sides to validate",
        "validation",
        put(TEST, idx_bytes(40, 28, 14)),
        rf"{TEST} must hold images of the shape of those to train on, \[28, 28\].*got \[28, 14\]",
    ),
    (
        "gz truncated",
        "train",
        packed(WHOLE[:-9]),
        rf"{TRAIN}.gz must be a whole gzipped file, got one that is not: Compressed file ended",
    ),
    (
        "gz of another kind",
        "train",
        packed(b"hello, world"),
        rf"{TRAIN}.gz must be a whole gzipped file, got one that is not: Not a gzipped file",
    ),
    (
        "gz with a wrong sum",
        "train",
        packed(WHOLE[:-8] + bytes(4) + WHOLE[-4:]),
        rf"{TRAIN}.gz must be a whole gzipped file, got one that is not: CRC check failed",
    ),
    ("gz bomb", "train", packed(bomb()), rf"{TRAIN}.gz must hold .* as it says, got more"),
    ("/dev/zero", "train", to_device, rf"{TRAIN} must be a regular file, got a character device"),
    (
        "CIFAR of part of a row",
        "train",
        cifar(bytes(3072), bytes(3073)),
        r"data_batch_1.bin must hold rows of 3073 bytes",
    ),
    ("CIFAR of nothing", "train", cifar(b"", b""), r"data_batch_1.bin must hold rows of 3073 bytes, got 0 bytes"),
    (
        "CIFAR label 200",
        "train",
        cifar(bytes([200] + [0] * 3072), bytes(3073)),
        r"data_batch_1.bin must have labels from 0 to 9, got 200",
    ),
)
"""Folders of labelled images, by the part that is read."""


def npy(array: np.ndarray, save: Callable[..., Any] = np.save) -> bytes:
    out = io.BytesIO()
    save(out, array)
    return out.getvalue()


VIDEO = npy(np.zeros((3, 2, 8, 8), np.uint8))


def metadata(**changes: Any) -> Callable[[Path], None]:
    """Changes what ``metadata.json`` says; None takes a key away."""

    def damage(data: Path) -> None:
        path = data / "metadata.json"
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def array(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Replaces an array of the fourth episode, or takes it away."""

    def damage(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            group = file["episode_3"]
            new = change(group[name][()])
            del group[name]
            if new is not None:
                group[name] = new

    return damage


def at(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[index] = value
        return values

    return change


def bits(seed: int) -> Callable[[Path], None]:
    """Turns 400 bits of the HDF5 file round."""

    def damage(data: Path) -> None:
        path = data / "main_data.hdf5"
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        rng = np.random.default_rng(seed)
        content[rng.integers(len(content), size=400)] ^= np.uint8(1) << rng.integers(8, size=400, dtype=np.uint8)
        path.write_bytes(content.tobytes())

    return damage


STATES = "observations/observation"
DATASETS = (
    ("actions 10 times too large", array("actions", lambda a: a * 0 + 24.5), r"episode_?\s?3.*action.* 24\.5"),
    ("actions of 1e30", array("actions", at(2, 1e30)), r"episode_?\s?3.*action.*1e\+30"),
    ("one action NaN", array("actions", at((2, 1), np.nan)), r"episode_?\s?3.*action.*nan"),
    ("actions of 3 components", array("actions", lambda a: np.ones((len(a), 3), a.dtype)), r"3.*action.*\(?10, 3"),
    ("actions of texts", array("actions", lambda a: np.full(a.shape, b"a")), r"3.*action"),
    ("fewer actions", array("actions", lambda a: a[:5]), r"3.*action.*5"),
    ("no actions", array("actions", lambda _: None), r"3.*action"),
    ("states NaN", array(STATES, at(4, np.nan)), r"3.*nan"),
    ("states outside", array(STATES, at((4, 0), 1e6)), r"3.*1e\+06|3.*1000000"),
    ("no states", array(STATES, lambda _: None), r"3.*observation"),
    ("fewer states", array(STATES, lambda a: a[:4]), r"episode 3.*must have frames of shape \(11, 4\).*got \(4, 4\)"),
    ("no action space", metadata(action_space=None), r"metadata.json.*action_space"),
    ("no observation space", metadata(observation_space=None), r"metadata.json.*observation_space"),
    (
        "an episode too few",
        metadata(total_episodes=5),
        r"metadata.json must have the number of episodes .* as total_episodes: 6 are there, got 5",
    ),
    (
        "an episode too many",
        metadata(total_episodes=7),
        r"metadata.json must have the number of episodes .* as total_episodes: 6 are there, got 7",
    ),
    (
        "no episodes",
        metadata(total_episodes=0),
        r"metadata.json must have the number of episodes .* as total_episodes: 6 are there, got 0",
    ),
    ("steps in words", metadata(total_steps="many"), r"total_steps.*many"),
    ("metadata a list", put("metadata.json", b"[]"), r"metadata.json must be .*got a list"),
    ("metadata deep", put("metadata.json", b"[" * 10**6), r"metadata.json must be"),
    ("metadata no JSON", put("metadata.json", b"\xff\xfe"), r"metadata.json must be"),
    ("no HDF5", put("main_data.hdf5", None), r"main_data.hdf5"),
    ("HDF5 empty", put("main_data.hdf5", b""), r"main_data.hdf5"),
    ("HDF5 of text", put("main_data.hdf5", b"hello, world"), r"main_data.hdf5"),
)
"""The folder ``data`` of a dataset."""

USELESS = (
    ({"num_episodes": 1}, r"dataset 'a-v0' has no episodes in split 'train': it holds 1, of which"),
    ({"max_episode_steps": 1}, r"dataset 'a-v0' must have episodes of at least \d+ steps for windows of 3 frames"),
    ({"env_id": "Pendulum-v1"}, r"dataset 'a-v0' must hold images: .* uint8 Boxes of shape .*, got Box"),
)
"""Collections that are whole, but of no use."""
