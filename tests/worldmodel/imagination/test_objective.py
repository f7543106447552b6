"""Learning in imagination: what it changes, what it leaves alone, and that it learns to reach goals."""

import copy

import pytest
import torch
from torch import nn

from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.imagination.objective import Imagination
from worldmodel.jepa import JEPA


class Plane(JEPA):
    """A world of two dimensions: latents are positions in [-1, 1]², actions move, and walls stop at its ends."""

    frame_skip = 2
    context = 1
    latent_dim = 2

    def __init__(self):
        nn.Module.__init__(self)  # none of a JEPA's networks
        self.gain = nn.Parameter(torch.tensor(1.0))

    def encode(self, pixels):
        return self.gain * (pixels[..., 0, 0, :2].float() / 127.5 - 1.0)

    encode_video = encode

    def predict(self, latents, actions):
        moved = latents + self.gain * actions.unflatten(-1, (2, 2)).sum(-2)
        return moved.clamp(-1.0, 1.0)


def scenes(num, images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(num, images, 1, 1, 2, 2, dtype=torch.uint8)
    pixels[..., 0, 0, 0, :] = torch.randint(0, 256, (num, images, 2), generator=generator, dtype=torch.uint8)
    return pixels


def make(**options) -> Imagination:
    torch.manual_seed(0)
    networks = ActorCritic(2, (-0.1, -0.1), (0.1, 0.1), hidden_dim=32, discount=0.9, distance_scale=0.01)
    return Imagination(Plane().requires_grad_(False), networks, **options)


def test_the_model_stays_as_it_is():
    imagination = make()
    before = copy.deepcopy(imagination.model.state_dict())
    loss, _ = imagination(scenes(4, 4))
    loss.backward()
    assert all(parameter.grad is None for parameter in imagination.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in imagination.model.state_dict().items())
    assert all(parameter.grad is None for parameter in imagination.target.parameters())
    assert all(parameter.grad is not None for parameter in imagination.actor_critic.parameters())


def test_an_actor_stuck_at_the_bounds_follows_random_actions_that_are_better():
    """Where the bounds have taken its gradient, imitation alone brings it back."""
    share = {}
    for weight in (0.0, 1.0):
        imagination = make(random_actions=2, imitation_weight=weight)
        last = imagination.actor_critic.actor[-1]
        with torch.no_grad():
            last.bias.copy_(torch.tensor([8.0, 8.0]))
        optimizer = torch.optim.Adam(imagination.actor_critic.parameters(), lr=1e-2)
        for step in range(300):
            loss, metrics = imagination(scenes(16, 8, seed=step), step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        share[weight] = float(metrics["random_better"])
    assert share[1.0] < 0.15 < 0.3 < share[0.0]


def test_imitation_counts_better_random_actions_alone():
    """Its loss is the squared difference before the bounds, over pairs for which the random action was better."""
    losses = {}
    for weight in (0.0, 2.0):
        imagination = make(imitation_weight=weight).eval()
        losses[weight] = imagination(scenes(4, 4), 5)
    with torch.no_grad():
        latents = imagination.model.encode(scenes(4, 4))[:, :, 0]
        goals = torch.stack([latents.roll(-j, dims=1) for j in (1, 2)], dim=2)
        cost, tried = imagination._explore(latents, goals, 5)
        raw = imagination.actor_critic.proposal(latents[:, :, None].expand_as(goals), goals)
        moved = imagination._imagine(latents[:, :, None].expand_as(goals), imagination.actor_critic.bounded(raw))
        better = (cost < imagination._future_cost(moved, goals)).float()
        expected = 2.0 * (better * (raw - tried).square().mean(-1)).mean()
    assert 0 < better.mean() < 1
    torch.testing.assert_close(losses[2.0][0] - losses[0.0][0], expected)


def test_the_actors_loss_does_not_teach_the_critic():
    """The critic's gradient is that of its own loss alone."""
    imagination = make(random_actions=0)
    loss, metrics = imagination(scenes(4, 4))
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in imagination.actor_critic.critic.parameters()]
    pixels = scenes(4, 4)
    networks = imagination.actor_critic
    with torch.no_grad():
        latents = imagination.model.encode(pixels[:, :, 0])
        goals = torch.stack([latents.roll(-1, 1), latents.roll(-2, 1)], 2)
        starts = latents[:, :, None].expand_as(goals)
        action = networks.policy(starts, goals)
        reached = imagination.model.predict(starts.flatten(0, 2), action.flatten(0, 2).repeat(1, 2)).view(goals.shape)
        # In training mode the target has moved a little towards the critic, which it equals at the start.
        wanted = networks.step_cost(reached, goals) + 0.9 * networks.cost_to_go(reached, goals)
    own = (networks.cost_to_go(starts, goals) - wanted).square().mean()
    for expected, found in zip(torch.autograd.grad(own, networks.critic.parameters()), gradients, strict=True):
        torch.testing.assert_close(found, expected)
    assert float(metrics["critic"]) == pytest.approx(own.item())


def test_the_target_follows_slowly_and_only_in_training():
    imagination = make(target_rate=0.25)
    with torch.no_grad():
        for parameter in imagination.actor_critic.critic.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in imagination.target.parameters()]
    imagination.eval()(scenes(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(before, imagination.target.parameters(), strict=True))
    imagination.train()(scenes(2, 4))
    for a, b in zip(before, imagination.target.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.25)


def test_the_step_selects_the_random_actions():
    imagination = make(random_actions=4).eval()
    losses = [imagination(scenes(4, 4), step)[0].item() for step in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_random_actions_can_only_lower_the_critics_targets():
    without, with_ = make(random_actions=0).eval(), make(random_actions=16).eval()
    pixels = scenes(8, 4)
    metrics = [imagination(pixels)[1] for imagination in (without, with_)]
    assert metrics[0]["random_better"] == 0.0
    assert metrics[1]["random_better"] > 0.3  # an untrained actor is easily beaten
    assert metrics[0]["actor"] == metrics[1]["actor"]


def test_a_scene_must_have_more_images_than_goals():
    with pytest.raises(ValueError, match=r"more images than goals_per_image \(2\), got 2"):
        make()(scenes(3, 2))


def reached(imagination: Imagination) -> float:
    """Share of goals that the actor comes near to in 25 steps."""
    latents = imagination.model.encode(scenes(64, 2, seed=9)[:, :, 0])
    here, goal = latents[:, 0], latents[:, 1]
    with torch.no_grad():
        for _ in range(25):
            here = imagination.model.predict(here, imagination.actor_critic.policy(here, goal).repeat(1, 2))
    return float(((here - goal).norm(dim=-1) < 0.15).float().mean())


def test_it_learns_to_reach_goals_and_how_far_they_are():
    imagination = make()
    assert reached(imagination) < 0.2
    optimizer = torch.optim.Adam(imagination.actor_critic.parameters(), lr=3e-3)
    for step in range(400):
        loss, _ = imagination(scenes(16, 8, seed=100 + step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert reached(imagination) > 0.9
    goal = torch.zeros(1, 2)
    costs = [imagination.actor_critic.cost_to_go(torch.tensor([[x, 0.0]]), goal).item() for x in (0.0, 0.3, 0.6, 0.9)]
    assert costs == sorted(costs)
    # Every step covers 0.2: so many steps at a cost of nearly 1 each, discounted.
    assert costs[3] == pytest.approx(sum(0.9**k for k in range(4)), rel=0.3)
