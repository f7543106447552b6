"""Appearance shifts: pure functions of images, that change what they name and nothing else."""

import gymnasium as gym
import numpy as np
import pytest

from envs.appearance import (
    CONTRAST,
    DISTRACTOR,
    DISTRACTOR_RADIUS,
    GOAL_STEP,
    SHIFTS,
    TINTS,
    background,
    check_shift,
    possible,
    shift,
)
from envs.domain import domains

SIZE = 64
FLOOR, BLOCK, AGENT = (250, 240, 230, 220), (20, 60, 90, 40), (230, 50, 10, 200)
"""Colours; images of fewer channels have the first of them."""


def scene(channels=3, row=40):
    """A block, and an agent of 5 × 5 pixels, on a plain floor: HWC."""
    image = np.full((SIZE, SIZE, channels), FLOOR[:channels], np.uint8)
    image[10:20, 12:40] = BLOCK[:channels]
    image[row : row + 5, 30:35] = AGENT[:channels]
    return image


def agent_pixels(images):
    """The share of each pixel that is exactly of the agent's colour, whichever way the axes are."""
    if images.shape[-1] > 4:
        images = np.moveaxis(images, 1, -1)
    return (images == AGENT[: images.shape[-1]]).all(-1).astype(np.float64)


def changed(name, image, **keywords):
    """A shifted image, and which of its pixels differ from the original."""
    shifted = shift(name, image, agent_pixels=agent_pixels, **keywords)
    return shifted, (shifted != image).any(-1)


@pytest.fixture
def batch():
    return np.stack([scene(row=row) for row in (25, 33, 50)])


@pytest.mark.parametrize("name", SHIFTS)
def test_a_batch_gives_what_its_members_give(name, batch):
    before, steps, seeds = batch.copy(), np.array([0, 7, GOAL_STEP]), np.array([3, 4, 3])
    together = shift(name, batch, step=steps, seed=seeds, agent_pixels=agent_pixels)
    for i, image in enumerate(batch):
        alone = shift(name, image, step=steps[i], seed=seeds[i], agent_pixels=agent_pixels)
        assert np.array_equal(alone, together[i])
    assert np.array_equal(batch, before)
    assert together.dtype == np.uint8
    assert (together != batch).any((1, 2, 3)).all()


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_axes_come_in_either_order(name, channels):
    image = scene(channels)
    last = shift(name, image, step=5, seed=1, agent_pixels=agent_pixels)
    first = shift(name, np.moveaxis(image, -1, 0), step=5, seed=1, agent_pixels=agent_pixels)
    assert first.shape == (channels, SIZE, SIZE)
    assert np.array_equal(np.moveaxis(first, 0, -1), last)
    assert not np.array_equal(last, image)


@pytest.mark.parametrize("name", SHIFTS)
def test_no_image_is_an_empty_batch(name):
    none = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    assert shift(name, none, agent_pixels=agent_pixels).shape == none.shape


def test_background_is_what_is_near_the_commonest_colour():
    image = scene()
    image[50, 50] = np.array(FLOOR[:3]) - 20  # a shade of the floor
    image[52, 50] = np.array(FLOOR[:3]) - 80  # half way between the two bounds
    shares, colours = background(image[None])
    assert colours.tolist() == [list(FLOOR[:3])]
    assert (shares[0, 50, 50], shares[0, 52, 50], shares[0, 0, 0]) == (1, 0.5, 1)
    assert shares[0, 15, 20] == shares[0, 42, 32] == 0


def test_the_background_alone_changes_its_colour():
    found = set()
    for seed in range(8):
        shifted, differs = changed("background-colour", scene(), seed=seed)
        assert np.array_equal(differs, (scene() == FLOOR[:3]).all(-1))
        found.add(tuple((np.array(FLOOR[:3]) - shifted[0, 0]).tolist()))
    assert found == {tint[:3] for tint in TINTS}
    dark, _ = changed("background-colour", 255 - scene())
    assert (dark[0, 0] > 255 - np.array(FLOOR[:3])).all()  # from either end of the scale towards the middle


def test_shades_of_a_background_stay_shades():
    image = scene()
    image[:, 32:][(image[:, 32:] == FLOOR[:3]).all(-1)] -= 12
    shifted, _ = changed("background-colour", image)
    assert (shifted[0, 0] - shifted[0, -1]).tolist() == [12, 12, 12]


def test_the_agent_is_no_background_where_it_is_known():
    image = scene()
    image[40:45, 30:35] = np.array(FLOOR[:3]) - 30
    shares = np.zeros((1, SIZE, SIZE))
    shares[0, 40:45, 30:35] = 1
    known = shift("background-colour", image, agent_pixels=lambda images: shares)
    assert np.array_equal(known[40:45, 30:35], image[40:45, 30:35])
    assert not np.array_equal(shift("background-colour", image)[42, 32], image[42, 32])


def test_a_texture_is_smooth_and_on_the_background_alone():
    shifted, differs = changed("background-texture", scene(), seed=2)
    levels = np.array(FLOOR[:3], np.int64) - shifted
    floor = (scene() == FLOOR[:3]).all(-1)
    assert not differs[~floor].any()
    assert levels[floor].min() >= 0
    assert 0.8 * CONTRAST < levels[floor].max() <= CONTRAST
    steps = np.abs(np.diff(levels, axis=1))[floor[:, 1:] & floor[:, :-1]]
    assert steps.max() < CONTRAST / 4
    assert np.array_equal(shifted, changed("background-texture", scene(), seed=2, step=99)[0])
    assert not np.array_equal(shifted, changed("background-texture", scene(), seed=3)[0])


