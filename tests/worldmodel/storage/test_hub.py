"""A hub of models: what is fetched is what was pushed, half of it never loads, and nothing else is ever fetched."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hub_server import TOKEN, sha256
from worldmodel.checkpoint import SHIPPED, CheckpointError, load_pretrained
from worldmodel.storage.hub import CARD, HubError, cached, fetch, parse, push, read_card
from worldmodel.storage.weights import CONFIG, WEIGHTS

ROOT = Path(__file__).resolve().parents[3]
FOLDER = SHIPPED / "two-rooms"
NAME = "hub:ann/rooms"


def card(weights: bytes) -> bytes:
    return f"---\nlicense: mit\nworldmodel:\n  sha256: {sha256(weights)}\n---\n# Rooms\n".encode()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    found = {name: (FOLDER / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    return found | {CARD: card(found[WEIGHTS])}


@pytest.fixture
def commit(hub, files) -> str:
    """The first commit of a repository; it also holds what must never be fetched."""
    harm = {"training_state.pt": b"", "evil.pkl": pickle.dumps(print), "modeling.py": b"raise SystemExit"}
    return hub.add("ann/rooms", files | harm)


@pytest.fixture
def offline(hub, monkeypatch):
    """Begins the offline mode when it is called."""
    return lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def impatient(monkeypatch):
    """Nothing waits before it tries again."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hub:ann/rooms", ("ann/rooms", None)),
        ("hub:ann/rooms@v1.0", ("ann/rooms", "v1.0")),
        ("hub:ann/rooms@refs/pr/1", ("ann/rooms", "refs/pr/1")),
    ],
)
def test_names(name, parts):
    assert parse(name) == parts


@pytest.mark.parametrize(
    "name", ["hub:", "hub:rooms", "hub:a/b/c", "hub:a/b@", "hub:a/b@../c", "hub:../b", "hub:a/b c"]
)
def test_other_names_are_refused(name):
    with pytest.raises(HubError, match=r"must be named hub:owner/name or hub:owner/name@revision, got 'hub:"):
        load_pretrained(name)


# --- fetching ------------------------------------------------------------------------------------------------------


def test_a_name_of_a_hub_loads_as_the_folder_does(hub, commit):
    loaded = load_pretrained(NAME)
    assert loaded.sha256 == load_pretrained(FOLDER).sha256
    assert loaded.path.name == commit
    assert [name for name, _ in cached()] == [f"{NAME}@{commit}"]


def test_only_the_files_of_a_checkpoint_are_fetched(hub, commit):
    folder = fetch(NAME)
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, WEIGHTS, CARD])
    assert sorted(hub.fetched()) == sorted([CONFIG, WEIGHTS, CARD])


def test_what_is_in_the_cache_is_not_fetched_again(hub, commit, files):
    fetch(NAME)
    hub.requests.clear()
    assert fetch(f"{NAME}@{commit}") == fetch(NAME)
    assert hub.fetched() == []


def test_a_revision_stays_what_it_is(hub, commit, files):
    newer = hub.add("ann/rooms", {CARD: files[CARD] + b"newer"})
    hub.repositories["ann/rooms"].branches["v1"] = commit
    assert (fetch(f"{NAME}@{commit}") / CARD).read_bytes() == files[CARD]
    assert fetch(f"{NAME}@v1").name == commit
    assert fetch(NAME).name == newer


def test_offline_the_cache_is_all_there_is(hub, commit, offline):
    online = fetch(NAME)
    offline()
    hub.requests.clear()
    assert fetch(NAME) == fetch(f"{NAME}@{commit}") == online
    with pytest.raises(HubError, match=r"^hub:ann/other must be in the cache while HF_HUB_OFFLINE is set, and is not"):
        fetch("hub:ann/other")
    with pytest.raises(HubError, match=r"^hub:ann/rooms@v2 must be in the cache"):
        fetch(f"{NAME}@v2")
    assert hub.requests == []


