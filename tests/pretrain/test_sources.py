"""What a configuration names is opened with all that it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain.data.config import DataConfig
from pretrain.data.recorded.cache import StoredFrames
from pretrain.sources import build_sources, data_spec
from recordings import episodes, write_ogbench, write_stable_worldmodel
from worldmodel.config import ConfigError, from_json, parse, to_json

CPU = torch.device("cpu")


def test_recorded_data_is_opened_once_with_its_options(tmp_path):
    config = DataConfig(
        dataset=str(write_ogbench(tmp_path, episodes())),
        num_frames=3,
        size=(16,),
        in_memory="no",
        cache=str(tmp_path / "frames"),
        validation_fraction=0.5,
    )
    train, validation = build_sources(config, 2, CPU, context=2)
    assert train.data is validation.data
    assert not set(train.episodes) & set(validation.episodes)
    assert isinstance(train.data.frames, StoredFrames)
    assert (tmp_path / "frames").is_dir()
    assert train.sample(5, np.random.default_rng(0)).pixels.shape == (5, 4, 3, 16, 16)
    spec = data_spec(train)
    assert (spec.pixel_shape, spec.action_dim) == ((3, 16, 16), 2)
    assert build_sources(replace(config, size=(16, 32)), 2, CPU)[0].pixel_shape == (3, 16, 32)


def test_simulated_data_gets_its_history():
    train, validation = build_sources(DataConfig(dataset="two-rooms", num_frames=3), 2, CPU, context=3)
    for source in (train, validation):
        assert source.sample(2, np.random.default_rng(0)).pixels.shape == (2, 5, 2, 65, 65)


def test_options_come_from_arguments_and_back_from_json():
    words = "--dataset walk.h5 --image pixels --axes HWC --channels 3 --size 64 96 --in-memory no --leave-out"
    config = parse(DataConfig, words.split(), prog="x", description="")
    assert (config.size, config.channels, config.axes, config.leave_out) == ((64, 96), 3, "HWC", True)
    assert from_json(DataConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": "HCW"}, r"axes must be one of HW, HWC, CHW, SHW, HWS, SHWC, SCHW, got 'HCW'"),
        ({"size": (1, 2, 3)}, r"size must be one side, or height and width, got \(1, 2, 3\)"),
        ({"size": (0,)}, r"size\[0\] must be at least 1, got 0"),
        ({"channels": 5}, r"channels must be at most 4, got 5"),
        ({"in_memory": "maybe"}, r"in_memory must be one of 'auto', 'yes', 'no', got 'maybe'"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields, message, without_type_checks):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**fields)


def test_recipes_are_not_for_recorded_data(tmp_path):
    config = DataConfig(dataset=str(write_stable_worldmodel(tmp_path, episodes())), recipe="wall-rich")
    with pytest.raises(ConfigError, match=r"data\.recipe must be left out for recorded data .*, got 'wall-rich'"):
        build_sources(config, 2, CPU)


def test_large_images_are_pointed_out(tmp_path, caplog):
    data = [(np.zeros((len(frames), 300, 300, 3), np.uint8), actions) for frames, actions in episodes()]
    config = DataConfig(dataset=str(write_ogbench(tmp_path, data)), num_frames=2)
    assert build_sources(config, 1, CPU)[0].pixel_shape == (3, 300, 300)
    assert "are 300 × 300; data.size makes them smaller" in caplog.text
    assert build_sources(replace(config, size=(64,)), 1, CPU)[0].pixel_shape == (3, 64, 64)
