import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.domain import Domain
from envs.goal_image import GoalImage, knows_success, make, wrapped_domain


class Unseen(gym.Env):
    """One that shows images and renders nothing, so that it takes no mode of it."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space, action_space = Box(0, 255, (16, 16, 3), np.uint8), Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros((16, 16, 3), np.uint8), {}

    def step(self, action):
        return np.zeros((16, 16, 3), np.uint8), 0.0, False, False, {}


gym.register("Unseen-v0", Unseen, max_episode_steps=20)


def test_an_environment_with_images_that_renders_nothing_is_made_without():
    env = make("Unseen-v0", goal_image={"size": None})
    assert env.render_mode is None
    assert env.reset(seed=0)[0]["desired_goal"].shape == (16, 16, 3)


def test_without_arguments_environments_are_as_they_are():
    assert not isinstance(make("Unseen-v0"), GoalImage)
    assert isinstance(make("Pendulum-v1", goal_image={}), GoalImage)
    with pytest.raises(ValueError, match=r"goal_image must be one of 'image', 'axes', .*, got 'sise'"):
        make("Pendulum-v1", goal_image={"sise": 64})


@pytest.mark.parametrize(
    ("arguments", "kinds", "knows"),
    [
        ({}, ["pixels"], False),
        ({"success": ""}, ["pixels"], False),
        ({"success": "own"}, ["pixels"], True),
        ({"success": "info.x"}, ["pixels"], True),
        ({"success": "observation[0:2]"}, ["pixels", "state"], True),
        ({"goals": "math:hypot"}, ["pixels"], True),
        ({"goals": "given"}, ["pixels"], False),
    ],
)
def test_what_is_known_of_wrapped_environments(arguments, kinds, knows):
    domain = wrapped_domain(Domain(name="own", title="Own", reports_action=True), arguments)
    assert domain.reports_action
    assert domain.observations == {kind: {"goal_image": {**arguments, "observation": kind}} for kind in kinds}
    assert knows_success(arguments) is knows


def test_explorers_that_need_the_domains_own_observations_are_left_out():
    domain = Domain(
        name="own",
        title="Own",
        observations={"state": {}},
        explorers={"walk": print, "player": print},
        explorers_see={"player": "state"},
    )
    assert list(wrapped_domain(domain, {}).explorers) == ["walk"]
