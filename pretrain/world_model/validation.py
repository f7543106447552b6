"""What a world model, and an actor in its imagination, can do with data that they were not trained on."""

import numpy as np
import torch
from torch import Tensor

from envs.domain import VALIDATION
from envs.simulation import Simulation
from pretrain.data.simulated import SimulatedWindows
from pretrain.data.windows import WindowBatch, WindowSource
from pretrain.loop.collapse import measure_spread, warn_if_collapsed
from pretrain.loop.stages import VALIDATION_SEED
from worldmodel.imagination.actor_critic import ActorCritic
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe

NUM_WINDOWS = 256
"""Windows of a validation."""
NUM_SCENES, NUM_IMAGES = 64, 8
"""Scenes of a validation of an actor, and images of each."""
NUM_STEPS = 30
"""Predictor steps that the actor has to reach a goal."""
SCENES_SEED = 20_000_033
"""Seed of the scenes; the same at every validation."""
TRIALS_SEED = 20_000_047
"""Seed of the trials."""
BLOCKED_TOLERANCE = 0.01
"""A displacement that differs from the sum of its actions by more met an obstacle."""


@torch.no_grad()
def validate(model: JEPA, probe: Probe | None, source: WindowSource) -> dict[str, float]:
    """Measures a world model on a fixed sample of validation windows.

    Args:
        model: The world model.
        probe: Reads positions off latents; without it only latent metrics are returned.
        source: Validation windows.

    Returns:
        ``prediction_k``: squared error of latents predicted k predictor steps ahead, for the first, the middle and the
        last k. ``effective_rank`` of the latents, and ``latent_std``, the mean standard deviation of their features.
        With a probe and a simulation that knows positions, in their unit: ``probe_error``; ``rollout_error_k`` (through
        the probe) of rollouts that nothing stopped, and ``rollout_error_blocked_k`` of the others;
        ``linear_probe_…``: mean absolute error of linear maps from latents to layout and position; and the shares of
        the simulation's trials that the model gets wrong.
    """
    batch = source.sample(NUM_WINDOWS, np.random.default_rng(VALIDATION_SEED))
    before = model.context - 1  # frames that only tell how things move
    encoded = model.encode(batch.pixels)
    start = model.states(encoded[:, : before + 1], batch.actions[:, :before])[:, 0]
    batch = batch._replace(
        actions=batch.actions[:, before:],
        positions=None if batch.positions is None else batch.positions[:, before:],
    )
    latents, predicted = encoded[:, before:], model.latest(model.rollout(start, batch.actions))
    error = (predicted - latents[:, 1:]).square().mean(dim=-1).mean(dim=0)  # (T - 1,)
    horizons = sorted({1, (len(error) + 1) // 2, len(error)})
    metrics = {f"prediction_{k}": float(error[k - 1]) for k in horizons}
    spread = measure_spread(latents.flatten(0, 1))
    warn_if_collapsed(*spread.values())
    metrics |= spread
    known = source.simulation
    if probe is not None and known is not None:
        metrics |= _position_metrics(probe, latents, predicted, batch, known, horizons)
        metrics |= _linear_probes(latents, batch, known.layout_names)
        recipe = source.recipe if isinstance(source, SimulatedWindows) else ""
        metrics |= trial_errors(model, probe, known, recipe)
    return metrics


def _position_metrics(
    probe: Probe, latents: Tensor, predicted: Tensor, batch: WindowBatch, known: Simulation, horizons: list[int]
) -> dict[str, float]:
    positions = batch.positions
    assert positions is not None
    metrics = {"probe_error": float((probe(latents) - positions).norm(dim=-1).mean())}
    errors = (probe(predicted) - positions[:, 1:]).norm(dim=-1)  # (N, T - 1)
    steps = batch.actions.unflatten(-1, (-1, len(known.action_low)))  # (N, T - 1, k, A)
    intended = known.displacement(steps).sum(dim=2)
    stopped = (positions.diff(dim=1) - intended).norm(dim=-1) > BLOCKED_TOLERANCE
    for k in horizons:
        blocked = stopped[:, :k].any(dim=1)
        for name, rows in (("rollout_error", ~blocked), ("rollout_error_blocked", blocked)):
            if rows.any():
                metrics[f"{name}_{k}"] = float(errors[rows, k - 1].mean())
    return metrics


def _linear_probes(latents: Tensor, batch: WindowBatch, layout_names: tuple[str, ...]) -> dict[str, float]:
    """Errors of ridge regressions from latents, fitted on every other window and measured on the rest."""
    assert batch.layout is not None
    assert batch.positions is not None
    layout = batch.layout[:, None].expand(-1, latents.shape[1], -1)
    targets = torch.cat([layout, batch.positions], dim=-1).double()
    ones = torch.ones(*latents.shape[:2], 1, dtype=torch.float64, device=latents.device)
    inputs = torch.cat([latents.double(), ones], dim=-1)
    x, y = inputs[::2].flatten(0, 1), targets[::2].flatten(0, 1)
    ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    errors = (inputs[1::2] @ solution - targets[1::2]).abs().mean(dim=(0, 1)).tolist()
    position = errors[len(layout_names) :]
    named = dict(zip(layout_names, errors, strict=False)) | {"position": sum(position) / len(position)}
    return {f"linear_probe_{name}": error for name, error in named.items()}


def trial_errors(model: JEPA, probe: Probe, known: Simulation, recipe: str = "") -> dict[str, float]:
    """Shares of the trials of an environment whose end the model imagines wrongly; the same trials at every call.

    Args:
        model: The world model.
        probe: Reads positions off latents.
        known: The environment as arithmetic.
        recipe: How the data were drawn: trials are in its layouts.
    """
    device = next(model.parameters()).device
    wrong = {}
    for name, trial in known.trials(np.random.default_rng(TRIALS_SEED), VALIDATION, recipe).items():
        drawn = torch.from_numpy(known.draw(trial.positions[:, None], trial.layout)[:, 0]).to(device)
        num_blocks = -(-trial.num_steps // model.frame_skip)
        actions = torch.from_numpy(trial.action).to(device).repeat(1, num_blocks * model.frame_skip)
        imagined = model.rollout(model.at_rest(model.encode(drawn)), actions.unflatten(-1, (num_blocks, -1)))[:, -1]
        wrong[name] = float(trial.is_wrong(probe(model.latest(imagined)).cpu().numpy()).mean())
    return wrong


@torch.no_grad()
def validate_policy(model: JEPA, actor_critic: ActorCritic, source: WindowSource) -> dict[str, float]:
    """Lets the actor act in imagination, from each image of a scene to the next.

    Args:
        model: The world model.
        actor_critic: Actor and critics.
        source: Validation data.

    Returns:
        ``imagined_success``: share of trajectories that end nearer to their goal than to any other image of the scene.
        ``imagined_cost``: mean discounted cost of these trajectories, and ``cost_to_go``: what the
        critics say it is.
    """
    windows = source.sample(NUM_SCENES * NUM_IMAGES, np.random.default_rng(SCENES_SEED), per_scene=NUM_IMAGES)
    encoded = model.encode(windows.pixels[:, : model.context])
    states = model.states(encoded, windows.actions[:, : model.context - 1])[:, 0]
    images = model.latest(states).unflatten(0, (-1, NUM_IMAGES))  # (S, M, D)
    goals = images.roll(-1, dims=1).flatten(0, 1)
    cost_to_go = actor_critic.cost_to_go(states, goals)
    cost, discount = torch.zeros_like(cost_to_go), 1.0
    for _ in range(NUM_STEPS):
        actions = actor_critic.policy(states, goals).repeat(1, model.frame_skip)
        states = model.predict(states, actions)
        cost = cost + discount * actor_critic.step_cost(states, goals)
        discount *= actor_critic.discount
    nearest = torch.cdist(model.latest(states).unflatten(0, images.shape[:2]), images).argmin(-1)  # (S, M)
    wanted = torch.arange(images.shape[1], device=nearest.device).roll(-1)
    return {
        "imagined_success": float((nearest == wanted).float().mean()),
        "imagined_cost": float(cost.mean()),
        "cost_to_go": float(cost_to_go.mean()),
    }
