"""Environments are told by what makes them, whatever they are called; those of strangers have a generic domain."""

import sys

import gymnasium as gym
import minari
import pytest
from gymnasium.envs.registration import EnvSpec

from envs.domain import Domain, Recipe, domain_of, find_domain, find_spec, register
from envs.goal_image.arguments import make
from envs.two_rooms.env import TwoRoomsEnv
from pretrain.collection.collect import CollectConfig, collect


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
    assert (domain_of(EnvSpec(id=env_id, entry_point=entry_point)) is find_domain("two-rooms")) is expected


def test_registered_and_made_environments():
    for env_id in ("TwoRooms-v0", "TwoRoomsFixed-v0"):
        assert domain_of(find_spec(env_id)).name == domain_of(env_id).name == "two-rooms"
        assert domain_of(gym.make(env_id).spec).title == "Two Rooms"


def test_keywords_tell_the_domains_of_one_class_apart():
    made_by, umaze, medium = "envs.point_maze.env:PointMazeEnv", "point-maze", "point-maze-medium"
    for kwargs, name in (({}, umaze), ({"maze": "umaze"}, umaze), ({"maze": "medium", "observation": "state"}, medium)):
        assert domain_of(EnvSpec(id="Mine-v0", entry_point=made_by, kwargs=kwargs)).name == name
    for name in (umaze, medium):
        assert domain_of(find_domain(name).env_id) is find_domain(name)


def test_installed_packages_that_register_environments_are_found(tmp_path, monkeypatch):
    texts = {
        "planets": "import gymnasium as gym\ngym.register('Found-v7', 'gymnasium.envs.classic_control:PendulumEnv')",
        "readers": "raise AssertionError('it registers nothing')",
        "strangers": "raise AssertionError('it does not need Gymnasium: register()')",
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        needs = "numpy" if name == "strangers" else "gymnasium>=1"
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n")
        (about / "top_level.txt").write_text(name)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert make("Found-v7", goal_image={"size": 8}).spec.id == "Found-v7"
    finally:
        gym.registry.pop("Found-v7", None)
        sys.modules.pop("planets", None)


@pytest.mark.parametrize(
    ("env", "name"),
    [("Pendulum-v1", "pendulum"), ("no_such_module:RGBReach-v2", "rgb-reach"), ("?", "unnamed"), (None, "unnamed")],
)
def test_what_nobody_registered_has_a_generic_domain(env, name):
    domain = domain_of(env)
    assert domain.name == name
    assert domain.keywords(observation="pixels", reward="dense", layout_set="train") == {}
    assert list(domain.explorers) == ["random-walk"]
    with pytest.raises(ValueError, match=r"needs an environment with a simulation \('two-rooms'.*\), got"):
        domain.simulation()


def test_kinds_that_an_environment_does_not_have():
    domain = domain_of("TwoRooms-v0")
    for what, kind in (("observation", "sound"), ("reward", "large"), ("layout_set", "test")):
        with pytest.raises(ValueError, match=rf"of Two Rooms must be one of '.*', got '{kind}'"):
            domain.keywords(**{what: kind})


def test_names_are_unique():
    with pytest.raises(ValueError, match="domain names must be unique, got 'two-rooms' twice"):
        register(Domain(name="two-rooms", title="Mine"))


def test_datasets_remember_it_under_any_name(tmp_path):
    gym.register("Maze-v0", TwoRoomsEnv, max_episode_steps=5)
    try:
        dataset = collect(CollectConfig(env_id="Maze-v0", root=tmp_path, num_episodes=1, progress=False))
    finally:
        del gym.registry["Maze-v0"]
    assert dataset.observation_space["observation"].shape == (4,)  # states, as for every Two Rooms environment
    assert domain_of(minari.MinariDataset(tmp_path / "maze/random-walk-v0/data").env_spec).name == "two-rooms"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"recipes": {"validation": Recipe(seed=1, num_episodes=1, env_id="A-v0")}},
            "recipes need draw_episodes and manifests",
        ),
        ({"compared_on": ("random",)}, "compared_on must name recipes"),
        ({"explorers_see": {"nobody": "state"}}, "explorers_see must name explorers"),
        ({"explorers_see": {"random-walk": "state"}}, "explorers_see must hold observations"),
        ({"observations": {"pixels": {}}, "expert_sees": "state"}, "expert_sees must be one of observations"),
        ({"observations": {"state": {}}, "compact": "state"}, "compact needs simulate"),
        ({"to_canvas": lambda points, size: points}, "draw_scene and to_canvas need each other"),
    ],
)
def test_fields_that_need_each_other(fields, message):
    with pytest.raises(ValueError, match=f"domain 'mine': {message}"):
        Domain(name="mine", title="Mine", **fields)
