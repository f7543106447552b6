"""What offline methods share: the goals of a trajectory's images, the imitation of its actions, and acting."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.jepa import JEPA


def encode_frames(
    encoder: JEPA, pixels: UInt8[Tensor, "b f x y z"]
) -> tuple[Float[Tensor, "b t seen"], Float[Tensor, "b t d"]]:
    """What is seen at each image that has ``context − 1`` before it, latents side by side, and the image's own."""
    latents = encoder.encode(pixels)
    count = latents.shape[1] - encoder.context + 1
    seen = torch.cat([latents[:, i : i + count] for i in range(encoder.context)], dim=-1)
    return seen, latents[:, encoder.context - 1 :]


def pair_dim(encoder: JEPA) -> int:
    """Numbers of what is seen and of a goal, side by side."""
    return (encoder.context + 1) * encoder.latent_dim


def goal_latents(latents: Float[Tensor, "b t d"], goals: Int[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
    """Latents of goals, from those of all images of a trajectory and the places of its goals among them."""
    return latents.gather(1, goals[..., None].expand(-1, -1, latents.shape[-1]))


def imitate(
    model: JEPA,
    policy: nn.Module,
    seen: Float[Tensor, "b t seen"],
    stills: Float[Tensor, "b t d"],
    actions: Float[Tensor, "b s a"],
    goals: Int[Tensor, "b s"],
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Loss and metrics of a policy that imitates what was done on the way to goals.

    Args:
        model: What encoded the images; it normalises the actions.
        policy: What is seen and the latent of a goal, side by side → a normalised action.
        seen: What is seen at the images of trajectories.
        stills: Latents of these images, as goals.
        actions: Actions between their images.
        goals: For each image but the last, which later image is its goal.
    """
    done = policy(torch.cat([seen[:, :-1], goal_latents(stills, goals)], dim=-1))
    loss = F.mse_loss(done, model.normalizer.actions(actions))
    return loss, {"loss": loss.detach()}


def act(
    model: JEPA, policy: nn.Module, pixels: UInt8[Tensor, "b k x y z"], goals: UInt8[Tensor, "b x y z"]
) -> Float[Tensor, "b a"]:
    """Actions of a policy towards goals, in the environment's units, from the ``k`` frames that are seen at once."""
    seen, _ = encode_frames(model, pixels)
    pairs = torch.cat([seen[:, 0], model.encode(goals)], dim=-1)
    return policy(pairs) * model.normalizer.action_std + model.normalizer.action_mean