def test_what_a_hub_does_not_give_is_said_in_one_line(hub, commit, files):
    hub.add("ann/gated", files, gated=True)
    hub.add("ann/secret", files, private=True)
    hub.add("ann/notes", {CARD: b"# Notes"})
    for name, words in {
        "hub:ann/nothing": r"hub:ann/nothing must be a repository at http://127.0.0.1:\d+ that this login may use",
        "hub:ann/secret": r"hub:ann/secret must be a repository",
        "hub:ann/gated": r"hub:ann/gated is gated: ask for access on its page at http\S+, and log in",
        f"{NAME}@v2": r"hub:ann/rooms@v2 must name a branch, a tag or a whole commit of its repository",
        "hub:ann/notes": r"hub:ann/notes must hold config.json and model.safetensors, .* no config.json and no model",
    }.items():
        with pytest.raises(HubError, match=f"^{words}[^\n]*$"):
            fetch(name)


def test_without_a_network_the_cache_is_used(hub, commit, monkeypatch, impatient):
    online = fetch(NAME)
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        text = getattr(sys.modules["huggingface_hub.constants"], name).replace(hub.endpoint, "http://127.0.0.1:9")
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", text)
    assert fetch(NAME) == online
    with pytest.raises(
        HubError, match=r"^hub:ann/other is not in the cache, or not whole, and http://127.0.0.1:9 cannot"
    ):
        fetch("hub:ann/other")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"^hub:ann/rooms needs huggingface_hub: pip install 'worldmodel\[hub\]'$"):
        load_pretrained(NAME)
    assert list(cached()) == []


# --- interrupted and damaged downloads -----------------------------------------------------------------------------


def test_a_download_goes_on_where_it_broke_off(hub, commit, impatient):
    hub.cuts[WEIGHTS] = [1_000_000, 500_000]
    assert load_pretrained(NAME).sha256 == load_pretrained(FOLDER).sha256
    assert hub.fetched().count(WEIGHTS) == 3


def test_half_a_download_does_not_load(hub, commit, impatient, offline, monkeypatch):
    hub.cuts[WEIGHTS] = [1_000_000, *[0] * 20]
    with pytest.raises(HubError, match=r"^the connection to http\S+ broke for hub:ann/rooms: .*same command goes on$"):
        fetch(NAME)
    (half,) = (path for _, path in cached())
    assert not (half / WEIGHTS).exists()
    with pytest.raises(CheckpointError, match=r"must contain model\.safetensors"):
        load_pretrained(half)
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(
            HubError, match=r"must be in the cache while HF_HUB_OFFLINE is set, and is not, or not whole"
        ):
            fetch(NAME)
    hub.cuts.clear()
    assert load_pretrained(NAME).sha256 == load_pretrained(FOLDER).sha256


def test_a_killed_download_is_begun_again(hub, commit, tmp_path):
    begun, over = threading.Event(), threading.Event()
    hub.cuts[WEIGHTS] = [1_000_000]
    hub.wait = lambda: (begun.set(), over.wait(60))
    program = f"from worldmodel.storage.hub import fetch; fetch({NAME!r})"
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        assert begun.wait(60)
        process.kill()
    over.set()
    assert not any((path / WEIGHTS).exists() for _, path in cached())
    assert load_pretrained(NAME).sha256 == load_pretrained(FOLDER).sha256


def test_weights_of_another_hash_are_refused_and_fetched_again(hub, commit, files):
    hub.garbled.add(WEIGHTS)
    wanted, found = sha256(files[WEIGHTS]), sha256(files[WEIGHTS][:-1] + bytes([files[WEIGHTS][-1] ^ 1]))
    with pytest.raises(HubError, match=rf"the SHA-256 {wanted} that its card states, got {found}; it was removed"):
        fetch(NAME)
    hub.garbled.clear()
    assert load_pretrained(NAME).sha256 == wanted


def test_a_cache_that_was_changed_is_noticed(hub, commit, files, offline):
    weights = fetch(NAME) / WEIGHTS
    weights.resolve().write_bytes(files[WEIGHTS] + b" ")
    offline()
    with pytest.raises(HubError, match=r"must have the SHA-256 \w{64} that its card states, got \w{64}"):
        fetch(NAME)
    with pytest.raises(HubError, match="must be in the cache"):
        fetch(NAME)


