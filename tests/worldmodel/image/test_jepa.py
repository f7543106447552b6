"""Image-JEPA: encoders, batch normalisation, and its losses against closed forms."""

import json

import pytest
import torch
from torch import nn

from worldmodel.checkpoint import CheckpointError
from worldmodel.image.build import ImageModelConfig, ImagesSpec, build_image_jepa
from worldmodel.image.checkpoint import IMAGE_JEPA, load_image_jepa
from worldmodel.image.encoders import ResNet18, VisionTransformer
from worldmodel.image.jepa import ImageJEPA
from worldmodel.image.objective import ImageLossWeights, ImageObjective, make_projector
from worldmodel.nn import losses
from worldmodel.nn.layers import BatchNorm
from worldmodel.nn.normalize import Normalizer

SMALL = ImageModelConfig(width=4, stem_stride=2)
VIT = ImageModelConfig(encoder="vit", width=12, patch=7, depth=2, num_heads=3)


class Flat(nn.Module):
    """The image is its own latent."""

    def forward(self, images):
        return images.flatten(1)


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def flat_objective(weights: ImageLossWeights, **keywords) -> ImageObjective:
    return ImageObjective(ImageJEPA(Flat(), Normalizer((1, 2, 2), 0), 4), weights, **keywords)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("config", [SMALL, ImageModelConfig(width=4), VIT], ids=["strided", "full", "vit"])
def test_images_become_vectors(config, shape):
    if config.encoder == "vit" and shape[1] == 32:
        config = ImageModelConfig(encoder="vit", width=12, patch=8, depth=2, num_heads=3)
    model = build_image_jepa(config, shape)
    latents = model.encode(pixels(2, 3, *shape))
    assert latents.shape == (2, 3, 32 if config.encoder == "resnet18" else 12)
    assert latents.shape[-1] == model.latent_dim
    latents.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_the_papers_network_is_resnet_18():
    encoder = ResNet18((3, 32, 32))
    assert encoder.latent_dim == 512
    # torchvision's count for ResNet-18, less its classifier, with a 3 × 3 stem in place of 7 × 7.
    assert sum(p.numel() for p in encoder.parameters()) == 11_689_512 - 513_000 - 64 * 3 * (49 - 9)
    assert encoder.stem(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)


def test_transformer_blocks_start_differently():
    encoder = VisionTransformer((1, 28, 28), patch=7, width=12, depth=2, num_heads=3)
    assert encoder.positions.shape == (1, 16, 12)
    first, second = encoder.blocks
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 4)])
def test_batch_norm_is_torchs(shape):
    ours, theirs = BatchNorm(5), (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5)
    for _ in range(3):
        x = 3 + 2 * torch.randn(shape)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_the_objective_is_the_weighted_sum_of_closed_forms():
    objective = flat_objective(ImageLossWeights(sigreg=3.0, variance=4.0, covariance=5.0), seed=2)
    views = pixels(2, 10, 1, 2, 2)
    loss, terms, latents = objective(views, step=7)
    z = (views.double() / 255).flatten(2)
    torch.testing.assert_close(latents.double(), z, rtol=1e-4, atol=1e-6)
    invariance = (z[0] - z[1]).square().mean()
    variance = sum(torch.relu(1 - (view.var(dim=0) + 1e-4).sqrt()).mean() for view in z)
    covariance = sum(
        torch.cov(view.T).masked_fill(torch.eye(4, dtype=torch.bool), 0).square().sum() / (4 * 3) for view in z
    )
    # The same directions for both views; without the number of images, which LeJEPA's statistic has as a factor.
    sigreg = sum(losses.sigreg(v.float(), generator=torch.Generator().manual_seed(2_000_013)) for v in z) / 2
    expected = {"invariance": invariance, "variance": variance, "covariance": covariance, "sigreg": sigreg}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = invariance + 4 * variance + 5 * covariance + 3 * sigreg
    assert loss.item() == pytest.approx(total.item(), rel=1e-4)
    assert objective(views, step=8)[1]["sigreg"].item() != terms["sigreg"].item()


@pytest.mark.parametrize("name", ["sigreg", "variance", "covariance"])
def test_a_weight_of_0_leaves_the_term_out(name):
    weights = ImageLossWeights(**{"sigreg": 1.0, "variance": 1.0, "covariance": 1.0} | {name: 0.0})
    _, terms, _ = flat_objective(weights)(pixels(2, 10, 1, 2, 2))
    assert terms.keys() == {"invariance", "sigreg", "variance", "covariance"} - {name}


