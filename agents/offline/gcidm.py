"""Goal-conditioned inverse dynamics on the latents of a pretrained world model (as in arXiv 2605.08732).

::

    image t ──► frozen encoder ──► z_t ──┐
                                         ├──► inverse model ──► action t    goal: a later image of the trajectory
    goal    ──► frozen encoder ──► z_g ──┘

What differs from behavioural cloning is the representation: it comes from the world model, and is not trained.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agents.offline.imitation import act, encode_frames, imitate, pair_dim
from worldmodel.jepa import JEPA
from worldmodel.nn.layers import perceptron


class GCIDM(nn.Module):
    """Recovers the first action of the way between two latents.

    Args:
        model: A pretrained world model; it stays as it is.
        hidden_dim: Width of the inverse model's hidden layers.
        num_layers: Number of hidden layers.
    """

    needs_world_model = True

    def __init__(self, model: JEPA, *, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.inverse = perceptron(pair_dim(model), [hidden_dim] * num_layers, model.action_dim, normalized=True)

    def forward(
        self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "b s a"], goals: Int[Tensor, "b s"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss and metrics of a batch of trajectories; see :meth:`agents.offline.gcbc.GCBC.forward`."""
        with torch.no_grad():
            encoded = encode_frames(self.model, pixels)
        return imitate(self.model, self.inverse, *encoded, actions, goals)

    def act(self, pixels: UInt8[Tensor, "b k x y z"], goals: UInt8[Tensor, "b x y z"]) -> Float[Tensor, "b a"]:
        """Actions towards goals, in the environment's units, from the ``k`` frames that are seen at once."""
        return act(self.model, self.inverse, pixels, goals)
