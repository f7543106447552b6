"""The planning agent's memory: acting step by step, it sees the states that the model makes of the whole episode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from agents.world_model.state import EnvState
from pretrain.data.latents import GoalMix, LatentEpisodes
from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model
from worldmodel.checkpoint import Pretrained

DATA = DataSpec(pixel_shape=(1, 12, 12), action_dim=2, action_low=(-1.0, -2.0), action_high=(1.0, 3.0))
NUM_ENVS, NUM_STEPS = 3, 10
QUICK = {"cost": "last", "num_samples": 32, "num_elites": 4, "num_iterations": 2}
PLANNERS = {
    "actor": PlannerConfig(planner="policy"),
    "actor, a block": PlannerConfig(planner="policy", replan_every=2),
    "search": PlannerConfig(**QUICK),
    "search, each step": PlannerConfig(**QUICK, replan_every=1),
    "search, across blocks": PlannerConfig(**QUICK, replan_every=3),
    "search, varied blocks": PlannerConfig(**QUICK, constant_blocks=False, propose=False),
    "search, cold": PlannerConfig(**QUICK, warm_start=False),
}


@pytest.mark.parametrize("context", [2, 3])
@pytest.mark.parametrize("frame_skip", [1, 3])
def test_what_is_recent_lies_whole_predictor_steps_back(context, frame_skip):
    """Latents by number, and the actions between them; before the beginning the first latent and idle actions."""
    length, idle = (context - 1) * frame_skip, np.full(2, -1.0, np.float32)
    env = EnvState(pending=np.arange(40, dtype=np.float32).reshape(20, 2))
    for now in range(20):
        env = replace(env, latents=(*env.latents, torch.tensor([float(now)])))
        latents, actions = env.recent(context, frame_skip, idle)
        assert latents.ravel().tolist() == [max(0, now - i * frame_skip) for i in reversed(range(context))]
        expected = [[2 * t, 2 * t + 1] if t >= 0 else [-1, -1] for t in range(now - length, now)]
        assert actions.shape == (context - 1, 2 * frame_skip)
        assert actions.reshape(length, 2).tolist() == expected
        env = env.remember(env.pending[0], length)
        assert (len(env.latents), len(env.taken)) == (min(now + 1, length),) * 2  # and no more is remembered
        assert len(env.pending) == 19 - now


def test_nothing_is_remembered_where_a_latent_is_a_state():
    latent = torch.zeros(1)
    env = EnvState(pending=np.ones((2, 2), np.float32), latents=(latent,))
    after = env.remember(env.pending[0], 0)
    assert (len(after.pending), after.latents, after.taken) == (1, (latent,), ())


def test_memories_are_not_changed_in_place():
    env = EnvState(pending=np.ones((2, 2), np.float32), latents=(torch.zeros(1),))
    after = env.remember(env.pending[0], 3)
    assert (len(env.pending), len(env.taken)) == (2, 0)
    assert (len(after.pending), len(after.taken)) == (1, 1)


def pretrained(context: int, frame_skip: int = 2) -> Pretrained:
    """An untrained world model, for which the average action is not zero."""
    torch.manual_seed(0)
    config = ModelConfig(
        encoder="strided", latent_dim=8, encoder_channels=(4, 4), patch=3, frame_skip=frame_skip, context=context
    )
    model = build_model(config, DATA).eval()
    actions = torch.randn(64, 2) * torch.tensor([0.5, 2.0]) + torch.tensor([0.3, 0.7])
    model.fit_normalization(torch.randint(0, 256, (64, *DATA.pixel_shape), dtype=torch.uint8), actions)
    actor_critic = build_actor_critic(ActorCriticConfig(hidden_dim=8), config, DATA).eval()
    return Pretrained(
        model=model, probe=None, actor_critic=actor_critic, data=DATA, sections={}, config={}, path=Path(), sha256=""
    )


def make_agent(context: int, config: PlannerConfig, frame_skip: int = 2, **options) -> PlanningAgent:
    return PlanningAgent.from_pretrained(pretrained(context, frame_skip), config, record=True, **options)


def episodes(num_envs: int = NUM_ENVS, num_steps: int = NUM_STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(steps, envs, 1, 12, 12)``, and goals ``(envs, 1, 12, 12)``."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(num_steps, num_envs, *DATA.pixel_shape), dtype=np.uint8)
    return images, rng.integers(256, size=(num_envs, *DATA.pixel_shape), dtype=np.uint8)


def act(agent, images, goals, starts=None):
    """Actions ``(steps, envs, …)``, and for each environment the states it planned from, by step."""
    state, actions, planned = None, [], [{} for _ in range(images.shape[1])]
    for step, seen in enumerate(images):
        flags = None if starts is None else starts[step]
        observation = {"observation": seen.copy(), "desired_goal": goals if goals.ndim == 4 else goals[step]}
        before = [None] * len(planned) if state is None else [env.record for env in state.envs]
        action, state = agent.predict(observation, state, flags, True)
        observation["observation"][...] = 0  # environments may use their buffers again
        for env, record, found in zip(state.envs, before, planned, strict=True):
            if env.record is not record:
                found[step] = env.record.start
        actions.append(action)
    return np.stack(actions), planned


@torch.no_grad()
def states_of(model, images, actions) -> torch.Tensor:
    """The states ``(steps, s)`` that ``JEPA.states`` makes of a whole episode: it stood still before it began."""
    skip, before = model.frame_skip, (model.context - 1) * model.frame_skip
    frames = model.encode(torch.from_numpy(np.concatenate([images[:1].repeat(before, 0), images])))
    taken = torch.from_numpy(actions.reshape(len(actions), -1).astype(np.float32))
    taken = torch.cat([model.idle_action.expand(before, -1), taken])
    states = torch.empty(len(images), model.state_dim)
    for offset in range(min(skip, len(images))):  # each phase of predictor steps
        latents = frames[offset::skip]
        blocks = taken[offset : offset + (len(latents) - 1) * skip].reshape(1, len(latents) - 1, -1)
        states[offset::skip] = model.states(latents[None], blocks)[0]
    return states


@pytest.mark.parametrize("name", list(PLANNERS))
@pytest.mark.parametrize("context", [1, 2, 3])
def test_the_agent_plans_from_the_states_of_the_whole_episode(context, name):
    agent, (images, goals) = make_agent(context, PLANNERS[name]), episodes(num_envs=1)
    actions, (planned,) = act(agent, images, goals)
    assert list(planned) == list(range(0, NUM_STEPS, agent.steps_per_plan))
    assert len(np.unique(actions[:, 0].round(6), axis=0)) > 2  # one action instead of another would show
    expected = states_of(agent.model, images[:, 0], actions[:, 0])
    for step, state in planned.items():
        torch.testing.assert_close(state, expected[step], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frame_skip", [1, 3])
@pytest.mark.parametrize("replan_every", [1, 2])
def test_states_hold_for_every_frame_skip(frame_skip, replan_every):
    config = PlannerConfig(**QUICK, replan_every=replan_every)
    agent, (images, goals) = make_agent(3, config, frame_skip), episodes(num_envs=1)
    actions, (planned,) = act(agent, images, goals)
    expected = states_of(agent.model, images[:, 0], actions[:, 0])
    assert len(planned) == NUM_STEPS // replan_every
    for step, state in planned.items():
        torch.testing.assert_close(state, expected[step], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(PLANNERS))
def test_a_batch_out_of_phase_plans_from_the_states_of_each_episode(name):
    """Episodes that begin again at different steps, so that some are searched for while others are in a plan."""
    agent, (images, goals) = make_agent(3, PLANNERS[name]), episodes()
    begins = [(0,), (0, 3), (0, 4, 9)]
    starts = np.array([[step in own for own in begins] for step in range(NUM_STEPS)])
    actions, planned = act(agent, images, goals, starts)
    for i, own in enumerate(begins):
        for first, last in zip(own, (*own[1:], NUM_STEPS), strict=True):
            times = [step for step in planned[i] if first <= step < last]
            assert times == list(range(first, last, agent.steps_per_plan))
            expected = states_of(agent.model, images[first:last, i], actions[first:last, i])
            for step in times:
                torch.testing.assert_close(planned[i][step], expected[step - first], rtol=1e-5, atol=1e-5)
            alone, (scalar,) = act(agent, images[first:last, i : i + 1], goals[i : i + 1])
            np.testing.assert_allclose(alone[:, 0], actions[first:last, i], atol=1e-5)
            for step, state in scalar.items():
                torch.testing.assert_close(state, planned[i][first + step], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_an_episode_begins_at_rest(context):
    agent, (images, goals) = make_agent(context, PLANNERS["search"]), episodes()
    _, planned = act(agent, images[:1], goals)
    expected = agent.model.at_rest(agent.model.encode(torch.from_numpy(images[0]))).detach()
    torch.testing.assert_close(torch.stack([found[0] for found in planned]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["search", "search, across blocks"])
def test_a_new_goal_leaves_the_past_as_it_was(name):
    """What was planned towards the old goal is dropped, what was seen and done is not."""
    agent, (images, goals) = make_agent(3, PLANNERS[name]), episodes(num_envs=1)
    wanted = np.stack([goals if step < 4 else 255 - goals for step in range(NUM_STEPS)])
    actions, (planned,) = act(agent, images, wanted)
    every = agent.steps_per_plan
    assert list(planned) == [*range(0, 4, every), *range(4, NUM_STEPS, every)]
    expected = states_of(agent.model, images[:, 0], actions[:, 0])
    for step, state in planned.items():
        torch.testing.assert_close(state, expected[step], rtol=1e-5, atol=1e-5)


def test_actions_are_remembered_as_they_are_executed():
    """In the shape of the environment's space, and clipped to its bounds."""
    space = spaces.Box(np.array([[-0.2, -0.1]]), np.array([[0.1, 0.3]]), (1, 2), np.float64)
    config = PLANNERS["actor"]
    source = pretrained(2)
    wide = PlanningAgent.from_pretrained(source, config)
    agent = PlanningAgent(
        wide.model, wide.planner, wide.measure, actor=wide.actor, action_space=space, record=True
    )  # the planner knows of wider bounds
    images, goals = episodes()
    actions, planned = act(agent, images, goals)
    assert actions.shape == (NUM_STEPS, NUM_ENVS, 1, 2)
    assert np.isin(actions, [space.low, space.high]).any()
    for i in range(NUM_ENVS):
        expected = states_of(agent.model, images[:, i], actions[:, i])
        assert list(planned[i]) == list(range(NUM_STEPS))
        torch.testing.assert_close(torch.stack(list(planned[i].values())), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [1, 2])
