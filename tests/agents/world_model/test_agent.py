"""The planning agent in loops, with a model that is right by construction: a dot's position read off its image."""

import re
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig, bounds_from_space, build_planner
from agents.world_model.state import PlanningState
from worldmodel.planning import COST_KINDS, distance_measure

SIZE, SKIP = 16, 3
SPACE = spaces.Box(-1.0, 1.0, (2,), np.float32)


def draw(position):
    """A blob at (x, y), uint8 (1, 16, 16)."""
    axis = np.arange(SIZE)
    squared = (axis[None, :] - position[0]) ** 2 + (axis[:, None] - position[1]) ** 2
    return np.round(255 * np.exp(-squared / 4.5)).astype(np.uint8)[None]


class DotEnv(gym.Env):
    """Move a dot to where the goal image shows it; an action is a displacement of norm 1 at most."""

    def __init__(self):
        image = spaces.Box(0, 255, (1, SIZE, SIZE), np.uint8)
        self.observation_space = spaces.Dict({"observation": image, "achieved_goal": image, "desired_goal": image})
        self.action_space = SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(3, 12, (2, 2))
        self.num_steps = 0
        return self.observation(), {}

    def observation(self):
        return {
            "observation": draw(self.position),
            "achieved_goal": draw(self.position),
            "desired_goal": draw(self.goal),
        }

    def distance(self):
        return float(np.linalg.norm(self.position - self.goal))

    def step(self, action):
        assert self.action_space.contains(action)
        assert np.linalg.norm(action) <= 1 + 1e-5
        self.position = np.clip(self.position + action, 2, 13)
        self.num_steps += 1
        return self.observation(), -self.distance(), False, self.num_steps == 15, {}


class DotModel(nn.Module):
    """Encodes a dot's position as its centroid; actions add up."""

    def __init__(self, frame_skip=SKIP):
        super().__init__()
        self.frame_skip, self.action_dim, self.context = frame_skip, 2, 1
        self.num_encoded, self.blocks = [], []
        self.register_buffer("axis", torch.arange(float(SIZE)))
        self.idle_action = None  # nothing is asked of the past where the context is 1

    def encode(self, pixels):
        assert pixels.dtype == torch.uint8
        self.num_encoded.append(len(pixels))
        weight = pixels[:, 0].double()
        total = weight.sum((1, 2))
        x, y = (weight.sum(1) * self.axis).sum(1) / total, (weight.sum(2) * self.axis).sum(1) / total
        return torch.stack([x, y], -1).float()

    def states(self, latents, actions):
        raise AssertionError("a latent is a state where the context is 1")

    def rollout(self, latents, actions):
        self.blocks.append(actions)
        steps = actions.unflatten(-1, (self.frame_skip, self.action_dim)).sum(2)
        return latents[:, None] + steps.cumsum(1)


SEARCH = {
    "cost": "reach",
    "horizon": 6,
    "num_samples": 64,
    "num_iterations": 3,
    "num_elites": 8,
    "init_std": 1.0,
    "noise_beta": 1.0,
    "reach_scale": 4.0,
}


def make_agent(config=None, frame_skip=SKIP, **options):
    config = config or PlannerConfig(**SEARCH)
    block = 1 if config.constant_blocks else frame_skip
    return PlanningAgent(
        DotModel(frame_skip),
        build_planner(config, bounds_from_space(SPACE, 1.0, block=block)),
        options.pop("measure", None) or distance_measure(config.cost, **config.cost_options),
        constant_blocks=config.constant_blocks,
        replan_every=config.replan_every,
        fill=config.fill,
        action_space=SPACE,
        **options,
    )


def play(agent, env, seed, steps=15, deterministic=True):
    observation, _ = env.reset(seed=seed)
    state, actions = None, []
    for _ in range(steps):
        action, state = agent.predict(observation, state, deterministic=deterministic)
        observation, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions), state


