"""Windows without end, on the example of Two Rooms: reproducible, aligned, and distributed as promised."""

import numpy as np
import pytest
import torch

from envs.two_rooms.layouts import layout_set
from envs.two_rooms.physics import MAX_STEP, Layout, is_free, step
from envs.two_rooms.pictures.rendering import render
from envs.two_rooms.simulation.states import TwoRoomsSimulation
from envs.two_rooms.simulation.walks import REFERENCE_STEPS
from pretrain.data.simulated import SimulatedWindows
from pretrain.data.windows import WindowBatch
from pretrain.world_model.validation import validate
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.nn.probes import Probe

RECIPES = ("reference", "wall-rich", "pldm", "pldm-no-crossings")


def source(num_frames: int = 3, frame_skip: int = 2, **kwargs) -> SimulatedWindows:
    return SimulatedWindows(TwoRoomsSimulation(), num_frames, frame_skip, **kwargs)


def sample(recipe: str, n: int = 64, num_frames: int = 5, frame_skip: int = 3, seed: int = 0, **kwargs) -> WindowBatch:
    return source(num_frames, frame_skip, recipe=recipe, **kwargs).sample(n, np.random.default_rng(seed))


def layouts_of(batch: WindowBatch) -> Layout:
    wall, door = batch.layout.numpy().T
    return Layout(wall, door, np.zeros(len(wall), dtype=bool))


