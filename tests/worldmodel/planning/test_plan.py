import pytest
import torch

from worldmodel.planning import CEM, ICEM, MPPI, ActionBounds, Planner, SearchOptions, shift, warm_start


def test_shift_by_hand():
    actions = torch.arange(5.0).view(1, 5, 1)
    assert shift(actions, 0).flatten().tolist() == [0, 1, 2, 3, 4]
    assert shift(actions, 2).flatten().tolist() == [2, 3, 4, 4, 4]
    assert shift(actions, 2, fill="zeros").flatten().tolist() == [2, 3, 4, 0, 0]
    assert shift(actions, 9).flatten().tolist() == [4, 4, 4, 4, 4]
    assert shift(actions[:, :1], 1, fill="zeros").flatten().tolist() == [0]


def test_wrong_shifts_are_explained():
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        shift(torch.zeros(1, 2, 1), -1)
    with pytest.raises(ValueError, match="fill must be one of 'last', 'zeros', got 'first'"):
        shift(torch.zeros(1, 2, 1), 1, fill="first")


@pytest.mark.parametrize("execute", ["best", "mean"])
@pytest.mark.parametrize("keep_elites", [0.0, 0.5])
def test_a_warm_start_holds_the_plan_and_its_kept_elites_once(execute, keep_elites):
    bounds = ActionBounds([-1.0], [1.0])
    options = SearchOptions(horizon=4, num_samples=16, num_elites=6, keep_elites=keep_elites, execute=execute)
    generators = [torch.Generator().manual_seed(0)]
    plan = CEM(bounds=bounds, options=options).plan(lambda a: a.sum((2, 3)), init=None, generators=generators)
    carried = warm_start(plan, 1)
    expected = {("best", 0.0): 1, ("best", 0.5): 3, ("mean", 0.0): 1, ("mean", 0.5): 4}[execute, keep_elites]
    assert carried.shape == (1, expected, 4, 1)
    assert torch.equal(carried[:, 0, :3], plan.actions[:, 1:])
    assert len(torch.unique(carried[0, :, :, 0], dim=0)) == expected


@pytest.mark.parametrize("kind", [MPPI, CEM, ICEM])
def test_planners_follow_the_protocol(kind):
    planner = kind(bounds=ActionBounds([-1.0], [1.0]))
    assert isinstance(planner, Planner)
    assert planner.horizon == 3