def test_a_card_and_a_repository_must_state_the_same(hub, files):
    hub.add("ann/rooms", files | {CARD: card(b"other weights")})
    with pytest.raises(
        HubError, match=rf"{sha256(b'other weights')} that its card states, got {sha256(files[WEIGHTS])}"
    ):
        fetch(NAME)


def test_without_a_card_the_repository_states_the_hash(hub, files, offline):
    hub.add("ann/rooms", {name: files[name] for name in (CONFIG, WEIGHTS)})
    hub.garbled.add(WEIGHTS)
    with pytest.raises(HubError, match=rf"{sha256(files[WEIGHTS])} that its repository states, got"):
        fetch(NAME)
    hub.garbled.clear()
    online = fetch(NAME)
    offline()
    assert fetch(NAME) == online


def test_a_hash_must_be_stated_somewhere(hub, files, monkeypatch):
    monkeypatch.setattr("hub_server.LARGE", ())
    hub.add("ann/rooms", files | {CARD: b"# No metadata"})
    with pytest.raises(
        HubError, match=r"must state the SHA-256 of model\.safetensors: in its card, or by keeping it as"
    ):
        fetch(NAME)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Title",
        "---\n- list\n---\n",
        "---\na: [\n---\n",
        "---\na: 1",
        "\xff",
        "---\n!!python/object/apply:os.abort []\n---\n",
    ],
)
def test_cards_without_metadata_say_nothing(tmp_path, text):
    (tmp_path / CARD).write_bytes(text.encode("latin-1"))
    assert read_card(tmp_path) == {}


# --- pushing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def login(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_what_is_pushed_is_fetched(hub, files, login):
    pinned = push(files, "ann/rooms", message="first")
    folder = fetch(pinned)
    assert pinned == f"{NAME}@{folder.name}"
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert not hub.repositories["ann/rooms"].private


def test_pushing_the_same_again_changes_nothing(hub, files, login):
    pinned = push(files, "ann/rooms", message="first")
    assert push(files, "ann/rooms", message="again") == pinned
    assert push(files | {CARD: b"# Other"}, "ann/rooms", message="other") != pinned


def test_a_branch_is_made_and_the_main_one_left(hub, files, login):
    first = push(files, "ann/rooms", message="first")
    second = push(files | {CARD: files[CARD] + b"better"}, "ann/rooms", branch="better", message="second")
    assert fetch(f"{NAME}@better") == fetch(second)
    assert fetch(NAME) == fetch(first) != fetch(second)
    assert push({CARD: files[CARD]}, "ann/rooms", branch="better", message="third") != second


def test_private_repositories(hub, files, login, monkeypatch):
    pinned = push(files, "ann/secret", private=True, message="first")
    assert hub.repositories["ann/secret"].private
    assert push(files, "ann/secret", private=True, message="again") == pinned
    push(files, "ann/rooms", message="public")
    with pytest.raises(HubError, match="hub:ann/rooms must be private already, or new"):
        push({CARD: b"secret"}, "ann/rooms", private=True, message="not so private")
    assert b"secret" not in hub.repositories["ann/rooms"].commits[hub.repositories["ann/rooms"].branches["main"]][CARD]


def test_pushing_needs_a_token(hub, files, monkeypatch):
    with pytest.raises(
        HubError, match=r"hub:ann/rooms needs a token that may write: log in with 'hf auth login', or set"
    ):
        push(files, "ann/rooms", message="first")
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:\d+ refuses hub:ann/rooms: .*401"):
        push(files, "ann/rooms", message="first")
    assert hub.repositories == {}


def test_the_cache_may_be_removed(hub, commit, tmp_path):
    fetch(NAME)
    shutil.rmtree(tmp_path / "hub")
    assert list(cached()) == []
    assert fetch(NAME).is_dir()
