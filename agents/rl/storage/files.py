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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Le
from gymnasium import spaces

from agents.rl.algorithms import Algorithm, check_options, is_off_policy
from agents.rl.features import FEATURE_OPTIONS
from agents.rl.storage.spaces import space_from_json
from worldmodel.checkpoint import CheckpointError
from worldmodel.config import (
    ConfigError,
    Count,
    CountFromZero,
    NonNegative,
    Seed,
    Width,
    config,
    from_json,
    number,
    to_json,
)
from worldmodel.storage.files import current, parse_json, read_bytes, write_json

MODEL, BEST, REPLAY, PROGRESS, CONFIG = "model.zip", "best_model.zip", "replay.npz", "progress.json", "rl.json"
EVALUATIONS, CURVE = "evaluations.npz", "curve.jsonl"
"""Names of a run's files."""
OLD_REPLAY = "replay.pkl"
"""A replay buffer of an older version, which is never read."""
FORMAT: Literal["worldmodel.rl/2"] = "worldmodel.rl/2"
"""Format name written to and required of ``rl.json``."""
MAX_LAYERS = 64
"""Most hidden layers of actor and critic."""

T = TypeVar("T")

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
    """

    folder: Path
    config: RunConfig
    name: str
    model: bytes

    @property
    def sha256(self) -> str:
        """Hash of the zip, in hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()


@dataclass(frozen=True)
class Spent:
    """What a run has cost so far, over all its resumptions.

    Attributes:
        steps: Environment steps, of all environments together.
        seconds: Seconds, evaluations included.
    """

    steps: int = 0
    seconds: float = 0.0


def read_run(folder: Path, data: bytes | None = None) -> RunConfig:
    """How a run was configured.

    Args:
        folder: Its folder.
        data: The bytes of its ``rl.json``, where they have been read.

    Raises:
        FileNotFoundError: If the folder holds no run.
        CheckpointError: If it holds one of an older version, or its configuration makes no sense.
    """
    path = current(folder, CONFIG)
    if data is None and not path.exists():
        raise FileNotFoundError(f"{folder} must hold {CONFIG}, as a folder of worldmodel train-rl does")
    try:
        content = parse_json(read_bytes(path) if data is None else data, folder / CONFIG, "how a run was configured")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if "format" not in content and "algorithm" in content:
        raise CheckpointError(
            f"{folder / CONFIG} must have format {FORMAT!r}; the run was made by an older version, whose pickles are "
            "not read: train it again"
        )
    return _from_json(RunConfig, content, folder / CONFIG)


def write_run(folder: Path, run: RunConfig) -> None:
    """Writes down how a run is configured."""
    write_json(folder / CONFIG, to_json(run))


def read_progress(folder: Path, data: bytes | None = None) -> Progress:
    """Where a run stands; at its beginning, if the folder holds no progress.

    Raises:
        CheckpointError: If the file makes no sense.
    """
    path = current(folder, PROGRESS)
    if data is None and not path.exists():
        return Progress()
    try:
        content = parse_json(read_bytes(path) if data is None else data, folder / PROGRESS, "what a run has spent")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    return _from_json(Progress, content, folder / PROGRESS)


def spent(folder: Path) -> Spent:
    """What a run has spent so far; nothing where the folder holds none.

    Raises:
        CheckpointError: If its progress makes no sense.
    """
    progress = read_progress(folder)
    return Spent(progress.steps, progress.seconds)


def settings_hash(folder: Path) -> str | None:
    """SHA-256 of the ``rl.json`` of a folder, in hexadecimal; None where there is none."""
    path = current(folder, CONFIG)
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.exists() else None


def check_settings(folder: Path, data: bytes, progress: Progress) -> None:
    """Checks that a run's configuration is the one that its model was trained with.

    Raises:
        CheckpointError: If it was changed since.
    """
    if progress.settings not in (None, hashlib.sha256(data).hexdigest()):
        raise CheckpointError(
            f"{folder / CONFIG} must be the one that {folder / MODEL} was trained with, got another one: it was "
            "changed, or replaced, since"
        )


def _from_json(kind: type[T], content: Mapping[str, Any], path: Path) -> T:
    try:
        return from_json(kind, content)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
