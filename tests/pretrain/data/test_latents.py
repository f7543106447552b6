"""Encoded episodes: what is drawn from them is what was recorded, and goals lie where they are said to."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from envs.two_rooms.simulation.states import TwoRoomsSimulation
from envs.two_rooms.task import image_positions
from pretrain.data.latents import GoalMix, LatentEpisodes, TrajectoriesConfig, encode_episodes
from pretrain.data.simulated import SimulatedWindows
from pretrain.data.windows import WindowBatch, WindowSource
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.config import ConfigError
from worldmodel.jepa import JEPA
from worldmodel.nn.normalize import Normalizer

SKIP = 2
IDLE = -7.0
"""The average action."""


class Numbered:
    """Episodes whose images and actions say of which episode they are, and of which step.

    Args:
        lengths: Environment steps of each episode.
        every: Shows every so many-th image, as simulations do, with blocks of so many actions between them.
    """

    num_frames, frame_skip, context = 2, SKIP, 1
    pixel_shape, action_dim = (2, 1, 1), 1
    action_low, action_high, action_max_norm = (-1e3,), (1e3,), None
    simulation = None

    def __init__(self, lengths: Sequence[int], every: int = 1) -> None:
        self.lengths, self.every = lengths, every
        self.longest = None if every > 1 else max(lengths)

    def sample(self, batch_size: int, generator: np.random.Generator, per_scene: int = 1) -> WindowBatch:
        raise NotImplementedError

    def whole_episodes(
        self, count: int, num_frames: int, per_scene: int, generator: np.random.Generator
    ) -> Iterator[WindowBatch]:
        for episode, length in enumerate(self.lengths):
            time = torch.arange(0, length + 1, self.every)
            pixels = torch.stack([torch.full_like(time, episode), time], -1).to(torch.uint8)
            actions = action_at(episode, torch.arange(length)).view(1, len(time) - 1, -1)
            yield WindowBatch(pixels[None, :, :, None, None], actions)


def action_at(episode: int, time: torch.Tensor) -> torch.Tensor:
    return 1000.0 * episode + time


class Flat(nn.Module):
    """An encoder whose latent is the image: episode and step."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def numbered_model(context: int = 1) -> JEPA:
    normalizer = Normalizer((2, 1, 1), 1)
    normalizer.pixel_std.fill_(1.0)
    normalizer.action_mean.fill_(IDLE)
    model = JEPA(Flat(), nn.Identity(), normalizer, 2, SKIP, context)
    model.norm = nn.Identity()
    return model


def encoded(lengths: Sequence[int], context: int = 1, every: int = 1, per_scene: int = 1) -> LatentEpisodes:
    source = Numbered(lengths, every)
    assert isinstance(source, WindowSource)
    return encode_episodes(numbered_model(context), source, TrajectoriesConfig(per_scene=per_scene), rng())


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def expected_row(episode: int, time: int, context: int, num_steps: int) -> tuple[list[list[float]], list[list[float]]]:
    """Latents and blocks of actions around a step of an episode, one number at a time."""
    steps = [time + SKIP * k for k in range(1 - context, num_steps + 1)]
    latents = [[float(episode), float(max(0, step))] for step in steps]
    blocks = [
        [action_at(episode, torch.tensor(float(taken))).item() if taken >= 0 else IDLE for taken in (step, step + 1)]
        for step in steps[:-1]
    ]
    return latents, blocks


def test_a_sequence_by_hand():
    episodes = encoded([3, 4], context=2)
    assert (episodes.stride, episodes.per_scene, episodes.lengths.tolist()) == (2, None, [3, 4])
    assert (episodes.first_latent.tolist(), episodes.first_action.tolist()) == ([0, 4], [0, 3])
    # Two predictor steps fit into the second episode alone, and only at its beginning.
    batch = episodes.sequences(3, 2, rng())
    latents = [[1.0, 0.0], [1.0, 0.0], [1.0, 2.0], [1.0, 4.0]]
    actions = [[IDLE, IDLE], [1000.0, 1001.0], [1002.0, 1003.0]]
    assert batch.latents.tolist() == [latents] * 3
    assert batch.actions.tolist() == [actions] * 3


@pytest.mark.parametrize("context", [1, 2, 4])
@pytest.mark.parametrize("num_steps", [1, 2])
def test_sequences_are_what_was_recorded_around_every_step_of_every_episode(context, num_steps):
    """Before an episode there is its first latent, and average actions; none reaches into another episode."""
    lengths = [5, 1, 4, 8, 2]
    batch = encoded(lengths, context).sequences(1500, num_steps, rng())
    assert batch.latents.shape == (1500, context + num_steps, 2)
    assert batch.actions.shape == (1500, context + num_steps - 1, SKIP)
    seen = set()
    for latents, actions in zip(batch.latents.tolist(), batch.actions.tolist(), strict=True):
        episode, time = (int(value) for value in latents[context - 1])
        seen.add((episode, time))
        assert (latents, actions) == expected_row(episode, time, context, num_steps)
    expected = {(e, t) for e, length in enumerate(lengths) for t in range(length - SKIP * num_steps + 1)}
    assert seen == expected


