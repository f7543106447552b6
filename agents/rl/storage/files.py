"""The folder of a reinforcement learning run: its files, how it was configured, what it has spent so far.

::

    rl.json             how the model is built anew, and how it was trained          written once, when the run begins
    model.zip           the last model                                               |
    best_model.zip      the one that was best at validation                          |
    replay.npz          the replay buffer                                            |  one set: committed together
    progress.json       steps, seconds, and what the best model returned             |  (worldmodel.storage.files)
    evaluations.npz     returns, lengths and successes of all validation episodes    |
    curve.jsonl         steps, seconds and success of each evaluation                |

The zips are those of Stable-Baselines3, which hold pickles beside their tensors. Here no pickle is ever read: the model
is built from ``rl.json``, and tensors alone are read from a zip (:mod:`agents.rl.storage.weights`).
"""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from gymnasium import spaces

from agents.rl.algorithms import Algorithm, check_options, is_off_policy
from agents.rl.features import FEATURE_OPTIONS
from agents.rl.storage.spaces import space_from_json
from agents.rl.storage.weights import MAX_ZIP_BYTES
from worldmodel.checkpoint import CheckpointError, read_section
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromZero,
    JsonDict,
    NonNegative,
    Seed,
    Width,
    config,
    from_json,
    number,
    to_json,
)
from worldmodel.storage.files import current, parse_json, read_bytes, read_set, write_json

logger = logging.getLogger(__name__)

MODEL, BEST, REPLAY, PROGRESS, CONFIG = "model.zip", "best_model.zip", "replay.npz", "progress.json", "rl.json"
EVALUATIONS, CURVE = "evaluations.npz", "curve.jsonl"
"""Names of a run's files."""
OLD_REPLAY = "replay.pkl"
"""A replay buffer of an older version, which is never read."""
FORMAT: Literal["worldmodel.rl/2"] = "worldmodel.rl/2"
"""Format name written to and required of ``rl.json``."""
MAX_LAYERS = 64
"""Most hidden layers of actor and critic."""

ActionRepeat = Annotated[int, Ge(1), Le(1000), number(int, "in 1…1000")]
"""How often an action is taken."""
NumEnvs = Annotated[int, Ge(1), Le(65_536), number(int, "in 1…65536")]
"""Environments that are stepped together."""


@config
class RunConfig:
    """What ``rl.json`` says: all that is needed to build a run's model anew, and how it was trained."""

    format: Literal["worldmodel.rl/2"]
    """Name of the format."""
    algorithm: Algorithm
    """Name of the algorithm."""
    observation: Literal["state", "pixels", "latents"]
    """What it sees."""
    kept_as: Literal["state", "profiles", "latents"] | None
    """What observations are kept as to learn from; None: images."""
    action_repeat: ActionRepeat
    """How often each action is taken."""
    hindsight: bool
    """Whether goals are relabelled."""
    net_arch: tuple[Width, ...]
    """Widths of the hidden layers of actor and critic."""
    features: Literal["vectors", "codes", "images"]
    """Name of the features extractor."""
    feature_options: dict[str, int | str]
    """Its keywords."""
    hyperparameters: dict[str, bool | int | float]
    """Keywords of the algorithm."""
    observation_space: dict[str, Any]
    """What it observes, as JSON."""
    action_space: dict[str, Any]
    """What it does, as JSON."""
    env_id: str = ""
    """Environment that it was trained in."""
    goal_image: JsonDict = field(default_factory=dict)
    """How that was shown as images with goals, where it was: arguments of envs.GoalImage."""
    reward: Literal["sparse", "dense"] | None = None
    """Reward that it was trained with, if it was asked for."""
    checkpoint: str = ""
    """World model whose latents it sees, as it was asked for."""
    encoder: str = ""
    """Encoder of its images, as it was asked for."""
    num_envs: NumEnvs | None = None
    """Environments that it was trained in, if asked for."""
    options: dict[str, bool | int | float] = field(default_factory=dict)
    """Keywords of the algorithm that were asked for."""
    seed: Seed = 0
    """Seed of its training."""
    eval_every: Count | None = None
    """Environment steps between two evaluations, if asked for."""
    eval_episodes: Count = 50
    """Episodes of an evaluation."""

    def rules(self) -> None:
        """What the fields must be together.

        Raises:
            ConfigError: If they contradict one another.
        """
        kept_as = {"state": ("state",), "latents": ("latents",), "pixels": ("profiles", None)}[self.observation]
        if self.kept_as not in kept_as:
            words = " or ".join(map(repr, kept_as))
            raise ConfigError("kept_as", f"{words} for observation {self.observation!r}", self.kept_as)
        features = {"state": "vectors", None: "images"}.get(self.kept_as, "codes")
        if self.features != features:
            raise ConfigError("features", f"{features!r} for what is kept as {self.kept_as!r}", self.features)
        from_json(FEATURE_OPTIONS[features], self.feature_options, "feature_options.")
        if self.hindsight and not is_off_policy(self.algorithm):
            raise ConfigError("hindsight", f"False for {self.algorithm!r}, which has no replay buffer", True)
        if len(self.net_arch) > MAX_LAYERS:
            raise ConfigError("net_arch", f"at most {MAX_LAYERS} widths", len(self.net_arch))
        check_options(self.algorithm, self.hyperparameters, "hyperparameters")
        self.read_spaces()

    def read_spaces(self) -> tuple[spaces.Space[Any], spaces.Box]:
        """What it observes, a Dict, and what it does.

        Raises:
            ConfigError: If these are no Dict and no bounded Box.
        """
        observed = space_from_json(self.observation_space, "observation_space")
        done = space_from_json(self.action_space, "action_space")
        if not isinstance(observed, spaces.Dict):
            raise ConfigError("observation_space", "of type 'Dict'", "a Box")
        if not isinstance(done, spaces.Box) or not done.is_bounded() or len(done.shape) != 1:
            raise ConfigError("action_space", "a bounded Box of one dimension", self.action_space)
        return observed, done


