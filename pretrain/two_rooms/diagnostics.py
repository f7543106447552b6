"""What decides planning in Two Rooms: whether imagined agents walk through walls, and whether doors let them pass.

::

        │             │
     ●──▶ wall     ●──▶   pushed straight across the wall, from 6 px, for 16 px,
        │             door   beside the door and at it: on which side does the model imagine the end?
        │             │
"""

import numpy as np
import torch

from envs.two_rooms.layouts import sample_layouts
from envs.two_rooms.physics import ARENA_MAX, ARENA_MIN, DOOR_HALF_WIDTH, Layout
from envs.two_rooms.rendering import render
from worldmodel.jepa import JEPA
from worldmodel.nn.probes import Probe

NUM_TRIALS = 512
"""Trials at walls, and as many at doors."""
START_DISTANCE, PUSH_DISTANCE = 6.0, 16.0
"""Distance from the wall's centre line at the start, and length of the push, in pixels."""
STEP = 1.0
"""Displacement asked for at an environment step, in pixels."""
CLEARANCE = 2.5
"""Pushes at walls pass the door's edge at this distance at least, in pixels; those at doors are as far from it."""


@torch.no_grad()
def crossing_rates(model: JEPA, probe: Probe, layout_set: str, generator: np.random.Generator) -> dict[str, float]:
    """Pushes imagined agents against walls and through doors.

    Args:
        model: The world model.
        probe: Reads positions off latents.
        layout_set: Layouts to draw from (see :mod:`envs.two_rooms.layouts`).
        generator: Source of all randomness.

    Returns:
        ``walks_through_walls``: share of pushes at walls that end on the other side in imagination; the right share is
        0. ``refuses_doors``: share of pushes at doors that do not; the right share is 0.
    """
    layout = sample_layouts(generator, NUM_TRIALS, layout_set)
    side = generator.choice([-1.0, 1.0], size=NUM_TRIALS)
    at_door = layout.door + generator.uniform(-1.0, 1.0, size=NUM_TRIALS) * (DOOR_HALF_WIDTH - CLEARANCE)
    # Anywhere along the wall but at the door: the door's rows are cut out of the range that is drawn from.
    cut = DOOR_HALF_WIDTH + CLEARANCE
    below = np.maximum(layout.door - cut - (ARENA_MIN + 1), 0.0)
    above = np.maximum((ARENA_MAX - 1) - (layout.door + cut), 0.0)
    along = generator.random(NUM_TRIALS) * (below + above)
    at_wall = np.where(along < below, ARENA_MIN + 1 + along, layout.door + cut + along - below)
    crossed = {}
    for name, rows in (("wall", at_wall), ("door", at_door)):
        starts = np.stack([layout.wall + side * START_DISTANCE, rows], -1).astype(np.float32)
        end = _push(model, probe, starts, -side * STEP, layout)
        crossed[name] = float((np.sign(end - layout.wall) != side).mean())
    return {"walks_through_walls": crossed["wall"], "refuses_doors": 1.0 - crossed["door"]}


def _push(model: JEPA, probe: Probe, starts: np.ndarray, across: np.ndarray, layout: Layout) -> np.ndarray:
    """Where across the wall the model imagines agents that make steps of ``across`` from ``starts``, ``(N,)``."""
    device = next(model.parameters()).device
    fields = Layout(*(torch.from_numpy(np.ascontiguousarray(field)).to(device) for field in layout))
    latents = model.encode(render(torch.from_numpy(starts).to(device), fields))
    num_blocks = int(np.ceil(PUSH_DISTANCE / (STEP * model.frame_skip)))
    actions = torch.zeros(len(starts), num_blocks, model.frame_skip, model.action_dim, device=device)
    actions[..., 0] = torch.from_numpy(across.astype(np.float32)).to(device)[:, None, None]
    imagined = model.rollout(latents, actions.flatten(2))[:, -1]
    return probe(imagined)[:, 0].cpu().numpy()
