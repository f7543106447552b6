"""The one training loop: any preset, any source of data, stage after stage, one device or many.

Every batch is a function of (seed, process, step) alone, so a resumed run sees exactly the batches that an
uninterrupted one sees, and nothing about the data has to be saved.
"""

import atexit
import contextlib
import importlib
import itertools
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import InitVar, asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from pretrain.config import UNSAVED_FIELDS, PretrainConfig
from pretrain.loop.interruption import Interruption
from pretrain.loop.memory import keep_memory
from pretrain.loop.processes import any_process, is_first_process, leave_processes, make_fabric
from pretrain.loop.run_log import RunLog
from pretrain.loop.stages import Stage, Training, freeze, select, stage_at, to_modules, total_steps
from pretrain.presets import PRESETS, preset
from worldmodel.checkpoint import CONFIG, TRAINING_STATE, WEIGHTS, load_training_state, training_state_bytes
from worldmodel.config import differences, parse
from worldmodel.storage.files import absolute, current, recover
from worldmodel.storage.locks import locked
from worldmodel.storage.weights import check_finite

logger = logging.getLogger(__name__)

ROWS_PER_DRAW = 256
"""Rows (windows or scenes) drawn at once and cut into batches: drawing a few at a time is slower."""


def main(argv: Sequence[str]) -> None:
    """``worldmodel pretrain PRESET [options]``: trains a preset, with some of its fields changed.

    Args:
        argv: Arguments; without any, or with ``--help``, presets are listed.
    """
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, PRESETS))
        lines = "".join(f"  {name:{width}s} {text}\n" for name, (text, _) in PRESETS.items())
        sys.stdout.write(
            f"usage: worldmodel pretrain PRESET [options]\n\ntrain a world model\n\npresets:\n{lines}\n"
            "worldmodel pretrain PRESET --help explains each option and shows the preset's values.\n"
        )
        return
    name, *options = argv
    default, program = preset(name), f"worldmodel pretrain {name}"
    config = parse(type(default), options, prog=program, description=PRESETS[name][0], default=default)
    folder = fit(config, name=name)
    if is_first_process():
        sys.stdout.write(f"checkpoint: {folder}\n")


def fit(config: PretrainConfig, name: str = "run") -> Path:
    """Trains what a configuration describes, or resumes the training.

    Args:
        config: The run.
        name: Name of the run, for its default folder.

    Returns:
        The run's folder, which is a checkpoint (:mod:`worldmodel.checkpoint`).

    Raises:
        ValueError: If the folder holds a run of another configuration, or the data do not fit.
        KeyboardInterrupt: After saving, if interrupted.
    """
    output = absolute(config.output or f"runs/{name}-seed{config.seed}")
    fabric = make_fabric(config, _precision(config))
    # Only the first process writes. It takes the lock before the others start: they would wait for it in vain.
    with locked(output, "run") if is_first_process() else contextlib.nullcontext():
        if is_first_process():
            recover(output)
        fabric.launch()
        atexit.register(leave_processes)
        if fabric.device.type == "cpu":
            keep_memory()
        fabric.seed_everything(config.seed, verbose=False)
        training = build_training(config, fabric.device)
        Run(config, name, output, fabric, training, _resume(output, config, training)).train()
    return output


def build_training(config: PretrainConfig, device: torch.device) -> Training:
    """Builds what a configuration trains, by the module that its class names.

    Raises:
        TypeError: If its class names no module.
        ValueError: If the data do not fit.
    """
    module = getattr(config, "training_module", None)
    if module is None:
        raise TypeError(f"config must be of a class with a training_module, got {type(config).__name__}")
    training: Training = importlib.import_module(module).build_training(config, device)
    return training


