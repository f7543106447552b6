"""A collection or a training that is killed before any file operation, and begun again, ends as if it had not been."""

import hashlib
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

import killing
from agents.offline.agent import MethodConfig
from pretrain.collection.collect import CollectConfig, collect
from pretrain.config import PretrainConfig
from pretrain.data.config import DataConfig
from pretrain.data.latents import TrajectoriesConfig
from pretrain.image.config import ImageConfig, ImageDataConfig
from pretrain.loop.run_log import read_metrics
from pretrain.offline.config import OfflineConfig
from pretrain.train import fit
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from pretrain.world_model.config import PolicyConfig, RefinementConfig, WorldModelConfig
from worldmodel.build import ActorCriticConfig, ModelConfig
from worldmodel.checkpoint import CONFIG, WEIGHTS, load_training_state, read_config, read_format
from worldmodel.image.build import ImageModelConfig
from worldmodel.video.build import VideoModelConfig

COMMON = {
    "accelerator": "cpu",
    "precision": "32-true",
    "progress": False,
    "num_steps": 3,
    "log_every": 1,
    "validate_every": 10,
    "checkpoint_every": 2,
}
RUNS: dict[str, PretrainConfig] = {
    "world model": WorldModelConfig(
        model=ModelConfig(encoder="axial", latent_dim=8, encoder_hidden_dim=8, predictor_hidden_dim=8),
        data=DataConfig(dataset="two-rooms", num_frames=3, batch_size=2),
        refinement=RefinementConfig(num_steps=2, batch_size=2, rollout_steps=2),
        policy=PolicyConfig(num_steps=2, batch_size=2, networks=ActorCriticConfig(hidden_dim=8)),
        trajectories=TrajectoriesConfig(count=4, num_frames=3),
        rollout_steps=2,
        **COMMON,
    ),
    "video": VideoConfig(
        model=VideoModelConfig(stride=8, latent_channels=2, hidden_channels=2, num_blocks=1, predictor_channels=(2,)),
        data=VideoDataConfig(num_frames=4, batch_size=2),
        heads=HeadsConfig(num_steps=2, batch_size=2),
        rollout_steps=2,
        projector=(4,),
        **COMMON,
    ),
    "images": ImageConfig(
        model=ImageModelConfig(width=1, stem_stride=2),
        data=ImageDataConfig(batch_size=2),
        projector=(2,),
        **COMMON,
    ),
    "offline": OfflineConfig(
        method=MethodConfig(name="gcbc", latent_dim=4, hidden_dim=4, num_layers=1),
        data=DataConfig(dataset="two-rooms", num_frames=3, batch_size=2),
        **COMMON,
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name in (
        "world_model.validation.NUM_WINDOWS",
        "world_model.validation.NUM_SCENES",
        "world_model.training.NORMALIZATION_WINDOWS",
    ):
        monkeypatch.setattr(f"pretrain.{name}", 2)
    for name in ("offline.training.NUM_WINDOWS", "offline.training.NORMALIZATION_WINDOWS", "image.training.NUM_BANK"):
        monkeypatch.setattr(f"pretrain.{name}", 2)
    for name in ("video.training.NUM_VIDEOS", "video.training.NORMALIZATION_VIDEOS", "image.training.NUM_QUERIES"):
        monkeypatch.setattr(f"pretrain.{name}", 4)
    monkeypatch.setattr("pretrain.image.training.NORMALIZATION_IMAGES", 4)


def outcome(run: Path) -> dict[str, object]:
    """What a training run came to: its weights, how far it is, and its log but for the time."""
    state = load_training_state(run)
    return {
        "weights": hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest(),
        "steps": (state["step"], read_config(run, read_format(run))["training"]["step"]),
        "log": read_metrics(run),
        "files": sorted(path.name for path in run.iterdir()),
    }


@pytest.mark.parametrize("kind", RUNS)
def test_a_training_killed_before_any_file_operation_ends_as_if_it_had_not_been(tmp_path, kind):
    place = tmp_path / "place"

    def train() -> None:
        fit(replace(RUNS[kind], output=str(place / "run")))

    copies = killing.run(train, place)
    expected = outcome(place / "run")
    assert {CONFIG, WEIGHTS} < set(expected["files"])
    assert len(copies) > 20
    for where in killing.after_kills(copies, place, most=40):
        train()
        assert outcome(place / "run") == expected, where


def contents(folder: Path) -> dict[str, object]:
    """All that a dataset holds."""
    found: dict[str, object] = {}
    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        file.visititems(
            lambda name, item: found.__setitem__(name, item[()].tobytes() if isinstance(item, h5py.Dataset) else None)
        )
    return found


def test_a_collection_killed_before_any_file_operation_ends_as_if_it_had_not_been(tmp_path):
    place = tmp_path / "place"

    def gather() -> None:
        collect(
            CollectConfig(
                num_episodes=3, max_episode_steps=3, dataset_id="two/rooms-v0", root=place / "data", progress=False
            )
        )

    copies = killing.run(gather, place)
    expected = contents(place / "data" / "two" / "rooms-v0")
    assert len(expected) > 10
    for where in killing.after_kills(copies, place, most=60):
        refused = None
        try:
            gather()
        except FileExistsError as error:
            refused = str(error)
        # All was done already, if it was killed while it tidied up.
        assert refused is None or "exists already" in refused, where
        assert contents(place / "data" / "two" / "rooms-v0") == expected, where
        left = [
            path
            for path in (place / "data" / "two").iterdir()
            if path.name not in ("rooms-v0", "namespace_metadata.json")
        ]
        assert [path for path in left if not path.name.endswith(".lock")] == []