def batch(observations):
    return {key: np.stack([o[key] for o in observations]) for key in observations[0]}


def observe(seed):
    return DotEnv().reset(seed=seed)[0]


@pytest.mark.parametrize("planner", ["mppi", "cem", "icem"])
@pytest.mark.parametrize("constant_blocks", [True, False])
def test_reaches_the_goal_and_stays(planner, constant_blocks):
    search = SEARCH | {"num_samples": 128, "reach_weight": 1.0}
    config = PlannerConfig(planner=planner, constant_blocks=constant_blocks, **search)
    agent, env = make_agent(config), DotEnv()
    for seed in range(4):
        play(agent, env, seed)
        assert env.distance() < 1.0  # the length of one step


@pytest.mark.parametrize("cost", sorted(COST_KINDS))
def test_every_cost_leads_to_the_goal(cost):
    env = DotEnv()
    agent = make_agent(PlannerConfig(**SEARCH | {"cost": cost, "num_elites": 16}))
    observation, _ = env.reset(seed=1)
    state, distances = None, [env.distance()]
    for _ in range(15):
        action, state = agent.predict(observation, state)
        observation, *_ = env.step(action)
        distances.append(env.distance())
    assert distances[0] > 3
    assert min(distances) < 0.75


def test_images_are_redrawn_before_they_are_encoded():
    observation = batch([observe(0), observe(1)])
    inverted = {key: 255 - images for key, images in observation.items()}
    expected, _ = make_agent().predict(observation)
    actions, _ = make_agent(redraw=lambda images: 255 - images).predict(inverted)
    np.testing.assert_array_equal(actions, expected)
    assert not np.array_equal(make_agent().predict(inverted)[0], expected)


def test_evaluate_policy_runs_it_unchanged():
    env = DummyVecEnv([DotEnv] * 3)
    env.seed(0)
    rewards, lengths = evaluate_policy(make_agent(), env, n_eval_episodes=5, return_episode_rewards=True, warn=False)
    assert lengths == [15] * 5
    assert min(rewards) > -45  # a dot that stays at its start gets −15 times its distance, about −75 on average


def test_actions_have_the_environments_shape_and_type():
    agent = make_agent()
    action, _ = agent.predict(observe(0))
    assert (action.shape, action.dtype) == ((2,), np.float32)
    actions, _ = agent.predict(batch([observe(0)]))
    assert actions.shape == (1, 2)
    np.testing.assert_array_equal(actions[0], action)
    space = spaces.Box(-1.0, 1.0, (1, 2), np.float64)
    shaped = PlanningAgent(DotModel(), agent.planner, agent.measure, action_space=space)
    action, _ = shaped.predict(observe(0))
    assert (action.shape, action.dtype) == ((1, 2), np.float64)


@pytest.mark.parametrize("tolerance", [None, 0.1])
def test_an_environment_of_a_vector_does_as_it_does_alone(tolerance):
    """With the same noise in every environment, actions do not depend on which others there are; exactly."""
    config = PlannerConfig(**SEARCH | {"num_samples": 32, "num_iterations": 5, "tolerance": tolerance})
    envs = [DotEnv() for _ in range(3)]
    observations, state, actions = [env.reset(seed=i)[0] for i, env in enumerate(envs)], None, []
    agent = make_agent(config)
    for _ in range(9):
        action, state = agent.predict(batch(observations), state, deterministic=True)
        observations = [env.step(a)[0] for env, a in zip(envs, action, strict=True)]
        actions.append(action)
    for i in range(3):
        alone, _ = play(make_agent(config), DotEnv(), seed=i, steps=9)
        np.testing.assert_array_equal(np.stack(actions)[:, i], alone)


