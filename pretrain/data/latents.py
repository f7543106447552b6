"""Encoded episodes: when an encoder is done, what learns on its latents need not look at images again.

::

    source ──► episodes of images ──► frozen encoder ──► LatentEpisodes ──► sequences, or states and goals

Recorded episodes hold every environment step, so that predictor steps may begin at any of them; simulated ones hold an
image for each predictor step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from pretrain.data.windows import WindowSource
from worldmodel.config import ConfigError, Count, CountFromTwo, Fraction, Positive, config
from worldmodel.jepa import JEPA

CHUNK = 512
"""Images that are encoded at once."""


class SequenceBatch(NamedTuple):
    """Latents one predictor step apart, and the blocks of actions between them.

    Attributes:
        latents: float32 ``(B, F, D)``.
        actions: In the environment's units, float32 ``(B, F − 1, A)``.
    """

    latents: Float[Tensor, "b f d"]
    actions: Float[Tensor, "b g a"]


class PairBatch(NamedTuple):
    """States, and where to go from each.

    Attributes:
        states: float32 ``(B, S)``.
        goals: Latents, float32 ``(B, D)``.
    """

    states: Float[Tensor, "b s"]
    goals: Float[Tensor, "b d"]


@config
class GoalMix:
    """Which images are goals of a state in an episode."""

    ahead: Fraction = 0.4
    """Share of goals that lie ahead, a geometrically distributed number of predictor steps."""
    mean_steps: Positive = 6.0
    """Mean of this number."""
    elsewhere: Fraction = 0.4
    """Share of goals from any episode of the scene. The rest are any images of the state's own episode."""
    reached: Fraction = 0.05
    """Share of goals, of all these, that are replaced by the state's own image."""

    def rules(self) -> None:
        """Checks that shares are at most one together."""
        if self.ahead + self.elsewhere > 1 + 1e-9:
            raise ConfigError("elsewhere", f"at most 1 − ahead ({1 - self.ahead:g})", self.elsewhere)


@config
class TrajectoriesConfig:
    """Simulated trajectories that are encoded for the stages behind the model's; of recorded data, all episodes are."""

    count: Count = 40_000
    """How many."""
    per_scene: Count = 8
    """How many in a row share a scene: goals elsewhere are in the same one."""
    num_frames: CountFromTwo = 23
    """Images of each, one predictor step apart."""


