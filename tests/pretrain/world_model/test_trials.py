"""The rates of walls walked through and doors refused, on models whose behaviour is known."""

import numpy as np
import pytest
import torch
from torch import nn

from envs.two_rooms.physics import Layout, step
from envs.two_rooms.simulation.states import TwoRoomsSimulation
from pretrain.world_model.validation import trial_errors
from worldmodel.jepa import JEPA, state_dim
from worldmodel.nn.probes import Probe


class Reader(Probe):
    """Reads the position that is the latent."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, latents):
        assert latents.shape[-1] == 4
        return latents[..., :2]


class Known(JEPA):
    """Latents are position and layout, read off the images; how it moves is given."""

    action_dim, latent_dim = 2, 4

    def __init__(self, move, frame_skip=4, context=1):
        nn.Module.__init__(self)
        self.unused = nn.Parameter(torch.zeros(()))
        self.move, self.frame_skip, self.context = move, frame_skip, context
        self.state_dim = state_dim(4, 2 * frame_skip, context)

    def encode(self, pixels):
        from envs.two_rooms.policies.expert import read_layout
        from envs.two_rooms.task import image_positions

        images = pixels.numpy()
        layout = read_layout(images)
        return torch.from_numpy(np.concatenate([image_positions(images), np.stack(layout[:2], -1)], -1)).float()

    def rollout(self, states, actions):
        assert states.shape[1] == self.state_dim
        latents = states[:, -4:]
        position, wall, door = latents[:, :2].numpy(), latents[:, 2].numpy(), latents[:, 3].numpy()
        layout = Layout(wall, door, np.zeros(len(wall), bool))
        for action in actions.unflatten(-1, (-1, 2)).flatten(1, 2).unbind(1):
            position = self.move(position, action.numpy(), layout)
        return torch.cat([states[:, :-4], torch.from_numpy(position), latents[:, 2:]], -1)[:, None]


def rates(move, frame_skip=4, context=1, recipe=""):
    return trial_errors(Known(move, frame_skip, context), Reader(), TwoRoomsSimulation(), recipe)


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("frame_skip", [1, 4, 5])
def test_the_true_physics_neither_walks_through_walls_nor_refuses_doors(frame_skip, context):
    found = rates(lambda position, action, layout: step(position, action, layout).positions, frame_skip, context)
    assert found == {"walks_through_walls": 0.0, "refuses_doors": 0.0}


def test_a_ghost_walks_through_walls():
    assert rates(lambda position, action, layout: position + action) == {
        "walks_through_walls": 1.0,
        "refuses_doors": 0.0,
    }


def test_trials_are_in_the_layouts_of_the_data():
    seen = set()

    def look(position, action, layout):
        seen.update(zip(layout.wall.tolist(), layout.door.tolist(), strict=True))
        return step(position, action, layout).positions

    assert rates(look, recipe="pldm") == {"walks_through_walls": 0.0, "refuses_doors": 0.0}
    assert seen == {(32.0, 10.0)}


def test_a_stone_refuses_doors():
    assert rates(lambda position, action, layout: position) == {"walks_through_walls": 0.0, "refuses_doors": 1.0}