def test_same_seed_same_actions_and_another_seed_others():
    runs = [play(make_agent(seed=seed), DotEnv(), seed=5, deterministic=False)[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    agent = make_agent(seed=0)
    agent.set_random_seed(1)
    np.testing.assert_array_equal(play(agent, DotEnv(), seed=5, deterministic=False)[0], runs[2])


def test_noise_differs_between_environments_and_episodes_unless_deterministic():
    agent, observation = make_agent(), batch([observe(0), observe(0)])
    starts = np.ones(2, bool)
    first, state = agent.predict(observation, None, starts)
    second, _ = agent.predict(observation, state, starts)
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 4
    first, state = agent.predict(observation, None, starts, deterministic=True)
    second, _ = agent.predict(observation, state, starts, deterministic=True)
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 1


def test_a_state_can_be_used_again():
    agent, observation = make_agent(), observe(0)
    _, state = agent.predict(observation)
    for _ in range(SKIP - 1):
        _, state = agent.predict(observation, state)
    again = [agent.predict(observation, state)[0] for _ in range(2)]
    np.testing.assert_array_equal(again[0], again[1])
    assert len(state.envs[0].pending) == 0


def test_two_interleaved_episodes_do_not_meet():
    expected = [play(make_agent(), DotEnv(), seed=seed)[0] for seed in (0, 1)]
    agent, envs, states = make_agent(), [DotEnv(), DotEnv()], [None, None]
    observations = [env.reset(seed=i)[0] for i, env in enumerate(envs)]
    for step in range(15):
        for i in range(2):
            action, states[i] = agent.predict(observations[i], states[i], deterministic=True)
            np.testing.assert_array_equal(action, expected[i][step])
            observations[i], *_ = envs[i].step(action)


def test_replans_when_the_block_is_executed():
    agent = make_agent()
    actions, _ = play(agent, DotEnv(), seed=0, steps=3 * SKIP)
    assert len(agent.timings) == 3
    assert all(seconds > 0 for seconds in agent.timings)
    blocks = actions.reshape(3, SKIP, 2)
    assert (blocks == blocks[:, :1]).all()
    assert len(np.unique(blocks[:, 0], axis=0)) == 3


@pytest.mark.parametrize("replan_every", [1, 2, SKIP, SKIP + 1, 2 * SKIP])
@pytest.mark.parametrize("constant_blocks", [True, False])
def test_replan_every_counts_environment_steps(replan_every, constant_blocks):
    """Of a block as of several: what is executed is the beginning of the plan, a step at a time."""
    config = PlannerConfig(**SEARCH | {"replan_every": replan_every, "constant_blocks": constant_blocks})
    agent, env, state = make_agent(config, record=True), DotEnv(), None
    assert agent.steps_per_plan == replan_every
    observation, _ = env.reset(seed=0)
    for step in range(12):
        action, state = agent.predict(observation, state)
        assert len(agent.timings) == state.envs[0].num_plans == step // replan_every + 1
        plan = state.envs[0].record.plan.actions[0]
        block, place = divmod(step % replan_every, SKIP)
        planned = plan[block] if constant_blocks else plan[block].unflatten(-1, (SKIP, 2))[place]
        np.testing.assert_array_equal(action, planned)
        observation, *_ = env.step(action)


def test_a_search_replans_each_predictor_step_and_an_actor_alone_each_environment_step():
    assert make_agent().steps_per_plan == SKIP
    alone = PlannerConfig(planner="policy", cost="last")
    assert make_agent(alone, actor=Dart()).steps_per_plan == 1
    assert make_agent(replace(alone, replan_every=2), actor=Dart()).steps_per_plan == 2


@pytest.mark.parametrize("replan_every", [1, 2, SKIP, SKIP + 2, 2 * SKIP])
def test_the_next_search_starts_from_what_is_left_of_the_plan(replan_every):
    """Shifted by the blocks that are executed in full; a block that is begun is planned again."""
    agent = make_agent(PlannerConfig(**SEARCH | {"replan_every": replan_every}), record=True)
    _, state = agent.predict(observe(0))
    plan, carried = state.envs[0].record.plan.actions[0], state.envs[0].init[0]
    done = replan_every // SKIP
    torch.testing.assert_close(carried[: len(plan) - done], plan[done:])
    torch.testing.assert_close(carried[len(plan) - done :], plan[-1:].expand(done, -1))


def test_blocks_reach_the_model_in_the_order_they_are_executed():
    agent = make_agent(PlannerConfig(cost="reach", horizon=2, num_samples=8, num_elites=4, constant_blocks=False))
    _, state = agent.predict(observe(0))
    planned = state.envs[0].init[0, 0]  # the plan, shifted by one block: its first block is still to come
    assert planned.shape == (SKIP * 2,)
    assert all(blocks.shape[1:] == (2, SKIP * 2) for blocks in agent.model.blocks)
    actions = np.concatenate([agent.predict(observe(0))[0][None], state.envs[0].pending])
    assert any(
        np.array_equal(candidate[0].reshape(SKIP, 2), actions)
        for blocks in agent.model.blocks
        for candidate in blocks.numpy()
    )


def test_constant_blocks_repeat_an_action_for_the_model():
    agent = make_agent()
    agent.predict(observe(0))
    blocks = agent.model.blocks[0].unflatten(-1, (SKIP, 2))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))


