"""``worldmodel detect``: digits found in what a Video-JEPA imagines, beside floor and ceilings; a table, a film."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import ImageColor
from tqdm import tqdm

from benchmarks.films.encoding import write_videos
from benchmarks.records import plots
from benchmarks.records.store import WEIGHTS, Record, Row, new_record, write_record
from benchmarks.records.tables import Table, number
from pretrain.presets import PRESETS, training_command
from pretrain.video import detection
from pretrain.video.config import HeadsConfig, VideoDataConfig
from pretrain.video.detection import BATCH_SIZE, HORIZONS, AveragePrecisions, Forecaster
from pretrain.video.moving_mnist import MovingMNIST, VideoBatch
from pretrain.video.particles import particle_forecaster
from pretrain.video.training import build_source
from worldmodel.checkpoint import CONFIG, CheckpointError, read_section
from worldmodel.config import Count, CountFromZero, command, config
from worldmodel.video.checkpoint import PretrainedVideo, load_video_jepa

MODEL, UNTRAINED, SUPERVISED = "video-jepa", "video-jepa-untrained", "video-jepa-supervised"
"""Trainings that stand beside each other: a model, one whose encoder stayed as it was initialised, and one that learned
from labels."""
COPIED, SEEN, PARTICLES = "last-latent-copied", "frames-seen", "particles"
"""What bounds them: that nothing moves, that nothing is forecast, and all that can be known."""
FORECASTS = {
    MODEL: "Video-JEPA",
    UNTRAINED: "the same, encoder untrained",
    COPIED: "last latent copied",
    SUPERVISED: "ceiling: the same network, trained on labels",
    PARTICLES: "ceiling: particles",
    SEEN: "frames seen, no forecast",
}
"""Forecasts in words, in the order of tables."""
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
    supervised: Path | None = None
    """Folder of a run that learned from labels (worldmodel pretrain moving-mnist --supervised), to stand beside it."""
    particles: bool = False
    """Whether to measure how well digits could be foretold at most: 0.1 s a video."""
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
        The record: a row for each forecast, with average precisions at each horizon; ``trainings`` among the facts.

    Raises:
        ValueError: If a checkpoint is none of a Video-JEPA, or not of the kind or the videos that it should be of, or a
            number is out of its range.
    """
    asked = {MODEL: config.checkpoint, UNTRAINED: config.untrained, SUPERVISED: config.supervised}
    models = {policy: load_video_jepa(path, config.device) for policy, path in asked.items() if path is not None}
    trainings = {policy: _training(model) for policy, model in models.items()}
    data = trainings[MODEL].data
    _require_kinds(trainings, asked)
    source = build_source(data, "validation")  # the kind of videos that it was trained on, with other digits
    horizons = HORIZONS[: source.num_frames - models[MODEL].model.context]
    told = {
        policy: {name: model.config["training"].get(name) for name in ("preset", "step", "seconds", "threads")}
        | {"command": _command(model, asked[policy])}
        for policy, model in models.items()
    }
    record = new_record(
        {"analysis": "detection", "videos": videos_name(data), "seed": trainings[MODEL].seed},
        {
            "horizons": horizons,
            "num_videos": config.num_videos,
            "seed": EVALUATION_SEED,
            "beside": {policy: model.sha256 for policy, model in models.items() if policy != MODEL},
            WEIGHTS: models[MODEL].sha256,
        },
        rows=[
            {
                "policy": policy,
                "reference": precisions.reference,
                "reference_mean": precisions.reference_mean,
                "reference_interval": precisions.reference_interval,
                "strict": precisions.strict,
                "strict_mean": precisions.strict_mean,
            }
            for policy, precisions in _measure_all(config, models, source, horizons)
        ],
        facts={"trainings": told, "head_on_rollouts": trainings[MODEL].heads.on_rollouts},
    )
    write_record(config.output, record)
    if config.shown:
        videos = source.sample(config.shown, np.random.default_rng(EVALUATION_SEED))
        paths = [config.output.with_suffix(suffix) for suffix in (".mp4", ".gif")]
        shown = [models[policy] for policy in (MODEL, UNTRAINED) if policy in models]
        write_videos(paths, draw_rollouts(shown, videos, config.device), source.num_frames, FPS, gif_stride=1)
    if config.progress:
        table([record]).show(config.output)
    return record