def test_each_image_is_encoded_once(context, monkeypatch):
    """With context at every step, also where nothing is planned; without, where something is."""
    agent, (images, goals) = make_agent(context, PLANNERS["search, across blocks"]), episodes()
    encode, encoded = agent.model.encode, []
    monkeypatch.setattr(agent.model, "encode", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    act(agent, images, goals)
    num_looks = NUM_STEPS if context > 1 else -(-NUM_STEPS // 3)
    assert encoded == [2 * NUM_ENVS, *[NUM_ENVS] * (num_looks - 1)]


@pytest.mark.parametrize("context", [1, 2, 3])
def test_training_sees_the_states_of_acting(context):
    """Also at the beginning of an episode, where the past is made up."""
    agent, (images, goals) = make_agent(context, PLANNERS["actor"]), episodes(num_envs=1)
    actions, (planned,) = act(agent, images, goals)
    model, none = agent.model, torch.zeros(1, dtype=torch.long)
    encoded = LatentEpisodes(
        model=model,
        latents=model.encode(torch.from_numpy(images[:, 0])).detach(),
        actions=torch.from_numpy(actions[:-1, 0]),
        first_latent=none,
        first_action=none,
        lengths=none + NUM_STEPS - 1,
        stride=model.frame_skip,
    )
    # Each goal is the state's own image: it tells which step it is of.
    states, own = encoded.pairs(200, GoalMix(reached=1.0), np.random.default_rng(0))
    steps = torch.cdist(own, encoded.latents).argmin(1)
    assert set(steps.tolist()) == set(planned)
    torch.testing.assert_close(states, torch.stack([planned[step] for step in steps.tolist()]), rtol=1e-5, atol=1e-5)