@dataclass(frozen=True)
class LatentEpisodes:
    """Encoded episodes.

    Attributes:
        model: The world model; its encoder made the latents.
        latents: All latents, ``(N, D)``.
        actions: All actions between them, in the environment's units, ``(M, a)``.
        first_latent: Where each episode's latents begin, ``(E,)``.
        first_action: Where its actions begin, ``(E,)``.
        lengths: Its number of actions, ``(E,)``.
        stride: Latents in a predictor step.
        per_scene: How many episodes in a row share a scene; None: all do, as far as is known.
    """

    model: JEPA
    latents: Float[Tensor, "n d"]
    actions: Float[Tensor, "m a"]
    first_latent: Int[Tensor, "e"]
    first_action: Int[Tensor, "e"]
    lengths: Int[Tensor, "e"]
    stride: int
    per_scene: int | None = None

    def sequences(self, size: int, num_steps: int, generator: np.random.Generator) -> SequenceBatch:
        """Draws sequences: states at random times of random episodes, and ``num_steps`` predictor steps that follow.

        Returns:
            ``context + num_steps`` latents. In front of an episode stands its first latent again, with average actions.

        Raises:
            ValueError: If no episode is as long as that.
        """
        room = self.lengths - num_steps * self.stride
        if not bool((room >= 0).any()):
            longest = int(self.lengths.max()) // self.stride
            raise ValueError(
                f"rollout_steps must be at most the predictor steps of the longest episode, {longest}, got {num_steps}"
            )
        possible = torch.nonzero(room >= 0).squeeze(1)
        episode = possible[_uniform(generator, torch.full((size,), len(possible)))]
        return self._around(episode, _uniform(generator, room[episode] + 1), num_steps)

    def pairs(self, size: int, mix: GoalMix, generator: np.random.Generator) -> PairBatch:
        """Draws states at random times of random episodes, and a goal for each."""
        episode = _uniform(generator, torch.full((size,), len(self.lengths)))
        group = self.per_scene or len(self.lengths)
        first = episode - episode % group
        other = first + _uniform(generator, (len(self.lengths) - first).clamp_max(group))
        length = self.lengths[episode]
        time = _uniform(generator, length + 1)
        steps = torch.from_numpy(generator.geometric(1 / max(1.0, mix.mean_steps * self.stride), size))
        ahead = torch.minimum(time + steps, length)
        same = _uniform(generator, length + 1)
        elsewhere = self.first_latent[other] + _uniform(generator, self.lengths[other] + 1)
        kind, reached = torch.from_numpy(generator.random((2, size)))
        goal = torch.where(kind < 1 - mix.elsewhere, self.first_latent[episode] + same, elsewhere)
        goal = torch.where(kind < mix.ahead, self.first_latent[episode] + ahead, goal)
        goal = torch.where(reached < mix.reached, self.first_latent[episode] + time, goal)
        states = self.model.states(*self._around(episode, time, 0))[:, 0]
        return PairBatch(states, self.latents[goal.to(self.latents.device)])

    def step_size(self) -> Float[Tensor, "d"]:
        """Root mean square of what each feature changes by in a predictor step."""
        within = torch.cat(
            [
                torch.arange(first, first + length + 1 - self.stride)
                for first, length in zip(self.first_latent.tolist(), self.lengths.tolist(), strict=True)
                if length >= self.stride
            ]
        ).to(self.latents.device)
        return (self.latents[within + self.stride] - self.latents[within]).square().mean(dim=0).sqrt()

    def _around(self, episode: Tensor, time: Tensor, num_steps: int) -> SequenceBatch:
        """The states at ``time``, and what follows them."""
        before, device = self.model.context - 1, self.latents.device
        steps = time[:, None] + torch.arange(-before, num_steps + 1) * self.stride
        latents = self.latents[(self.first_latent[episode, None] + steps.clamp_min(0)).to(device)]
        taken = steps[:, :-1, None] + torch.arange(self.stride)
        known = (taken >= 0).to(device)
        actions = self.actions[(self.first_action[episode, None, None] + taken.clamp_min(0)).to(device)]
        average = self.model.idle_action.repeat(actions.shape[-1] // self.model.action_dim)
        return SequenceBatch(latents, torch.where(known[..., None], actions, average).flatten(2))


@torch.no_grad()
def encode_episodes(
    model: JEPA,
    source: WindowSource,
    trajectories: TrajectoriesConfig,
    generator: np.random.Generator,
    *,
    progress: bool = False,
) -> LatentEpisodes:
    """Encodes the episodes of a source.

    Args:
        model: The world model, which gets into evaluation mode meanwhile.
        source: Where images come from.
        trajectories: How many, and how long, where they are simulated.
        generator: Source of all randomness.
        progress: Whether to show a progress bar.
    """
    mode = model.training
    model.eval()
    latents, actions, lengths = Rows(), Rows(), []
    device = model.normalizer.pixel_mean.device
    sizes = {name: getattr(trajectories, name) for name in ("count", "num_frames", "per_scene")}
    batches = source.whole_episodes(**sizes, generator=generator)
    with tqdm(desc="encoding", unit="image", disable=not progress or None, leave=False) as bar:
        for batch in batches:
            images = batch.pixels.flatten(0, 1)
            for chunk in images.split(CHUNK):
                latents.append(model.encode(chunk.to(device)))
            actions.append(batch.actions.flatten(0, 1).to(device))
            lengths += [batch.actions.shape[1]] * len(batch.actions)
            bar.update(len(images))
    model.train(mode)
    length = torch.tensor(lengths)
    return LatentEpisodes(
        model=model,
        latents=latents.all(),
        actions=actions.all(),
        first_latent=(length + 1).cumsum(0) - length - 1,
        first_action=length.cumsum(0) - length,
        lengths=length,
        stride=model.block_dim // actions.all().shape[-1],
        per_scene=trajectories.per_scene if source.longest is None else None,
    )


class Rows:
    """Rows that are gathered bit by bit in one tensor.

    Many small tensors among large buffers that come and go would leave memory in pieces.
    """

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._count = 0

    def append(self, rows: Float[Tensor, "n d"]) -> None:
        """Copies rows behind those that there are."""
        count = self._count + len(rows)
        if self._held is None or count > len(self._held):
            grown = rows.new_empty(2 * count, *rows.shape[1:])
            if self._held is not None:
                grown[: self._count] = self.all()
            self._held = grown
        self._held[self._count : count] = rows
        self._count = count

    def all(self) -> Float[Tensor, "n d"]:
        """All of them."""
        assert self._held is not None
        return self._held[: self._count]


def _uniform(generator: np.random.Generator, below: Tensor) -> Tensor:
    """Integers from 0 to less than ``below``, each as likely as any other."""
    return torch.from_numpy(generator.integers(below.numpy()))
