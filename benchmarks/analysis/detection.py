"""``worldmodel detect``: digits found in what a Video-JEPA imagines, beside baselines, in a table and a video."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import ImageColor
from tqdm import tqdm

from benchmarks.films.encoding import write_videos
from benchmarks.records import plots
from benchmarks.records.store import WEIGHTS, Record, new_record, write_record
from benchmarks.records.tables import Table, number
from pretrain.video import detection
from pretrain.video.config import HeadsConfig, VideoDataConfig
from pretrain.video.detection import BATCH_SIZE, HORIZONS, AveragePrecisions, Forecaster
from pretrain.video.moving_mnist import MovingMNIST, VideoBatch
from pretrain.video.training import build_source
from worldmodel.checkpoint import CONFIG, CheckpointError, read_section
from worldmodel.config import Count, CountFromZero, command, config
from worldmodel.video.checkpoint import PretrainedVideo, load_video_jepa

MODEL, COPIED, UNTRAINED = "Video-JEPA", "last latent copied", "untrained encoder"
"""Names of rows: a model's rollouts, the last known latent in place of them, and the rollouts of ``untrained``."""
EVALUATION_SEED = 40_000_003
"""Seed of the videos that forecasts are measured on; training validates on others."""
SCALE = 3
"""Pixels of a picture for each pixel of a frame."""
GAP = 8
"""Pixels between two frames of a picture."""
PAPER, INK, AMBER, BLUE = map(ImageColor.getrgb, (plots.PAPER, plots.INK, plots.AMBER, plots.BLUE))
"""Colours: between frames, of the grid, of detections, of true centres."""
FPS = 4
"""Frames a second."""


@config
class DetectConfig:
    """Measures how well digits are found in latents rolled out by a Video-JEPA, and draws it."""

    checkpoint: tyro.conf.Positional[str] = "moving-mnist"
    """Folder of a training run, or the name of a shipped checkpoint."""
    untrained: Path | None = None
    """Folder of a run whose encoder was left untrained (worldmodel pretrain moving-mnist --no-train-encoder), to stand
    beside it."""
    num_videos: Count = 2_048
    """Videos to measure on, with digits of the validation part."""
    shown: CountFromZero = 6
    """Videos to draw; 0: none."""
    output: Path = Path("outputs/detection.json")
    """JSON file to write; GIF and MP4 of the same name go beside it."""
    device: str = "cpu"
    """Where the model runs."""
    progress: bool = True
    """Whether to show progress bars and the table."""


def run(config: DetectConfig) -> Record:
    """Measures and draws.

    Returns:
        The record: a row for each forecast, with average precisions at each horizon; ``training`` among the facts.

    Raises:
        ValueError: If a checkpoint is none of a Video-JEPA, or a number is out of its range.
    """
    trained = load_video_jepa(config.checkpoint, config.device)
    untrained = None if config.untrained is None else load_video_jepa(config.untrained, config.device)
    data, heads, _ = _settings(trained)
    if untrained is not None and _settings(untrained)[2]:
        raise ValueError(f"untrained must be a run with --no-train-encoder, got {config.untrained}")
    source = build_source(data, "validation")  # the kind of videos that it was trained on, with other digits
    horizons = HORIZONS[: source.num_frames - trained.model.context]
    measured = _measure_all(config, trained, untrained, source, horizons)
    told = {name: trained.config["training"].get(name) for name in ("preset", "step", "seconds", "threads")}
    record = new_record(
        {"analysis": "detection", "policy": Path(config.checkpoint).name},
        {
            "horizons": horizons,
            "num_videos": config.num_videos,
            "seed": EVALUATION_SEED,
            "untrained": None if untrained is None else untrained.sha256,
            WEIGHTS: trained.sha256,
        },
        rows=[
            {
                "forecast": name,
                "reference": precisions.reference,
                "reference_mean": precisions.reference_mean,
                "reference_interval": precisions.reference_interval,
                "strict": precisions.strict,
                "strict_mean": precisions.strict_mean,
            }
            for name, precisions in measured
        ],
        facts={"training": told | {"head_on_rollouts": heads.on_rollouts}},
    )
    write_record(config.output, record)
    if config.shown:
        videos = source.sample(config.shown, np.random.default_rng(EVALUATION_SEED))
        paths = [config.output.with_suffix(suffix) for suffix in (".mp4", ".gif")]
        write_videos(paths, draw_rollouts(trained, videos, config.device), source.num_frames, FPS, gif_stride=1)
    if config.progress:
        table(record).show(config.output)
    return record


main = command(DetectConfig, run, "detect")


def table(record: Record) -> Table:
    """Average precisions of each forecast."""
    horizons, rows = record.config["horizons"], []
    for row in record.rows:
        precisions = zip(horizons, row["reference"], strict=True)
        rows.append(
            {
                "forecast": row["forecast"],
                "mAP": number(row["reference_mean"], 3),
                **{f"AP_{horizon}": number(value, 3) for horizon, value in precisions},
                "mAP, true centres": number(row["strict_mean"], 3),
                f"AP_{horizons[-1]}, true": number(row["strict"][-1], 3),
            }
        )
    return Table.of(rows, f"digits found in {record.config['num_videos']} videos, average precision")