def test_a_flag_resets_its_environment_only():
    agent, observation = make_agent(), batch([observe(i) for i in range(3)])
    _, state = agent.predict(observation, None, np.ones(3, bool))
    before = agent.model.num_encoded.copy()
    actions, after = agent.predict(observation, state, np.array([False, True, False]))
    assert [env.episode for env in after.envs] == [0, 1, 0]
    assert [env.num_plans for env in after.envs] == [1, 1, 1]
    assert [len(env.pending) for env in after.envs] == [SKIP - 2, SKIP - 1, SKIP - 2]
    for i in (0, 2):
        np.testing.assert_array_equal(actions[i], state.envs[i].pending[0])
        assert after.envs[i].init is state.envs[i].init
    assert agent.model.num_encoded[len(before) :] == [1]  # one image: the goal has not changed
    assert len(agent.timings) == 2


def test_fresh_and_warm_environments_plan_together_as_apart():
    """Out of phase: one environment begins while another replans from its last plan."""
    agent, observation = make_agent(), batch([observe(0), observe(1)])
    _, state = agent.predict(observation, None, deterministic=True)
    for _ in range(SKIP - 1):
        _, state = agent.predict(observation, state, deterministic=True)
    mixed, _ = agent.predict(observation, state, np.array([False, True]), deterministic=True)
    warm, _ = agent.predict(observation, state, deterministic=True)
    fresh, _ = agent.predict(observation, None, deterministic=True)
    np.testing.assert_array_equal(mixed[0], warm[0])
    np.testing.assert_array_equal(mixed[1], fresh[1])


def test_a_goal_is_encoded_once_while_it_stays():
    agent, (observation, other) = make_agent(), (observe(0), observe(1))
    state = None
    for _ in range(2 * SKIP):
        _, state = agent.predict(observation, state)
    assert agent.model.num_encoded == [2, 1]
    changed = {**observation, "desired_goal": other["desired_goal"]}
    _, state = agent.predict(changed, state)
    assert agent.model.num_encoded == [2, 1, 2]
    torch.testing.assert_close(state.envs[0].goal, agent.model.encode(torch.tensor(changed["desired_goal"])[None])[0])


