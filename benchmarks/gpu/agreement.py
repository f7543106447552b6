"""Whether CPU and GPU agree: the same weights on the same images and actions.

An error is the norm of the difference over the norm of what the CPU computes in float32. It is measured in float32, in
float32 with convolutions in TF32, which is how torch computes them on a GPU unless it is told otherwise, and under
autocast to bfloat16.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu.config import GpuConfig
from benchmarks.gpu.training import Finding
from worldmodel.checkpoint import Pretrained, load_pretrained, shipped_checkpoints
from worldmodel.nn.normalize import Normalizer
from worldmodel.planning import make_cost
from worldmodel.video.checkpoint import VIDEO_JEPA
from worldmodel.video.jepa import VideoJEPA

TOLERANCES = {"float32": 1e-3, "float32, TF32": 1e-2, "bfloat16": 5e-2}
"""Largest error in each precision. Under autocast a CPU errs by 0.013 at most: TF32 has three more bits."""
NUM_IMAGES, NUM_CANDIDATES, HORIZON = 16, 32, 4
"""Images, plans for each, and predictor steps of these."""


def checkpoints() -> list[str]:
    """Names of the shipped checkpoints that are compared."""
    return [*shipped_checkpoints(), *shipped_checkpoints(VIDEO_JEPA.format)]


def agree(config: GpuConfig, name: str) -> Finding:
    """Compares encoder, predictor, planner's costs and actor of a shipped checkpoint on CPU and device."""
    wanted = outputs(name, torch.device("cpu"), "float32")
    errors, faults = {}, []
    for precision, tolerance in TOLERANCES.items():
        found = outputs(name, torch.device(config.device), precision)
        errors[precision] = {part: error(found[part], wanted[part]) for part in wanted}
        faults += [
            f"{part} in {precision} must agree with the CPU within {tolerance:g}, got an error of {value:.3g}"
            for part, value in errors[precision].items()
            if not value <= tolerance
        ]
    return Finding({"errors": errors, "tolerances": TOLERANCES}, faults)


def error(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm of what is wanted."""
    return float((found - wanted).norm() / wanted.norm())


@torch.no_grad()
def outputs(name: str, device: torch.device, precision: str) -> dict[str, Tensor]:
    """What each part of a shipped checkpoint computes on a device in a precision; on the CPU, in float32."""
    bfloat16 = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with _convolutions(tf32=precision == "float32, TF32"), bfloat16:
        if name in shipped_checkpoints():
            found = _world_model(load_pretrained(name, device), device)
        else:
            found = _video(VIDEO_JEPA.load(name, device).model, device)
    return {part: value.float().cpu() for part, value in found.items()}


def _world_model(pretrained: Pretrained, device: torch.device) -> dict[str, Tensor]:
    model, networks = pretrained.model, pretrained.actor_critic
    generator = torch.Generator().manual_seed(0)
    pixels = images(model.normalizer, NUM_IMAGES * (model.context + 1), generator).to(device)
    latents = model.encode(pixels).unflatten(0, (NUM_IMAGES, -1))
    low, high = (torch.tensor(bound) for bound in (pretrained.data.action_low, pretrained.data.action_high))
    shape = NUM_IMAGES, model.context - 1 + NUM_CANDIDATES * HORIZON
    drawn = low + (high - low) * torch.rand(*shape, model.action_dim, generator=generator)
    actions = drawn.to(device).repeat(1, 1, model.frame_skip)
    past, plans = actions.split([model.context - 1, NUM_CANDIDATES * HORIZON], dim=1)
    plans = plans.unflatten(1, (NUM_CANDIDATES, HORIZON))
    states, goals = model.states(latents[:, :-1], past)[:, 0], latents[:, -1]
    found = {"encoder": latents, "predictor": model.latest(model.rollout(states, plans[:, 0]))}
    if networks is not None:
        costs = make_cost(model.rollout, states, goals, networks.trajectory_cost)
        found |= {"planner's costs": costs(plans), "actor": networks.policy(states, goals)}
    return found


def _video(model: VideoJEPA, device: torch.device) -> dict[str, Tensor]:
    pixels = images(model.normalizer, NUM_IMAGES * model.context, torch.Generator().manual_seed(0)).to(device)
    latents = model.encode(pixels).unflatten(0, (NUM_IMAGES, -1))
    return {"encoder": latents, "predictor": model.rollout(latents, HORIZON)}


def images(normalizer: Normalizer, count: int, generator: torch.Generator) -> Tensor:
    """Noise with mean and standard deviation of the training images, uint8 ``(count, C, H, W)``, on the CPU."""
    mean, std = normalizer.pixel_mean.cpu(), normalizer.pixel_std.cpu()[:, None, None]
    mean = mean if mean.ndim == 3 else mean[:, None, None]
    noise = torch.randn(count, *normalizer.pixel_shape, generator=generator)
    return (mean + std * noise).round().clamp(0, 255).to(torch.uint8)


@contextlib.contextmanager
def _convolutions(*, tf32: bool) -> Iterator[None]:
    """Whether convolutions may round their inputs to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