@pytest.mark.parametrize("recipe", ["reference", "wall-rich"])
def test_the_same_seed_gives_the_same_windows(recipe):
    first, again, other = (sample(recipe, n=8, seed=seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("recipe", RECIPES)
def test_windows_go_on_where_the_generator_stands(recipe):
    windows, generator = source(3, 2, recipe=recipe), np.random.default_rng(0)
    first, second = windows.sample(4, generator), windows.sample(4, generator)
    assert not torch.equal(first.positions, second.positions)


@pytest.mark.parametrize("recipe", RECIPES)
def test_blocks_of_actions_lead_from_each_frame_to_the_next(recipe):
    batch = sample(recipe)
    assert batch.actions.shape == (64, 4, 6)
    layout = layouts_of(batch)
    positions, blocked = batch.positions.numpy(), 0
    for t in range(4):
        here = positions[:, t]
        for action in np.moveaxis(batch.actions[:, t].numpy().reshape(-1, 3, 2), 1, 0):
            taken = step(here, action, layout)
            here, blocked = taken.positions, blocked + int(taken.blocked.sum())
        np.testing.assert_array_equal(here, positions[:, t + 1])
    assert blocked > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_windows_stand_behind_their_history(recipe):
    wide = sample(recipe, num_frames=3, context=3)
    # The same trajectories, drawn as windows of five frames.
    long = sample(recipe, num_frames=5)
    assert wide.pixels.shape[1] == 5
    assert torch.equal(wide.pixels, long.pixels)
    assert torch.equal(wide.positions, long.positions[:, 2:])
    assert torch.equal(wide.actions, long.actions[:, 2:])


@pytest.mark.parametrize("recipe", RECIPES)
def test_pixels_show_the_positions_and_layouts(recipe):
    batch = sample(recipe, n=16)
    wall, door = batch.layout.T[..., None]
    expected = render(batch.positions, Layout(wall, door, torch.zeros(16, 1, dtype=torch.bool)))
    assert (batch.pixels.shape, batch.pixels.dtype) == ((16, 5, 2, 65, 65), torch.uint8)
    assert torch.equal(batch.pixels, expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_agents_stay_in_free_space_and_actions_within_bounds(recipe):
    batch = sample(recipe, n=500)
    assert is_free(batch.positions.numpy().transpose(1, 0, 2).reshape(-1, 2), tile(layouts_of(batch), 5)).all()
    lengths = batch.actions.unflatten(-1, (3, 2)).norm(dim=-1)
    assert lengths.max() <= MAX_STEP * (1 + 1e-6)


def tile(layout: Layout, times: int) -> Layout:
    return Layout(*(np.tile(field, times) for field in layout))


@pytest.mark.parametrize("name", ["train", "validation", "held-out"])
def test_layouts_come_from_the_set_asked_for(name):
    drawn = {tuple(row) for row in sample("wall-rich", n=400, num_frames=2, layout_set=name).layout.int().tolist()}
    members = {tuple(row) for row in layout_set(name).tolist()}
    assert drawn <= members
    assert len(drawn) > min(0.9 * len(members), 200)


def test_reference_steps_are_truncated_normal():
    batch = sample("reference", n=400, num_frames=REFERENCE_STEPS + 1, frame_skip=1)
    lengths = batch.actions.norm(dim=-1).double()
    assert lengths.min() >= 0.2 - 1e-6
    assert lengths.max() <= 1.8 + 1e-6
    assert lengths.mean().item() == pytest.approx(1.0, abs=0.01)
    # N(1, 0.4) cut off at two standard deviations.
    assert lengths.std().item() == pytest.approx(0.4 * np.sqrt(1 - 4 * 0.05399 / 0.9545), abs=0.01)


def test_a_third_of_the_reference_trajectories_cross_the_wall():
    batch = sample("reference", n=600, num_frames=REFERENCE_STEPS + 1, frame_skip=1)
    right = batch.positions[:, :, 0] > batch.layout[:, None, 0]
    crosses = (right != right[:, :1]).any(dim=1).double().mean().item()
    assert 0.30 <= crosses <= 0.60


def test_reference_windows_are_cut_from_anywhere_in_the_trajectory():
    # Walks start uniformly; after up to 90 steps of a persistent walk many have met a wall and stand still.
    whole = sample("reference", n=400, num_frames=REFERENCE_STEPS + 1, frame_skip=1)
    cut = sample("reference", n=400, num_frames=2, frame_skip=1)
    still = (cut.positions.diff(dim=1).norm(dim=-1) == 0).double().mean().item()
    still_first = (whole.positions[:, :2].diff(dim=1).norm(dim=-1) == 0).double().mean().item()
    assert still > 2 * still_first


def test_wall_rich_windows_start_near_the_wall_and_cross_it_often():
    batch = sample("wall-rich", n=2000, num_frames=4, frame_skip=4)
    across = batch.positions[:, :, 0] - batch.layout[:, :1]
    assert (across[:, 0].abs() < 9.5).double().mean() > 0.8
    assert (across[:, 0].sign() != across[:, -1].sign()).double().mean() > 0.05
    blocks = batch.actions.unflatten(-1, (4, 2))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))


def test_an_unknown_recipe_raises():
    with pytest.raises(
        ValueError, match=r"recipe must be one of 'wall-rich', 'no-crossings', 'reference', 'pldm', .*, got 'uniform'"
    ):
        source(3, 1, recipe="uniform")


def test_a_window_longer_than_the_reference_trajectory_raises():
    assert sample("reference", 2, num_frames=46, frame_skip=2).pixels.shape[1] == 46
    with pytest.raises(ValueError, match="must fit in 90 steps, got 92"):
        sample("reference", 2, num_frames=47, frame_skip=2)


@pytest.mark.parametrize(("num_frames", "frame_skip"), [(1, 1), (0, 1), (3, 0), (3, -1)])
def test_a_window_without_a_step_raises(num_frames, frame_skip):
    message = f"num_frames must be at least 2 and frame_skip at least 1, got {num_frames} and {frame_skip}"
    with pytest.raises(ValueError, match=message):
        source(num_frames, frame_skip)


def test_a_history_without_a_frame_raises():
    with pytest.raises(ValueError, match="context must be at least 1, got 0"):
        source(context=0)


def test_an_unknown_layout_set_raises():
    with pytest.raises(ValueError, match="layout set must be one of"):
        sample("wall-rich", layout_set="test")


@pytest.mark.parametrize("recipe", ["wall-rich", "no-crossings", "reference"])
def test_whole_episodes_are_trajectories_in_layouts_of_their_own(recipe, monkeypatch):
    monkeypatch.setattr("pretrain.data.simulated.AT_ONCE", 8)
    windows = source(3, 2, recipe=recipe)
    first, again = (list(windows.whole_episodes(20, 5, 1, np.random.default_rng(3))) for _ in range(2))
    assert [len(batch.pixels) for batch in first] == [8, 8, 4]
    for a, b in zip(first, again, strict=True):
        assert (a.pixels.shape[1:], a.actions.shape[1:]) == ((5, 2, 65, 65), (4, 4))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    walls = [image.numpy().tobytes() for batch in first for image in batch.pixels[:, 0, 1]]
    assert len(set(walls)) > 12
    # The same that windows of so many frames show, whatever a model sees at once.
    long = source(5, 2, recipe=recipe).sample(8, np.random.default_rng(3))
    assert all(torch.equal(x, y) for x, y in zip(first[0], long, strict=True))
    (wide, *_) = source(3, 2, recipe=recipe, context=3).whole_episodes(20, 5, 1, np.random.default_rng(3))
    assert all(torch.equal(x, y) for x, y in zip(first[0], wide, strict=True))


@pytest.mark.parametrize("per_scene", [1, 3, 8])
def test_whole_episodes_share_a_scene_so_many_in_a_row(per_scene, monkeypatch):
    monkeypatch.setattr("pretrain.data.simulated.AT_ONCE", 7)
    batches = list(source(3, 2).whole_episodes(20, 2, per_scene, np.random.default_rng(3)))
    # No scene is cut in two between what is drawn at once.
    assert all(len(batch.layout) % per_scene == 0 for batch in batches[:-1])
    layouts = torch.cat([batch.layout for batch in batches])
    assert len(layouts) == 20
    same = (layouts[:, None] == layouts).all(-1)
    scene = torch.arange(20) // per_scene
    assert bool(same[scene[:, None] == scene].all())
    assert float(same[scene[:, None] != scene].float().mean()) < 0.05
    starts = torch.cat([batch.positions[:, 0] for batch in batches])
    assert len(starts.unique(dim=0)) == 20


def test_without_crossings_no_one_enters_the_doorway():
    batch = sample("no-crossings", n=256, num_frames=9, frame_skip=1)
    across = batch.positions[..., 0] - batch.layout[:, None, 0]
    assert float(across.abs().min()) > 1.0
    assert bool((across.sign() == across.sign()[:, :1]).all())
    passing = sample("wall-rich", n=256, num_frames=9, frame_skip=1)
    across = passing.positions[..., 0] - passing.layout[:, None, 0]
    assert bool((across.sign() != across.sign()[:, :1]).any())


@pytest.mark.parametrize("context", [1, 2])
def test_diagnosis_repeats(context):
    class Blind(Probe):
        def forward(self, latents):
            return latents.new_zeros(*latents.shape[:-1], 2)

    data = DataSpec(pixel_shape=(2, 65, 65), action_dim=2, action_low=(-2.0, -2.0), action_high=(2.0, 2.0))
    sizes = {"latent_dim": 8, "encoder_hidden_dim": 8, "predictor_hidden_dim": 8}
    model = build_model(ModelConfig(encoder="axial", context=context, **sizes), data)
    probe = Blind(8, (0.0, 0.0), (1.0, 1.0))
    first, again = (validate(model, probe, source(2 + context, 4)) for _ in range(2))
    assert first == again
    assert {"prediction_1", "prediction_2"} <= set(first)
    assert "prediction_3" not in first
    # Who is read to be at the left edge has crossed wherever it came from the right.
    assert 0.3 < first["walks_through_walls"] < 0.7
    assert {"linear_probe_wall", "linear_probe_door", "linear_probe_position"} <= set(first)


def test_a_diagnosis_tries_walls_in_the_layouts_of_the_recipe(monkeypatch):
    asked = []

    def trials(self, generator, layout_set, recipe=""):
        asked.append((layout_set, recipe))
        return {}

    monkeypatch.setattr(TwoRoomsSimulation, "trials", trials)
    data = DataSpec(pixel_shape=(2, 65, 65), action_dim=2, action_low=(-2.0, -2.0), action_high=(2.0, 2.0))
    sizes = {"latent_dim": 8, "encoder_hidden_dim": 8, "predictor_hidden_dim": 8}
    model = build_model(ModelConfig(encoder="axial", **sizes), data)
    probe = Probe(8, (0.0, 0.0), (1.0, 1.0))
    found = validate(model, probe, source(3, 4, recipe="pldm", layout_set="validation"))
    assert asked == [("validation", "pldm")]
    assert found["linear_probe_wall"] < 1e-2  # there is one wall


@pytest.mark.parametrize("recipe", TwoRoomsSimulation.recipes)
def test_horizontal_walls_are_the_same_turned(recipe):
    upright, turned = (
        SimulatedWindows(TwoRoomsSimulation(orientation), 5, 2, recipe=recipe).sample(16, np.random.default_rng(1))
        for orientation in ("vertical", "horizontal")
    )
    assert torch.equal(upright.positions, turned.positions.flip(-1))
    assert torch.equal(upright.layout, turned.layout)
    assert torch.equal(upright.pixels, turned.pixels.transpose(-1, -2))
