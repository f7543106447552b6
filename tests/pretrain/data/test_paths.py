"""Where datasets are put: given paths hold wherever one is, ids lead to datasets that Minari finds again."""

from pathlib import Path

import minari
import pytest

from pretrain.collection import episodes
from pretrain.collection.collect import CollectConfig, collect
from pretrain.data.paths import check_dataset_id, dataset_folder, datasets_root, local_datasets
from pretrain.data.recorded.windows import open_windows


def small(**changes) -> CollectConfig:
    return CollectConfig(**{"num_episodes": 3, "max_episode_steps": 4, "progress": False} | changes)


def recorded(*arguments, **keywords):
    """The windows to train on."""
    (windows,) = open_windows(*arguments, splits=["train"], **keywords)
    return windows


def no_home(*_):
    raise RuntimeError("Could not determine home directory.")


def test_relative_folders_mean_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "by-variable")
    collect(small(root=Path("given")))
    collect(small())
    for root in ("given", "by-variable"):
        assert local_datasets(tmp_path / root) == ["two-rooms/random-walk-v0"]
        assert recorded(f"{root}/two-rooms/random-walk-v0", 2, 1).num_windows
        assert recorded("two-rooms/random-walk-v0", 2, 1, root=root).num_windows
    assert datasets_root("given") == tmp_path / "given"
    assert datasets_root() == tmp_path / "by-variable"


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINARI_DATASETS_PATH", "~/variable")
    assert datasets_root("~/given") == tmp_path / "given"
    assert datasets_root() == tmp_path / "variable"
    collect(small(root=Path("~/given")))
    assert recorded("~/given/two-rooms/random-walk-v0", 2, 1).num_windows
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert datasets_root() == tmp_path / ".minari" / "datasets"


def test_without_a_home_folder_one_must_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(Path, "expanduser", lambda path: no_home() if str(path).startswith("~") else path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert datasets_root(tmp_path / "given") == tmp_path / "given"
    collect(small(root=tmp_path))
    assert recorded(tmp_path / "two-rooms/random-walk-v0", 2, 1).num_windows
    for act in (datasets_root, lambda: collect(small()), lambda: recorded("two-rooms/random-walk-v0", 2, 1)):
        with pytest.raises(ValueError, match=r"root must be given \(--root\), or the .*variable MINARI_DATASETS_PATH"):
            act()
    with pytest.raises(ValueError, match=r"must begin with a home folder that exists, got '~/x'"):
        datasets_root("~/x")


@pytest.mark.parametrize("dataset_id", ["a-v0", "aa/b-v12", "a/b/c/d-v0", "x" * 235 + "-v0"])
def test_ids_lead_to_datasets_that_are_found_again(tmp_path, monkeypatch, dataset_id):
    collect(small(root=tmp_path, dataset_id=dataset_id))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert list(minari.list_local_datasets()) == local_datasets(tmp_path) == [dataset_id]
    assert len(minari.load_dataset(dataset_id)) == 3
    assert recorded(dataset_id, 2, 1).num_windows
    with pytest.raises(FileExistsError):
        collect(small(root=tmp_path, dataset_id=dataset_id))
    collect(small(root=tmp_path, dataset_id=dataset_id, overwrite=True))
    namespaces = [str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("namespace_metadata.json")]
    assert sorted(namespaces) == minari.namespace.list_local_namespaces()


@pytest.mark.parametrize(
    ("dataset_id", "message"),
    [
        ("", "of letters, digits, '_' and '-' .*, got ''"),
        ("-v0", "must be 'name-v0' or 'namespace/name-v0'.*, got '-v0'"),
        ("z/z-v0", r"a namespace of two characters or more, as Minari wants it.*, got 'z/z-v0'"),
        ("a//b-v0", "got 'a//b-v0'"),
        ("/tmp/b-v0", "got '/tmp/b-v0'"),
        ("../b-v0", r"got '\.\./b-v0'"),
        ("aa/b", "got 'aa/b'"),
        ("aa/data/b-v0", "must have no namespace called 'data'.*, got 'aa/data/b-v0'"),
        ("x" * 236 + "-v0", "must have names of at most 238 bytes, got 239 in 'xxx"),
        ("x" * 256 + "/b-v0", "must have names of at most 255 bytes, got 256 in 'xxx"),
        ("ü" * 122 + "-v0", "must have names of at most 238 bytes, got 247"),
    ],
)
def test_ids_that_minari_could_not_find_are_refused_before_anything_is_done(tmp_path, monkeypatch, dataset_id, message):
    monkeypatch.setattr(episodes, "make_env", lambda *_: pytest.fail("an environment is made"))
    with pytest.raises(ValueError, match=message):
        check_dataset_id(dataset_id)
    with pytest.raises(ValueError, match=message):
        collect(small(root=tmp_path, dataset_id=dataset_id))
    assert not list(tmp_path.iterdir())


def test_a_dataset_neither_lies_in_another_nor_replaces_what_is_none(tmp_path):
    collect(small(root=tmp_path, dataset_id="aa/b-v0"))
    with pytest.raises(ValueError, match=r"must not lie within a dataset, got 'aa/b-v0/c-v0', and one is in .*aa/b-v0"):
        dataset_folder("aa/b-v0/c-v0", tmp_path)
    (tmp_path / "mine-v0").mkdir()
    (tmp_path / "mine-v0" / "thesis.txt").write_text("three years")
    with pytest.raises(ValueError, match=r"must name a dataset or nothing yet, got 'mine-v0': .* is no dataset"):
        collect(small(root=tmp_path, dataset_id="mine-v0", overwrite=True))
    assert (tmp_path / "mine-v0" / "thesis.txt").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("root", ["/proc", "file"])
def test_folders_that_cannot_be_written_to_are_named_before_anything_is_collected(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    monkeypatch.setattr(episodes, "run_episode", lambda *_, **__: pytest.fail("an episode is run"))
    with pytest.raises(OSError, match=rf"root must be a folder that can be written to: {Path(root).absolute()}/two-"):
        collect(small(root=Path(root)))
