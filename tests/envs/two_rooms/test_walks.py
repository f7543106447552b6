"""PLDM's trajectories: one layout, walks through the doorway, and none that crosses where none may."""

import numpy as np
import pytest

from envs.two_rooms.layouts import PLDM_LAYOUT
from envs.two_rooms.physics import is_free, step
from envs.two_rooms.simulation.states import TwoRoomsSimulation
from envs.two_rooms.simulation.walks import REFERENCE_STEPS, crosses, draw_until

RECIPES = ("pldm", "pldm-no-crossings")


def draw(recipe, count=600, num_steps=REFERENCE_STEPS, seed=0, **kwargs):
    return TwoRoomsSimulation().trajectories(np.random.default_rng(seed), count, num_steps, recipe=recipe, **kwargs)


def extremes(trajectories):
    x = trajectories.positions[..., 0]
    return x.min(1), x.max(1)


def test_without_crossings_nobody_crosses_and_some_visit_the_doorway_from_either_side():
    smallest, largest = extremes(draw("pldm-no-crossings"))
    assert not ((smallest < 31) & (largest > 33)).any()
    from_left = (smallest < 31) & (largest > 31) & (largest < 33)
    from_right = (largest > 33) & (smallest > 31) & (smallest < 33)
    assert from_left.mean() > 0.02
    assert from_right.mean() > 0.02
    # Both rooms are seen equally often.
    assert (largest < 33).mean() == pytest.approx(0.5, abs=0.06)


def test_a_third_of_the_good_data_cross():
    smallest, largest = extremes(draw("pldm", count=1000))
    assert ((smallest < 31) & (largest > 33)).mean() == pytest.approx(0.35, abs=0.05)


def test_short_windows_are_of_trajectories_that_never_cross():
    """A window's trajectory has 91 positions, however few of them are shown."""
    whole = draw("pldm-no-crossings", count=50)
    for num_steps in (1, 16, 88):
        window = draw("pldm-no-crossings", count=50, num_steps=num_steps)
        places = np.lib.stride_tricks.sliding_window_view(whole.positions, num_steps + 1, axis=1)  # (50, W, 2, S + 1)
        found = (places.swapaxes(2, 3) == window.positions[:, None]).all((2, 3)).any(1)
        assert found.all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("layout_set", ["train", "validation", "held-out"])
def test_all_are_in_the_one_layout(recipe, layout_set):
    drawn = draw(recipe, count=8, num_steps=4, layout_set=layout_set, per_layout=3)
    assert drawn.layout.tolist() == [[32, 10]] * 8


@pytest.mark.parametrize("recipe", RECIPES)
def test_steps_are_the_environments(recipe):
    positions, actions, _ = draw(recipe, count=200)
    layout = PLDM_LAYOUT.broadcast((200,))
    assert is_free(positions[:, 0], layout).all()
    blocked = 0
    for t in range(REFERENCE_STEPS):
        moved = step(positions[:, t], actions[:, t], layout)
        np.testing.assert_array_equal(moved.positions, positions[:, t + 1])
        blocked += int(moved.blocked.sum())
    assert blocked > 0
    lengths = np.linalg.norm(actions, axis=-1)
    assert lengths.min() >= 0.2 - 1e-6
    assert lengths.max() <= 1.8 + 1e-6
    assert lengths.mean() == pytest.approx(1.0, abs=0.01)
    turns = np.diff(np.arctan2(actions[..., 1], actions[..., 0]), axis=1)
    assert np.cos(turns).mean() == pytest.approx(0.893, abs=0.005)  # I₁(5) / I₀(5): von Mises of concentration 5


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_trajectories(recipe):
    first, again, other = (draw(recipe, count=20, num_steps=16, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.positions, other.positions)


def test_most_scenes_of_a_few_trajectories_show_both_rooms():
    """Goals elsewhere in a scene are images of its other trajectories: some must lie across the wall."""
    start = draw("pldm-no-crossings", count=8 * 50, per_layout=8).positions[:, 0, 0].reshape(50, 8)
    both = (start < 32).any(1) & (start > 32).any(1)
    assert both.mean() > 0.9


@pytest.mark.parametrize(
    ("x", "crossing"),
    [
        ((20, 30, 32, 30), False),
        ((20, 32, 33), False),
        ((40, 31), False),
        ((32, 32), False),
        ((30.9, 33.1), True),
        ((40, 32, 30, 40), True),
    ],
)
def test_who_crosses_has_been_beyond_both_faces_of_the_wall(x, crossing):
    positions = np.stack([np.array(x, dtype=float), np.full(len(x), 10.0)], -1)
    assert crosses(positions[None], PLDM_LAYOUT.broadcast((1,))).tolist() == [crossing]


@pytest.mark.parametrize("recipe", [*RECIPES, "reference"])
def test_windows_fit_into_a_trajectory(recipe):
    with pytest.raises(ValueError, match=f"a window of the {recipe} recipe must fit in 90 steps, got 91"):
        draw(recipe, count=1, num_steps=91)


@pytest.mark.parametrize("recipe", RECIPES)
def test_trials_are_in_the_layout_of_the_recipe(recipe):
    trials = TwoRoomsSimulation().trials(np.random.default_rng(0), "validation", recipe)
    for name in ("walks_through_walls", "refuses_doors"):
        assert np.unique(trials[name].layout, axis=0).tolist() == [[32, 10]]
    along = trials["walks_through_walls"].positions[:, 1]
    assert (np.abs(along - 10) > 4).all()
    assert (
        len(np.unique(TwoRoomsSimulation().trials(np.random.default_rng(0), "validation")["refuses_doors"].layout)) > 9
    )
    with pytest.raises(ValueError, match=r"recipe must be one of 'wall-rich', .*, got 'uniform'"):
        TwoRoomsSimulation().trials(np.random.default_rng(0), "validation", "uniform")


@pytest.mark.parametrize("spare", [1, 3])
def test_what_is_not_accepted_is_drawn_again(spare):
    """The rest stays as it was drawn first, whatever is drawn again; rows of all arrays go together."""
    rng = np.random.default_rng(0)
    drawn = []

    def numbers(layout):
        values = rng.integers(10, size=len(layout.wall))
        drawn.append(values)
        return values, -values

    values, negative = draw_until(lambda values, layout: values >= 5, numbers, PLDM_LAYOUT.broadcast((40,)), spare)
    assert (values >= 5).all()
    assert np.array_equal(negative, -values)
    first = drawn[0].reshape(40, spare)
    accepted = first >= 5
    chosen = first[np.arange(40), accepted.argmax(1)]
    assert np.array_equal(values[accepted.any(1)], chosen[accepted.any(1)])
    assert len(drawn[1]) == spare * (~accepted.any(1)).sum()
