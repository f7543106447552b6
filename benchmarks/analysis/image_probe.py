"""``worldmodel probe``: how good the representations of a trained Image-JEPA are.

A linear probe and nearest neighbours learn from all training images and are measured on all test images, with the
encoder frozen (:mod:`pretrain.image.evaluation`). ``--untrained`` measures the same network as it was before training.
"""

from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, percent
from pretrain.image.evaluation import Accuracy, knn_accuracy, linear_accuracy, represent
from pretrain.image.training import ImageSource
from pretrain.loop.collapse import effective_rank
from worldmodel.config import command, config
from worldmodel.image.build import build_image_jepa
from worldmodel.image.checkpoint import PretrainedImages, load_image_jepa
from worldmodel.image.jepa import ImageJEPA
from worldmodel.storage import hub

LABELS = {
    "linear": "linear probe",
    "knn": "nearest neighbours",
    "online": "classifier trained beside it",
}
"""Names of what is measured."""


@config
class ProbeConfig:
    """Measures representations of images: linear probe and nearest neighbours."""

    checkpoint: tyro.conf.Positional[str]
    """Folder of a run of an image preset, or hub:owner/name."""
    images: str | None = None
    """Set of images, or its folder; by default what the run was trained on."""
    untrained: bool = False
    """Measure the network with random weights, from the run's seed, in place of the trained one."""
    device: str = "cpu"
    """Where the network computes: cpu, cuda, mps."""
    output: Path | None = None
    """JSON file to write; by default probe.json or probe-untrained.json in the run's folder, or here for a checkpoint
    on a hub."""
    progress: bool = True
    """Whether to show the table."""


def run(config: ProbeConfig) -> Record:
    """Measures a run's representations.

    Returns:
        The record: what :func:`measure` gives and the run's ``training`` are its facts.

    Raises:
        ValueError: If the checkpoint is none, or the images do not fit it.
    """
    pretrained = load_image_jepa(config.checkpoint, config.device)
    training = pretrained.config["training"]
    run_config = training.get("config", {})
    own = run_config.get("data", {}).get("images")
    images = config.images or own
    if images is None:
        raise ValueError(f"images must be given for a checkpoint that does not name its own, got {images!r}")
    train, test = ImageSource(images, "train"), ImageSource(images, "validation")
    if train.pixel_shape != pretrained.data.pixel_shape:
        raise ValueError(
            f"images must have the shape {pretrained.data.pixel_shape} that the network was trained on, "
            f"got {train.pixel_shape} in {Path(images).name!r}"
        )
    seed = run_config.get("seed", 0)
    model = untrained(pretrained, seed) if config.untrained else pretrained.model
    # Of other images the classifier knows nothing.
    knows = not config.untrained and own is not None and Path(images).name == Path(own).name
    told = {name: run_config.get(name) for name in ("objective", "weights", "projector", "optimizer", "model")}
    told |= {name: training.get(name) for name in ("preset", "step", "seconds")}
    if config.untrained:
        told |= {"step": 0, "seconds": 0.0}
    measured = measure(model, pretrained.classifier if knows else None, train, test)
    is_on_hub = hub.is_name(config.checkpoint)
    name, folder = (config.checkpoint, Path()) if is_on_hub else (pretrained.path.resolve().name, pretrained.path)
    record = new_record(
        {"analysis": "image probe", "policy": name, "untrained": config.untrained},
        {"images": Path(images).name, "seed": seed, WEIGHTS: pretrained.sha256},
        facts={**measured, "training": told},
    )
    path = config.output or folder / ("probe-untrained.json" if config.untrained else "probe.json")
    write_record(path, record)
    if config.progress:
        table(record).show(path)
    return record


main = command(ProbeConfig, run, "probe")


def measure(
    model: ImageJEPA, classifier: torch.nn.Linear | None, train: ImageSource, test: ImageSource
) -> dict[str, Any]:
    """Fits a linear probe and nearest neighbours on training images, and measures both on test images.

    Returns:
        Numbers of images; ``linear`` and ``knn``: accuracy with its interval; ``inverse_strength`` of the linear
        probe's regularisation; ``effective_rank`` of the test images' representations; with a classifier that was
        trained beside the model, its accuracy ``online``.
    """
    bank, queries = represent(model, train.all.pixels), represent(model, test.all.pixels)
    bank_labels, labels = train.all.labels.numpy(), test.all.labels.numpy()
    linear, inverse_strength = linear_accuracy(bank.numpy(), bank_labels, queries.numpy(), labels)
    result = {
        "num_train": len(bank),
        "num_test": len(queries),
        "linear": linear.to_dict(),
        "inverse_strength": inverse_strength,
        "knn": knn_accuracy(bank.numpy(), bank_labels, queries.numpy(), labels).to_dict(),
        "effective_rank": effective_rank(queries),
    }
    if classifier is not None:
        with torch.no_grad():
            predicted = classifier(queries.to(classifier.weight.device)).argmax(dim=-1).cpu().numpy()
        result["online"] = Accuracy(int((predicted == labels).sum()), len(labels)).to_dict()
    return result


def untrained(pretrained: PretrainedImages, seed: int) -> ImageJEPA:
    """A network of the same architecture and normalisation, with random weights.

    Its batch normalisation keeps its initial statistics: settled on training images, random networks were measured to
    classify digits worse by 20 points, and a baseline should not be made weak.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build_image_jepa(pretrained.sections["model"], pretrained.data.pixel_shape)
    model.normalizer.load_state_dict(pretrained.model.normalizer.state_dict())
    return model.to(next(pretrained.model.parameters()).device).eval()


def table(record: Record) -> Table:
    """Accuracies with their intervals."""
    name = f"{record.key['policy']}, untrained" if record.key["untrained"] else record.key["policy"]
    title = f"{name}: {record.facts['num_test']:,} test images of {record.config['images']}"
    found = {label: record.facts[kind] for kind, label in LABELS.items() if kind in record.facts}
    rows = [
        {"on frozen representations": label, "accuracy": percent(one["accuracy"], one["interval"], digits=2)}
        for label, one in found.items()
    ]
    return Table.of(rows, title)