def draw_rollouts(trained: PretrainedVideo, videos: VideoBatch, device: str = "cpu") -> Iterator[NDArray[np.uint8]]:
    """Frames of a film, videos side by side: the truth, what the model imagines, and where it finds digits there.

    The first frames are given to the model (:attr:`worldmodel.video.jepa.VideoJEPA.context`), the rest is imagined.
    """
    model, context, num_frames = trained.model, trained.model.context, videos.pixels.shape[1]
    with torch.no_grad():
        latents = model.encode(videos.pixels[:, :context].to(device))
        latents = torch.cat([latents, model.rollout(latents, num_frames - context)], dim=1)
        painted = trained.decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])[:, :, 0]
        logits = trained.detector(latents.flatten(0, 1))[:, detection.KINDS.index("true")]
        found = logits.sigmoid().unflatten(0, latents.shape[:2]).float().cpu().numpy()
    imagined = (255 * painted).round().byte().cpu().numpy()
    for t in range(num_frames):
        centres = [None] * len(imagined) if videos.centres is None else videos.centres[:, t]
        rows = [
            [_enlarged(frame) for frame in videos.pixels[:, t, 0].numpy()],
            [_enlarged(frame) for frame in imagined[:, t]],
            [_detections(*each) for each in zip(imagined[:, t], found[:, t], centres, strict=True)],
        ]
        yield _tiled(rows)


def _measure_all(
    config: DetectConfig,
    trained: PretrainedVideo,
    untrained: PretrainedVideo | None,
    source: MovingMNIST,
    horizons: tuple[int, ...],
) -> Iterator[tuple[str, AveragePrecisions]]:
    context, grid = trained.model.context, trained.config["model"]["grid"]
    generator = np.random.default_rng(EVALUATION_SEED)
    starts = range(0, config.num_videos, BATCH_SIZE)
    batches = [source.sample(min(BATCH_SIZE, config.num_videos - first), generator) for first in starts]
    asked: list[tuple[str, Callable[..., Forecaster], PretrainedVideo | None]] = [
        (MODEL, detection.rollout_forecaster, trained),
        (COPIED, detection.copying_forecaster, trained),
        ("frames seen, no forecast", detection.seeing_forecaster, trained),
        (UNTRAINED, detection.rollout_forecaster, untrained),
    ]
    forecasters = {
        name: make(pretrained.model, pretrained.detector, horizons)
        for name, make, pretrained in asked
        if pretrained is not None
    }
    if context >= 2:
        forecasters["oracle, constant velocity"] = detection.constant_velocity_forecaster(
            context=context, size=source.size, side=source.side, grid=grid, horizons=horizons
        )
    for name, forecaster in forecasters.items():
        bar = tqdm(batches, desc=name, unit="batch", disable=not config.progress or None)
        yield name, detection.measure(forecaster, bar, context=context, grid=grid, horizons=horizons)


def _settings(trained: PretrainedVideo) -> tuple[VideoDataConfig, HeadsConfig, bool]:
    """How a checkpoint says that it was trained: its videos, its heads, and whether its encoder was.

    Raises:
        CheckpointError: If it does not say so, or makes no sense.
    """
    path, found = trained.path / CONFIG, trained.config["training"].get("config")
    if not isinstance(found, dict) or not isinstance(found.get("train_encoder"), bool):
        raise CheckpointError(f"{path} must say in 'training.config' how it was trained, with a 'train_encoder'")
    data = read_section(VideoDataConfig, found.get("data"), path, "training.config.data.")
    heads = read_section(HeadsConfig, found.get("heads"), path, "training.config.heads.")
    side = trained.data.pixel_shape[-1]
    if data.size != side:
        raise CheckpointError(f"{path}: training.config.data.size must be {side}, got {data.size}")
    return data, heads, found["train_encoder"]


def _enlarged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey frame as a larger RGB picture."""
    return np.kron(frame, np.ones((SCALE, SCALE), np.uint8))[..., None].repeat(3, axis=-1)


def _detections(
    frame: NDArray[np.uint8], found: NDArray[np.float32], centres: torch.Tensor | None
) -> NDArray[np.uint8]:
    """A dimmed frame with the probability of each cell in amber and the true centres in blue."""
    picture = _enlarged(frame // 3).astype(np.float32)
    side = picture.shape[0]
    weight = np.kron(found, np.ones((side // len(found), side // len(found)), np.float32))[..., None]
    picture = picture * (1 - 0.85 * weight) + 0.85 * weight * np.array(AMBER, np.float32)
    step = side // len(found)
    picture[::step], picture[:, ::step] = INK, INK
    for x, y in () if centres is None else centres.tolist():
        row, column = round(SCALE * (y + 0.5)), round(SCALE * (x + 0.5))
        picture[row - 2 : row + 3, column - 2 : column + 3] = BLUE
    return picture.round().astype(np.uint8)


def _tiled(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pictures in rows, with gaps between them; height and width are even, as MP4 wants them."""
    pitch = rows[0][0].shape[0] + GAP
    height, width = len(rows) * pitch + GAP, len(rows[0]) * pitch + GAP
    page = np.full((height + height % 2, width + width % 2, 3), PAPER, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = GAP + r * pitch, GAP + c * pitch
            page[top : top + len(picture), left : left + len(picture)] = picture
    return page
