"""What agents remember of past images: the frames that a model with context sees at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.history import continue_histories, recent_frames, remember
from agents.offline.agent import MethodConfig, OfflineAgent, build_method
from agents.world_model.agent import PlanningAgent
from agents.world_model.config import PlannerConfig
from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model
from worldmodel.checkpoint import Pretrained

DATA = DataSpec(pixel_shape=(1, 12, 12), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
NUM_ENVS, NUM_STEPS = 3, 9


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize("frame_skip", [1, 3])
def test_frames_are_those_of_the_last_steps_and_the_first_stands_for_what_is_missing(context, frame_skip):
    images = np.arange(20, dtype=np.uint8)[:, None]
    history = ()
    for now, image in enumerate(images):
        wanted = [max(0, now - i * frame_skip) for i in reversed(range(context))]
        limit = (context - 1) * frame_skip
        if now > limit:  # what was forgotten is not looked at any more
            assert len(history) == limit
        assert recent_frames(history, image, context, frame_skip).ravel().tolist() == wanted
        history = remember(history, image, context, frame_skip)


def test_what_is_remembered_does_not_change_with_the_image():
    image = np.zeros(3, np.uint8)
    history = remember((), image, 2, 1)
    image[:] = 7
    assert history[0].tolist() == [0, 0, 0]


def test_histories_must_be_of_as_many_environments():
    assert continue_histories(((np.zeros(1, np.uint8),), ()), np.array([True, False])) == [(), ()]
    for state in ((),), "history":
        with pytest.raises(ValueError, match="state must be what predict returned for 2 environments, or None"):
            continue_histories(state, np.zeros(2, bool))


def planning_agent(context: int) -> PlanningAgent:
    torch.manual_seed(0)
    config = ModelConfig(
        encoder="strided", latent_dim=8, encoder_channels=(4, 4), patch=3, frame_skip=2, context=context
    )
    model = build_model(config, DATA).eval()
    actor_critic = build_actor_critic(ActorCriticConfig(hidden_dim=8), config, DATA).eval()
    pretrained = Pretrained(
        model=model, probe=None, actor_critic=actor_critic, data=DATA, sections={}, config={}, path=Path(), sha256=""
    )
    return PlanningAgent.from_pretrained(pretrained, PlannerConfig(planner="policy"))


def offline_agent(context: int) -> OfflineAgent:
    torch.manual_seed(0)
    config = MethodConfig(encoder="strided", latent_dim=8, hidden_dim=8, num_layers=1, frame_skip=2, context=context)
    return OfflineAgent(build_method(config, DATA).eval(), DATA)


AGENTS = pytest.mark.parametrize("make", [planning_agent, offline_agent])


def episodes(seed: int = 0) -> dict[str, np.ndarray]:
    """Observations ``(steps, envs, 1, 12, 12)`` by key; goals stay."""
    rng = np.random.default_rng(seed)
    seen = rng.integers(256, size=(NUM_STEPS, NUM_ENVS, *DATA.pixel_shape), dtype=np.uint8)
    goals = rng.integers(256, size=(NUM_ENVS, *DATA.pixel_shape), dtype=np.uint8)
    return {"observation": seen, "desired_goal": np.broadcast_to(goals, seen.shape)}


def act(agent, observations, starts) -> np.ndarray:
    state, actions = None, []
    for step, flags in enumerate(starts):
        observation = {key: values[step].copy() for key, values in observations.items()}
        action, state = agent.predict(observation, state, flags, True)
        observation["observation"][...] = 0  # environments may use their buffers again
        actions.append(action)
    return np.stack(actions)


@AGENTS
@pytest.mark.parametrize("context", [1, 3])
def test_a_batch_acts_as_its_members_also_out_of_phase(make, context):
    observations, agent = episodes(), make(context)
    starts = np.zeros((NUM_STEPS, NUM_ENVS), bool)
    starts[0], starts[3, 1], starts[4, 2] = True, True, True
    together = act(agent, observations, starts)
    for i in range(NUM_ENVS):
        alone = act(agent, {key: values[:, i : i + 1] for key, values in observations.items()}, starts[:, i : i + 1])
        np.testing.assert_allclose(together[:, i], alone[:, 0], atol=1e-5)


@AGENTS
def test_a_history_never_crosses_the_border_of_an_episode(make):
    agent, observations = make(3), episodes()
    starts = np.zeros((NUM_STEPS, NUM_ENVS), bool)
    starts[0] = starts[4] = True
    whole = act(agent, observations, starts)
    fresh = act(agent, {key: values[4:] for key, values in observations.items()}, starts[4:])
    np.testing.assert_array_equal(whole[4:], fresh)


@AGENTS
def test_what_was_seen_before_matters_with_context_and_not_without(make):
    changed = episodes()
    changed["observation"][0] = episodes(1)["observation"][0]
    starts = np.zeros((3, NUM_ENVS), bool)
    starts[0] = True
    for context, matters in ((1, False), (2, True)):
        agent = make(context)
        first, second = (act(agent, one, starts)[2] for one in (episodes(), changed))
        assert (not np.array_equal(first, second)) == matters
