from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.push_t.domain import DOMAIN, ENV_ID
from envs.push_t.geometry import distance_to_block, sample_pose
from envs.push_t.policies.expert import ExpertPolicy
from envs.push_t.policies.pushing import contacts, error_of
from envs.push_t.policies.walking import CLEARANCE, follow, path_to, way_points

pytest.importorskip("pymunk")
envs.register(DOMAIN)
EASY = {"start": (300, 160, 250, 250, 0.3), "goal": (120, 300, 270, 220, 0.6)}


def rollout(policy, env, num_steps, **reset):
    obs, info = env.reset(**reset)
    state, infos, actions = None, [info], []
    for _ in range(num_steps):
        action, state = policy.predict(obs, state)
        assert action in env.action_space
        obs, _, _, _, info = env.step(action)
        infos.append(info)
        actions.append(action)
    return infos, np.stack(actions)


@pytest.mark.parametrize("control", ["relative", "absolute"])
def test_the_expert_reaches_an_easy_goal_and_stays(control):
    env = gym.make(ENV_ID, observation="state", control=control)
    infos, _ = rollout(DOMAIN.expert({"control": control}), env, 100, options=EASY)
    reached = [info["is_success"] for info in infos]
    assert any(reached[:70])
    assert all(reached[80:])
    assert infos[-1]["distance"] < 18.3  # see expert.CLOSE
    assert np.abs(infos[-1]["velocity"]).max() < 1


def test_the_expert_reaches_far_goals():
    env = gym.make(ENV_ID, observation="state")
    assert all(rollout(ExpertPolicy(), env, 160, seed=seed)[0][-1]["is_success"] for seed in range(3))


def test_the_expert_acts_for_batches_as_for_single_ones():
    scalar = gym.make(ENV_ID, observation="state")
    expected = np.stack([rollout(ExpertPolicy(), scalar, 40, seed=seed)[1] for seed in (5, 6, 5)])
    vector, expert = gym.make_vec(ENV_ID, num_envs=3, observation="state"), ExpertPolicy()
    obs, _ = vector.reset(seed=[5, 6, 5])
    state = None
    for step in range(40):
        actions, state = expert.predict(obs, state, np.full(3, step == 0))
        assert np.array_equal(actions, expected[:, step])
        obs = vector.step(actions)[0]
    # An episode that begins forgets what was before; the others go on.
    fresh, _ = vector.reset(seed=[5, 6, 5], options={"reset_mask": np.array([True, False, False])})
    first, begun = expert.predict(fresh, state, np.array([True, False, False]))
    assert np.array_equal(first[0], expected[0, 0])
    assert begun[1] == expert.predict(fresh, state, np.zeros(3, dtype=bool))[1][1]


def test_the_expert_sees_states_only():
    pixels = gym.make(ENV_ID)
    with pytest.raises(ValueError, match="the expert needs observations of kind 'state'"):
        ExpertPolicy().predict(pixels.reset(seed=0)[0])
    with pytest.raises(ValueError, match="control must be one of"):
        ExpertPolicy("torque")
    obs, _ = gym.make(ENV_ID, observation="state").reset(seed=0)
    with pytest.raises(ValueError, match="state must have an entry for each of 1 environments, got 2"):
        ExpertPolicy().predict(obs, (None, None))
    with pytest.raises(ValueError, match="the expert needs a dictionary"):
        ExpertPolicy().predict(obs["observation"])


@pytest.mark.parametrize("name", DOMAIN.explorers)
def test_explorers_move_and_repeat_themselves(name):
    env = gym.make(ENV_ID, observation="state")
    policy, twin = (DOMAIN.explorers[name](env.observation_space, env.action_space, {}) for _ in range(2))
    policy.set_random_seed(1)
    infos, actions = rollout(policy, env, 60, seed=0)
    assert np.ptp([info["position"] for info in infos], axis=0).min() > 30
    twin.set_random_seed(1)
    assert np.array_equal(rollout(twin, env, 60, seed=0)[1], actions)
    twin.set_random_seed(2)
    assert not np.array_equal(rollout(twin, env, 60, seed=0)[1], actions)