@dataclass
class Run:
    """A training run: the loop over the steps of its stages, with its log, its checkpoints and its limits.

    Attributes:
        config: The run's configuration.
        name: Its name.
        output: Its folder.
        fabric: Device, precision and processes.
        training: What it trains.
        state: Where it resumes; None for a new run.
    """

    config: PretrainConfig
    name: str
    output: Path
    fabric: Fabric
    training: Training
    state: InitVar[dict[str, Any] | None]

    def __post_init__(self, state: dict[str, Any] | None) -> None:
        self.modules = to_modules(self.training.stages).to(self.fabric.device)
        self.num_steps = total_steps(self.training.stages)
        # Steps and seconds count over all resumptions.
        self.step: int = state["step"] if state else 0
        self._began = time.monotonic() - (state["seconds"] if state else 0.0)
        self._optimizer_state: dict[str, Any] | None = state["optimizer"] if state else None
        limit = self.config.max_minutes
        self._deadline = time.monotonic() + 60 * limit if limit is not None else math.inf
        self._interruption = Interruption()
        self._log: RunLog | None = None

    def train(self) -> None:
        """Trains to the end, or until the time is over or Ctrl-C is pressed."""
        rank_zero = self.fabric.is_global_zero
        if rank_zero:
            self._log = RunLog(self.output, self.step, wandb=self.config.log_wandb)
        bar = tqdm(
            desc=self.name,
            unit="step",
            initial=self.step,
            total=self.num_steps,
            disable=not (rank_zero and self.config.progress) or None,
        )
        stages = self.training.stages
        begun, done = stage_at(stages, self.step)
        with bar, self._interruption, contextlib.closing(self._log) if self._log else contextlib.nullcontext():
            for number, stage in enumerate(stages[begun:], begun):
                freeze(stage.frozen)
                if done < stage.num_steps:
                    stage.begin()
                optimizer = self.training.optimizer(stage.groups)
                if self._optimizer_state is not None and done < stage.num_steps:
                    _load_optimizer(optimizer, self._optimizer_state, self.output)
                batches = _batches(stage, number, self.config.seed, self.fabric, done)
                if not self._train_stage(stage, batches, done, optimizer, bar):
                    break
                self._optimizer_state, done = None, 0
        if self.step < self.num_steps:
            logger.warning(
                "stopped after step %d of %d; the same command resumes the run in %s",
                self.step, self.num_steps, self.output,
            )  # fmt: skip
        elif rank_zero and not all((self.output / file).exists() for file in (WEIGHTS, CONFIG)):
            # The run is done, but somebody removed its checkpoint.
            self.training.save(self.output, self._setting(), {})
        if self._interruption.requested:
            raise KeyboardInterrupt

    def _train_stage(
        self, stage: Stage, batches: Iterator[Any], done: int, optimizer: torch.optim.Optimizer, bar: Any
    ) -> bool:
        """Trains a stage of which ``done`` steps are done; returns whether it came to its end."""
        config, fabric = self.config, self.fabric
        wrapped, wrapped_optimizer = fabric.setup(stage.module, optimizer)
        forward = wrapped
        if config.compile or config.cuda_graphs:
            forward = torch.compile(wrapped, mode="reduce-overhead" if config.cuda_graphs else None)
        metrics: dict[str, Tensor] = {}
        for step in range(done, stage.num_steps):
            if any_process(fabric, time.monotonic() >= self._deadline or self._interruption.requested):
                self._save(optimizer, metrics)
                return False
            _set_learning_rates(optimizer, stage, config.warmup_fraction, step)
            # First of all: a CUDA graph writes where the results of the step before lie, gradients among them.
            wrapped_optimizer.zero_grad(set_to_none=True)
            if config.cuda_graphs:
                torch.compiler.cudagraph_mark_step_begin()
            loss, metrics = forward(next(batches), step)
            fabric.backward(loss)
            # Fabric's clipping would count all of the optimizer's parameters.
            metrics["gradient_norm"] = nn.utils.clip_grad_norm_(stage.clipped, config.clip_norm)
            wrapped_optimizer.step()
            self.step += 1
            bar.update()
            last = step + 1 == stage.num_steps
            if self._log and ((step + 1) % config.log_every == 0 or last):
                row = {key: value.item() for key, value in metrics.items()}
                _check_loss(metrics, self.step)
                rate = {"learning_rate": optimizer.param_groups[0]["lr"]}
                self._log.write(stage.split("train"), self.step, row | rate)
                bar.set_postfix(stage=stage.name, loss=f"{row['loss']:.3f}")
            if (step + 1) % config.validate_every == 0 or last:
                self._validate(stage, bar)
            if (step + 1) % config.checkpoint_every == 0 or last:
                self._save(optimizer, metrics)
        return True

    def _validate(self, stage: Stage, bar: Any) -> None:
        stage.module.eval()
        with torch.no_grad():
            row = stage.validate()
        stage.module.train()
        if self._log:
            self._log.write(stage.split("validation"), self.step, row)
            if self.config.progress:
                values = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
                bar.write(f"{stage.name}, step {self.step}: {values}")

    def _save(self, optimizer: torch.optim.Optimizer, metrics: dict[str, Tensor]) -> None:
        """Writes what resuming needs, and the checkpoint that agents load."""
        if metrics:
            _check_loss(metrics, self.step)
        if self.fabric.is_global_zero:
            module = self.modules.state_dict()
            check_finite(module, "weights must be finite to be saved", FloatingPointError)
            setting = self._setting()
            state = {"step": setting["step"], "seconds": setting["seconds"], "module": module}
            state |= {"optimizer": optimizer.state_dict(), "config": json.dumps(_saved(self.config))}
            self.training.save(self.output, setting, {TRAINING_STATE: training_state_bytes(state)})
        self.fabric.barrier()

    def _setting(self) -> dict[str, Any]:
        """How the run is trained and how far it has come, for the checkpoint; not in which folder."""
        config = asdict(replace(self.config, output=None))
        setting = {"preset": self.name, "config": config, "threads": torch.get_num_threads()}
        return setting | {"step": self.step, "seconds": time.monotonic() - self._began}


