import numpy as np
import pytest
import torch

from envs.two_rooms.layouts import sample_endpoints, sample_layouts
from envs.two_rooms.physics import Layout
from envs.two_rooms.pictures.rendering import draw_agents, render, render_walls
from envs.two_rooms.task import image_positions, window_positions


def by_the_specification(position, layout):
    """The image as the specification words it, pixel by pixel."""
    y, x = np.mgrid[:65, :65].astype(np.float64)
    image = np.zeros((2, 65, 65))
    squared = (x - position[0]) ** 2 + (y - position[1]) ** 2
    image[0] = np.floor(255 * np.exp(-squared / (2 * 1.3**2)))
    across, along = (y, x) if layout.horizontal else (x, y)
    image[1][(np.abs(across - layout.wall) <= 1) & (np.abs(along - layout.door) > 4)] = 255
    image[1][(x == 4) | (x == 60) | (y == 4) | (y == 60)] = 255
    return image


def scenes(n, horizontal):
    rng = np.random.default_rng(3)
    layout = sample_layouts(rng, n, "all", horizontal=horizontal)
    return layout, sample_endpoints(rng, layout)[0]


EDGES = np.array([[4.0001, 4.0001], [59.999, 59.999], [4.0001, 59.999], [30.0, 30.0], [30.5, 31.5]], dtype=np.float32)


@pytest.mark.parametrize("horizontal", [False, True])
def test_matches_the_specification_within_one_level(horizontal):
    layout, positions = scenes(40, horizontal)
    positions[: len(EDGES)] = EDGES
    images = render(positions, layout)
    assert images.shape == (40, 2, 65, 65)
    assert images.dtype == np.uint8
    expected = np.stack([by_the_specification(p, layout.select(i)) for i, p in enumerate(positions)])
    assert np.abs(images[:, 0] - expected[:, 0]).max() <= 1
    assert (images[:, 0] != expected[:, 0]).mean() < 1e-3
    assert np.array_equal(images[:, 1], expected[:, 1])


@pytest.mark.parametrize("horizontal", [False, True])
def test_numpy_and_torch_agree_within_one_level(horizontal):
    layout, positions = scenes(100, horizontal)
    images = render(positions, layout)
    other = render(torch.from_numpy(positions), Layout(*(torch.from_numpy(np.asarray(field)) for field in layout)))
    assert isinstance(other, torch.Tensor)
    assert other.dtype == torch.uint8
    assert np.abs(images.astype(int) - other.numpy().astype(int)).max() <= 1
    assert np.array_equal(images[:, 1], other.numpy()[:, 1])


def test_trajectories_draw_each_layout_once():
    layout, positions = scenes(6, False)
    trajectory = np.stack([positions, positions + 0.25], axis=1)  # (6, 2, 2)
    images = render(trajectory, Layout(*(field[:, None] for field in layout)))
    assert images.shape == (6, 2, 2, 65, 65)
    assert np.array_equal(images[:, 0], render(positions, layout))
    assert np.array_equal(images[:, 1], render(positions + np.float32(0.25), layout))


def test_walls_alone():
    layout, positions = scenes(5, False)
    images = render(positions, layout)
    assert np.array_equal(render_walls(layout), images[:, 1])


def test_centroids_find_agents():
    grid = np.stack(np.meshgrid(*[np.linspace(30, 31, 21)] * 2), -1).reshape(-1, 2)
    positions = np.concatenate([grid, EDGES]).astype(np.float32)
    layout = Layout(np.full(len(positions), 40), np.full(len(positions), 20), np.zeros(len(positions), dtype=bool))
    images = render(positions, layout)
    found = image_positions(images)
    assert np.abs(found[: len(grid)] - grid).max() < 0.01
    assert np.abs(found - positions).max() < 0.01
    assert np.array_equal(image_positions(images[3]), found[3])
    blank = np.zeros((len(positions), 2, 65, 65), dtype=np.uint8)
    corners, blobs = draw_agents(positions, blank)
    assert np.array_equal(window_positions(corners, blobs), found)
    assert np.array_equal(window_positions(corners[7:8], blobs[7:8])[0], found[7])


def test_centroid_of_a_black_channel():
    with pytest.raises(ValueError, match="each image must show the agent in channel 0, got a black channel"):
        image_positions(np.zeros((2, 2, 65, 65), dtype=np.uint8))
