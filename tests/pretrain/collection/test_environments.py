"""Two Rooms is told by what makes it, whatever it is called."""

import gymnasium as gym
import minari
import pytest
from gymnasium.envs.registration import EnvSpec

from envs.two_rooms.env import TwoRoomsEnv
from pretrain.collection.collect import CollectConfig, collect
from pretrain.collection.environments import find_spec, is_two_rooms


class Elsewhere(gym.Wrapper):
    """Somebody's own environment, which happens to be built around Two Rooms."""

    def __init__(self, **kwargs) -> None:
        super().__init__(TwoRoomsEnv(**kwargs))


@pytest.mark.parametrize(
    ("env_id", "entry_point", "expected"),
    [
        ("TwoRoomsMine-v0", "somewhere:TwoRoomsEnv", False),
        ("TwoRooms-v7", Elsewhere, False),
        ("TwoRoomsOf/Pendulum-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv", False),
        ("Maze-v3", "envs.two_rooms.env:TwoRoomsEnv", True),
        ("mine/Maze-v3", TwoRoomsEnv, True),
        ("TwoRooms-v0", None, False),
    ],
)
def test_the_entry_point_tells(env_id, entry_point, expected):
    assert is_two_rooms(EnvSpec(id=env_id, entry_point=entry_point)) is expected


def test_registered_and_made_environments():
    for env_id in ("TwoRooms-v0", "TwoRoomsFixed-v0"):
        assert is_two_rooms(find_spec(env_id))
        assert is_two_rooms(gym.make(env_id).spec)
    assert not is_two_rooms(find_spec("Pendulum-v1"))
    assert not is_two_rooms(None)


def test_datasets_remember_it_under_any_name(tmp_path):
    gym.register("Maze-v0", TwoRoomsEnv, max_episode_steps=5)
    try:
        dataset = collect(CollectConfig(env_id="Maze-v0", root=tmp_path, num_episodes=1, progress=False))
    finally:
        del gym.registry["Maze-v0"]
    assert dataset.observation_space["observation"].shape == (4,)  # states, as for every Two Rooms environment
    assert is_two_rooms(minari.MinariDataset(tmp_path / "maze/random-walk-v0/data").env_spec)
