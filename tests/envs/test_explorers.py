import gymnasium as gym
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import envs  # noqa: F401
from action_boxes import action_boxes
from envs.domain import Policy
from envs.explorers import HeadingWalk, SmoothWalk, num_observations, random_walk
from envs.two_rooms.physics import MAX_STEP, Layout, step
from envs.two_rooms.pictures.rendering import render
from envs.two_rooms.policies.explorer import WallSeekingExplorer
from pretrain.collection.episodes import run_episode

VECTOR = gym.spaces.Box(-1, 1, (3,), np.float32)
PLANE = gym.spaces.Box(-MAX_STEP, MAX_STEP, (2,), np.float32)
THREE = gym.spaces.Box(np.float32([-1, 0, 2]), np.float32([1, 4, 3]))


def state_env(**kwargs) -> gym.Env:
    return gym.make("TwoRooms-v0", observation="state", **kwargs)


def walk(policy: Policy, observation, num_steps: int) -> np.ndarray:
    """Actions (T, ...) of a policy that sees the same observation all the time."""
    state, actions = None, []
    for _ in range(num_steps):
        action, state = policy.predict(observation, state)
        actions.append(action)
    return np.stack(actions)


def explorers() -> list:
    env = state_env()
    return [
        HeadingWalk(env.observation_space, env.action_space, seed=1),
        SmoothWalk(env.observation_space, env.action_space, seed=1),
        WallSeekingExplorer(env.observation_space, env.action_space, seed=1),
    ]


@pytest.mark.parametrize("index", range(3))
def test_same_seed_same_actions(index):
    policy = explorers()[index]
    observation = state_env().reset(seed=0)[0]
    policy.set_random_seed(7)
    first = walk(policy, observation, 20)
    other = walk(policy, observation, 20)
    policy.set_random_seed(7)
    np.testing.assert_array_equal(walk(policy, observation, 20), first)
    assert (other != first).any()


@pytest.mark.parametrize("index", range(3))
def test_batches_and_single_observations(index):
    policy = explorers()[index]
    venv = gym.vector.SyncVectorEnv([state_env] * 5)
    observation, _ = venv.reset(seed=0)
    starts, state = np.ones(5, bool), None
    for _ in range(3):
        actions, state = policy.predict(observation, state=state, episode_start=starts)
        assert actions.shape == (5, 2)
        assert actions.dtype == np.float32
        assert len(np.unique(actions, axis=0)) == 5
        observation, *_ = venv.step(actions)
        starts = np.zeros(5, bool)
    single, _ = policy.predict({key: value[0] for key, value in observation.items()})
    assert single.shape == (2,)
    assert single.dtype == np.float32


def test_heading_walk_has_the_reference_statistics():
    actions = walk(HeadingWalk(VECTOR, PLANE, seed=0), np.zeros((400, 3), np.float32), 60).astype(np.float64)
    lengths = np.linalg.norm(actions, axis=-1)
    assert lengths.min() >= 0.2 - 1e-6
    assert lengths.max() <= 1.8 + 1e-6
    assert lengths.mean() == pytest.approx(1.0, abs=0.01)  # the truncation is symmetric
    assert lengths.std() == pytest.approx(0.3518, abs=0.01)  # of the truncated normal: 0.4 · 0.8796
    heading = np.arctan2(actions[..., 1], actions[..., 0])
    turns = np.diff(heading, axis=0)
    assert np.cos(turns).mean() == pytest.approx(0.8934, abs=0.01)  # I1(5) / I0(5)
    assert abs(np.exp(1j * heading[0]).mean()) < 0.15  # first headings are uniform


def test_heading_walk_scales_to_the_box():
    space = gym.spaces.Box(np.float32([-1, 10]), np.float32([1, 30]))
    actions = walk(HeadingWalk(VECTOR, space, seed=0), np.zeros((200, 3), np.float32), 30)
    assert space.contains(actions[0, 0])
    assert actions[..., 0].max() == pytest.approx(1.8 / 2.45, abs=0.03)
    assert actions[..., 1].max() == pytest.approx(20 + 10 * 1.8 / 2.45, abs=0.3)


def test_smooth_walk_is_smooth_and_bounded():
    actions = walk(SmoothWalk(VECTOR, THREE, seed=0), np.zeros((300, 3), np.float32), 80)
    assert (actions >= THREE.low).all()
    assert (actions <= THREE.high).all()
    unit = (actions - (THREE.low + THREE.high) / 2) / ((THREE.high - THREE.low) / 2)
    assert unit.std() == pytest.approx(0.48, abs=0.02)
    correlation = (unit[1:] * unit[:-1]).mean() / (unit**2).mean()
    assert correlation == pytest.approx(0.9, abs=0.02)


def test_an_episode_start_forgets_only_its_own_walk():
    policy = SmoothWalk(VECTOR, THREE, seed=0)
    observation = np.zeros((2, 3), np.float32)
    _, state = policy.predict(observation)
    state = np.full_like(state, 100.0)
    _, after = policy.predict(observation, state, episode_start=np.array([True, False]))
    assert (np.abs(after[0]) < 10).all()
    assert (after[1] > 80).all()


