"""Learning in imagination: what it changes, what it leaves alone, and that it learns to reach goals."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.imagination.objective import CALM, CRITIC_WEIGHT, Imagination
from worldmodel.jepa import JEPA
from worldmodel.nn.randomness import step_generator


class Plane(JEPA):
    """A world of two dimensions: latents are positions in [-1, 1]², actions move, and walls stop at its ends.

    With a context of 2 a state is the block of actions that was taken, the position before it, and the position.
    """

    frame_skip = 2
    latent_dim = 2
    block_dim = 4

    def __init__(self, context=1):
        nn.Module.__init__(self)  # none of a JEPA's networks
        self.context = context
        self.gain = nn.Parameter(torch.tensor(1.0))

    def predict(self, states, actions):
        here = states[:, -2:]
        moved = (here + self.gain * actions.unflatten(-1, (2, 2)).sum(-2)).clamp(-1.0, 1.0)
        return moved if self.context == 1 else torch.cat([actions, here, moved], -1)


def pairs(num: int = 16, seed: int = 0, context: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    places = 2 * torch.rand(2, num, 2, generator=generator) - 1
    states = places[0] if context == 1 else torch.cat([torch.zeros(num, 4), places[0], places[0]], -1)
    return states, places[1]


def make(context=1, **options) -> Imagination:
    torch.manual_seed(0)
    networks = ActorCritic(
        2, 4, (-0.1, -0.1), (0.1, 0.1), context=context, hidden_dim=32, discount=0.9, relative_scale=1.0
    )
    networks.fit(torch.full((2,), 0.1))
    return Imagination(Plane(context).requires_grad_(False), networks, **options)


def futures(imagination: Imagination, states, goals, action) -> torch.Tensor:
    """The discounted cost of an action and all that follows, step by step."""
    networks, total = imagination.actor_critic, torch.zeros(len(states))
    for k in range(imagination.imagined_steps):
        states = imagination.model.predict(states, torch.cat([action, action], -1))
        total = total + 0.9**k * networks.step_cost(states, goals)
        action = networks.policy(states, goals)
    return total + 0.9**imagination.imagined_steps * networks.cost_to_go(states, goals, imagination.target)


def test_the_model_stays_as_it_is():
    imagination = make()
    before = copy.deepcopy(imagination.model.state_dict())
    loss, _ = imagination(*pairs())
    loss.backward()
    assert all(parameter.grad is None for parameter in imagination.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in imagination.model.state_dict().items())
    assert all(parameter.grad is None for parameter in imagination.target.parameters())
    assert all(parameter.grad is not None for parameter in imagination.actor_critic.parameters())


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("imagined_steps", [1, 3])
@pytest.mark.parametrize("random_actions", [0, 2])
def test_the_loss_by_hand(context, imagined_steps, random_actions):
    """Imagined costs against a plain loop; targets are the least of the first actions'."""
    imagination = make(context, imagined_steps=imagined_steps, random_actions=random_actions, seed=3).eval()
    networks, (states, goals) = imagination.actor_critic, pairs(context=context)
    loss, metrics = imagination(states, goals, 5)
    raw = networks.proposal(states, goals)
    acted = futures(imagination, states, goals, networks.bounded(raw))
    tried = torch.randn(random_actions, 16, 2, generator=step_generator(states.device, 3, 5))
    others = [futures(imagination, states, goals, networks.bounded(one)) for one in tried]
    best = torch.stack([acted, *others]).amin(dim=0).detach()
    critic = torch.stack(
        [F.binary_cross_entropy_with_logits(one, best / 10.0) for one in networks.logits(states, goals)]
    ).mean()
    torch.testing.assert_close(metrics["critic"], critic.detach())
    torch.testing.assert_close(metrics["actor"], acted.mean().detach())
    torch.testing.assert_close(metrics["random_better"], (best < acted - 1e-6).float().mean())
    costs = 10.0 * torch.sigmoid(networks.logits(states, goals))
    torch.testing.assert_close(metrics["cost_to_go"], costs.mean().detach())
    torch.testing.assert_close(loss, CRITIC_WEIGHT * critic + acted.mean() + CALM * raw.square().mean())


def test_the_actors_loss_does_not_teach_the_critics():
    """The critics' gradient is that of their own loss alone, and the actor's that of its own."""
    imagination = make().eval()
    networks, (states, goals) = imagination.actor_critic, pairs()
    loss, _ = imagination(states, goals)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in networks.named_parameters()}
    raw = networks.proposal(states, goals)
    acted = futures(imagination, states, goals, networks.bounded(raw))
    tried = torch.randn(2, 16, 2, generator=step_generator(states.device, 0, 0))
    others = [futures(imagination, states, goals, networks.bounded(one)) for one in tried]
    share = (torch.stack([acted, *others]).amin(dim=0).detach() / 10.0).expand(2, -1)
    critic = CRITIC_WEIGHT * F.binary_cross_entropy_with_logits(networks.logits(states, goals), share)
    own = {"critics": critic, "actor": acted.mean() + CALM * raw.square().mean()}
    for part, value in own.items():
        names = [name for name in found if name.startswith(part)]
        gradients = torch.autograd.grad(value, [networks.get_parameter(name) for name in names], retain_graph=True)
        for name, expected in zip(names, gradients, strict=True):
            torch.testing.assert_close(found[name], expected)


