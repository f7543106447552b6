"""Labelled images: what is shipped, what is read from files, and that no image is in two splits."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from pretrain import labelled_images
from pretrain.labelled_images import SHIPPED_DIGITS, load_images, read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_the_shipped_digits_are_the_ones_described():
    digest = hashlib.sha256(SHIPPED_DIGITS.read_bytes()).hexdigest()
    assert digest in (SHIPPED_DIGITS.parent / "README.md").read_text()


def test_no_digit_is_in_both_splits():
    train, validation = load_images("digits", "train"), load_images("digits", "validation")
    assert (len(train.images), len(validation.images)) == (9_000, 1_000)
    assert train.images.shape[1:] == (1, 28, 28)
    everything = np.concatenate([train.images, validation.images]).reshape(10_000, -1)
    with np.load(SHIPPED_DIGITS) as file:
        shipped = file["images"].reshape(10_000, -1)
    # Every shipped image appears once; equal rows, if there were any, would appear as often as they are shipped.
    assert sorted(map(bytes, everything)) == sorted(map(bytes, shipped))
    assert not set(map(bytes, train.images)) & set(map(bytes, validation.images))
    # Both splits hold all digits in like parts.
    for part in (train, validation):
        assert np.bincount(part.labels, minlength=10).min() > 0.07 * len(part.labels)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read(tmp_path, packed):
    rng = np.random.default_rng(0)
    written = {}
    for split, prefix in (("train", "train"), ("validation", "t10k")):
        images, labels = rng.integers(256, size=(5, 4, 3), dtype=np.uint8), rng.integers(10, size=5, dtype=np.uint8)
        written[split] = images, labels
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            data = idx_bytes(array)
            path = tmp_path / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(data) if packed else data)
    for split, (images, labels) in written.items():
        read = load_images(tmp_path, split)
        np.testing.assert_array_equal(read.images[:, 0], images)
        np.testing.assert_array_equal(read.labels, labels)


def test_cifar_files_are_read(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(256, size=(10, 1 + 3072), dtype=np.uint8)
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(rows[2 * i : 2 * i + 2].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(rows[:3].tobytes())
    train, validation = load_images(tmp_path, "train"), load_images(tmp_path, "validation")
    np.testing.assert_array_equal(train.labels, rows[:, 0])
    np.testing.assert_array_equal(train.images[7, 1, 0], rows[7, 1 + 1024 : 1 + 1024 + 32])  # green, first line
    assert validation.images.shape == (3, 3, 32, 32)
    (tmp_path / "test_batch.bin").write_bytes(b"12345")
    with pytest.raises(ValueError, match="must hold rows of 3073 bytes, got 5 bytes"):
        load_images(tmp_path, "validation")


def test_downloads_are_checked_against_published_checksums(monkeypatch, tmp_path):
    pooch = pytest.importorskip("pooch")
    asked = []

    def retrieve(url, known_hash, **_):
        asked.append((url.rpartition("/")[2], known_hash))
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    for name in ("mnist", "cifar-10"):
        with pytest.raises(ConnectionError):
            load_images(name, "validation")
    assert asked == [
        ("t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
        ("cifar-10-binary.tar.gz", f"md5:{labelled_images.CIFAR_MD5}"),
    ]


def test_what_is_no_set_is_refused(tmp_path, without_type_checks):
    with pytest.raises(
        ValueError, match=r"images must be one of 'digits', 'mnist', 'cifar-10' or a folder, got 'cats'"
    ):
        load_images("cats", "train")
    with pytest.raises(ValueError, match="split must be one of 'train', 'validation', got 'test'"):
        load_images("digits", "test")
    with pytest.raises(FileNotFoundError, match="must hold train-images-idx3-ubyte or"):
        load_images(tmp_path, "train")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4", "must be an IDX file of unsigned bytes, got one that begins with 504b0304"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], r"must hold \(2, 3\) bytes as it says, got 5"),
    ],
)
def test_files_that_are_not_idx_are_refused(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(path)