def test_episodes_and_their_steps_are_equally_likely():
    batch = encoded([2, 1, 4]).sequences(8000, 1, rng())
    drawn = Counter(tuple(row) for row in batch.latents[:, 0].int().tolist())
    shares = {(0, 0): 1 / 2, **{(2, t): 1 / 6 for t in range(3)}}
    assert drawn.keys() == shares.keys()
    for key, share in shares.items():
        assert drawn[key] / 8000 == pytest.approx(share, abs=0.03), key


@pytest.mark.parametrize("context", [1, 3])
def test_sequences_of_simulated_data_are_those_of_recorded_data(context):
    """With an image for each predictor step there are fewer beginnings, and the same sequences from them."""
    lengths = [4, 8, 6]
    recorded, simulated = (encoded(lengths, context, every).sequences(1200, 2, rng(every)) for every in (1, SKIP))
    rows = []
    for batch in (recorded, simulated):
        pairs = zip(batch.latents.tolist(), batch.actions.tolist(), strict=True)
        rows.append({tuple(latents[context - 1]): (latents, actions) for latents, actions in pairs})
    assert rows[1] == {place: row for place, row in rows[0].items() if place[1] % SKIP == 0}
    assert encoded(lengths, context, SKIP).stride == 1
    assert len(rows[1]) == 1 + 3 + 2


@pytest.mark.parametrize("every", [1, SKIP])
def test_an_episode_must_be_as_long_as_a_sequence(every):
    episodes = encoded([4, 6], every=every)
    assert episodes.sequences(2, 3, rng()).latents[:, 0].tolist() == [[1.0, 0.0]] * 2
    with pytest.raises(ValueError, match=r"rollout_steps must be at most .* the longest episode, 3, got 4"):
        episodes.sequences(2, 4, rng())


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("every", [1, SKIP])
def test_the_states_of_pairs_are_those_the_model_makes(context, every):
    episodes = encoded([4, 2, 6], context, every)
    batch = episodes.pairs(400, GoalMix(), rng())
    model = episodes.model
    assert batch.states.shape == (400, model.state_dim)
    seen = set()
    for state in batch.states:
        episode, time = model.latest(state).int().tolist()
        seen.add((episode, time))
        latents, actions = (torch.tensor(part) for part in expected_row(episode, time, context, 0))
        assert torch.equal(state, model.states(latents[None], actions.view(1, context - 1, SKIP))[0, 0])
    assert seen == {(e, t) for e, length in enumerate((4, 2, 6)) for t in range(0, length + 1, every)}


def drawn_goals(
    lengths: Sequence[int], size: int = 4000, every: int = 1, per_scene: int = 1, **mix: float
) -> tuple[torch.Tensor, ...]:
    """Episode and step of each state, and of its goal, ``(size, 2)`` each."""
    mix = {"ahead": 0.0, "elsewhere": 0.0, "reached": 0.0} | mix
    batch = encoded(lengths, every=every, per_scene=per_scene).pairs(size, GoalMix(**mix), rng())
    return batch.states.int(), batch.goals.int()


@pytest.mark.parametrize("every", [1, SKIP])
def test_goals_ahead_lie_a_geometric_number_of_predictor_steps_ahead(every):
    states, goals = drawn_goals([250], every=every, ahead=1.0, mean_steps=3.0)
    early = states[:, 1] < 150  # too early for the end to matter
    ahead = (goals - states)[early, 1].double() / SKIP
    assert ahead.min() == every / SKIP
    assert ahead.mean().item() == pytest.approx(3.0, rel=0.06)
    within = (ahead <= 1.0).double().mean().item()
    latents = SKIP // every  # in a predictor step
    assert within == pytest.approx(1 - (1 - 1 / (3 * latents)) ** latents, abs=0.03)
    # At the end of an episode nothing is ahead but its end.
    assert bool((goals[:, 1] >= states[:, 1]).all())
    last = states[:, 1] == 250
    assert bool((goals[last, 1] == 250).all())


def test_a_mean_below_one_latent_is_the_next_one():
    states, goals = drawn_goals([40], ahead=1.0, mean_steps=0.1)
    assert torch.equal(goals[:, 1], (states[:, 1] + 1).clamp_max(40))