@pytest.mark.parametrize("replan_every", [1, 2, SKIP, 2 * SKIP])
@pytest.mark.parametrize("num_steps", [1, 2, SKIP])
def test_a_new_goal_is_planned_for_at_once(num_steps, replan_every):
    """In the middle of a plan as at its end: as if nothing were planned, or carried over from the goal before."""
    agent = make_agent(PlannerConfig(**SEARCH | {"replan_every": replan_every}))
    observation, other = observe(0), observe(1)
    state = None
    for _ in range(num_steps):
        _, state = agent.predict(observation, state)
    changed = {**observation, "desired_goal": other["desired_goal"]}
    action, after = agent.predict(changed, state)
    num_plans = -(-num_steps // replan_every) + 1
    assert after.envs[0].num_plans == num_plans
    assert len(after.envs[0].pending) == agent.steps_per_plan - 1
    empty = replace(state.envs[0], pending=np.zeros((0, 2), np.float32), init=None, goal_image=None, goal=None)
    expected, _ = agent.predict(changed, PlanningState((empty,)))
    np.testing.assert_array_equal(action, expected)
    kept, _ = agent.predict(observation, state)
    assert not np.array_equal(action, kept)
    # The goal of a later call is that of the new plan: nothing is planned again before it is executed.
    _, later = agent.predict(changed, after)
    assert later.envs[0].num_plans == num_plans + (replan_every == 1)


def test_a_new_goal_concerns_its_environment_only():
    agent, observations = make_agent(), [observe(i) for i in range(3)]
    _, state = agent.predict(batch(observations), None, np.ones(3, bool))
    encoded = len(agent.model.num_encoded)
    observations[1] = {**observations[1], "desired_goal": observe(7)["desired_goal"]}
    actions, after = agent.predict(batch(observations), state, np.zeros(3, bool))
    assert [env.num_plans for env in after.envs] == [1, 2, 1]
    assert [env.episode for env in after.envs] == [0, 0, 0]
    assert agent.model.num_encoded[encoded:] == [2]
    for i in (0, 2):
        np.testing.assert_array_equal(actions[i], state.envs[i].pending[0])
        assert after.envs[i].init is state.envs[i].init


def test_the_agent_turns_around_when_the_goal_does():
    agent, env = make_agent(), DotEnv()
    env.reset(seed=0)
    env.position, env.goal = np.array([7.0, 7.0]), np.array([12.0, 7.0])
    action, state = agent.predict(env.observation())
    assert action[0] > 0.5
    env.goal = np.array([3.0, 7.0])
    action, _ = agent.predict(env.observation(), state)
    assert action[0] < -0.5


def test_a_goal_drawn_into_the_same_array_is_noticed():
    agent, observation = make_agent(), {key: image.copy() for key, image in observe(0).items()}
    _, state = agent.predict(observation)
    observation["desired_goal"][:] = observe(1)["desired_goal"]
    _, after = agent.predict(observation, state)
    assert after.envs[0].num_plans == 2


def test_sees_no_more_than_two_images():
    observation = observe(0)
    expected, _ = make_agent().predict(observation)
    blind = {key: observation[key] for key in ("observation", "desired_goal")}
    np.testing.assert_array_equal(make_agent().predict(blind)[0], expected)


def test_records_plans_and_what_they_are_imagined_to_lead_to():
    config = PlannerConfig(**SEARCH | {"num_samples": 32})
    agent, observation = make_agent(config, record=True), batch([observe(0), observe(1)])
    _, state = agent.predict(observation)
    for i, env in enumerate(state.envs):
        record = env.record
        assert [c.shape for c in record.plan.trace.candidates] == [(1, 32, 6, 2)] * 3
        assert [states.shape for states in record.candidate_states] == [(32, 6, 2)] * 3
        start = agent.model.encode(torch.tensor(observation["observation"][i : i + 1]))[0]
        torch.testing.assert_close(record.start, start)
        torch.testing.assert_close(record.states, start + SKIP * record.plan.actions[0].cumsum(0))
        torch.testing.assert_close(record.goal, env.goal)
    _, later = agent.predict(observation, state)
    assert later.envs[0].record is state.envs[0].record
    _, plain = make_agent(config).predict(observation)
    assert plain.envs[0].record is None


def test_recording_changes_no_action():
    np.testing.assert_array_equal(
        play(make_agent(record=True), DotEnv(), 0)[0], play(make_agent(record=False), DotEnv(), 0)[0]
    )


def test_a_module_is_put_in_evaluation_mode():
    model = DotModel()
    assert model.training
    PlanningAgent(model, build_planner(PlannerConfig(), bounds_from_space(SPACE)), distance_measure("last"))
    assert not model.training


def test_autocast_covers_the_model():
    class Linear(DotModel):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = nn.Linear(2, 2), []

        def rollout(self, latents, actions):
            self.seen.append(self.layer(latents).dtype)
            return super().rollout(latents, actions)

    config = PlannerConfig(cost="reach", horizon=2, num_samples=4, num_elites=2, num_iterations=1)
    for dtype, expected in ((torch.bfloat16, torch.bfloat16), (None, torch.float32)):
        agent = PlanningAgent(
            Linear(), build_planner(config, bounds_from_space(SPACE)), distance_measure("last"), dtype=dtype
        )
        agent.predict(observe(0))
        assert set(agent.model.seen) == {expected}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"desired_goal": None}, r"dict with uint8 images 'observation' and 'desired_goal', got keys 'observation'"),
        ({"observation": np.zeros((1, 16, 16))}, r"observation must have dtype uint8, got float64"),
        ({"observation": np.zeros((16, 16), np.uint8)}, r"observation must be an image of 3 .* got shape \(16, 16\)"),
        ({"desired_goal": np.zeros((1, 8, 8), np.uint8)}, r"must have one shape, got \(1, 16, 16\) and \(1, 8, 8\)"),
    ],
)
def test_wrong_observations_are_explained(change, message):
    observation = {key: observe(0)[key] for key in ("observation", "desired_goal")} | change
    observation = {key: value for key, value in observation.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        make_agent().predict(observation)


def test_an_observation_that_is_no_dict_is_explained():
    with pytest.raises(ValueError, match=r"observation must be a dict with uint8 images .* got ndarray"):
        make_agent().predict(np.zeros((1, 16, 16), np.uint8))


def test_wrong_states_and_flags_are_explained():
    agent = make_agent()
    _, state = agent.predict(batch([observe(0), observe(1)]))
    with pytest.raises(ValueError, match="state must have 1 environments, as the observation has, got 2"):
        agent.predict(observe(0), state)
    with pytest.raises(ValueError, match=r"episode_start must have shape \(1,\) .* got \(2,\)"):
        agent.predict(observe(0), None, np.ones(2, bool))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("state", [(), "begin", 3, {"envs": ()}])
def test_other_states_are_explained(state):
    message = f"state must be a PlanningState, as predict returns it, or None, got {type(state).__name__}"
    with pytest.raises(ValueError, match=message):
        make_agent().predict(observe(0), state)


@pytest.mark.parametrize("flags", [["False"], [None], [2], [0.5], [float("nan")], [b"1"], [1j]])
def test_flags_that_are_none_are_explained(flags):
    message = re.escape(f"episode_start must hold a bool, or 0 or 1, for each environment, got {flags}")
    with pytest.raises(ValueError, match=message):
        make_agent().predict(observe(0), None, flags)


@pytest.mark.parametrize("flags", [[1], [1.0], np.array([1], np.uint8), np.array([[True]]), True, torch.ones(1)])
def test_flags_may_be_any_bools_or_numbers(flags):
    agent = make_agent()
    _, state = agent.predict(observe(0))
    assert agent.predict(observe(0), state, flags)[1].envs[0].episode == 1
    assert agent.predict(observe(0), state, [0])[1].envs[0].episode == 0


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("dtype", [int, torch.int64, torch.float32, "bfloat16"])
def test_other_precisions_are_explained(dtype):
    message = re.escape(f"dtype must be one of torch.bfloat16, torch.float16, None, got {dtype}")
    with pytest.raises(ValueError, match=message):
        make_agent(dtype=dtype)
    with pytest.raises(ValueError, match=message):
        PlanningAgent.from_pretrained("two-rooms", dtype=dtype)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (3,)), r"action_space must have 2 dimensions as the model, got Box\(-1.0, 1.0, \(3,\)"),
        (spaces.Discrete(2), r"action_space must be a Box or None, got Discrete\(2\)"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_action_spaces_of_another_model_are_explained(space, message):
    for config in (None, PlannerConfig(cost="reach", constant_blocks=False, propose=False)):
        with pytest.raises(ValueError, match=message):
            PlanningAgent.from_pretrained("two-rooms", config, action_space=space)


class Dart:
    """An actor that goes straight to the goal, as far as a step of the model allows."""

    def policy(self, states, goals):
        return bounds_from_space(SPACE, 1.0).project((goals - states) / SKIP)


def test_the_policy_planner_executes_what_the_actor_proposes():
    agent = make_agent(PlannerConfig(planner="policy", cost="last"), actor=Dart())
    env = DotEnv()
    observation, _ = env.reset(seed=2)
    action, _ = agent.predict(observation)
    latents = agent.model.encode(torch.from_numpy(np.stack([observation["observation"], observation["desired_goal"]])))
    torch.testing.assert_close(torch.from_numpy(action), Dart().policy(latents[:1], latents[1:])[0])
    play(agent, env, 2)
    assert env.distance() < 0.5


def test_a_proposal_is_a_candidate_and_the_first_mean():
    """A search too narrow to find anything by itself is as good as what is proposed to it."""
    narrow = PlannerConfig(**SEARCH | {"num_samples": 2, "num_elites": 1, "num_iterations": 1, "init_std": 0.01})
    env = DotEnv()
    play(make_agent(narrow, actor=Dart()), env, 2)
    assert env.distance() < 0.5
    play(make_agent(narrow), env, 2)
    assert env.distance() > 1.0


def test_without_warm_start_nothing_is_carried_over():
    _, state = make_agent(warm_start=False).predict(observe(0))
    assert state.envs[0].init is None
    assert make_agent().predict(observe(0))[1].envs[0].init is not None


def test_wrong_agents_are_explained():
    planner = build_planner(PlannerConfig(horizon=20), bounds_from_space(SPACE))
    measure = distance_measure("last")
    with pytest.raises(ValueError, match=r"planner must plan blocks of 3 actions of 2 dimensions .*False, got"):
        PlanningAgent(DotModel(), planner, measure, constant_blocks=False)
    with pytest.raises(ValueError, match=r"replan_every must be in \[1, horizon · frame_skip = 60\], got 61"):
        PlanningAgent(DotModel(), planner, measure, replan_every=61)
    with pytest.raises(ValueError, match=r"replan_every must be in \[1, horizon · frame_skip = 60\], got 0"):
        PlanningAgent(DotModel(), planner, measure, replan_every=0)
    with pytest.raises(ValueError, match="action_space must have 2 dimensions as the model, got"):
        PlanningAgent(DotModel(), planner, measure, action_space=spaces.Box(-1, 1, (3,)))
    with pytest.raises(ValueError, match="chunk_size must be at least 1 or None, got 0"):
        PlanningAgent(DotModel(), planner, measure, chunk_size=0)
    with pytest.raises(ValueError, match="actor must be given for a planner that executes proposals, got None"):
        PlanningAgent(DotModel(), build_planner(PlannerConfig(planner="policy"), bounds_from_space(SPACE)), measure)
    blocks = build_planner(PlannerConfig(), bounds_from_space(SPACE, block=SKIP))
    with pytest.raises(ValueError, match="constant_blocks must be True where an actor proposes"):
        PlanningAgent(DotModel(), blocks, measure, constant_blocks=False, actor=Dart())
    with pytest.raises(ValueError, match="fill must be one of 'last', 'zeros', got 'first'"):
        PlanningAgent(DotModel(), planner, measure, fill="first")
