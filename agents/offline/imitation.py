"""What offline methods share: the goals of a trajectory's images, the imitation of its actions, and acting."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.jepa import JEPA


def goal_latents(latents: Float[Tensor, "b t d"], goals: Int[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
    """Latents of goals, from those of all images of a trajectory and the places of its goals among them."""
    return latents.gather(1, goals[..., None].expand(-1, -1, latents.shape[-1]))


def imitate(
    model: JEPA,
    policy: nn.Module,
    states: Float[Tensor, "b t state"],
    stills: Float[Tensor, "b t d"],
    actions: Float[Tensor, "b s a"],
    goals: Int[Tensor, "b s"],
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Loss and metrics of a policy that imitates what was done on the way to goals.

    Args:
        model: What encoded the images; it normalises the actions.
        policy: A state and the latents of its goal, side by side → a normalised action.
        states: States of trajectories.
        stills: Latents of their images, as goals.
        actions: Actions between their images.
        goals: For each image but the last, which later image is its goal.
    """
    done = policy(torch.cat([states[:, :-1], goal_latents(stills, goals)], dim=-1))
    loss = F.mse_loss(done, model.normalizer.actions(actions))
    return loss, {"loss": loss.detach()}


def act(
    model: JEPA, policy: nn.Module, pixels: UInt8[Tensor, "b k x y z"], goals: UInt8[Tensor, "b x y z"]
) -> Float[Tensor, "b a"]:
    """Actions of a policy towards goals, in the environment's units, from the ``k`` frames that are seen at once."""
    still = goals[:, None].expand_as(pixels)
    states, stills = model.encode_video(torch.cat([pixels, still]))[:, 0].chunk(2)
    pairs = torch.cat([states, model.latest(stills)], dim=-1)
    return policy(pairs) * model.normalizer.action_std + model.normalizer.action_mean