main = command(DetectConfig, run, "detect")


def videos_name(data: VideoDataConfig) -> str:
    """A kind of videos in words."""
    digits = f"{data.num_digits} digit{'s' if data.num_digits > 1 else ''}"
    return f"{digits}, textured background" if data.background else digits


def table(records: Sequence[Record]) -> Table:
    """Average precisions of each forecast, over the seeds of records of the same videos."""
    rows = []
    for policy, words in FORECASTS.items():
        found = _rows_of(records, policy)
        if not found:
            continue
        horizons = records[0].config["horizons"]
        seconds = [record.facts["trainings"].get(policy, {}).get("seconds") for record in records]
        minutes = [value / 60 for value in seconds if value]
        rows.append(
            {
                "forecast": words,
                "mAP": over_seeds([row["reference_mean"] for row in found]),
                **{f"AP_{T}": number(fmean(row["reference"][i] for row in found), 3) for i, T in enumerate(horizons)},
                "mAP, true centres": over_seeds([row["strict_mean"] for row in found]),
                f"AP_{horizons[-1]}, true": over_seeds([row["strict"][-1] for row in found]),
                "minutes": number(fmean(minutes), 0) if minutes else "–",
            }
        )
    first = records[0]
    return Table.of(rows, f"{first.key['videos']}: found in {first.config['num_videos']} videos, average precision")


def figures(records: Sequence[Record], policy: str, figure: str) -> list[float]:
    """A figure ("reference_mean" or "strict_mean") of a forecast in each record that has it."""
    return [row[figure] for row in _rows_of(records, policy)]


def margin(records: Sequence[Record], figure: str) -> list[float]:
    """By how much a model is above the one whose encoder was left untrained, for each record that has both.

    Args:
        records: The records.
        figure: "reference_mean" or "strict_mean".
    """
    pairs = ({row["policy"]: row[figure] for row in record.rows} for record in records)
    return [pair[MODEL] - pair[UNTRAINED] for pair in pairs if UNTRAINED in pair]


def over_seeds(values: Sequence[float], sign: str = "") -> str:
    """A mean in words, with its 95 % interval by Student's t where there are several values."""
    mean = fmean(values)
    if len(values) == 1:
        return f"{mean:{sign}.3f}"
    from scipy import stats  # of the extra "video"

    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{mean:{sign}.3f} [{mean - half:{sign}.3f}, {mean + half:{sign}.3f}]"


def summary_rows(record: Record) -> Iterator[Row]:
    """Rows of a record for the list of all published figures."""
    for row in record.rows:
        seconds = record.facts["trainings"].get(row["policy"], {}).get("seconds")
        yield {
            "environment": "MovingMNIST",
            "policy": row["policy"],
            "seed": record.key["seed"],
            "videos": record.key["videos"],
            "map_reference": round(row["reference_mean"], 4),
            "map_true": round(row["strict_mean"], 4),
            "ap8_true": round(row["strict"][-1], 4),
            "train_minutes": None if seconds is None else round(seconds / 60, 2),
        }


def _rows_of(records: Sequence[Record], policy: str) -> list[Row]:
    return [row for record in records for row in record.rows if row["policy"] == policy]


def draw_rollouts(
    models: Sequence[PretrainedVideo], videos: VideoBatch, device: str = "cpu"
) -> Iterator[NDArray[np.uint8]]:
    """Frames of a film, videos side by side: the truth, and for each model what it imagines and finds there.

    The first frames are given to the model (:attr:`worldmodel.video.jepa.VideoJEPA.context`), the rest is imagined.
    """
    rows = [videos.pixels[:, :, 0].numpy(), *(row for model in models for row in _imagined(model, videos, device))]
    for t in range(videos.pixels.shape[1]):
        truth, *others = rows
        pictures = [[_enlarged(frame) for frame in truth[:, t]]]
        for imagined, found in zip(others[::2], others[1::2], strict=True):
            centres = [None] * len(imagined) if videos.centres is None else videos.centres[:, t]
            pictures.append([_enlarged(frame) for frame in imagined[:, t]])
            pictures.append([_detections(*each) for each in zip(imagined[:, t], found[:, t], centres, strict=True)])
        yield _tiled(pictures)


