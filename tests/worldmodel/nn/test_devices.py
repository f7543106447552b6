"""Devices and memory are asked for before anything is begun."""

import pytest
import torch
from torch import nn

from pretrain.loop.memory import built
from worldmodel.build import ModelConfig, build_model
from worldmodel.nn.devices import available_devices, check_device, num_parameter_bytes, require_memory


def test_this_machines_devices_are_known():
    assert "cpu" in available_devices()
    assert all(check_device(name) == torch.device(name) for name in available_devices())
    assert check_device("cpu:0") == torch.device("cpu:0")


@pytest.mark.parametrize("name", ["foo", "cuda:99", "", "cpu:1", "meta"])
def test_another_device_is_named(name):
    with pytest.raises(ValueError, match=f"device must be one of 'cpu'.* on this machine, got '{name}'"):
        check_device(name)


def test_parameters_are_counted_without_being_made():
    assert num_parameter_bytes(lambda: nn.Linear(10, 5)) == 4 * 55
    assert num_parameter_bytes(lambda: nn.Linear(10**6, 10**6)) == 4 * (10**12 + 10**6)


def test_what_cannot_fit_is_refused_with_its_size():
    require_memory(1.0, "a byte")
    with pytest.raises(ValueError, match=r"a moon must fit into memory, got 1e\+03 EB for .* that are free"):
        require_memory(1e21, "a moon")


def test_counting_draws_no_random_numbers(checkpoint_data):
    """A model's first weights are what they were before it was counted first."""
    torch.manual_seed(0)
    counted = built(lambda: build_model(ModelConfig(latent_dim=4), checkpoint_data), "a model")
    torch.manual_seed(0)
    plain = build_model(ModelConfig(latent_dim=4), checkpoint_data)
    assert all(torch.equal(a, b) for a, b in zip(counted.parameters(), plain.parameters(), strict=True))


@pytest.fixture
def checkpoint_data():
    from worldmodel.build import DataSpec

    return DataSpec(pixel_shape=(1, 16, 16), action_dim=1, action_low=(-1.0,), action_high=(1.0,))
