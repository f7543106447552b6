"""The training objective: a weighted sum of losses over a window of frames and actions."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.config import NonNegative, config
from worldmodel.jepa import JEPA
from worldmodel.nn import losses
from worldmodel.nn.distributed import gather_batch
from worldmodel.nn.layers import perceptron

IDM_HIDDEN_DIM = 256
"""Width of the hidden layers of the inverse dynamics model."""


@config
class LossWeights:
    """Weights of the losses; a weight of 0 leaves the term out (EB-JEPA, arXiv 2602.03604, eq. 1)."""

    covariance: NonNegative = 8.0
    """β: decorrelates latent features."""
    variance: NonNegative = 16.0
    """α: keeps each latent feature varying."""
    temporal_similarity: NonNegative = 12.0
    """δ: keeps consecutive latents close."""
    inverse_dynamics: NonNegative = 1.0
    """ω: keeps the action recoverable from how latents change."""
    contrast: NonNegative = 0.0
    """Makes the last latent of a window tell its first from those of other windows (InfoNCE): what stays in a scene,
    however small, is then worth its place in a latent."""
    sigreg: NonNegative = 0.0
    """λ: SIGReg (arXiv 2511.08544) on the latents; set variance and covariance to 0 to use it in their place."""


def prediction_loss(
    model: JEPA, states: Float[Tensor, "b t s"], actions: Float[Tensor, "b n a"], rollout_steps: int
) -> Float[Tensor, ""]:
    """Mean squared error of predicted latents.

    Predictions start from *every* state and run for up to ``rollout_steps`` steps::

        z_0 → ẑ_1 → ẑ_2 → …        each ẑ is compared with the latent of its frame;
              z_1 → ẑ_2 → …        the loss is averaged over starts, then over steps.

    Args:
        model: The world model.
        states: Consecutive states.
        actions: The blocks of actions between them.
        rollout_steps: Longest rollout K, in predictor steps.
    """
    num_states, latest = states.shape[1], model.latest
    rollout_steps = min(rollout_steps, num_states - 1)
    predicted, total = states, states.new_zeros(())
    for k in range(1, rollout_steps + 1):
        starts = num_states - k
        flat = model.predict(predicted[:, :starts].flatten(0, 1), actions[:, k - 1 :].flatten(0, 1))
        predicted = flat.unflatten(0, (-1, starts))
        total = total + F.mse_loss(latest(predicted), latest(states[:, k:]))
    return total / rollout_steps


class Objective(nn.Module):
    """Computes the training loss of a world model; the loss is in ``forward`` so that DDP sees it.

    Args:
        model: The world model.
        weights: Weights of the losses.
        rollout_steps: Longest rollout K, in predictor steps.
        idm_layers: Hidden layers of the second inverse dynamics model. The first is linear: equal displacements must
            look alike everywhere. With 0 there is that one alone.
        seed: Seed of SIGReg's random directions.
    """

    def __init__(
        self,
        model: JEPA,
        weights: LossWeights,
        *,
        rollout_steps: int = 8,
        idm_layers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.rollout_steps = rollout_steps
        self.seed = seed
        # Left out where unused: data parallelism does not take parameters without gradients.
        self.scene: nn.Module | None = None
        if weights.contrast:
            self.scene = nn.Linear(model.latent_dim, model.latent_dim)
            nn.init.eye_(self.scene.weight)
        self.inverse_models: nn.ModuleList | None = None
        if weights.inverse_dynamics:
            self.inverse_models = nn.ModuleList([nn.Linear(model.state_dim + model.latent_dim, model.block_dim)])
            if idm_layers:
                hidden = [IDM_HIDDEN_DIM] * idm_layers
                self.inverse_models.append(perceptron(model.state_dim, hidden, model.block_dim))

    def forward(
        self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "b s a"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor], Float[Tensor, "b f d"]]:
        """Computes the loss of a batch of windows.

        Args:
            pixels: Frames.
            actions: Blocks of actions; ``actions[:, t]`` takes frame ``t`` to frame ``t + 1``.
            step: Training step; selects SIGReg's directions.

        Returns:
            The loss, each term unweighted, and the detached latents (for probes).
        """
        w = self.weights
        latents = self.model.encode(pixels)
        states = self.model.states(latents, actions)
        following = actions[:, self.model.context - 1 :]
        prediction = prediction_loss(self.model, states, following, self.rollout_steps)
        joint = gather_batch(latents)
        loss, terms = losses.regularise(
            prediction,
            [joint.flatten(0, 1)],
            variance_weight=w.variance,
            covariance_weight=w.covariance,
            sigreg_weight=w.sigreg,
            seed=self.seed,
            step=step,
        )
        terms["prediction"] = prediction
        if self.scene is not None:
            # In float32 even under autocast: scenes differ by little.
            with torch.autocast(joint.device.type, enabled=False):
                ends = self.scene(joint[:, [0, -1]])
                terms["contrast"] = losses.contrast(ends[:, 0], ends[:, 1])
            loss = loss + w.contrast * terms["contrast"]
        if w.temporal_similarity:
            terms["temporal_similarity"] = losses.temporal_similarity(latents)
            loss = loss + w.temporal_similarity * terms["temporal_similarity"]
        if self.inverse_models is not None:
            terms["inverse_dynamics"] = self._inverse_dynamics(latents, states, following)
            loss = loss + w.inverse_dynamics * terms["inverse_dynamics"]
        return loss, {name: term.detach() for name, term in terms.items()}, latents.detach()

    def _inverse_dynamics(self, latents: Tensor, states: Tensor, following: Tensor) -> Tensor:
        """Mean error of the inverse models.

        The linear one reads states and next latents; the other one past actions and *differences* of latents, where
        what stays in a scene is out of the way (arXiv 2606.31232).
        """
        model, count = self.model, states.shape[1] - 1
        assert self.inverse_models is not None
        past = states[:, :-1, : model.state_dim - model.context * model.latent_dim]
        steps = latents.diff(dim=1)
        seen = (
            torch.cat([states[:, :-1], latents[:, model.context :]], dim=-1),
            torch.cat([past, *(steps[:, i : i + count] for i in range(model.context))], dim=-1),
        )
        target = model.normalizer.actions(following)
        heads = zip(self.inverse_models, seen, strict=False)
        return torch.stack([F.mse_loss(head(inputs).float(), target) for head, inputs in heads]).mean()


class Refinement(nn.Module):
    """The prediction loss alone, on latents that no longer change: a predictor learns faster without its encoder.

    Args:
        model: The world model; freeze all but its predictor.
        rollout_steps: Longest rollout K, in predictor steps.
    """

    def __init__(self, model: JEPA, rollout_steps: int) -> None:
        super().__init__()
        self.model = model
        self.rollout_steps = rollout_steps

    def forward(
        self, latents: Float[Tensor, "b f d"], actions: Float[Tensor, "b g a"], step: int = 0
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss of a batch of sequences; nothing depends on ``step``."""
        states = self.model.states(latents, actions)
        loss = prediction_loss(self.model, states, actions[:, self.model.context - 1 :], self.rollout_steps)
        return loss, {"prediction": loss.detach()}