@given(space=action_boxes(((1,), (2,), (2, 2), ())), seed=st.integers(0, 2**32))
def test_walks_stay_in_any_box(space, seed):
    kinds = [SmoothWalk, HeadingWalk] if space.shape == (2,) else [SmoothWalk]
    for kind in kinds:
        policy = kind(VECTOR, space, seed)
        for observation in (np.zeros(3, np.float32), np.zeros((4, 3), np.float32)):
            for action in walk(policy, observation, 10).reshape(-1, *space.shape):
                assert space.contains(np.asarray(action))


def test_walks_in_the_widest_box_walk():
    space = gym.spaces.Box(-1.7e308, 1.7e308, (3,), np.float64)
    actions = walk(SmoothWalk(VECTOR, space, seed=0), np.zeros((300, 3), np.float32), 20)
    assert (actions / 1.7e308).std() == pytest.approx(0.48, abs=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("horizontal", [False, True])
def test_wall_seeking_stays_in_the_box(dtype, horizontal):
    states = gym.make_vec("TwoRooms-v0", num_envs=200, observation="state")
    space = gym.spaces.Box(-MAX_STEP, MAX_STEP, (2,), dtype)
    policy = WallSeekingExplorer(states.single_observation_space, space, horizontal=horizontal)
    observation, state = states.reset(seed=0)[0], None
    for _ in range(20):
        actions, state = policy.predict(observation, state)
        assert all(space.contains(action) for action in actions)


@pytest.mark.parametrize(("space", "kind"), [(PLANE, HeadingWalk), (THREE, SmoothWalk)])
def test_random_walk_fits_the_actions(space, kind):
    assert isinstance(random_walk(VECTOR, space), kind)


@pytest.mark.parametrize("horizontal", [False, True])
def test_wall_seeking_meets_wall_and_door_often(horizontal):
    env = state_env(wall_orientation="horizontal" if horizontal else "vertical")
    spaces = env.observation_space, env.action_space
    counts = {}
    for policy in (WallSeekingExplorer(*spaces, horizontal=horizontal), HeadingWalk(*spaces)):
        blocked = crossings = total = 0
        for i in range(8):
            episode = run_episode(env, policy, env_seed=i, policy_seed=i)
            scene = episode.observations["observation"]
            across = scene[:, 1 if horizontal else 0] - scene[:, 2]
            moved = step(
                scene[:-1, :2], episode.actions, Layout(scene[:-1, 2], scene[:-1, 3], np.full(200, horizontal))
            )
            blocked += int((moved.blocked & (np.abs(across[:-1]) < 4)).sum())
            crossings += int((np.diff(np.sign(across)) != 0).sum())
            total += 200
        counts[type(policy)] = blocked / total, crossings
    seeking, walking = counts[WallSeekingExplorer], counts[HeadingWalk]
    assert 0.1 < seeking[0] < 0.5
    assert seeking[1] >= 24  # three crossings an episode
    assert seeking[1] > 5 * walking[1]


def test_stored_states_render_to_the_pixels_of_the_environment():
    states, pixels = state_env(), gym.make("TwoRooms-v0")
    state, _ = states.reset(seed=2)
    images = [pixels.reset(seed=2)[0]["observation"]]
    scenes = [state["observation"]]
    for action in np.random.default_rng(0).uniform(-2.45, 2.45, (50, 2)).astype(np.float32):
        scenes.append(states.step(action)[0]["observation"])
        images.append(pixels.step(action)[0]["observation"])
    scene = np.stack(scenes)
    layout = Layout(scene[:, 2], scene[:, 3], np.zeros(51, bool))
    np.testing.assert_array_equal(render(scene[:, :2], layout), np.stack(images))


# What goes wrong


@pytest.mark.parametrize("index", range(3))
def test_flags_that_are_none(index):
    policy = explorers()[index]
    observation, _ = gym.make_vec("TwoRooms-v0", num_envs=2, observation="state").reset(seed=0)
    _, state = policy.predict(observation)
    with pytest.raises(ValueError, match=r"episode_start must have shape \(2,\) .* got \(3,\)"):
        policy.predict(observation, state, np.zeros(3, bool))
    with pytest.raises(
        ValueError, match=r"episode_start must hold a bool, or 0 or 1, for each environment, got .*'no'"
    ):
        policy.predict(observation, state, np.array(["no", "yes"]))


@pytest.mark.parametrize("kind", [HeadingWalk, SmoothWalk])
def test_unbounded_actions(kind):
    with pytest.raises(ValueError, match="needs a bounded action space, got Box"):
        kind(VECTOR, gym.spaces.Box(-np.inf, np.inf, (2,), np.float32))


def test_heading_walk_needs_a_plane():
    with pytest.raises(ValueError, match=r"needs actions of shape \(2,\), got \(3,\)"):
        HeadingWalk(VECTOR, THREE)


def test_wall_seeking_needs_states():
    env = gym.make("TwoRooms-v0")
    with pytest.raises(ValueError, match="wall-seeking explorer needs Two Rooms with observation='state'"):
        WallSeekingExplorer(env.observation_space, env.action_space)


def test_observations_of_another_shape():
    assert num_observations(np.zeros((5, 3)), VECTOR) == 5
    with pytest.raises(ValueError, match=r"observation must have shape \(3,\) or \(N, 3\), got \(4,\)"):
        num_observations(np.zeros(4), VECTOR)


def test_actions_of_the_wrong_shape():
    class Wrong:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((1, 2)), state

    with pytest.raises(ValueError, match=r"policy must return actions of shape \(2,\), got \(1, 2\)"):
        run_episode(state_env(), Wrong(), env_seed=0, policy_seed=0)