def test_the_actor_learns_through_all_imagined_steps():
    """The gradient is that of finite differences: it goes through all states, and all that the actor does in them."""
    imagination = make(imagined_steps=3)
    states, goals = torch.tensor([[-0.2, 0.1], [0.3, -0.4]]), torch.zeros(2, 2)
    action = torch.full((2, 2), 0.02, requires_grad=True)
    (gradient,) = torch.autograd.grad(imagination._future_cost(states, goals, action).sum(), action)
    for i in range(2):
        moved = torch.zeros(2, 2)
        moved[:, i] = 1e-3
        with torch.no_grad():
            high, low = (imagination._future_cost(states, goals, action + sign * moved) for sign in (1, -1))
        torch.testing.assert_close((high - low) / 2e-3, gradient[:, i], rtol=0.02, atol=0.01)


def test_the_target_follows_slowly_and_only_in_training():
    imagination = make(target_rate=0.25)
    with torch.no_grad():
        for parameter in imagination.actor_critic.critics.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in imagination.target.parameters()]
    imagination.eval()(*pairs())
    assert all(torch.equal(a, b) for a, b in zip(before, imagination.target.parameters(), strict=True))
    imagination.train()(*pairs())
    for a, b in zip(before, imagination.target.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.25)


def test_the_step_and_the_seed_select_the_random_actions():
    def losses(seed):
        imagination = make(random_actions=4, seed=seed).eval()
        return [imagination(*pairs(), step)[0].item() for step in (0, 0, 1)]

    first, other = losses(0), losses(1)
    assert first[0] == first[1] != first[2]
    assert first[0] != other[0]


def test_random_actions_can_only_lower_the_critics_targets():
    without, with_ = make(random_actions=0).eval(), make(random_actions=16).eval()
    metrics = [imagination(*pairs(64))[1] for imagination in (without, with_)]
    assert metrics[0]["random_better"] == 0.0
    assert metrics[1]["random_better"] > 0.3  # an untrained actor is easily beaten
    assert metrics[0]["actor"] == metrics[1]["actor"]


def test_each_pair_has_random_actions_of_its_own():
    imagination = make(random_actions=1)
    states, goals = torch.zeros(64, 2), torch.full((64, 2), 0.3)
    assert len(imagination._explore(states, goals, 0).unique()) > 32


def test_an_actor_is_kept_off_the_bounds_of_its_actions():
    """Where all actions are as good, what is left of the loss draws its output to where there is a gradient."""
    imagination = make(random_actions=0).eval()
    states, goals = torch.zeros(8, 2), torch.full((8, 2), 50.0)
    with torch.no_grad():
        imagination.actor_critic.actor[-1].weight.zero_()
        imagination.actor_critic.actor[-1].bias.fill_(5.0)
    imagination(states, goals)[0].backward()
    assert bool((imagination.actor_critic.actor[-1].bias.grad > 0).all())


def reached(imagination: Imagination) -> float:
    """Share of goals that the actor comes near to in 25 steps."""
    here, goal = pairs(64, seed=9, context=imagination.model.context)
    with torch.no_grad():
        for _ in range(25):
            here = imagination.model.predict(here, imagination.actor_critic.policy(here, goal).repeat(1, 2))
    return float(((here[:, -2:] - goal).norm(dim=-1) < 0.15).float().mean())


@pytest.mark.parametrize("context", [1, 2])
def test_it_learns_to_reach_goals_and_how_far_they_are(context):
    imagination = make(context)
    assert reached(imagination) < 0.2
    optimizer = torch.optim.Adam(imagination.actor_critic.parameters(), lr=3e-3)
    for step in range(300):
        loss, _ = imagination(*pairs(128, seed=100 + step, context=context), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert reached(imagination) > 0.9
    goal = torch.zeros(1, 2)
    costs = []
    for x in (0.0, 0.3, 0.6, 0.9):
        place = torch.tensor([[x, 0.0]])
        state = place if context == 1 else torch.cat([torch.zeros(1, 4), place, place], -1)
        costs.append(imagination.actor_critic.cost_to_go(state, goal).item())
    assert costs == sorted(costs)
    # Every step covers 0.2: so many steps at a cost of nearly 1 each, discounted.
    assert costs[3] == pytest.approx(sum(0.9**k for k in range(4)), rel=0.3)