@config
class Progress:
    """What ``progress.json`` says: where the set of files that it belongs to stands."""

    steps: CountFromZero = 0
    """Steps of the environments, of all of them together, in which the model decided."""
    seconds: NonNegative = 0.0
    """Seconds, evaluations included."""
    episodes: CountFromZero = 0
    """Episodes that ended."""
    updates: CountFromZero = 0
    """Updates of the networks, as the algorithm counts them."""
    best_steps: CountFromZero | None = None
    """Steps after which the best model was found; None: there is none yet."""
    best_return: float | None = None
    """What it returned on average; None: unknown, the next one is better."""
    settings: str | None = None
    """SHA-256 of the ``rl.json`` that it was trained with, in hexadecimal."""


@dataclass(frozen=True)
class RunFiles:
    """The files of a trained model, read once: what is hashed is what acts, whatever is written meanwhile.

    Attributes:
        folder: The run's folder.
        config: What ``rl.json`` says.
        name: Which model: :data:`BEST` or :data:`MODEL`.
        model: The bytes of its zip.
        progress: What ``progress.json`` says; None where there is none.
    """

    folder: Path
    config: RunConfig
    name: str
    model: bytes
    progress: Progress | None

    @property
    def sha256(self) -> str:
        """Hash of the zip, in hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()


def read_files(folder: Path, *, best: bool = True) -> RunFiles:
    """Reads the files of a trained model, all of one commit.

    Args:
        folder: The run's folder.
        best: The model that was best at validation in place of the last one, where there is one.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If a file is damaged, was made by an older version, or the configuration is not the one that
            the model was trained with.
    """
    read_run(folder)  # what is wrong there is said first
    for name in (BEST, MODEL) if best else (MODEL,):
        files = read_set(folder, (CONFIG, PROGRESS, name), max_bytes=MAX_ZIP_BYTES)
        if name in files:
            break
    if name not in files or CONFIG not in files:
        raise FileNotFoundError(f"{folder} must hold {name}, as a folder of worldmodel train-rl does")
    if best and name == MODEL:
        logger.warning("%s holds no %s, a model that was best at validation: the last model is used", folder, BEST)
    run = read_run(folder, files[CONFIG])
    progress = read_progress(folder, files[PROGRESS]) if PROGRESS in files else None
    if progress is not None and progress.settings not in (None, hashlib.sha256(files[CONFIG]).hexdigest()):
        raise CheckpointError(
            f"{folder / CONFIG} must be the one that {folder / MODEL} was trained with, got another one: it was "
            "changed, or replaced, since"
        )
    return RunFiles(folder, run, name, files[name], progress)


def read_run(folder: Path, data: bytes | None = None) -> RunConfig:
    """How a run was configured.

    Args:
        folder: Its folder.
        data: The bytes of its ``rl.json``, where they have been read.

    Raises:
        FileNotFoundError: If the folder holds no run.
        CheckpointError: If it holds one of an older version, or its configuration makes no sense.
    """
    if data is None and not current(folder, CONFIG).exists():
        raise FileNotFoundError(f"{folder} must hold {CONFIG}, as a folder of worldmodel train-rl does")
    content = _parse(folder, CONFIG, data, "how a run was configured")
    if "format" not in content and "algorithm" in content:
        raise CheckpointError(
            f"{folder / CONFIG} must have format {FORMAT!r}; the run was made by an older version, whose pickles are "
            "not read: train it again"
        )
    return read_section(RunConfig, content, folder / CONFIG, "")


def write_run(folder: Path, run: RunConfig) -> None:
    """Writes down how a run is configured."""
    write_json(folder / CONFIG, to_json(run))


def read_progress(folder: Path, data: bytes | None = None) -> Progress:
    """Where a run stands, and what it has spent; at its beginning, if the folder holds no progress.

    Args:
        folder: Its folder.
        data: The bytes of its ``progress.json``, where they have been read.

    Raises:
        CheckpointError: If the file makes no sense.
    """
    if data is None and not current(folder, PROGRESS).exists():
        return Progress()
    return read_section(Progress, _parse(folder, PROGRESS, data, "what a run has spent"), folder / PROGRESS, "")


spent = read_progress
"""What a run has cost so far, over all its resumptions: steps and seconds of its progress."""


def settings_hash(folder: Path) -> str | None:
    """SHA-256 of the ``rl.json`` of a folder, in hexadecimal; None where there is none."""
    path = current(folder, CONFIG)
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.exists() else None


def _parse(folder: Path, name: str, data: bytes | None, what: str) -> dict[str, Any]:
    """The JSON of a file, from its bytes where they have been read."""
    try:
        return parse_json(read_bytes(current(folder, name)) if data is None else data, folder / name, what)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
