import errno
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest

from agents.evaluation.task import GoalImageConfig
from envs.two_rooms.physics import MAX_STEP, Layout, step
from pretrain.collection import episodes, shards
from pretrain.collection.collect import CollectConfig, collect, default_dataset_id
from pretrain.data.paths import check_dataset_id
from worldmodel.config import ConfigError, parse

module = importlib.import_module("pretrain.collection.collect")  # the package's attribute of this name is the function
TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def rgb_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the module of tests/rgb_reach.py importable, as it is for somebody who brings an environment along."""
    monkeypatch.syspath_prepend(str(TESTS))


def small(root: Path, **changes) -> CollectConfig:
    settings = {"num_episodes": 6, "max_episode_steps": 12, "root": root, "seed": 3, "progress": False}
    return CollectConfig(**settings | changes)


def flatten(value, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flatten(item, f"{prefix}/{key}").items()}
    return {prefix: np.asarray(value)}


def contents(dataset: minari.MinariDataset) -> list[dict[str, np.ndarray]]:
    names = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
    episodes = [flatten({name: getattr(episode, name) for name in names}) for episode in dataset.iterate_episodes()]
    seeds = [m["seed"] for m in dataset.storage.get_episode_metadata(range(len(dataset)))]
    return [{**episode, "seed": np.asarray(seed)} for episode, seed in zip(episodes, seeds, strict=True)]


def assert_equal(a: minari.MinariDataset, b: minari.MinariDataset) -> None:
    first, second = contents(a), contents(b)
    assert len(first) == len(second)
    for x, y in zip(first, second, strict=True):
        assert x.keys() == y.keys()
        for key in x:
            assert x[key].dtype == y[key].dtype, key
            np.testing.assert_array_equal(x[key], y[key], err_msg=key)


def test_two_rooms_stores_states_that_explain_themselves(tmp_path):
    dataset = collect(small(tmp_path, policy="random"))
    assert (dataset.id, len(dataset), dataset.total_steps) == ("two-rooms/random-v0", 6, 72)
    for episode in dataset:
        scene = episode.observations["observation"]
        assert scene.dtype == np.float32
        assert scene.shape == (13, 4)
        assert np.hypot(*episode.actions.T).max() <= MAX_STEP + 1e-6  # as executed, not as drawn from the box
        layout = Layout(scene[:-1, 2], scene[:-1, 3])
        np.testing.assert_array_equal(step(scene[:-1, :2], episode.actions, layout).positions, scene[1:, :2])
        assert episode.truncations.tolist() == [False] * 11 + [True]
    assert len({episode.observations["observation"][0].tobytes() for episode in dataset}) == 6


def test_dataset_opens_with_plain_minari(tmp_path, monkeypatch):
    collected = collect(small(tmp_path))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    loaded = minari.load_dataset("two-rooms/random-walk-v0")
    assert_equal(collected, loaded)
    assert list(minari.list_local_datasets()) == ["two-rooms/random-walk-v0"]
    assert loaded.recover_environment().unwrapped.observation_space["observation"].shape == (4,)


def test_only_the_dataset_is_left(tmp_path):
    collect(small(tmp_path))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    folder = "two-rooms/random-walk-v0/data"
    assert files == {f"{folder}/main_data.hdf5", f"{folder}/metadata.json", "two-rooms/namespace_metadata.json"}


def test_same_seed_same_dataset_and_another_seed_another(tmp_path):
    a, b = (collect(small(tmp_path / name)) for name in "ab")
    c = collect(small(tmp_path / "c", seed=4))
    assert_equal(a, b)
    assert (a[0].observations["observation"] != c[0].observations["observation"]).any()


def test_an_episode_does_not_depend_on_how_many_there_are(tmp_path):
    few, many = (collect(small(tmp_path / str(n), num_episodes=n)) for n in (2, 5))
    assert all((x["/actions"] == y["/actions"]).all() for x, y in zip(contents(few), contents(many), strict=False))


def test_images_are_stored_without_loss(tmp_path):
    config = small(tmp_path, env_id="rgb_reach:RGBReach-v0", num_episodes=2)
    dataset = collect(config)
    assert dataset.id == "rgb-reach/random-walk-v0"
    env = gym.make(config.env_id)
    for episode, metadata in zip(dataset, dataset.storage.get_episode_metadata(range(2)), strict=True):
        observation, _ = env.reset(seed=metadata["seed"])
        for t in range(len(episode) + 1):
            for key in ("observation", "achieved_goal", "desired_goal"):
                np.testing.assert_array_equal(episode.observations[key][t], observation[key])
            if t < len(episode):
                observation, *_ = env.step(episode.actions[t])
        assert set(episode.infos) == {"is_success"}


def test_two_rooms_can_store_pixels(tmp_path):
    dataset = collect(small(tmp_path, env_kwargs={"observation": "pixels"}, num_episodes=1))
    image = dataset[0].observations["observation"]
    assert (image.shape, image.dtype) == ((13, 2, 65, 65), np.uint8)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_environments_with_plain_observations(tmp_path, env_id):
    dataset = collect(small(tmp_path, env_id=env_id, num_episodes=2))
    env = gym.make(env_id)
    assert dataset.observation_space == env.observation_space
    assert dataset[0].observations.shape == (13, *env.observation_space.shape)
    assert env.action_space.contains(dataset[0].actions[0])


def test_layout_set_and_keywords_reach_the_environment(tmp_path):
    held_out = collect(small(tmp_path, env_kwargs={"layout_set": "held-out"}, dataset_id="a-v0"))
    scenes = np.concatenate([episode.observations["observation"] for episode in held_out])
    assert ((scenes[:, 2] >= 30) & (scenes[:, 2] <= 34) & (scenes[:, 3] >= 28) & (scenes[:, 3] <= 36)).all()
    fixed = collect(small(tmp_path, env_kwargs={"layout": [25, 40]}, dataset_id="b-v0"))
    assert fixed[0].observations["observation"][0, 2:].tolist() == [25, 40]


def test_goal_images_of_an_environment_that_has_none(tmp_path):
    shown = GoalImageConfig(size=16, goal_steps=4)
    dataset = collect(small(tmp_path, env_id="Pendulum-v1", goal_image=shown, num_episodes=2, policy="random"))
    assert {key: space.shape for key, space in dataset.observation_space.items()} == dict.fromkeys(
        ("observation", "achieved_goal", "desired_goal"), (16, 16, 3)
    )
    assert "is_success" not in dataset[0].infos
    again = dataset.recover_environment()  # from the specification in the dataset
    for episode, metadata in zip(dataset, dataset.storage.get_episode_metadata(range(2)), strict=True):
        observation, _ = again.reset(seed=metadata["seed"])
        for t, action in enumerate(episode.actions):
            for key, image in observation.items():
                np.testing.assert_array_equal(episode.observations[key][t], image)
            observation, *_ = again.step(action)
    with pytest.raises(FileExistsError):
        collect(small(tmp_path, env_id="Pendulum-v1", goal_image=shown, policy="random"))


def test_words_and_keywords_that_show_an_environment_are_one(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path, env_id="Pendulum-v1", goal_image=GoalImageConfig(size=16), num_episodes=2))
    with pytest.raises(ValueError, match=r"other parameters is in .*'size': 16.* there, .*'size': 8"):
        collect(small(tmp_path, env_id="Pendulum-v1", goal_image=GoalImageConfig(size=8), num_episodes=2))
    kwargs = {"goal_image": {"size": 16}}
    assert len(collect(small(tmp_path, env_id="Pendulum-v1", env_kwargs=kwargs, num_episodes=2))) == 2


def test_what_has_no_images_says_how_it_would_get_some(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        collect(small(tmp_path, env_id="Pendulum-v1", num_episodes=1))
    assert "'Pendulum-v1' shows no images, which world models learn from; --goal-image.size 64 adds some" in caplog.text


# What goes wrong


def stop_at(monkeypatch: pytest.MonkeyPatch, index: int, error: BaseException) -> None:
    """Makes the run of the episode after ``index`` others fail."""
    calls = []
    original = episodes.run_episode

    def run_episode(*args, **kwargs):
        calls.append(1)
        if len(calls) > index:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(episodes, "run_episode", run_episode)


def wait_for_shards(process: subprocess.Popen, folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("episode-*.npz"))) < count:
        assert process.poll() is None, "the process ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


# More episodes than are wanted in the end, so that the command cannot be done before it is stopped.
COMMAND = ["-m", "worldmodel", "collect", "--num-episodes", "2000", "--max-episode-steps", "100", "--seed", "3"]


def start(root: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *COMMAND, "--root", str(root), "--no-progress"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)


def test_kill_dash_nine_and_resume_equals_an_uninterrupted_run(tmp_path, caplog):
    work = tmp_path / "killed/two-rooms/.random-walk-v0.collecting"
    process = start(tmp_path / "killed")
    wait_for_shards(process, work, 5)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = sum((work / f"episode-{index:07d}.npz").exists() for index in range(40))
    assert kept >= 5
    (work / "episode-0000002.npz").write_bytes(b"PK\x03\x04 torn by a power cut")
    (work / "episode-0000039.npz.123.tmp").write_bytes(b"half written")
    with caplog.at_level(logging.INFO):
        resumed = collect(small(tmp_path / "killed", num_episodes=40, max_episode_steps=100))
    assert f"continuing: {kept - 1} of 40 episodes" in caplog.text
    assert_equal(resumed, collect(small(tmp_path / "uninterrupted", num_episodes=40, max_episode_steps=100)))
    assert not work.exists()


def test_ctrl_c_ends_with_130_and_resumes(tmp_path):
    work = tmp_path / "stopped/two-rooms/.random-walk-v0.collecting"
    process = start(tmp_path / "stopped")
    wait_for_shards(process, work, 3)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command goes on" in message
    assert "Traceback" not in message
    assert not list(work.glob("*.tmp"))
    assert len(collect(small(tmp_path / "stopped", num_episodes=40, max_episode_steps=100))) == 40


def test_ctrl_c_says_what_is_kept(tmp_path, monkeypatch):
    stop_at(monkeypatch, 4, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="interrupted: 4 of 6 episodes of 'two-rooms/random-walk-v0' are kept"):
        collect(small(tmp_path))


def test_full_disk_while_collecting(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        written = []
        original = np.savez

        def savez(file, **arrays):
            written.append(1)
            if len(written) > 3:
                file.write(b"as much as fits")
                raise OSError(errno.ENOSPC, "No space left on device")
            original(file, **arrays)

        patch.setattr(shards.np, "savez", savez)
        with pytest.raises(OSError, match=r"disk is full: 3 of 6 episodes.*the same command goes on") as caught:
            collect(small(tmp_path / "full"))
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.rglob("*.tmp"))
    assert_equal(collect(small(tmp_path / "full")), collect(small(tmp_path / "roomy")))


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path, monkeypatch):
    stop_at(monkeypatch, 1, PermissionError(errno.EACCES, "not yours"))
    with pytest.raises(PermissionError, match="not yours"):
        collect(small(tmp_path))


def test_stopped_between_moving_the_dataset_and_tidying_up(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        publish = module.publish

        def publish_and_die(*args):
            publish(*args)
            raise RuntimeError("killed")

        patch.setattr(module, "publish", publish_and_die)
        with pytest.raises(RuntimeError):
            collect(small(tmp_path))
    stop_at(monkeypatch, 0, AssertionError("collects again"))
    assert len(collect(small(tmp_path))) == 6
    assert not list(tmp_path.rglob("*.collecting"))


def test_unfinished_collection_with_other_parameters(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path))
    with pytest.raises(ValueError, match=r"other parameters is in .*\(seed: 3 there, 8 now\)"):
        collect(small(tmp_path, seed=8))
    assert_equal(collect(small(tmp_path, seed=8, overwrite=True)), collect(small(tmp_path / "new", seed=8)))


def test_a_torn_manifest_starts_anew(tmp_path):
    work = tmp_path / "two-rooms/.random-walk-v0.collecting"
    work.mkdir(parents=True)
    (work / "manifest.json").write_text('{"format": 1, "env')
    assert len(collect(small(tmp_path))) == 6


def test_existing_dataset_is_kept_until_its_replacement_is_complete(tmp_path, monkeypatch):
    old = collect(small(tmp_path))
    with pytest.raises(FileExistsError, match=r"dataset 'two-rooms/random-walk-v0' exists already.*overwrite=True"):
        collect(small(tmp_path))
    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path, seed=5, overwrite=True))
    assert_equal(old, collect(small(tmp_path / "reference")))
    new = collect(small(tmp_path, seed=5, overwrite=True))
    assert_equal(new, collect(small(tmp_path / "reference", seed=5, dataset_id="five-v0")))
    assert not list(tmp_path.rglob("*.collecting"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "TwoRoom-v0"}, "must be a registered Gymnasium environment .*'TwoRoom-v0'.*'TwoRooms-v0'"),
        ({"env_id": "TwoRooms-v9"}, "must be a registered Gymnasium environment .*'TwoRooms-v9'.*'TwoRooms-v0'"),
        ({"env_id": "no_such_module:Env-v0"}, "importable module .* 'no_such_module:Env-v0'"),
        ({"env_id": "CartPole-v1"}, "'CartPole-v1' must have bounded Box actions, got Discrete"),
        ({"env_id": "Pendulum-v1", "env_kwargs": {"gravitas": 1}}, r"cannot be made with keywords \{'gravitas': 1\}"),
        (
            {"env_id": "Pendulum-v1", "policy": "wall-seeking"},
            "must be one of 'random', 'expert', 'random-walk' or a saved agent, got 'wall-seeking'",
        ),
        ({"env_id": "Pendulum-v1", "policy": "expert"}, "'expert' needs an environment with a scripted expert"),
        ({"policy": "walk"}, "policy must be one of .*'random-walk', .* or a saved agent, got 'walk'"),
        ({"env_kwargs": {"layout_set": "test"}}, "layout_set must be one of 'train'.* got 'test'"),
        ({"dataset_id": "no version"}, "dataset_id must be 'name-v0' or 'namespace/name-v0', .* got 'no version'"),
        ({"num_episodes": 0}, "num_episodes must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**32}, "seed must be less than 4294967296, got 4294967296"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0"),
        ({"env_kwargs": {"layout": float("nan")}}, "env_kwargs must be a JSON object such as .*, got {'layout': nan}"),
        ({"env_kwargs": {"layout": {25, 40}}}, "env_kwargs must be a JSON object such as .*, got {'layout': {"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        collect(small(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_environment_without_time_limit_needs_one(tmp_path):
    gym.register("Endless-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv")
    try:
        with pytest.raises(
            ValueError, match="'Endless-v0' has no time limit: max_episode_steps must be given, got None"
        ):
            collect(small(tmp_path, env_id="Endless-v0", max_episode_steps=None))
        assert len(collect(small(tmp_path, env_id="Endless-v0"))[0]) == 12
    finally:
        del gym.registry["Endless-v0"]


@pytest.mark.parametrize(
    ("env_id", "policy", "expected"),
    [
        ("envs:TwoRoomsFixed-v0", "random", "two-rooms-fixed/random-v0"),
        ("Pendulum-v1", "/tmp/some run/final.best/", "pendulum/final-best-v0"),
        ("ALE/Pong-v5", "random-walk", "pong/random-walk-v0"),
        ("X-v0", "random", "x-env/random-v0"),
        ("Data-v1", "random", "data-env/random-v0"),
        ("Pendulum-v1", "a" * 300, f"pendulum/{'a' * 50}-v0"),
    ],
)
def test_default_dataset_ids_are_valid(env_id, policy, expected):
    assert default_dataset_id(env_id, policy) == expected
    check_dataset_id(expected)


def test_keywords_are_json_on_the_command_line():
    arguments = ["--env-kwargs", json.dumps({"layout": [25, 40], "reward": "dense"})]
    config = parse(CollectConfig, arguments, prog="collect", description="")
    assert config.env_kwargs == {"layout": [25, 40], "reward": "dense"}


@pytest.mark.parametrize(
    ("text", "got"), [("5", "5"), ("null", "None"), ("[1]", r"\[1\]"), ('{"a', "'{\"a'"), ("", "''")]
)
def test_keywords_that_are_no_object_are_named(without_type_checks, text, got):
    with pytest.raises(ConfigError, match=rf"^env_kwargs must be a JSON object such as .*, got {got}$"):
        parse(CollectConfig, ["--env-kwargs", text], prog="collect", description="")


@pytest.mark.parametrize("wrong", [np.nan, 7.0])
def test_policies_whose_actions_nobody_could_learn_from_are_refused(tmp_path, monkeypatch, wrong):
    class Wrong:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.full(1, wrong, np.float32), state

    monkeypatch.setattr(episodes, "make_policy", lambda *_: (Wrong(), None))
    with pytest.raises(ValueError, match=rf"finite and within their bounds, got {wrong:g} in row 0, bounds -2 and 2"):
        collect(small(tmp_path, env_id="Pendulum-v1"))


def test_an_entry_point_that_cannot_be_imported_is_named(tmp_path):
    def entry_point(**_):
        return None

    gym.register("Unimportable-v0", entry_point, max_episode_steps=5)
    try:
        with pytest.raises(ValueError, match="entry point of 'Unimportable-v0' must be importable by name"):
            collect(CollectConfig(env_id="Unimportable-v0", root=tmp_path))
    finally:
        gym.registry.pop("Unimportable-v0")
