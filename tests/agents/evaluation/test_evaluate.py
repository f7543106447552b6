import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from agents.evaluation.evaluate import Manifest, compare, evaluate, measure_latency
from agents.evaluation.results import EvalResult

SPACE = gym.spaces.Box(-1, 1, (1,), np.float32)


class ScriptedVectorEnv(VectorEnv):
    """Success at each step is what the reset option "script" says; the agent moves by its action."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.single_action_space, self.single_observation_space = SPACE, SPACE
        self.closed_count = 0

    def reset(self, *, seed=None, options=None):
        self.script = options["script"]
        self.time = 0
        self.position = np.zeros((self.num_envs, 2))
        self.seeds = seed
        return np.zeros((self.num_envs, 1), np.float32), self._info()

    def step(self, actions):
        self.time += 1
        self.position = self.position + np.concatenate([actions, np.zeros_like(actions)], -1)
        no = np.zeros(self.num_envs, bool)
        observation = self.position[:, :1].astype(np.float32)
        return observation, np.full(self.num_envs, -1.0), no, no, self._info()

    def _info(self):
        return {
            "is_success": self.script[:, self.time].astype(bool),
            "distance": 10.0 - self.position[:, 0],
            "position": self.position,
        }


class Steady:
    """Moves by half a unit a step."""

    def __init__(self):
        self.calls = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls.append((len(observation), state, tuple(episode_start), deterministic))
        return np.full((len(observation), 1), 0.5, np.float32), (state or 0) + 1


class Noisy:
    """Random actions from one generator that ``set_random_seed`` restarts."""

    def __init__(self):
        self.set_random_seed(0)

    def set_random_seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.rng.uniform(-1, 1, (len(observation), 1)).astype(np.float32), state


SCRIPTS = ([0, 0, 1, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1])
MANIFEST = Manifest(
    name="scripts",
    env_id="Scripted-v0",
    seeds=(10, 11, 12, 13, 14),
    episodes=tuple({"script": script} for script in SCRIPTS),
    shortest_paths=(1.0, 0.75, 1.0, 0.0, 1.0),
    max_steps=4,
)


def run(policy=None, **kwargs):
    return evaluate(policy or Steady(), ScriptedVectorEnv, MANIFEST, **({"num_envs": 2, "progress": False} | kwargs))


def without_times(result):
    return dataclasses.replace(result, plan_seconds=(), wall_seconds=0.0)


def test_rows_tell_final_from_ever_success():
    rows = run().rows
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert [row.final_success for row in rows] == [True, False, False, False, True]
    assert [row.ever_success for row in rows] == [True, True, False, True, True]
    assert [row.steps_to_goal for row in rows] == [2, 3, None, 0, 4]
    assert [row.num_steps for row in rows] == [4] * 5
    assert [row.path_length for row in rows] == [1.0, 1.5, 2.0, 0.0, 2.0]  # until the goal was first reached
    assert [row.final_distance for row in rows] == [8.0] * 5
    assert [row.total_reward for row in rows] == [-4.0] * 5
    assert [row.shortest_path for row in rows] == [1.0, 0.75, 1.0, 0.0, 1.0]


def test_summary():
    result = run()
    summary = result.summary()
    assert result.finished
    assert summary["num_episodes"] == 5
    assert summary["final_success"] == 0.4
    assert summary["ever_success"] == 0.8
    assert summary["ever_success_interval"] == pytest.approx([0.3755, 0.9638], abs=1e-4)
    assert summary["spl"] == pytest.approx((1 + 0.5 + 0 + 1 + 0.5) / 5)
    assert summary["mean_steps_to_goal"] == pytest.approx((2 + 3 + 0 + 4) / 4)
    assert summary["mean_final_distance"] == 8.0
    assert summary["env_steps"] == 20
    assert summary["plan_p50_ms"] is not None


def test_every_batch_begins_with_no_state_and_all_episodes_starting():
    policy = Steady()
    run(policy, deterministic=False)
    firsts = [call for call in policy.calls if call[1] is None]
    assert firsts == [(2, None, (True, True), False), (2, None, (True, True), False), (1, None, (True,), False)]
    assert len(policy.calls) == 3 * 4
    assert all(not any(starts) for _, state, starts, _ in policy.calls if state is not None)


def test_only_the_first_episodes_are_run_if_asked():
    result = run(num_episodes=3)
    assert result.rows == run().rows[:3]
    assert result.finished


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert run(Noisy(), seed=1).rows == run(Noisy(), seed=1).rows
    assert run(Noisy(), seed=1).rows != run(Noisy(), seed=2).rows


def test_batches_draw_different_random_numbers():
    rows = run(Noisy()).rows
    assert rows[0].final_distance != rows[2].final_distance


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_stopped_evaluation_goes_on_to_the_same_result(stop_after):
    parts = []

    def stop(result):
        parts.append(result)
        if len(parts) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Noisy(), on_batch=stop)
    assert not parts[-1].finished
    stored = EvalResult.from_dict(parts[-1].to_dict())
    assert stored == parts[-1]
    resumed = run(Noisy(), previous=stored)
    assert without_times(resumed) == without_times(run(Noisy()))
    assert len(resumed.plan_seconds) == 3 * 4


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_envs": 3}, {"num_episodes": 2}, {"deterministic": False}])
def test_the_result_of_another_evaluation_is_not_continued(change):
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"previous result must be of the same evaluation: {name} was"):
        run(previous=run(num_episodes=4) if name == "num_episodes" else run(), **change)


def test_latency_is_that_of_the_plans_a_policy_times():
    class Planner(Steady):
        steps_per_plan = 4

        def __init__(self):
            super().__init__()
            self.timings = [99.0]

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            if state is None:
                self.timings.append(0.2)
            return super().predict(observation, state, episode_start, deterministic)

    summary = run(Planner()).summary()
    assert summary["plan_p50_ms"] == pytest.approx(200.0)
    assert summary["step_p95_ms"] == pytest.approx(50.0)
    latency = measure_latency(Planner(), ScriptedVectorEnv, MANIFEST, num_episodes=2)
    assert latency["plan_p95_ms"] == pytest.approx(200.0)
    assert latency["num_plans"] == 2


class ShortEpisode(gym.Env):
    """Ends after as many steps as its seed says, at the goal if the seed is even."""

    observation_space = action_space = SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = seed if seed is not None else 1
        self.seed_is_even = self.length % 2 == 0
        self.time = 0
        return np.zeros(1, np.float32), {"is_success": False, "distance": 9.0}

    def step(self, action):
        self.time += 1
        done = self.time == self.length
        info = {"is_success": done and self.seed_is_even, "distance": float(self.length - self.time)}
        return np.zeros(1, np.float32), 1.0, done, False, info


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_follows_the_end_of_an_episode_does_not_count(mode):
    manifest = Manifest("short", "Short-v0", (1, 4, 2, 5))
    result = evaluate(
        Steady(),
        lambda n: SyncVectorEnv([ShortEpisode] * n, autoreset_mode=mode),
        manifest,
        num_envs=4,
        progress=False,
    )
    assert [row.num_steps for row in result.rows] == [1, 4, 2, 5]
    assert [row.total_reward for row in result.rows] == [1.0, 4.0, 2.0, 5.0]
    assert [row.final_success for row in result.rows] == [False, True, True, False]
    assert [row.steps_to_goal for row in result.rows] == [None, 4, 2, None]
    assert [row.final_distance for row in result.rows] == [0.0] * 4
    assert result.rows[0].path_length is None
    assert result.summary()["spl"] is None


def test_an_environment_that_reports_no_success_is_refused():
    class Silent(ScriptedVectorEnv):
        def _info(self):
            return {"score": np.zeros(self.num_envs)}

    with pytest.raises(ValueError, match=r"must report 'is_success' in info .* got \['score'\]"):
        evaluate(Steady(), Silent, MANIFEST, progress=False)


@pytest.mark.parametrize("num_episodes", [0, 6])
def test_more_episodes_than_there_are_are_refused(num_episodes):
    with pytest.raises(ValueError, match=f"num_episodes must be from 1 to 5 .* got {num_episodes}"):
        run(num_episodes=num_episodes)


def test_no_environments_are_refused():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        run(num_envs=0)


def test_results_of_one_manifest_are_compared_pair_by_pair():
    first = run()
    second = dataclasses.replace(
        first, rows=tuple(dataclasses.replace(row, final_success=row.index == 0) for row in first.rows)
    )
    comparison = compare(first, second)
    assert (comparison.only_first, comparison.only_second) == (1, 0)
    assert comparison.difference == pytest.approx(0.2)
    assert compare(first, second, "ever").difference == 0.0


def test_results_of_different_episodes_are_not_compared():
    first = run()
    with pytest.raises(ValueError, match="must be of the same manifest, got 'scripts'"):
        compare(first, dataclasses.replace(first, manifest_hash="0" * 64))
    with pytest.raises(ValueError, match="must hold the same episodes, got 5 and 3"):
        compare(first, run(num_episodes=3))


def test_an_unknown_kind_of_success_is_refused():
    with pytest.raises(ValueError, match="kind of success must be one of 'final', 'ever', got 'first'"):
        run().successes("first")


def test_a_foreign_result_is_refused():
    with pytest.raises(ValueError, match="must have the fields of EvalResult"):
        EvalResult.from_dict({"rows": []})