@pytest.mark.parametrize(("count", "per_scene"), [(8, 1), (8, 4), (7, 3), (3, 8)])
def test_goals_from_elsewhere_are_of_the_same_scene_where_data_are_simulated(count, per_scene):
    """Any episode of it, each as likely as any other; the last scene may have fewer."""
    states, goals = drawn_goals([4] * count, every=SKIP, per_scene=per_scene, elsewhere=1.0)
    assert torch.equal(goals[:, 0] // per_scene, states[:, 0] // per_scene)
    for episode in range(count):
        first = episode - episode % per_scene
        size = min(per_scene, count - first)
        found = goals[states[:, 0] == episode, 0] - first
        shares = torch.bincount(found, minlength=size).double() / len(found)
        torch.testing.assert_close(shares, torch.full((size,), 1 / size).double(), atol=0.08, rtol=0)


def test_goals_from_elsewhere_are_any_images_of_any_episode_where_data_are_recorded():
    states, goals = drawn_goals([3, 1, 9], elsewhere=1.0)
    for episode, length in enumerate((3, 1, 9)):
        mine = goals[goals[:, 0] == episode, 1]
        assert len(mine) / len(goals) == pytest.approx(1 / 3, abs=0.03)
        shares = torch.bincount(mine, minlength=length + 1).double() / len(mine)
        torch.testing.assert_close(shares, torch.full((length + 1,), 1 / (length + 1)).double(), atol=0.04, rtol=0)
    same = (goals[:, 0] == states[:, 0]).double().mean().item()
    assert same == pytest.approx(1 / 3, abs=0.03)


def test_goals_of_the_rest_are_any_images_of_the_episode():
    states, goals = drawn_goals([4, 9])
    assert torch.equal(goals[:, 0], states[:, 0])
    shares = torch.bincount(goals[goals[:, 0] == 0, 1], minlength=5).double()
    torch.testing.assert_close(shares / shares.sum(), torch.full((5,), 0.2).double(), atol=0.04, rtol=0)
    independent = np.corrcoef(states[states[:, 0] == 1, 1], goals[states[:, 0] == 1, 1])[0, 1]
    assert abs(independent) < 0.08


def test_goals_that_are_reached_are_the_states_own_images():
    states, goals = drawn_goals([4, 9], ahead=0.5, elsewhere=0.5, reached=1.0)
    assert torch.equal(states, goals)


def test_kinds_of_goals_have_their_shares():
    # Of 200 long episodes, next to no goal is by chance what another kind would have given.
    states, goals = drawn_goals([200] * 200, 8000, ahead=0.5, mean_steps=1.0, elsewhere=0.2, reached=0.1)
    other = goals[:, 0] != states[:, 0]
    reached = (goals == states).all(-1)
    near = ~other & ~reached & ((goals - states)[:, 1] > 0) & ((goals - states)[:, 1] <= 12)
    for found, share in ((other, 0.9 * 0.2), (reached, 0.1), (near, 0.9 * 0.5)):
        assert found.double().mean().item() == pytest.approx(share, abs=0.02)


def test_the_step_size_is_the_root_mean_square_of_changes_within_episodes():
    # The first feature stays all episode long; the second changes by the frame skip.
    for every in (1, SKIP):
        assert encoded([4, 6, 8], every=every).step_size().tolist() == [0.0, float(SKIP)]
    assert encoded([4, 1, 5]).step_size().tolist() == [0.0, float(SKIP)]  # of one step, there is no predictor step
    episodes = encoded([5, 1, 7])
    episodes.latents.copy_(torch.randn(episodes.latents.shape, generator=torch.Generator().manual_seed(0)))
    first = [0, 6, 8]
    moves = [
        episodes.latents[start + t + SKIP] - episodes.latents[start + t]
        for start, length in zip(first, (5, 1, 7), strict=True)
        for t in range(length - SKIP + 1)
    ]
    torch.testing.assert_close(episodes.step_size(), torch.stack(moves).square().mean(0).sqrt())


def test_the_same_generator_draws_the_same():
    episodes = encoded([5, 8], context=2)
    for draw in (lambda g: episodes.sequences(20, 1, g), lambda g: episodes.pairs(20, GoalMix(), g)):
        first, again, other = (draw(rng(seed)) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
        generator = rng()
        draw(generator)
        assert not torch.equal(draw(generator)[0], first[0])


class Where(nn.Module):
    """An encoder whose latent is the agent's position."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(image_positions(images.round().to(torch.uint8).numpy())).float()


def test_goals_elsewhere_lie_across_the_wall_where_nobody_crosses():
    """In the one layout of this recipe, too, an actor is sent to the other room."""
    normalizer = Normalizer((2, 65, 65), 2)
    normalizer.pixel_std.fill_(1.0)
    model = JEPA(Where(), nn.Identity(), normalizer, 2, 4, 1)
    model.norm = nn.Identity()
    source = SimulatedWindows(TwoRoomsSimulation(), 3, 4, recipe="pldm-no-crossings")
    episodes = encode_episodes(model, source, TrajectoriesConfig(count=80, num_frames=23), rng())
    states, goals = episodes.pairs(2000, GoalMix(), rng())
    across = (states[:, 0] < 31) & (goals[:, 0] > 33) | (states[:, 0] > 33) & (goals[:, 0] < 31)
    assert 0.1 < float(across.float().mean()) < 0.3
    states, goals = episodes.pairs(2000, GoalMix(elsewhere=0.0), rng())
    assert not bool(((states[:, 0] < 31) & (goals[:, 0] > 33)).any())


@pytest.fixture
def rooms() -> tuple[JEPA, SimulatedWindows]:
    torch.manual_seed(0)
    data = DataSpec(pixel_shape=(2, 65, 65), action_dim=2, action_low=(-2.0, -2.0), action_high=(2.0, 2.0))
    config = ModelConfig(
        encoder="strided", latent_dim=8, encoder_channels=(8, 8), predictor_hidden_dim=8, frame_skip=4, context=2
    )
    source = SimulatedWindows(TwoRoomsSimulation(), 3, 4)
    model = build_model(config, data)
    model.fit_normalization(*source.sample(16, rng())[:2])
    return model, source


def test_encoded_episodes_are_the_episodes_encoded(rooms, monkeypatch):
    """In chunks, in the model's evaluation mode and without gradients, and twice the same."""
    monkeypatch.setattr("pretrain.data.latents.CHUNK", 7)
    model, source = rooms
    sizes, modes = [], []

    def spy(module, inputs):
        sizes.append(len(inputs[0]))
        modes.append(module.training)

    handle = model.encoder.register_forward_pre_hook(spy)
    model.train()
    trajectories = TrajectoriesConfig(count=5, num_frames=4, per_scene=2)
    episodes, again = (encode_episodes(model, source, trajectories, rng(3)) for _ in range(2))
    handle.remove()
    assert model.training
    assert max(sizes) == 7
    assert sum(sizes) == 2 * 5 * 4
    assert not any(modes)
    (batch,) = source.whole_episodes(5, 4, 2, rng(3))
    model.eval()
    latents = model.encode(batch.pixels)
    assert not episodes.latents.requires_grad
    torch.testing.assert_close(episodes.latents, latents.flatten(0, 1).detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(episodes.actions, batch.actions.flatten(0, 1))
    assert (episodes.stride, episodes.per_scene, episodes.lengths.tolist()) == (1, 2, [3] * 5)
    for name in ("latents", "actions", "first_latent", "first_action", "lengths"):
        assert torch.equal(getattr(episodes, name), getattr(again, name)), name
    # Sequences, joined to states, are the states of the windows.
    states = model.states(latents, batch.actions).flatten(0, 1)
    drawn = episodes.sequences(40, 2, rng())
    inside = (drawn.latents[:, 0] != drawn.latents[:, 1]).any(-1)  # not at an episode's beginning
    assert inside.any()
    found = model.states(*drawn)[inside].flatten(0, 1)
    nearest = (found[:, None] - states.detach()).abs().amax(-1).amin(-1)
    assert float(nearest.max()) < 1e-4


def test_an_episode_is_encoded_with_all_its_images_on_average_actions_before_it(rooms):
    model, source = rooms
    model.normalizer.action_mean.copy_(torch.tensor([0.5, -0.25]))
    batch = encode_episodes(model, source, TrajectoriesConfig(count=3, num_frames=3), rng()).sequences(5, 2, rng())
    assert batch.actions.shape == (5, 3, 8)
    assert torch.equal(batch.actions[:, 0], torch.tensor([0.5, -0.25] * 4).expand(5, -1))
    states = model.states(batch.latents, batch.actions)[:, 0]
    torch.testing.assert_close(states, model.at_rest(batch.latents[:, 0]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ahead": 0.7, "elsewhere": 0.4}, r"elsewhere must be at most 1 − ahead \(0\.3\), got 0\.4"),
        ({"ahead": 1.5}, "ahead must be at most 1, got 1.5"),
        ({"reached": -0.1}, "reached must be at least 0, got -0.1"),
        ({"mean_steps": 0.0}, "mean_steps must be greater than 0, got 0.0"),
    ],
)
def test_mixes_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        GoalMix(**fields)


def test_a_mix_may_leave_nothing_to_the_rest():
    assert GoalMix(ahead=0.7, elsewhere=0.3).elsewhere == 0.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"num_frames": 1}, "at least 2, got 1"), ({"count": 0}, "1, got 0"), ({"per_scene": 0}, "1, got 0")],
)
def test_trajectories_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        TrajectoriesConfig(**fields)