@torch.no_grad()
def _imagined(
    trained: PretrainedVideo, videos: VideoBatch, device: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What a decoder paints of rollouts, ``(B, T, S, S)``, and the probabilities of true cells, ``(B, T, G, G)``."""
    model, context, num_frames = trained.model, trained.model.context, videos.pixels.shape[1]
    latents = model.encode(videos.pixels[:, :context].to(device))
    latents = torch.cat([latents, model.rollout(latents, num_frames - context)], dim=1)
    painted = trained.decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])[:, :, 0]
    logits = trained.detector(latents.flatten(0, 1))[:, detection.KINDS.index("true")]
    found = logits.sigmoid().unflatten(0, latents.shape[:2]).float().cpu().numpy()
    return (255 * painted).round().byte().cpu().numpy(), found


def _measure_all(
    config: DetectConfig, models: Mapping[str, PretrainedVideo], source: MovingMNIST, horizons: tuple[int, ...]
) -> Iterator[tuple[str, AveragePrecisions]]:
    trained = models[MODEL]
    context, grid = trained.model.context, trained.config["model"]["grid"]
    generator = np.random.default_rng(EVALUATION_SEED)
    starts = range(0, config.num_videos, BATCH_SIZE)
    batches = [source.sample(min(BATCH_SIZE, config.num_videos - first), generator) for first in starts]
    forecasters: dict[str, Forecaster] = {
        policy: detection.rollout_forecaster(model.model, model.detector, horizons) for policy, model in models.items()
    }
    forecasters[COPIED] = detection.copying_forecaster(trained.model, trained.detector, horizons)
    forecasters[SEEN] = detection.seeing_forecaster(trained.model, trained.detector, horizons)
    if config.particles:
        forecasters[PARTICLES] = particle_forecaster(source, context=context, grid=grid, horizons=horizons)
    for policy in (policy for policy in FORECASTS if policy in forecasters):
        bar = tqdm(batches, desc=FORECASTS[policy], unit="batch", disable=not config.progress or None)
        yield policy, detection.measure(forecasters[policy], bar, context=context, grid=grid, horizons=horizons)


@config
class _Training:
    """What a checkpoint says of how it was trained."""

    data: VideoDataConfig
    heads: HeadsConfig
    seed: int
    train_encoder: bool
    supervised: bool


def _training(trained: PretrainedVideo) -> _Training:
    """How a checkpoint says that it was trained.

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
    seed, supervised = found.get("seed"), found.get("supervised")
    if not isinstance(seed, int) or not isinstance(supervised, bool):
        raise CheckpointError(f"{path}: training.config must have a 'seed' and say whether it was 'supervised'")
    step, num_steps = trained.config["training"].get("step"), found.get("num_steps")
    if isinstance(step, int) and isinstance(num_steps, int) and step < (end := num_steps + heads.num_steps):
        raise CheckpointError(
            f"{trained.path} must be trained to its end, to step {end}, got step {step}: the command that trains it "
            "goes on from there"
        )
    return _Training(data=data, heads=heads, seed=seed, train_encoder=found["train_encoder"], supervised=supervised)


def _command(trained: PretrainedVideo, folder: Path | str | None) -> str | None:
    """The command that trained it, into this folder; none where its preset is not known."""
    told = trained.config["training"]
    if folder is not None and Path(folder).is_relative_to(Path.cwd()):
        folder = Path(folder).relative_to(Path.cwd())  # nobody else has the folders of this machine
    return training_command(told["preset"], told["config"], folder or "runs") if told.get("preset") in PRESETS else None


def _require_kinds(trainings: Mapping[str, _Training], paths: Mapping[str, Path | str | None]) -> None:
    """Checks that what stands beside a model is of the kind that it is said to be, and of the same videos."""
    for policy, training in trainings.items():
        if policy == UNTRAINED and training.train_encoder:
            raise ValueError(f"untrained must be a run with --no-train-encoder, got {paths[policy]}")
        if policy == SUPERVISED and not training.supervised:
            raise ValueError(f"supervised must be a run with --supervised, got {paths[policy]}")
        expected = trainings[MODEL].data
        if (videos_name(training.data), training.data.num_frames) != (videos_name(expected), expected.num_frames):
            raise ValueError(
                f"{paths[policy]} must be trained on videos of {videos_name(expected)} and {expected.num_frames} "
                f"frames, got {videos_name(training.data)} and {training.data.num_frames} frames"
            )


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
