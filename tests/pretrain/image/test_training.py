"""Training an Image-JEPA: it learns, resumes exactly, notices collapse, and evaluates what it has learned."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_optimizer import LARS

from pretrain.image.config import ImageConfig, ImageDataConfig
from pretrain.image.evaluation import STRENGTHS, Accuracy, knn_accuracy, linear_accuracy
from pretrain.image.training import ImageSource, JointEmbeddingTraining, build_training, view_seed
from pretrain.loop.run_log import read_metrics
from pretrain.loop.stages import adamw, lars
from pretrain.presets import preset
from pretrain.train import fit
from worldmodel.checkpoint import WEIGHTS, load_training_state
from worldmodel.config import changed
from worldmodel.image.build import ImageModelConfig
from worldmodel.image.checkpoint import load_image_jepa
from worldmodel.image.objective import ImageLossWeights

TINY = ImageConfig(
    model=ImageModelConfig(width=4, stem_stride=2),
    data=ImageDataConfig(batch_size=32),
    projector=(32, 16),
    num_steps=8,
    learning_rate=3e-3,
    accelerator="cpu",
    precision="32-true",
    log_every=2,
    validate_every=4,
    checkpoint_every=3,
)

LEARNING = replace(
    TINY,
    model=ImageModelConfig(width=8, stem_stride=2),
    data=ImageDataConfig(batch_size=64),
    num_steps=80,
    validate_every=80,
    probe_learning_rate=3e-2,
)
"""Enough to see that something is learned."""


@pytest.fixture(autouse=True, scope="module")
def small_samples():
    """Fewer images to validate on and to fit normalisation on than real runs use."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("NORMALIZATION_IMAGES", 64), ("NUM_BANK", 500), ("NUM_QUERIES", 100)):
            patch.setattr(f"pretrain.image.training.{name}", size)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of ``TINY``."""
    return fit(replace(TINY, output=str(tmp_path_factory.mktemp("finished") / "run")))


def built(**changes) -> tuple:
    torch.manual_seed(0)
    training = build_training(replace(TINY, **changes), torch.device("cpu"))
    return training.stages[0], training


def test_a_run_is_a_checkpoint_and_a_log(finished):
    loaded = load_image_jepa(finished)
    assert (loaded.data.pixel_shape, loaded.data.num_classes, loaded.model.latent_dim) == ((1, 28, 28), 10, 32)
    assert loaded.config["training"]["step"] == 8
    assert loaded.config["training"]["config"]["data"]["images"] == "digits"
    rows = read_metrics(finished)
    assert [row["step"] for row in rows if "train/loss" in row] == [2, 4, 6, 8]
    assert [row["step"] for row in rows if "validation/knn_accuracy" in row] == [4, 8]
    keys = {key for row in rows for key in row}
    assert {f"train/{name}" for name in ("invariance", "sigreg", "probe_loss", "probe_accuracy")} <= keys
    measured = ("probe_accuracy", "knn_accuracy", "effective_rank", "latent_std", "projected_std")
    assert {f"validation/{name}" for name in measured} <= keys


@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
def test_a_run_that_was_stopped_goes_on_exactly(finished, tmp_path, monkeypatch, optimizer):
    config = replace(TINY, output=str(tmp_path / "stopped"), optimizer=optimizer)
    if optimizer == "lars":
        finished = fit(replace(config, output=str(tmp_path / "finished")))
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr("pretrain.train.any_process", lambda fabric, wish: asked.append(wish) or len(asked) == 6)
        stopped = fit(config)
    assert load_training_state(stopped)["step"] == 5
    fit(config)
    assert (finished / WEIGHTS).read_bytes() == (stopped / WEIGHTS).read_bytes()
    assert read_metrics(finished) == read_metrics(stopped)


def test_another_seed_gives_another_run(finished, tmp_path):
    fit(replace(TINY, seed=1, output=str(tmp_path)))
    assert (finished / WEIGHTS).read_bytes() != (tmp_path / WEIGHTS).read_bytes()


def test_views_belong_to_run_process_and_step(monkeypatch):
    seeds = {view_seed(seed, step) for seed in (0, 1) for step in (0, 1)}
    monkeypatch.setattr("pretrain.image.training.process_rank", lambda: 1)
    seeds |= {view_seed(seed, step) for seed in (0, 1) for step in (0, 1)}
    assert len(seeds) == 8


def test_the_probe_trains_beside_the_model_and_leaves_it_alone():
    stage, _ = built()
    batch = stage.draw(32, np.random.default_rng(0))
    loss, metrics = stage.module(batch, 0)
    assert loss.item() == pytest.approx((metrics["loss"] + metrics["probe_loss"]).item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in stage.module.parameters())
    gradients = [p.grad.clone() for p in stage.module.objective.parameters()]
    stage.module.zero_grad()
    stage.module.objective(stage.module.augmentation.views(batch.pixels, view_seed(0, 0)), 0)[0].backward()
    for before, parameter in zip(gradients, stage.module.objective.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad, rtol=1e-4, atol=1e-6)
    # Both are in the optimiser, each parameter once; only the model's gradient is clipped.
    optimised = [p for group in stage.groups for p in group["params"]]
    assert {id(p) for p in optimised} == {id(p) for p in stage.module.parameters()}
    assert len(optimised) == len(set(map(id, optimised)))
    assert {id(p) for p in stage.clipped} == {id(p) for p in stage.module.objective.parameters()}


def test_it_learns_without_labels(tmp_path):
    rows = read_metrics(fit(replace(LEARNING, output=str(tmp_path))))
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < 0.7 * losses[0]
    assert rows[-1]["validation/probe_accuracy"] > 0.3  # of ten classes
    assert rows[-1]["validation/knn_accuracy"] > 0.5
    assert rows[-1]["validation/projected_std"] > 0.5


@pytest.mark.parametrize("projector", [(), (16, 8)])
def test_collapse_is_noticed(tmp_path, caplog, projector):
    nothing = ImageLossWeights(sigreg=0.0)
    config = replace(
        TINY,
        weights=nothing,
        projector=projector,
        num_steps=60,
        validate_every=60,
        learning_rate=2e-2,
        output=str(tmp_path),
    )
    with caplog.at_level(logging.WARNING, logger="pretrain.loop.collapse"):
        fit(config)
    assert "the latents have collapsed" in caplog.text


def test_healthy_latents_raise_no_alarm(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="pretrain.loop.collapse"):
        fit(replace(TINY, num_steps=20, validate_every=20, output=str(tmp_path)))
    assert caplog.text == ""


def test_the_supervised_baseline_learns_from_labels(tmp_path):
    folder = fit(replace(LEARNING, objective="supervised", output=str(tmp_path)))
    row = read_metrics(folder)[-1]
    assert row["validation/probe_accuracy"] > 0.5
    assert "validation/projected_std" not in row
    stage, _ = built(objective="supervised")
    loss, metrics = stage.module(stage.draw(8, np.random.default_rng(0)), 0)
    assert loss.item() == metrics["loss"].item()
    loss.backward()
    assert all(p.grad is not None for p in stage.module.model.parameters())
    assert load_image_jepa(folder).config["training"]["config"]["objective"] == "supervised"


def test_lars_moves_matrices_in_proportion_and_vectors_plainly():
    matrix, vector, own = (torch.nn.Parameter(torch.full(shape, 2.0)) for shape in ((3, 3), (3,), (2, 2)))
    groups = [
        {"params": [matrix, vector], "peak": 0.5},
        {"params": [own], "peak": 0.5, "trust_coefficient": 1.0},
    ]
    optimizer = lars(weight_decay=0.0, trust_coefficient=0.1)(groups)
    assert isinstance(optimizer, LARS)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    for parameter, gradient in ((matrix, 7.0), (vector, 0.3), (own, 0.001)):
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    # lr · trust · |w| / |g| · g = 0.5 · 0.1 · 2; plainly lr · g.
    torch.testing.assert_close(matrix.data, torch.full((3, 3), 2 - 0.1))
    torch.testing.assert_close(vector.data, torch.full((3,), 2 - 0.15))
    torch.testing.assert_close(own.data, torch.full((2, 2), 2 - 1.0))


def test_the_optimizer_is_the_one_asked_for():
    for name, kind in (("lars", LARS), ("adamw", torch.optim.AdamW)):
        stage, training = built(optimizer=name, trust_coefficient=0.03)
        optimizer = training.optimizer(stage.groups)
        assert isinstance(optimizer, kind)
        if name == "lars":
            assert [group["trust_coefficient"] for group in optimizer.param_groups] == [0.03, 1.0]
            assert optimizer.param_groups[0]["weight_decay"] == TINY.weight_decay
    assert isinstance(adamw(0.1)([{"params": [torch.nn.Parameter(torch.ones(1))]}]), torch.optim.AdamW)


def test_the_paper_preset_is_the_papers():
    config = preset("images-paper")
    assert (config.model.encoder, config.model.width, config.model.stem_stride) == ("resnet18", 64, 1)
    assert (config.optimizer, config.learning_rate, config.data.images) == ("lars", 0.3, "cifar-10")
    assert (config.weights.sigreg, config.projector[0], config.projector[-1]) == (10.0, 2048, 128)
    epochs = config.num_steps * config.data.batch_size / 50_000
    assert epochs == pytest.approx(300, rel=1e-3)
    assert epochs * config.warmup_fraction == pytest.approx(10, rel=1e-3)


def test_the_paper_preset_trains_on_photographs(tmp_path):
    """A step of it, on random images in CIFAR-10's files, with a narrow network."""
    rng = np.random.default_rng(0)
    for i in range(1, 6):
        rows = rng.integers(256, size=(20, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(20) % 10
        (tmp_path / f"data_batch_{i}.bin").write_bytes(rows.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    config = preset("images-paper")
    config = replace(
        config,
        model=replace(config.model, width=4),
        data=replace(config.data, images=str(tmp_path), augmentation="photographs", batch_size=8),
        projector=(16, 16, 8),
        num_steps=2,
        accelerator="cpu",
        precision="32-true",
        output=str(tmp_path / "run"),
    )
    loaded = load_image_jepa(fit(config))
    assert (loaded.data.pixel_shape, loaded.data.num_classes) == ((3, 32, 32), 10)


def test_sources_draw_pairs_that_belong_together():
    source = ImageSource("digits", "train")
    assert (source.pixel_shape, source.num_classes) == ((1, 28, 28), 10)
    known = {bytes(image.numpy().tobytes()): int(label) for image, label in zip(*source.all, strict=True)}
    batch = source.sample(50, np.random.default_rng(0))
    assert [known[bytes(image.numpy().tobytes())] for image in batch.pixels] == batch.labels.tolist()
    subset = source.subset(30)
    assert torch.equal(subset.pixels, source.subset(30).pixels)
    assert len(torch.unique(subset.pixels.flatten(1), dim=0)) == 30
    assert len(source.subset(10**6).labels) == 9_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.batch_size": 1}, "data.batch_size must be at least 2, got 1"),
        ({"projector": (16, 1)}, r"projector\[1\] must be at least 2, got 1"),
    ],
)
def test_wrong_numbers_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(TINY, changes)


def test_augmentations_that_do_not_fit_are_explained(tmp_path):
    with pytest.raises(ValueError, match="augmentation 'photographs' needs images of 3 channels, got 1"):
        built(data=ImageDataConfig(augmentation="photographs"))
    stage, _ = built(data=ImageDataConfig(augmentation="clothes"))
    assert isinstance(stage.module, JointEmbeddingTraining)
    assert stage.module.augmentation.name == "clothes"


# --- evaluation ---------------------------------------------------------------------------------------------------


def clusters(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three directions in eight dimensions, each with noise and a class of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=num)
    return (4 * np.eye(8)[labels] + rng.normal(size=(num, 8))).astype(np.float32), labels


def test_probes_find_classes_that_are_there_and_none_that_are_not():
    train, train_labels = clusters(300)
    test, labels = clusters(200, seed=1)
    linear, strength = linear_accuracy(train, train_labels, test, labels)
    assert linear.rate > 0.95
    assert strength in STRENGTHS
    assert knn_accuracy(train, train_labels, test, labels).rate > 0.95
    shuffled = np.random.default_rng(2).permutation(train_labels)
    assert linear_accuracy(train, shuffled, test, labels)[0].rate < 0.6
    assert knn_accuracy(train, shuffled, test, labels).rate < 0.6


def test_the_strength_is_chosen_without_the_test_images():
    train, train_labels = clusters(300)
    test, labels = clusters(200, seed=1)
    chosen = {linear_accuracy(train, train_labels, test, np.roll(labels, shift))[1] for shift in range(4)}
    assert len(chosen) == 1


def test_near_neighbours_count_more():
    # Two neighbours of class 1 at a right angle against one of class 0 in the same direction.
    bank = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]], np.float32)
    accuracy = knn_accuracy(bank, np.array([0, 1, 1]), np.array([[5.0, 0.0]], np.float32), np.array([0]))
    assert accuracy == Accuracy(1, 1)


def test_accuracies_carry_wilsons_interval():
    row = Accuracy(9, 10).to_dict()
    assert (row["accuracy"], row["correct"], row["total"]) == (0.9, 9, 10)
    assert row["interval"] == pytest.approx([0.596, 0.982], abs=1e-3)
