import pytest
import torch

from worldmodel.planning import ActionBounds, Planner, ProposalPlanner


def cost(actions):
    return actions.square().sum((-1, -2))


def test_what_is_proposed_is_executed_within_the_bounds():
    bounds = ActionBounds([-1.0, -1.0], [1.0, 1.0], 1.0)
    planner = ProposalPlanner(bounds=bounds)
    assert isinstance(planner, Planner)
    assert planner.horizon == 1
    proposals = torch.tensor([[[3.0, 4.0]], [[0.0, -0.25]]])  # (2, 1, 2)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    plan = planner.plan(cost, init=proposals, generators=generators, record=True)
    torch.testing.assert_close(plan.actions, torch.tensor([[[0.6, 0.8]], [[0.0, -0.25]]]))
    torch.testing.assert_close(plan.cost, torch.tensor([1.0, 0.0625]))
    assert plan.elites.shape == (2, 0, 1, 2)
    assert plan.num_iterations.tolist() == [0, 0]
    assert plan.trace.candidates[0].shape == (2, 1, 1, 2)
    assert plan.select(1).actions.shape == (1, 1, 2)


def test_costs_are_not_asked_for_unless_recorded():
    def refuse(actions):
        raise AssertionError("no cost is needed")

    planner = ProposalPlanner(bounds=ActionBounds([-1.0], [1.0]))
    plan = planner.plan(refuse, init=torch.zeros(2, 1, 1), generators=[torch.Generator()] * 2)
    assert plan.cost.isnan().all()
    assert plan.trace.best.isnan().all()
    assert plan.trace.candidates is None


def test_of_several_proposals_the_first_is_executed():
    planner = ProposalPlanner(bounds=ActionBounds([-1.0], [1.0]))
    plan = planner.plan(cost, init=torch.tensor([[[[0.5]], [[0.0]]]]), generators=[torch.Generator()])
    assert plan.actions.item() == 0.5


def test_nothing_proposed_is_explained():
    planner = ProposalPlanner(bounds=ActionBounds([-1.0], [1.0]))
    with pytest.raises(ValueError, match="init must hold a proposed plan for each environment, got None"):
        planner.plan(cost, init=None, generators=[torch.Generator()])
