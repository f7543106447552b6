"""Datasets that are collected here, where nothing of this project can be imported."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pretrain.collection.collect import CollectConfig, collect

ALONE = """
import sys
from importlib.machinery import PathFinder
find, there = PathFinder.find_spec, {*sys.argv[1].split(","), *sys.stdlib_module_names}
sys.meta_path[:] = [finder for finder in sys.meta_path if "frozen" in finder.__module__]  # none of editable installs

def find_spec(name, path=None, target=None):
    return find(name, path, target) if name.partition(".")[0] in there else None

PathFinder.find_spec = find_spec
"""
"""The beginning of a program for which nothing but some packages, and Python, is installed."""
READ = """
import json, minari
dataset = minari.load_dataset(sys.argv[2])
episodes = [
    {
        "seen": {key: [str(values.dtype), values.sum().item()] for key, values in episode.observations.items()},
        "actions": episode.actions.sum().item(),
        "successes": episode.infos["is_success"].tolist(),
        "in the spaces": all(map(dataset.action_space.contains, episode.actions)),
        "truncated": episode.truncations.tolist(),
    }
    for episode in dataset
]
for absent in ("envs", "worldmodel", "agents", "pretrain", "torch", "pygame", "stable_baselines3"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{absent} can be imported")
print(json.dumps([dataset.spec.env_spec.id, dataset.total_steps, episodes]))
"""
MINARI = (
    *("minari", "gymnasium", "farama_notifications", "numpy", "cloudpickle", "h5py", "PIL", "packaging"),
    *("typing_extensions", "typing_inspection", "pydantic", "pydantic_core", "annotated_types"),
    *("typer", "click", "rich", "markdown_it", "mdurl", "pygments", "shellingham", "annotated_doc", "colorama"),
)
"""What ``pip install "minari[hdf5]" pillow`` brings, as modules."""


@pytest.mark.parametrize(
    ("env_id", "settings"), [("TwoRooms-v0", {}), ("TwoRooms-v0", {"observation": "pixels"}), ("Pillars-v0", {})]
)
def test_minari_alone_reads_what_was_collected(env_id, settings, tmp_path):
    config = CollectConfig(
        env_id=env_id,
        env_kwargs=settings,
        num_episodes=2,
        max_episode_steps=4,
        dataset_id="some/data-v0",
        root=tmp_path / "datasets",
        progress=False,
    )
    dataset = collect(config)
    away = tmp_path / "away"
    away.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE + READ, ",".join(MINARI), "some/data-v0"],
        cwd=away,
        env=environment | {"MINARI_DATASETS_PATH": str(tmp_path / "datasets")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    name, steps, episodes = json.loads(done.stdout)
    assert (name, steps) == (env_id, 8)
    for episode, found in zip(dataset, episodes, strict=True):
        assert found["seen"] == {
            key: [str(values.dtype), values.sum().item()] for key, values in episode.observations.items()
        }
        assert found["actions"] == episode.actions.sum().item()
        assert found["successes"] == np.asarray(episode.infos["is_success"]).tolist()
        assert found["in the spaces"]
        assert found["truncated"] == [False] * 3 + [True]