@pytest.mark.parametrize("name", DOMAIN.explorers_see)
def test_explorers_push_the_block_in_vectors(name):
    env = gym.make_vec(ENV_ID, num_envs=4, observation="state", control="absolute")
    policy = DOMAIN.explorers[name](env.single_observation_space, env.single_action_space, {})
    obs, info = env.reset(seed=0)
    start, state = info["block"], None
    for step in range(100):
        actions, state = policy.predict(obs, state, np.full(4, step == 0))
        assert actions in env.action_space
        obs, _, _, _, info = env.step(actions)
    assert (np.abs(info["block"] - start)[:, :2].max(1) > 10).sum() >= 2
    with pytest.raises(ValueError, match="needs Push-T with observation='state'"):
        DOMAIN.explorers[name](gym.make(ENV_ID).observation_space, env.single_action_space, {})


def test_ways_around_the_block_keep_clear_of_it():
    rng = np.random.default_rng(0)
    assert np.isfinite(way_points()[1][0]).sum() >= 2
    for _ in range(30):
        pose, (x, y, *_) = sample_pose(rng), sample_pose(rng)
        end, block = np.array([x, y]), pose[2:]
        if distance_to_block(end, block) < CLEARANCE or distance_to_block(pose[:2], block) < CLEARANCE:
            continue
        corners = np.stack([pose[:2], *path_to(pose[:2], end, block)])
        assert np.array_equal(corners[-1], end)
        along = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(corners)])
        assert distance_to_block(along, block).min() > CLEARANCE - 0.5


def test_the_agent_is_foreseen_exactly():
    env = gym.make(ENV_ID, observation="state", control="absolute")
    env.reset(options={"start": (100, 100, 400, 400, 0), "start_velocity": (50, -20)})
    foreseen = follow(np.array([100.0, 100.0]), np.array([50.0, -20.0]), np.array([[180.0, 60.0]]), 30)[0]
    places = [env.step([180.0, 60.0])[4]["position"] for _ in range(3)]
    assert np.array(places) == pytest.approx(foreseen[9::10], abs=1e-9)


def test_contacts_surround_the_block():
    touch = contacts()
    assert len(touch.stands) > 30
    assert distance_to_block(touch.stands, np.zeros(3)) == pytest.approx(18)
    assert np.abs(touch.directions.sum(1)).max() == 1  # along the axes
    assert touch.turns.min() < -0.8
    assert touch.turns.max() > 0.8
    assert error_of(np.array([0.0, 0, 3.1]), np.array([0.0, 0, -3.1]))[2] == pytest.approx(54.77 * 0.0832, abs=0.01)


def test_a_mixture_is_somebody_else_in_each_episode():
    env = gym.make(ENV_ID, observation="state")
    policy = DOMAIN.explorers["mixed"](env.observation_space, env.action_space, {})
    seen = set()
    for seed in range(12):
        policy.set_random_seed(seed)
        obs, _ = env.reset(seed=seed)
        state = policy.predict(obs)[1]
        state = policy.predict(obs, state, np.array([False]))[1]
        seen.add(state[0][0])
    assert seen == {0, 1, 2}


def test_the_noisy_expert_goes_on_to_goals_of_its_own():
    env = gym.make(ENV_ID, observation="state", max_episode_steps=400)
    policy = DOMAIN.explorers["noisy-expert"](env.observation_space, env.action_space, {})
    policy.set_random_seed(0)
    infos, _ = rollout(policy, env, 300, options=EASY)
    reached = [info["is_success"] for info in infos]
    assert any(reached)
    assert sum(reached) < 30  # it does not stay
    last = np.stack([info["block"] for info in infos[-150:]])
    assert np.ptp(last[:, :2], axis=0).max() > 50