def test_the_weight_of_sigreg_does_not_depend_on_the_batch():
    objective = flat_objective(ImageLossWeights())
    views = pixels(2, 64, 1, 2, 2)
    once, twice = (objective(v)[1]["sigreg"].item() for v in (views, views.repeat(1, 2, 1, 1, 1)))
    assert twice == pytest.approx(once, rel=1e-4)


def test_losses_look_through_the_projector_and_representations_do_not():
    model = build_image_jepa(SMALL, (1, 28, 28))
    objective = ImageObjective(model, ImageLossWeights(variance=1.0), projector=(16, 8))
    views = pixels(2, 6, 1, 28, 28)
    loss, terms, latents = objective(views)
    assert latents.shape == (2, 6, 32)
    assert not latents.requires_grad
    projected = objective.projector(latents.flatten(0, 1)).unflatten(0, (2, 6))
    assert projected.shape == (2, 6, 8)
    assert terms["invariance"].item() == pytest.approx((projected[0] - projected[1]).square().mean().item(), rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in objective.parameters())


def test_the_projector_is_vicregs():
    assert [type(layer) for layer in make_projector(8, (16, 12, 4))] == [
        *(nn.Linear, BatchNorm, nn.ReLU),
        *(nn.Linear, BatchNorm, nn.ReLU),
        nn.Linear,
    ]
    assert [type(layer) for layer in make_projector(8, (4,))] == [nn.Linear]


@pytest.mark.parametrize("weights", [ImageLossWeights(), ImageLossWeights(sigreg=0.0, variance=1.0, covariance=10.0)])
def test_everything_learns(weights):
    torch.manual_seed(0)
    objective = ImageObjective(build_image_jepa(SMALL, (1, 28, 28)), weights, projector=(16, 8))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    history = []
    for step in range(25):
        loss, _, _ = objective(pixels(2, 32, 1, 28, 28), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


@pytest.mark.parametrize("config", [SMALL, VIT], ids=["resnet18", "vit"])
def test_a_checkpoint_loads_again(tmp_path, config):
    torch.manual_seed(0)
    model = build_image_jepa(config, (1, 28, 28))
    classifier = nn.Linear(model.latent_dim, 7)
    images = pixels(8, 1, 28, 28)
    model.normalizer.fit(images)
    model.encode(images)  # moves running statistics
    data = ImagesSpec(pixel_shape=(1, 28, 28), num_classes=7)
    sections = {"model": config, "data": data}
    IMAGE_JEPA.save(tmp_path / "run", {"model": model, "classifier": classifier}, sections, training={"step": 3})
    loaded = load_image_jepa(tmp_path / "run")
    model.eval()
    with torch.no_grad():
        assert torch.equal(loaded.model.encode(images), model.encode(images))
        assert torch.equal(loaded.classifier(model.encode(images)), classifier(model.encode(images)))
    assert loaded.sections == sections
    assert loaded.data == data
    assert loaded.config["training"] == {"step": 3}
    assert not loaded.model.training


def test_what_is_no_checkpoint_of_images_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="checkpoint must be a directory, got 'nowhere'"):
        load_image_jepa("nowhere")
    model = build_image_jepa(SMALL, (1, 28, 28))
    data = ImagesSpec(pixel_shape=(1, 28, 28), num_classes=10)
    parts = {"model": model, "classifier": nn.Linear(model.latent_dim, 10)}
    IMAGE_JEPA.save(tmp_path, parts, {"model": SMALL, "data": data})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": "worldmodel.jepa/1"}))
    with pytest.raises(CheckpointError, match=r"must have format 'worldmodel.image-jepa/1', got 'worldmodel.jepa/1'"):
        load_image_jepa(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": {"depht": 3}}))
    with pytest.raises(CheckpointError, match=r"model must be an object with fields among .*, got 'depht'"):
        load_image_jepa(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": config["model"] | {"width": 8}}))
    with pytest.raises(CheckpointError, match="do not fit the architecture"):
        load_image_jepa(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"encoder": "vit", "patch": 5}, "patch must divide the image's sides, got 5 for 28 × 28"),
        ({"encoder": "vit", "width": 10, "num_heads": 3}, r"num_heads must divide width \(10\), got 3"),
        ({"encoder": "lenet"}, "encoder must be one of 'resnet18', 'vit', got 'lenet'"),
    ],
)
def test_wrong_architectures_are_explained(changes, message, without_type_checks):
    with pytest.raises(ValueError, match=message):
        build_image_jepa(ImageModelConfig(**changes), (1, 28, 28))
