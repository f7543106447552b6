import os
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import envs
from pretrain.collection.collect import CollectConfig, collect
from pretrain.collection.policies import agent_digest
from pretrain.collection.shards import ShardFolder
from worldmodel.checkpoint import SHIPPED

TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def rgb_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the module of tests/rgb_reach.py importable, as it is for somebody who brings an environment along."""
    monkeypatch.syspath_prepend(str(TESTS))


def small(root: Path, **changes) -> CollectConfig:
    settings = {"num_episodes": 2, "max_episode_steps": 12, "root": root, "progress": False}
    return CollectConfig(**settings | changes)


def digest(policy: str) -> str | None:
    return agent_digest(policy, envs.domain_of("TwoRooms-v0"))


def interrupt(*args) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
@pytest.mark.parametrize("policy", ["random", "random-walk", "wall-seeking", "expert"])
def test_every_policy_collects(tmp_path, policy, orientation):
    config = small(tmp_path, policy=policy, num_episodes=2, max_episode_steps=None)
    dataset = collect(replace(config, env_kwargs={"wall_orientation": orientation}))
    assert [len(episode) for episode in dataset] == [200, 200]
    ends = [bool(episode.infos["is_success"][-1]) for episode in dataset]
    assert ends == [True, True] or policy != "expert"


@pytest.mark.parametrize("orientation", ["vertical", "horizontal"])
def test_pixel_agents_see_the_environment_whose_states_are_recorded(tmp_path, monkeypatch, orientation):
    seen, seeds = [], []

    class Watcher:
        def set_random_seed(self, seed):
            seeds.append(seed)

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            seen.append({key: value.copy() for key, value in observation.items()})
            return np.float32([0.5, -0.25]), state

    monkeypatch.setattr("pretrain.collection.policies.open_policy", lambda *_: (Watcher(), "pixels"))
    kwargs = {"wall_orientation": orientation, "collision": "bounce"}
    dataset = collect(small(tmp_path, policy="agent", env_kwargs=kwargs, num_episodes=1))
    assert len(seeds) == 1
    pixels = gym.make("TwoRooms-v0", **kwargs)
    states = gym.make("TwoRooms-v0", observation="state", **kwargs)
    (metadata,) = dataset.storage.get_episode_metadata([0])
    image, state = (env.reset(seed=metadata["seed"])[0] for env in (pixels, states))
    for step, action in enumerate(dataset[0].actions):
        for key in image:
            np.testing.assert_array_equal(seen[step][key], image[key])
            np.testing.assert_array_equal(dataset[0].observations[key][step], state[key])
        image, state = (env.step(action)[0] for env in (pixels, states))


@pytest.mark.parametrize("policy", ["expert", "wall-seeking"])
def test_policies_that_see_states_act_alike_where_pixels_are_recorded(tmp_path, policy):
    config = small(tmp_path / "states", policy=policy, num_episodes=1, max_episode_steps=None)
    states, pixels = collect(config), collect(replace(config, root=tmp_path, env_kwargs={"observation": "pixels"}))
    assert pixels[0].observations["observation"].shape == (201, 2, 65, 65)
    np.testing.assert_array_equal(states[0].actions, pixels[0].actions)


def test_a_twin_that_goes_another_way_is_refused(tmp_path, monkeypatch):
    def make_policy(policy, env, task):
        return Agent(), gym.make("TwoRooms-v0", max_episode_steps=5)

    monkeypatch.setattr("pretrain.collection.episodes.make_policy", make_policy)
    with pytest.raises(
        ValueError, match=r"must go the same way whatever it shows.*\[False, False\] and \[False, True\]"
    ):
        collect(small(tmp_path))


def test_digest_follows_the_content(tmp_path):
    (tmp_path / "a.json").write_text("1")
    first = digest(str(tmp_path))
    (tmp_path / "a.json").write_text("2")
    assert len(first) == 64
    assert first != digest(str(tmp_path))
    assert digest("random") is None
    assert digest("no-such-agent") is None


def test_digest_of_agents_that_ship(tmp_path):
    """What changes with a release is not resumed as if it were the same."""
    shipped = SHIPPED / "two-rooms"
    copy = shutil.copytree(shipped, tmp_path / "two-rooms")
    assert digest("two-rooms") == digest(str(shipped)) == digest(str(copy))
    (copy / "config.json").write_text("{}")
    assert digest(str(copy)) != digest("two-rooms")


def test_digest_of_files_as_they_are_read(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(3 * 2**20 + 1))
    first = digest(str(tmp_path))
    (tmp_path / ".lock").write_text("process 1")  # hidden files are of whoever trains there
    (tmp_path / "gone").symlink_to("nowhere")
    assert digest(str(tmp_path)) == first
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe must be a regular file, got a pipe"):
        digest(str(tmp_path))
    with pytest.raises(ValueError, match="/dev/zero must be a regular file, got a character device"):
        digest("/dev/zero")


class Agent:
    """Stands in for a saved agent: looks at images, draws actions from its own random numbers."""

    def __init__(self) -> None:
        self.shapes = set()

    def set_random_seed(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.shapes |= {(key, value.shape, value.dtype.name) for key, value in observation.items()}
        assert (state is None) == bool(episode_start)
        return self.generator.uniform(-1, 1, 2).astype(np.float32), "carried on"


@pytest.mark.parametrize(("env_id", "shape"), [("TwoRooms-v0", (2, 65, 65)), ("rgb_reach:RGBReach-v0", (32, 32, 3))])
def test_saved_agents_see_pixels_whatever_is_stored(tmp_path, monkeypatch, env_id, shape):
    agent, loaded = Agent(), []

    def open_policy(path, task):
        loaded.append((path, task.env_id))
        return agent, "pixels"

    monkeypatch.setattr("pretrain.collection.policies.open_policy", open_policy)
    checkpoint = tmp_path / "my-agent"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    config = small(tmp_path / "a", env_id=env_id, policy=str(checkpoint))
    dataset = collect(config)
    assert loaded == [(str(checkpoint), env_id)]
    keys = ("observation", "achieved_goal", "desired_goal")
    assert agent.shapes == {(key, shape, "uint8") for key in keys}
    assert dataset.id.endswith("/my-agent-v0")
    again = collect(replace(config, root=tmp_path / "b"))
    assert all((x.actions == y.actions).all() for x, y in zip(dataset, again, strict=True))


def test_another_agent_at_the_same_path_does_not_finish_the_collection(tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.collection.policies.open_policy", lambda *args: (Agent(), "pixels"))
    checkpoint = tmp_path / "agent.bin"
    checkpoint.write_text("old weights")
    with monkeypatch.context() as patch:
        patch.setattr(ShardFolder, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            collect(small(tmp_path, policy=str(checkpoint)))
    checkpoint.write_text("new weights")
    with pytest.raises(ValueError, match=r"policy_sha256: '[0-9a-f]{64}' there, '[0-9a-f]{64}' now"):
        collect(small(tmp_path, policy=str(checkpoint)))
