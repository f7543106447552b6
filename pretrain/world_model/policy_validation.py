"""What an actor can do in a world model's imagination, in scenes it was not trained on."""

import numpy as np
import torch

from pretrain.data.windows import WindowSource
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA

NUM_SCENES, NUM_IMAGES = 64, 8
"""Scenes of a validation, and images of each."""
NUM_STEPS = 30
"""Predictor steps that the actor has to reach a goal."""
VALIDATION_SEED = 20_000_033
"""Seed of the scenes; the same at every validation."""


@torch.no_grad()
def validate_policy(model: JEPA, actor_critic: ActorCritic, source: WindowSource) -> dict[str, float]:
    """Lets the actor act in imagination, from each image of a scene to the next.

    Args:
        model: The world model.
        actor_critic: Actor and critic.
        source: Validation data.

    Returns:
        ``imagined_success``: share of trajectories that end nearer to their goal than to any other image of the scene.
        ``imagined_cost``: mean discounted cost of these trajectories, and ``cost_to_go``: what the critic, that knows
        single steps only, says it is; the difference is what imagination loses over many steps.
    """
    scenes = source.sample_scenes(NUM_SCENES, NUM_IMAGES, np.random.default_rng(VALIDATION_SEED))
    images = model.encode(scenes.pixels)  # (S, M, D)
    latents, goals = images.flatten(0, 1), images.roll(-1, dims=1).flatten(0, 1)
    cost_to_go = actor_critic.cost_to_go(latents, goals)
    cost, discount = torch.zeros_like(cost_to_go), 1.0
    for _ in range(NUM_STEPS):
        actions = actor_critic.policy(latents, goals).repeat(1, model.frame_skip)
        latents = model.predict(latents, actions)
        cost = cost + discount * actor_critic.step_cost(latents, goals)
        discount *= actor_critic.discount
    nearest = torch.cdist(latents.unflatten(0, images.shape[:2]), images).argmin(-1)  # (S, M)
    wanted = torch.arange(images.shape[1], device=nearest.device).roll(-1)
    return {
        "imagined_success": float((nearest == wanted).float().mean()),
        "imagined_cost": float(cost.mean()),
        "cost_to_go": float(cost_to_go.mean()),
    }
