"""The whole way, as a user goes it: collect, pretrain, evaluate, render, by the command line."""

import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks.demo import DEMOS
from benchmarks.films import render
from envs.domain import domains
from worldmodel.__main__ import main
from worldmodel.checkpoint import shipped_checkpoints

TINY_SEARCH = (
    *("--planner.horizon", "3", "--planner.num-samples", "8"),
    *("--planner.num-elites", "2", "--planner.num-iterations", "1"),
)
TINY_STAGES = (
    *("--refinement.num-steps", "2", "--refinement.batch-size", "4", "--trajectories.count", "4"),
    *("--policy.num-steps", "2", "--policy.batch-size", "4"),
)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path


def worldmodel(*arguments: str) -> None:
    assert main(arguments) == 0, f"worldmodel {' '.join(arguments)} failed"


def test_brings_an_environment_through_collect_pretrain_and_evaluate(workplace: Path) -> None:
    env_id = "rgb_reach:RGBReach-v0"
    worldmodel(
        "collect", "--env-id", env_id, "--policy", "random-walk", "--num-episodes", "60", "--dataset-id", "reach/w-v0"
    )
    options = "--data.dataset reach/w-v0 --num-steps 200 --data.batch-size 16 --data.num-frames 6 --validate-every 200"
    later = "--refinement.num-steps 100 --refinement.batch-size 32 --policy.num-steps 100 --policy.batch-size 128"
    worldmodel("pretrain", "dataset", *options.split(), *later.split(), "--output", "run")
    common = ["--env-id", env_id, "--num-episodes", "10", "--latency-episodes", "0"]
    worldmodel("evaluate", "run", *common, "--output", "agent.json")
    worldmodel("evaluate", "random", *common, "--output", "random.json")
    agent, random = (
        json.loads((workplace / name).read_text())["facts"]["summary"] for name in ("agent.json", "random.json")
    )
    assert agent["num_episodes"] == random["num_episodes"] == 10
    assert agent["ever_success"] > random["ever_success"], "planning with what was learned must beat chance"


def test_two_rooms_from_scratch_to_video(workplace: Path) -> None:
    tiny = "--num-steps 4 --data.batch-size 4 --model.latent-dim 16 --model.predictor-hidden-dim 16 --validate-every 4"
    worldmodel("pretrain", "two-rooms", *tiny.split(), *TINY_STAGES, "--output", "run")
    worldmodel(
        "evaluate", "run", "--manifest", "validation", "--num-episodes", "2", *TINY_SEARCH, "--output", "out.json"
    )
    content = json.loads((workplace / "out.json").read_text())
    assert content["finished"]
    assert len(content["rows"]) == 2
    worldmodel("render", "run", "--manifest", "validation", "--max-steps", "8", *TINY_SEARCH, "--output", "video")
    assert {path.suffix for path in workplace.glob("video.*")} == {".mp4", ".gif"}


def test_demo_writes_everything(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has learned nothing gets nowhere: without an end to it, its film would be of 200 steps.
    monkeypatch.setattr(render, "RenderConfig", partial(render.RenderConfig, max_steps=10))
    worldmodel("pretrain", "two-rooms", "--num-steps", "2", "--data.batch-size", "4", *TINY_STAGES, "--output", "run")
    worldmodel("demo", "run", "--num-episodes", "2", "--video-episodes", "0", *TINY_SEARCH, "--output", "out")
    out = workplace / "out" / "run"
    demo = json.loads((out / "demo.json").read_text())
    assert set(demo) == {"random", "expert", "run"}
    assert demo["expert"]["summary"]["final_success"] == 1.0
    assert (out / "planning.mp4").stat().st_size > 0
    assert (out / "planning.gif").stat().st_size > 0


def test_demos_are_of_shipped_checkpoints_named_after_environments() -> None:
    assert set(DEMOS) <= set(shipped_checkpoints())
    assert set(DEMOS) <= {domain.name for domain in domains()}
    assert len(DEMOS) == 2
