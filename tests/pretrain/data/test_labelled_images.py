"""Labelled images: what is shipped, what is read from files, and that no image is in two splits."""

import gzip
import hashlib
import os
import struct
import zlib

import numpy as np
import pytest

from pretrain.data import labelled_images
from pretrain.data.labelled_images import SHIPPED_DIGITS, load_images, read_idx


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
        images, labels = rng.integers(256, size=(5, 4, 3), dtype=np.uint8), rng.permutation(5).astype(np.uint8)
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
    rows[:, 0] = rng.permutation(10)
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


IMAGES = np.random.default_rng(0).integers(256, size=(8, 4, 4), dtype=np.uint8)
LABELS = np.arange(8, dtype=np.uint8) % 4
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def bomb() -> bytes:
    """A few kilobytes that unpack to gigabytes, with the header of an IDX file of images."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 1, 1)
    return packer.compress(header) + b"".join(packer.compress(bytes(10**7)) for _ in range(30)) + packer.flush()


def claims(*sizes: int, body: int = 10) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(body)


PACKED = gzip.compress(idx_bytes(IMAGES))
WRONG_CRC = PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:]
UNPACKED_MORE = gzip.compress(idx_bytes(IMAGES) + b"x")

# name of the file that is replaced, its content (or what makes it), what is said
BAD_FILES = [
    ("not IDX", TRAIN_IMAGES, b"PK\3\4", "must be an IDX file of unsigned bytes, got one that begins with 504b0304"),
    ("other type", TRAIN_IMAGES, b"\0\0\x0d\1\0\0\0\0", "an IDX file of unsigned bytes, got .* 00000d01"),
    ("empty", TRAIN_IMAGES, b"", "must be an IDX file of unsigned bytes, got one that begins with $"),
    (
        "cut body",
        TRAIN_IMAGES,
        idx_bytes(IMAGES)[:-1],
        r"must hold 128 bytes, of shape \(8, 4, 4\) as it says, got 127",
    ),
    (
        "longer body",
        TRAIN_IMAGES,
        idx_bytes(IMAGES) + b"x",
        r"must hold 128 bytes, of shape \(8, 4, 4\) as it says, got 129",
    ),
    ("cut sizes", TRAIN_IMAGES, idx_bytes(IMAGES)[:10], "must hold 3 sizes as it says, got 6 bytes of them"),
    ("0 dimensions", TRAIN_IMAGES, b"\0\0\x08\0x", "must have 1 to 4 dimensions, got 0"),
    ("255 dimensions", TRAIN_IMAGES, b"\0\0\x08\xff" + bytes(1020), "must have 1 to 4 dimensions, got 255"),
    (
        "huge sizes",
        TRAIN_IMAGES,
        claims(2**31, 2**31, 4),
        r"of shape \(2147483648, 2147483648, 4\) as it says, got 10$",
    ),
    ("huge sizes whose product is 2^64", TRAIN_IMAGES, claims(2**31, 2**31, 4, body=0), "as it says, got 0$"),
    ("zero images", TRAIN_IMAGES, idx_bytes(IMAGES[:0]), r"images \[N, H, W\], at least one, .* got \[0, 4, 4\]"),
    ("0 x 0", TRAIN_IMAGES, idx_bytes(IMAGES[:, :0, :0]), r"sides of at least 2 pixels, got \[8, 0, 0\]"),
    ("1 x 1", TRAIN_IMAGES, idx_bytes(IMAGES[:, :1, :1]), r"sides of at least 2 pixels, got \[8, 1, 1\]"),
    ("two dimensions", TRAIN_IMAGES, idx_bytes(IMAGES[0]), r"must hold images \[N, H, W\].*, got \[4, 4\]"),
    ("fewer labels", TRAIN_LABELS, idx_bytes(LABELS[1:]), r"must hold a label for each of 8 images, got \[7\]"),
    ("labels of two dimensions", TRAIN_LABELS, idx_bytes(IMAGES[0]), r"a label for each of 8 images, got \[4, 4\]"),
    (
        "validation not of that shape",
        TEST_IMAGES,
        idx_bytes(IMAGES[:, 1:]),
        r"\[4, 4\] in train-images.*, got \[3, 4\]",
    ),
    ("validation of other classes", TEST_LABELS, idx_bytes(LABELS + 6), "training part has, 4 from 0 to 3, got 6"),
    (
        "truncated gzip",
        TRAIN_IMAGES + ".gz",
        PACKED[:-20],
        "must be a whole gzipped file, got one that is not: .* ended",
    ),
    ("gzip cut in its end", TRAIN_IMAGES + ".gz", PACKED[:-5], "must be a whole gzipped file, got .* ended before"),
    ("wrong checksum", TRAIN_IMAGES + ".gz", WRONG_CRC, "must be a whole gzipped file, got one that is not: CRC check"),
    ("not gzipped", TRAIN_IMAGES + ".gz", b"hello", "must be a whole gzipped file, got one that is not: Not a gzipped"),
    (
        "gzip of more",
        TRAIN_IMAGES + ".gz",
        UNPACKED_MORE,
        r"must hold 128 bytes, of shape \(8, 4, 4\) as it says, got more",
    ),
    ("gzip of garbage", TRAIN_IMAGES + ".gz", PACKED[:10] + b"\xff" * 60, "must be a whole gzipped file, got one that"),
    ("bomb without header", TRAIN_IMAGES + ".gz", gzip.compress(bytes(10**7)), "unsigned bytes, got .* 00000000"),
    (
        "bomb",
        TRAIN_IMAGES + ".gz",
        bomb,
        r"must hold 2147483648 bytes, of shape \(2147483648, 1, 1\) as it says, got at most \d+$",
    ),
    (
        "endless",
        TRAIN_IMAGES,
        lambda path: path.symlink_to("/dev/zero"),
        "must be a regular file, got a character device",
    ),
    ("pipe", TRAIN_LABELS, os.mkfifo, "must be a regular file, got a pipe"),
    ("folder", TEST_IMAGES, lambda path: path.mkdir(), "must be a regular file, got a folder"),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "content", "message"), [case[1:] for case in BAD_FILES], ids=[c[0] for c in BAD_FILES]
)
def test_bad_files_are_named(tmp_path, name, content, message):
    for file, array in ((TRAIN_IMAGES, IMAGES), (TRAIN_LABELS, LABELS), (TEST_IMAGES, IMAGES), (TEST_LABELS, LABELS)):
        (tmp_path / file).write_bytes(idx_bytes(array))
    for split in ("train", "validation"):
        load_images(tmp_path, split)
    path = tmp_path / name
    (tmp_path / name.removesuffix(".gz")).unlink()
    if callable(content) and content is not bomb:
        content(path)
    else:
        path.write_bytes(content() if callable(content) else content)
    with pytest.raises(ValueError, match=message) as caught:
        load_images(tmp_path, "validation" if name.startswith("t10k") else "train")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_images_too_many_for_the_memory_are_not_begun(tmp_path, monkeypatch):
    def refuse(num_bytes, what):
        raise ValueError(f"{what} must fit into memory, got {num_bytes}")

    monkeypatch.setattr("pretrain.data.image_files.require_memory", refuse)
    (tmp_path / "images").write_bytes(idx_bytes(IMAGES))
    with pytest.raises(ValueError, match=r"images of shape \(8, 4, 4\) must fit into memory, got 256"):
        read_idx(tmp_path / "images")


def test_validation_alone_is_read(tmp_path):
    (tmp_path / TEST_IMAGES).write_bytes(idx_bytes(IMAGES))
    (tmp_path / TEST_LABELS).write_bytes(idx_bytes(LABELS))
    assert len(load_images(tmp_path, "validation").images) == 8


def test_bad_cifar_files_are_named(tmp_path):
    rows = np.zeros((6, 3073), np.uint8)
    rows[:, 0] = np.arange(6)
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(rows[i].tobytes())
    for content, message in (
        (b"", "test_batch.bin must hold rows of 3073 bytes, got 0 bytes"),
        (rows[0].tobytes()[:-1], "test_batch.bin must hold rows of 3073 bytes, got 3072 bytes"),
        (np.full(3073, 200, np.uint8).tobytes(), "test_batch.bin must have labels from 0 to 9, got 200"),
        (rows[5].tobytes(), "test_batch.bin must have classes that the training part has, 5 from 0 to 4, got 5"),
    ):
        (tmp_path / "test_batch.bin").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_images(tmp_path, "validation")
    (tmp_path / "data_batch_3.bin").unlink()
    os.mkfifo(tmp_path / "data_batch_3.bin")
    with pytest.raises(ValueError, match=r"data_batch_3.bin must be a regular file, got a pipe"):
        load_images(tmp_path, "train")


def test_folders_of_other_things_are_named(tmp_path):
    for name in "abcdefg":
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=r"digits must be one of .* it holds 'a', 'b', 'c', 'd', 'e', …$"):
        load_images(tmp_path, "train", what="digits")
    (tmp_path / TRAIN_IMAGES).write_bytes(idx_bytes(IMAGES))
    with pytest.raises(FileNotFoundError, match=r"must hold train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"):
        load_images(tmp_path, "train")
    for name in ("", tmp_path / "a"):
        with pytest.raises(ValueError, match="images must be one of 'digits', 'mnist', 'cifar-10' or a folder, got "):
            load_images(name, "train")


def test_folders_are_found_from_home_and_from_here(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / TRAIN_IMAGES).write_bytes(idx_bytes(IMAGES))
    (tmp_path / "set" / TRAIN_LABELS).write_bytes(idx_bytes(LABELS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("set", "./set", "~/set"):
        assert len(load_images(name, "train").images) == 8
