"""Agents and environments in Gymnasium's own loops: wrappers, and vectors of every mode."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import (
    FilterObservation,
    FlattenObservation,
    FrameStackObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    RecordVideo,
    TimeLimit,
    TransformObservation,
)
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

from agents import PlannerConfig, PlanningAgent

ENV_ID = "envs:TwoRooms-v0"
LIMIT = 5


@pytest.fixture(scope="module")
def agent():
    return PlanningAgent.from_pretrained("two-rooms", PlannerConfig(planner="policy"))


def play(agent, env, seeds=(3, None)):
    """Distances to the goal after each step of some episodes."""
    distances = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        state, ended, row = None, False, []
        while not ended:
            action, state = agent.predict(observation, state, deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            row.append(float(info["distance"]))
        distances.append(row)
    return distances


def make(**settings):
    return gym.make(ENV_ID, **{"max_episode_steps": LIMIT} | settings)


@pytest.mark.parametrize(
    "wrap",
    [
        NormalizeReward,
        RecordEpisodeStatistics,
        lambda env: FilterObservation(env, ["observation", "desired_goal"]),
    ],
    ids=["NormalizeReward", "RecordEpisodeStatistics", "FilterObservation"],
)
def test_wrappers_that_leave_images_as_they_are_change_nothing(agent, wrap):
    assert play(agent, wrap(make())) == play(agent, make())


def test_an_episode_is_limited_counted_and_filmed(agent, tmp_path):
    pytest.importorskip("moviepy")
    env = TimeLimit(gym.make(ENV_ID, render_mode="rgb_array"), 3)
    env = RecordEpisodeStatistics(
        RecordVideo(env, str(tmp_path / "films"), episode_trigger=lambda _: True, disable_logger=True)
    )
    observation, _ = env.reset(seed=0)
    state = None
    for step in range(3):
        action, state = agent.predict(observation, state)
        observation, reward, _, truncated, info = env.step(action)
        assert reward == -1
        assert truncated == (step == 2)
    env.close()
    assert (info["episode"]["l"], info["episode"]["r"]) == (3, -3)
    (film,) = tmp_path.glob("films/*.mp4")
    assert film.stat().st_size > 1000


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (FlattenObservation, r"observation must be a dict with uint8 images .*, got ndarray"),
        (
            lambda env: TransformObservation(
                env, lambda seen: {key: image / np.float32(255) for key, image in seen.items()}, env.observation_space
            ),
            r"observation must have dtype uint8, got float32",
        ),
        # A stack of images looks like a batch of them, and a batch of actions does not fit one environment.
        (lambda env: FrameStackObservation(env, 3), r"action must have shape \(2,\), got \(3, 2\)"),
    ],
    ids=["FlattenObservation", "TransformObservation", "FrameStackObservation"],
)
def test_wrappers_that_change_images_are_refused(agent, wrap, message):
    with pytest.raises(ValueError, match=message):
        play(agent, wrap(make(disable_env_checker=True)))


@pytest.mark.parametrize("vectorization_mode", [None, "sync", "async"])
@pytest.mark.parametrize("autoreset", list(AutoresetMode))
def test_vectors_of_every_mode_are_played_as_environments_one_by_one(vectorization_mode, autoreset):
    """Searches draw other noise in an episode whose beginning the agent is not told of."""
    if vectorization_mode == "async" and autoreset != AutoresetMode.NEXT_STEP:
        pytest.skip("processes are slow to start")
    mode = {"autoreset_mode": autoreset}
    how = mode if vectorization_mode is None else {"vectorization_mode": vectorization_mode, "vector_kwargs": mode}
    vector, agent = (
        gym.make_vec(ENV_ID, num_envs=2, max_episode_steps=LIMIT, **how),
        PlanningAgent.from_pretrained("two-rooms"),
    )
    observations, _ = vector.reset(seed=3)
    state, starts, ended, found = None, np.ones(2, bool), np.zeros(2, bool), []
    while len(found) < 2 * LIMIT:
        actions, state = agent.predict(observations, state, starts, deterministic=True)
        begun = ended & (autoreset == AutoresetMode.NEXT_STEP)  # in this step, whatever the action
        observations, _, terminated, truncated, infos = vector.step(actions)
        ended = terminated | truncated
        starts = begun if autoreset == AutoresetMode.NEXT_STEP else ended
        if not begun.any():
            found.append(infos.get("final_info", infos)["distance"].tolist())
        if autoreset == AutoresetMode.DISABLED and ended.any():
            observations, _ = vector.reset(options={"reset_mask": ended})
    vector.close()
    alone = [play(agent, make(), seeds=(3 + i, None)) for i in range(2)]
    np.testing.assert_allclose(np.transpose(found).reshape(2, 2, LIMIT), alone, rtol=1e-3)


def test_statistics_of_vectors(agent):
    vector = RecordVectorStatistics(gym.make_vec(ENV_ID, num_envs=2, max_episode_steps=2, autoreset_mode="SameStep"))
    observations, _ = vector.reset(seed=0)
    state = None
    for _ in range(2):
        actions, state = agent.predict(observations, state)
        observations, *_, infos = vector.step(actions)
    assert infos["episode"]["l"].tolist() == [2, 2]
    assert infos["episode"]["r"].tolist() == [-2, -2]
