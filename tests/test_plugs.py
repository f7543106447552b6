"""An environment, an encoder and a planner from outside the packages, through the registries alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import envs
from benchmarks.comparison.contenders import CONTENDERS, EXPERT, RANDOM, named, planned
from benchmarks.evaluation import manifests
from envs import domain as plug
from envs.domain import VALIDATION, Domain, Episodes, Recipe
from pretrain.presets import PRESETS
from pretrain.world_model.config import WorldModelConfig
from rgb_reach import STEP, locate
from worldmodel.__main__ import main
from worldmodel.config import changed
from worldmodel.encoders import ENCODERS
from worldmodel.planning import PLANNERS, SamplingPlanner

TINY = "--planner.horizon 3 --planner.num-samples 8 --planner.num-elites 2 --planner.num-iterations 1"


class Flat(nn.Module):
    """A linear map of all pixels."""

    def __init__(self, pixel_shape, latent_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(int(np.prod(pixel_shape)), latent_dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.map(images.flatten(1))


@dataclass(frozen=True, kw_only=True)
class BestOnly(SamplingPlanner):
    """Samples around the best candidate."""

    def refine(self, elites, costs, mean, std):
        return elites[:, 0], 0.7 * std


class Straight:
    """A scripted expert: it reads positions off the images, and goes straight to the goal."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        towards = (locate(observation["desired_goal"]) - locate(observation["observation"])) / STEP
        return np.clip(towards, -1, 1).astype(np.float32), state


def draw_episodes(recipe: Recipe) -> Episodes:
    """Seeds alone decide."""
    return Episodes(np.random.default_rng(recipe.seed).integers(2**31, size=recipe.num_episodes).tolist())


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain, an encoder, a planner, a preset and contenders that no package knows, for the length of a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.setattr("benchmarks.records.log.ROOT", tmp_path)
    monkeypatch.setattr(plug, "_DOMAINS", dict(plug._DOMAINS))
    recipe = Recipe(seed=1, num_episodes=4, env_id="RGBReach-v0")
    domain = Domain(
        name="reach",
        title="Reach",
        environments={"RGBReach-v0": {"entry_point": "rgb_reach:RGBReach", "max_episode_steps": 30}},
        recipes={"any": recipe, VALIDATION: recipe},
        draw_episodes=draw_episodes,
        compared_on=("any",),
        manifests=tmp_path,
        expert=lambda env_kwargs: Straight(),
    )
    envs.register(domain)
    manifests.run(manifests.ManifestsConfig(environments=("reach",)))
    monkeypatch.setitem(ENCODERS, "flat", Flat)
    monkeypatch.setitem(PLANNERS, "best-only", BestOnly)
    tiny = changed(
        PRESETS["dataset"][1],
        {
            "model.encoder": "flat",
            "model.latent_dim": 8,
            "data.dataset": "rgb-reach/random-walk-v0",
            "data.batch_size": 4,
            "data.num_frames": 4,
            "rollout_steps": 2,
            "num_steps": 4,
            "refinement.num_steps": 2,
            "refinement.batch_size": 4,
            "policy.num_steps": 2,
            "policy.batch_size": 4,
        },
    )
    assert isinstance(tiny, WorldModelConfig)
    monkeypatch.setitem(PRESETS, "reach", ("Reach.", tiny))
    planner = planned("jepa", "JEPA", preset="reach")
    monkeypatch.setitem(CONTENDERS, "reach", named("reach", RANDOM, EXPERT, planner))


def worldmodel(command: str) -> None:
    assert main(command.split()) == 0, command


def test_they_go_the_whole_way(outside: None, tmp_path: Path) -> None:
    quick = "--manifest reach/any --num-episodes 2 --latency-episodes 0 --no-progress"
    worldmodel("collect --env-id RGBReach-v0 --num-episodes 12 --no-progress")
    worldmodel("pretrain reach --output run --no-progress")
    worldmodel(f"evaluate run {quick} --planner.planner best-only {TINY} --output e.json")
    worldmodel(f"evaluate expert {quick} --output expert.json")
    assert json.loads((tmp_path / "expert.json").read_text())["facts"]["summary"]["final_success"] == 1.0
    worldmodel(f"render run --manifest reach/any --max-steps 3 --formats gif {TINY} --output film --no-progress")
    train = "train-rl sac --env-id RGBReach-v0 --observation pixels --output rl --no-hindsight --max-steps 40"
    worldmodel(f"{train} --num-envs 2 --eval-episodes 1 --no-progress --options learning_starts 10 batch_size 4")
    worldmodel(f"evaluate rl {quick} --output rl.json")
    worldmodel("compare --environment reach --seeds 0 --num-episodes 1 --store s --output compare.json --no-progress")
    worldmodel("report --comparison compare.json --output report.html")
    assert "Reach" in (tmp_path / "report.html").read_text()
    assert {"film.gif", "compare.json", "compare.md"} <= {path.name for path in tmp_path.iterdir()}
