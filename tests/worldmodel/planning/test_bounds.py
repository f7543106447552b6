import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from worldmodel.planning import ActionBounds


@given(
    seed=st.integers(0, 2**32),
    dim=st.integers(1, 4),
    block=st.integers(1, 3),
    max_norm=st.one_of(st.none(), st.floats(0.01, 5.0)),
    size=st.floats(0.0, 100.0),
)
def test_projected_actions_are_allowed_and_allowed_ones_stay(seed, dim, block, max_norm, size):
    generator = torch.Generator().manual_seed(seed)
    low, high = -torch.rand(dim, generator=generator), 3 * torch.rand(dim, generator=generator)
    bounds = ActionBounds(low, high, max_norm, block=block)
    actions = size * torch.randn(5, 6, dim * block, generator=generator)
    before = actions.clone()
    projected = bounds.project(actions)
    assert torch.equal(actions, before)
    parts = projected.unflatten(-1, (block, dim))
    assert ((parts >= low) & (parts <= high)).all()
    if max_norm is not None:
        assert parts.norm(dim=-1).max() <= max_norm * (1 + 1e-6)
    torch.testing.assert_close(bounds.project(projected), projected)


def test_long_actions_are_scaled_not_cut():
    bounds = ActionBounds([-3.0, -3.0], [3.0, 3.0], 2.5)
    torch.testing.assert_close(bounds.project(torch.tensor([[6.0, 8.0]])), torch.tensor([[1.5, 2.0]]))


def test_the_norm_bounds_each_action_of_a_block():
    bounds = ActionBounds([-9.0, -9.0], [9.0, 9.0], 1.0, block=2)
    projected = bounds.project(torch.tensor([[0.6, 0.0, 0.0, 5.0]]))
    torch.testing.assert_close(projected, torch.tensor([[0.6, 0.0, 0.0, 1.0]]))
    assert (bounds.action_dim, bounds.env_action_dim) == (4, 2)


def test_unbounded_sides_leave_actions_alone():
    bounds = ActionBounds([-float("inf")], [float("inf")])
    assert bounds.radius == float("inf")
    assert bounds.project(torch.tensor([[1e6]])).item() == 1e6


def test_radius_is_the_tighter_of_both_bounds():
    assert ActionBounds([-2.0, -1.0], [2.0, 1.0]).radius == 2.0
    assert ActionBounds([-2.0, -1.0], [2.0, 1.0], 0.5).radius == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": [0.0], "high": [1.0, 2.0]}, r"low and high must have one shape .*got \(1,\) and \(2,\)"),
        ({"low": [], "high": []}, r"must have one shape"),
        ({"low": [1.0], "high": [0.0]}, r"low must not exceed high, got \[1.0\] and \[0.0\]"),
        ({"low": [float("nan")], "high": [0.0]}, r"low must not exceed high"),
        ({"low": [-1.0], "high": [1.0], "max_norm": 0.0}, r"max_norm must be positive or None, got 0.0"),
        ({"low": [0.5], "high": [1.0], "max_norm": 2.0}, r"max_norm needs a box that contains 0"),
        ({"low": [-1.0], "high": [1.0], "block": 0}, r"block must be at least 1, got 0"),
    ],
)
def test_wrong_bounds_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        ActionBounds(**arguments)


def test_wrong_dimension_is_explained():
    with pytest.raises(ValueError, match=r"actions must have 2 as last dimension, got shape \(4, 3\)"):
        ActionBounds([-1.0, -1.0], [1.0, 1.0]).project(torch.zeros(4, 3))