def test_brightness_is_a_factor():
    shifted, _ = changed("brightness", scene())
    assert (shifted[0, 0].tolist(), shifted[15, 20].tolist()) == ([150, 144, 138], [12, 36, 54])


def test_a_distractor_moves_smoothly_in_front_of_all_and_is_elsewhere_in_the_goal():
    centres = []
    for step in [*range(150), GOAL_STEP]:
        shifted, differs = changed("distractor", scene(), step=step, seed=5)
        rows, columns = np.nonzero(differs)
        centre = np.array([rows.mean(), columns.mean()])
        radius = DISTRACTOR_RADIUS * SIZE
        assert np.hypot(rows - centre[0], columns - centre[1]).max() < radius + 1.5
        assert shifted[tuple(centre.round().astype(int))].tolist() == list(DISTRACTOR[3])
        centres.append(centre)
    *path, goal = np.array(centres)
    assert np.abs(np.diff(path, axis=0)).max() < 4
    assert np.ptp(path, axis=0).min() > SIZE / 2
    assert np.abs(path[0] - goal).max() > 4


def test_an_agent_of_another_colour():
    red, green, blue = AGENT[:3]
    for channels, colour in ((1, [138]), (2, [170, 110]), (3, [green, red, blue]), (4, [green, red, blue, AGENT[3]])):
        shifted, differs = changed("agent-colour", scene(channels))
        assert np.array_equal(differs, agent_pixels(scene(channels)[None])[0] == 1)
        assert shifted[42, 32].tolist() == colour


def test_a_larger_agent_has_a_pixel_more_on_each_side():
    shifted, differs = changed("agent-size", scene())
    ring = np.zeros((SIZE, SIZE), bool)
    ring[39, 30:35] = ring[45, 30:35] = ring[40:45, 29] = ring[40:45, 35] = True
    assert np.array_equal(differs, ring)
    assert (shifted[ring] == AGENT[:3]).all()
    large = np.kron(scene(), np.ones((4, 4, 1), np.uint8))
    _, differs = changed("agent-size", large)
    assert [np.ptp(axis) + 1 for axis in np.nonzero(differs)] == [28, 28]  # 20 pixels, and 4 to each side


def test_a_soft_edge_stays_soft():
    image, shares = scene(), agent_pixels(scene()[None])
    image[39, 30:35], shares[0, 39, 30:35] = (np.array(AGENT[:3]) + FLOOR[:3]) // 2, 0.5
    shifted = shift("agent-size", image, agent_pixels=lambda images: shares)
    assert (shifted[39, 30:35] == AGENT[:3]).all()
    assert shifted[38, 32].tolist() == [240, 145, 120]  # half of the agent's colour on the floor


def test_an_agent_at_the_border_grows_inwards():
    image = np.full((SIZE, SIZE, 3), FLOOR[:3], np.uint8)
    image[0, 0] = AGENT[:3]
    _, differs = changed("agent-size", image)
    assert np.argwhere(differs).tolist() == [[0, 1], [1, 0]]


def test_what_can_be_done_depends_on_whether_the_agent_is_known():
    assert possible(agent_pixels) == tuple(SHIFTS)
    assert possible(None) == ("background-colour", "background-texture", "brightness", "distractor")
    assert check_shift("agent-size", agent_pixels) == "agent-size"
    with pytest.raises(ValueError, match=r"appearance must be one of .*'distractor' in an environment of which .* got"):
        check_shift("agent-size", None)
    with pytest.raises(ValueError, match=r"appearance must be one of 'background-colour', .*, got 'dark'"):
        shift("dark", scene())


@pytest.mark.parametrize(
    "images",
    [scene().astype(np.float32), np.zeros((SIZE, SIZE), np.uint8), np.zeros((9, 64, 64), np.uint8),
     np.zeros((1, 1, 64, 64, 3), np.uint8), np.zeros((0, 64, 3), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape .* with 1 to 4 channels, got \w+ of shape \("):
        shift("brightness", images)


def test_shares_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"agent_pixels must give shares of shape \(1, 64, 64\), got \(1, 3\)"):
        shift("agent-size", scene(), agent_pixels=lambda images: np.zeros((1, 3)))


@pytest.mark.parametrize("domain", domains(), ids=lambda domain: domain.name)
def test_what_moves_with_the_agent_is_the_agents(domain):
    """Where two images of one scene differ, there is the agent in one of them; and it is seen whole somewhere."""
    assert domain.agent_pixels is not None
    try:
        env = gym.make(domain.env_id)
        seen, _ = env.reset(seed=2)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))
    env.action_space.seed(0)
    images = [seen["observation"].copy()]
    action = env.action_space.sample()
    for _ in range(8):
        images.append(env.step(action)[0]["observation"].copy())
    env.close()
    batch = np.stack(images)
    shares = domain.agent_pixels(batch)
    assert shares.min() >= 0
    assert shares.max((1, 2)) == pytest.approx(1, abs=0.2)
    assert np.array_equal(shares[3], domain.agent_pixels(batch[3:4])[0])
    assert (shares > 0).mean() < 0.1
    pixels = batch if batch.shape[-1] <= 4 else np.moveaxis(batch, 1, -1)
    differs = np.abs(pixels[0].astype(int) - pixels[-1]).max(-1) > 24
    assert differs.any()
    assert (np.maximum(shares[0], shares[-1])[differs] > 0.05).all()
