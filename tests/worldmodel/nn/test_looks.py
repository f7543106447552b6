import pytest
import torch

from worldmodel.nn.looks import Looks

BLACK, GROUND, BALL = 10, (40, 120, 80), (200, 60, 20)


def scenes(count=64, seed=0):
    """A wall along the left side, and a ball somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.tensor(GROUND, dtype=torch.uint8).view(1, 3, 1, 1).repeat(count, 1, 32, 32)
    images[..., :4] = BLACK
    for image in images:
        x, y = (int(torch.randint(low, 28, (), generator=generator)) for low in (6, 2))
        image[:, y : y + 3, x : x + 3] = torch.tensor(BALL, dtype=torch.uint8).view(3, 1, 1)
    return images


@pytest.fixture
def looks():
    looks = Looks((3, 32, 32))
    looks.fit(scenes())
    return looks


def test_familiar_images_stay_as_they_are(looks):
    unseen = scenes(16, seed=1)
    assert torch.equal(looks(unseen), unseen)
    assert torch.equal(Looks((3, 32, 32))(unseen), unseen)  # everything is familiar before it is fitted


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.2])
def test_another_light_is_undone(looks, factor):
    unseen = scenes(16, seed=1)
    lit = (unseen * factor).round().clamp(0, 255).to(torch.uint8)
    assert (looks(lit).int() - unseen.int()).abs().max() <= 1


def test_another_ground_is_undone(looks):
    unseen = scenes(16, seed=1)
    is_ground = (unseen == torch.tensor(GROUND, dtype=torch.uint8).view(3, 1, 1)).all(dim=1, keepdim=True)
    for colour in ((140, 160, 150), (220, 230, 90)):
        painted = torch.where(is_ground, torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1), unseen)
        assert torch.equal(looks(painted), unseen)


def test_what_is_not_of_the_scene_is_taken_out(looks):
    unseen = scenes(16, seed=1)
    disturbed = unseen.clone()
    disturbed[:, :, :2, 28:31] = torch.tensor((250, 250, 250), dtype=torch.uint8).view(3, 1, 1)
    expected = unseen.clone()
    expected[:, :, :2, 28:31] = looks.usual[:, :2, 28:31]
    assert torch.equal(looks(disturbed), expected)


def test_each_image_is_treated_for_itself(looks):
    images = scenes(6, seed=1)
    images[1::2] = (images[1::2] * 0.6).to(torch.uint8)
    together = looks(images)
    assert torch.equal(together, torch.cat([looks(image[None]) for image in images]))
    assert torch.equal(together[::2], images[::2])
    assert not torch.equal(together[1::2], images[1::2])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_it_takes_up_to_three_channels(channels):
    looks = Looks((channels, 32, 32))
    looks.fit(scenes()[:, :channels])
    dark = (scenes(4, seed=1)[:, :channels] * 0.5).to(torch.uint8)
    assert (looks(dark).int() - scenes(4, seed=1)[:, :channels].int()).abs().max() <= 1


def test_more_channels_are_refused():
    with pytest.raises(ValueError, match="images must have at most 3 channels, got 4"):
        Looks((4, 8, 8))
