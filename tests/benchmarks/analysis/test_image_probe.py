"""``worldmodel probe``: what it measures of a run, trained and untrained, from the command line."""

import pytest
import torch

from benchmarks.analysis.image_probe import ProbeConfig, run, untrained
from benchmarks.records.store import read_record
from pretrain.data.labelled_images import LabelledImages
from worldmodel.__main__ import main
from worldmodel.image.build import ImageModelConfig, ImagesSpec, build_image_jepa
from worldmodel.image.checkpoint import IMAGE_JEPA, load_image_jepa

OPTIONS = [
    *("--accelerator", "cpu", "--precision", "32-true", "--num-steps", "4", "--data.batch-size", "16"),
    *("--model.width", "4", "--projector", "16", "8", "--validate-every", "4", "--checkpoint-every", "4"),
]


@pytest.fixture(autouse=True, scope="module")
def few_digits():
    """Every tenth of the digits, whatever the set is called."""
    import pretrain.image.training as module

    original = module.load_images

    def load(name, split):
        return LabelledImages(*(array[::10] for array in original("digits", split)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_images", load)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of the offline preset, from the command line."""
    path = tmp_path_factory.mktemp("probe") / "run"
    assert main(["pretrain", "images", "--output", str(path), *OPTIONS]) == 0
    return path


def test_the_command_measures_a_run_and_its_random_twin(folder, capsys):
    assert main(["probe", str(folder)]) == 0
    assert main(["probe", str(folder), "--untrained", "--no-progress"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("linear probe") == 1
    assert "100 test images of digits" in shown
    trained, random = (read_record(folder / name) for name in ("probe.json", "probe-untrained.json"))
    for record in (trained, random):
        assert (record.facts["num_train"], record.facts["num_test"]) == (900, 100)
        for measure in ("linear", "knn"):
            row = record.facts[measure]
            assert row["accuracy"] == row["correct"] / row["total"] > 0.2
            assert row["interval"][0] < row["accuracy"] < row["interval"][1]
        assert record.provenance["checkpoint_hash"] == record.config["weights"]
        assert record.facts["training"]["projector"] == [16, 8]
    steps = [(record.key["untrained"], record.facts["training"]["step"]) for record in (trained, random)]
    assert steps == [(False, 4), (True, 0)]
    assert trained.facts["online"]["total"] == 100
    assert "online" not in random.facts
    assert any(trained.facts[name] != random.facts[name] for name in ("linear", "effective_rank"))


def test_an_untrained_network_is_the_runs_at_its_start(folder):
    pretrained = load_image_jepa(folder)
    twins = [untrained(pretrained, seed) for seed in (0, 0, 1)]
    weights = [twin.encoder.stem[0].weight for twin in twins]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], pretrained.model.encoder.stem[0].weight)
    assert torch.equal(twins[0].normalizer.pixel_mean, pretrained.model.normalizer.pixel_mean)
    assert not twins[0].training
    # As the run made it before its first step.
    torch.manual_seed(0)
    start = build_image_jepa(pretrained.sections["model"], pretrained.data.pixel_shape)
    assert torch.equal(weights[0], start.encoder.stem[0].weight)


def test_the_output_goes_where_asked(folder, tmp_path):
    record = run(ProbeConfig(checkpoint=str(folder), output=tmp_path / "a" / "b.json", progress=False))
    assert read_record(tmp_path / "a" / "b.json") == record


def test_of_other_images_the_runs_own_classifier_is_not_asked(folder, tmp_path):
    results = {
        images: run(ProbeConfig(checkpoint=str(folder), images=images, output=tmp_path / "b.json", progress=False))
        for images in ("digits", "elsewhere/digits", "elsewhere/other")
    }
    assert [images for images, one in results.items() if "online" in one.facts] == ["digits", "elsewhere/digits"]
    assert results["elsewhere/other"].config["images"] == "other"


def test_what_does_not_fit_is_explained(folder, tmp_path, capsys):
    sections = {"model": ImageModelConfig(width=2), "data": ImagesSpec(pixel_shape=(3, 8, 8), num_classes=10)}
    model = build_image_jepa(sections["model"], (3, 8, 8))
    IMAGE_JEPA.save(tmp_path / "other", {"model": model, "classifier": torch.nn.Linear(model.latent_dim, 10)}, sections)
    assert main(["probe", str(tmp_path / "other")]) == 1
    assert "images must be given for a checkpoint that does not name its own" in capsys.readouterr().err
    assert main(["probe", str(tmp_path / "other"), "--images", "digits"]) == 1
    assert "images must have the shape (3, 8, 8) that the network was trained on, got (1, 28, 28)" in (
        capsys.readouterr().err
    )
    assert main(["probe", str(tmp_path / "nowhere")]) == 1
    assert "checkpoint must be a directory" in capsys.readouterr().err