def _batches(stage: Stage, number: int, seed: int, fabric: Fabric, first_step: int) -> Iterator[Any]:
    """This process's share of a stage's batches from ``first_step`` on; the next are drawn while the last are used.

    What is drawn depends on the stage's number (0, 1, …), not on its name: stage n draws from stream 1 + n of the seed,
    for stream 0 fits normalisation.
    """
    share, remainder = divmod(stage.batch_size, fabric.world_size)
    if remainder:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes ({fabric.world_size}), got {stage.batch_size}"
        )
    per_draw = max(1, ROWS_PER_DRAW // share)
    stream = [seed, 1 + number, fabric.global_rank]

    def draw(index: int) -> Any:
        return fabric.to_device(stage.draw(per_draw * share, np.random.default_rng([*stream, index])))

    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: Future[Any] = pool.submit(draw, first_step // per_draw)
        for step in itertools.count(first_step):
            place = step % per_draw
            if step == first_step or place == 0:
                drawn = coming.result()
                coming = pool.submit(draw, step // per_draw + 1)
            yield select(drawn, slice(place * share, (place + 1) * share))


def learning_rate_factor(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine to zero.

    Example:
        >>> [round(learning_rate_factor(step, 100, 0.1), 2) for step in (0, 5, 10, 55, 100)]
        [0.1, 0.6, 1.0, 0.5, 0.0]
    """
    warmup = max(1, round(warmup_fraction * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _set_learning_rates(optimizer: torch.optim.Optimizer, stage: Stage, warmup_fraction: float, step: int) -> None:
    factor = learning_rate_factor(step, stage.num_steps, warmup_fraction)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _precision(config: PretrainConfig) -> Literal["32-true", "bf16-mixed"]:
    """Autocast only where it is faster: on GPUs that compute in bfloat16, and on CPUs with matrix units (AMX).

    With AVX-512 BF16 alone the convolutions of Moving MNIST's and the images' presets train at 1.4 to 1.6 times their
    speed in float32, the networks of Two Rooms at 0.7 to 0.8: each kind of run names its ``bf16_features``.
    """
    if config.precision != "auto":
        return config.precision
    if config.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 and newer tell
    return "bf16-mixed" if any(capabilities.get(name) for name in config.bf16_features) else "32-true"


def _saved(config: PretrainConfig) -> dict[str, Any]:
    """The part of the configuration that a resumed run must share with the interrupted one, in JSON types."""
    return json.loads(json.dumps({key: value for key, value in asdict(config).items() if key not in UNSAVED_FIELDS}))


def _resume(output: Path, config: PretrainConfig, training: Training) -> dict[str, Any] | None:
    """The state to resume from, its weights loaded; None for a new run.

    Raises:
        ValueError: If the folder holds a run of another configuration, or a state that does not fit.
    """
    if config.overwrite or not current(output, TRAINING_STATE).exists():
        return None
    state = load_training_state(output)
    try:
        before = json.loads(state["config"])
        different = sorted(differences(before, _saved(config)))
    except (ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"{output / TRAINING_STATE} must hold the configuration of a run") from error
    if different:
        more = f"; and {len(different) - 8} more" if len(different) > 8 else ""
        raise ValueError(
            f"{output} holds a run of another configuration; it differs in {'; '.join(different[:8])}{more}. "
            "Choose another --output, or --overwrite"
        )
    num_steps = total_steps(training.stages)
    if state["step"] > num_steps:
        raise ValueError(f"{output / TRAINING_STATE} must hold a step of at most {num_steps}, got {state['step']}")
    try:
        to_modules(training.stages).load_state_dict(state["module"])
    except (RuntimeError, AttributeError, TypeError) as error:
        line = " ".join(str(error).split())[:300]
        raise ValueError(f"{output / TRAINING_STATE} does not fit the configuration: {line}") from error
    check_finite(state["module"], f"{output / TRAINING_STATE} must hold finite weights", ValueError)
    return state


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], output: Path) -> None:
    rule = f"{output / TRAINING_STATE} does not fit the optimiser of its stage"
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{rule}: {error}") from error
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.ndim > 0 and value.shape != parameter.shape:
                raise ValueError(f"{rule}: {name!r} must be {list(parameter.shape)}, got {list(value.shape)}")
            if isinstance(value, Tensor):
                check_finite({name: value}, f"{output / TRAINING_STATE} must hold finite numbers", ValueError)


def _check_loss(metrics: dict[str, Tensor], step: int) -> None:
    """Raises FloatingPointError before weights that are not finite are logged or saved."""
    value = float(metrics["loss"] + metrics["gradient_norm"])
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss and its gradient must be finite, got {value} at step {step}; try a lower learning rate"
        )
