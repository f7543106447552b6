"""The parts of a world model that can be exported: what each takes, and what it gives.

::

    pixels ──────────► encoder ──► latent         (a goal is encoded alike)
    latents, actions ► state ────► state          (only where the context is above 1: otherwise a latent is a state)
    state, actions ──► predictor ► next_state
    state, goal ─────► actor ────► action
    state, goal ─────► critic ───► cost_to_go

They are called as the planning agent calls the model: pixels are uint8, actions are in the environment's units.
Normalisation lies inside.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldmodel.checkpoint import Pretrained
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA

PARTS = ("encoder", "state", "predictor", "actor", "critic")
"""Names of all parts; which of them a checkpoint has depends on its context, and on whether it has an actor."""


@dataclass(frozen=True)
class Port:
    """An input or the output of a part.

    Attributes:
        name: Its name.
        shape: Its shape without the batch dimension, which comes first.
        dtype: Its type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Part:
    """A part of a world model.

    Attributes:
        module: What computes it: tensors as in ``inputs`` → one as in ``output``, each with a batch dimension.
        inputs: What it takes.
        output: What it gives.
    """

    module: nn.Module
    inputs: tuple[Port, ...]
    output: Port


class Call(nn.Module):
    """One method of a module, as a module that holds no more than the method needs.

    Args:
        owner: The module; it is copied.
        method: The method, called with the copy and the inputs.
        without: Modules of the owner that it does not need.
    """

    def __init__(self, owner: nn.Module, method: Callable[..., Tensor], without: tuple[str, ...]) -> None:
        super().__init__()
        self.owner = copy.deepcopy(owner).cpu().eval()
        self.method = method
        for name in without:
            setattr(self.owner, name, None)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Calls the method."""
        return self.method(self.owner, *inputs)


def parts_of(pretrained: Pretrained) -> dict[str, Part]:
    """The parts that a checkpoint has, by name, in the order of :data:`PARTS`."""
    model, actor_critic = pretrained.model, pretrained.actor_critic
    latent, action = (model.latent_dim,), (model.action_dim,)
    pixels = Port("pixels", model.normalizer.pixel_shape, torch.uint8)
    state, block = Port("state", (model.state_dim,)), Port("actions", (model.block_dim,))
    parts = {"encoder": Part(Call(model, JEPA.encode, ("predictor", "looks")), (pixels,), Port("latent", latent))}
    if model.context > 1:
        past = Port("latents", (model.context, *latent)), Port("actions", (model.context - 1, *block.shape))
        parts["state"] = Part(Call(model, _state, ("encoder", "predictor", "norm", "looks")), past, state)
    predictor = Call(model, JEPA.predict, ("encoder", "looks"))
    parts["predictor"] = Part(predictor, (state, block), Port("next_state", state.shape))
    if actor_critic is not None:
        towards = state, Port("goal", latent)
        parts["actor"] = Part(Call(actor_critic, ActorCritic.policy, ("critics",)), towards, Port("action", action))
        parts["critic"] = Part(Call(actor_critic, ActorCritic.cost_to_go, ("actor",)), towards, Port("cost_to_go", ()))
    return parts


def _state(model: JEPA, latents: Tensor, actions: Tensor) -> Tensor:
    """The one state at the last of ``context`` latents."""
    return model.states(latents, actions)[:, 0]
