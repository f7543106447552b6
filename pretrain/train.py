"""The one training loop: any preset, any source of windows, one device or many.

Every batch is a function of (seed, process, step) alone, so a resumed run sees exactly the batches that an
uninterrupted one sees, and nothing about the data has to be saved.
"""

import contextlib
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pretrain.datasets import MinariWindows, WindowBatch, WindowSource
from pretrain.interruption import Interruption
from pretrain.presets import DataConfig, PretrainConfig
from pretrain.run_log import RunLog
from pretrain.two_rooms import TwoRoomsWindows
from pretrain.validation import validate
from worldmodel.build import DataSpec, build_model, build_probe
from worldmodel.checkpoint import (
    TRAINING_STATE,
    load_training_state,
    save_pretrained,
    save_training_state,
)
from worldmodel.objective import Objective
from worldmodel.probes import Probe

logger = logging.getLogger(__name__)

UNSAVED_FIELDS = ("max_minutes", "output", "overwrite", "devices", "num_nodes", "accelerator", "compile", "log_wandb")
"""Fields that may change when a run resumes."""

NORMALIZATION_WINDOWS = 256
"""Windows on which normalisation is fitted."""
WINDOWS_PER_DRAW = 256
"""Windows drawn at once and cut into batches: drawing a few at a time is slower."""


class TrainingModule(nn.Module):
    """The objective and the probe beside it, in one ``forward`` so that data parallelism sees both."""

    def __init__(self, objective: Objective, probe: Probe | None) -> None:
        super().__init__()
        self.objective = objective
        self.probe = probe

    def forward(
        self, pixels: Tensor, actions: Tensor, positions: Tensor | None, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss to minimise and the metrics."""
        loss, metrics, latents = self.objective(pixels, actions, step)
        metrics["loss"] = loss.detach()
        if self.probe is not None and positions is not None:
            read = self.probe(latents)
            half_range = (self.probe.high - self.probe.low) / 2
            loss = loss + F.mse_loss(read / half_range, positions / half_range)
            metrics["probe_error"] = (read - positions).norm(dim=-1).mean().detach()
        return loss, metrics


def fit(config: PretrainConfig, name: str = "run") -> Path:
    """Trains a world model, or resumes its training.

    Args:
        config: The run.
        name: Name of the run, for its default folder.

    Returns:
        The run's folder, which is a checkpoint (:mod:`worldmodel.checkpoint`).

    Raises:
        ValueError: If the folder holds a run of another configuration, or the data do not fit.
        KeyboardInterrupt: After saving, if interrupted.
    """
    output = Path(config.output or f"runs/{name}-seed{config.seed}")
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=_precision(config),
    )
    fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    source, validation_source = build_sources(config.data, config.model.frame_skip, fabric.device)
    module = build_training_module(config, source)
    optimizer = _optimizer(config, module)
    progress = Progress()
    if state := _resume(output, config):
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(state["step"], state["seconds"])
    wrapped, optimizer = fabric.setup(module, optimizer)
    forward = torch.compile(wrapped) if config.compile else wrapped
    batches = _batches(source, config, fabric, progress.step)
    deadline = time.monotonic() + 60 * config.max_minutes if config.max_minutes is not None else math.inf
    rank_zero = fabric.is_global_zero
    log = RunLog(output, progress.step, wandb=config.log_wandb) if rank_zero else None
    bar = tqdm(total=config.num_steps, initial=progress.step, unit="step", disable=not rank_zero, desc=name)

    metrics: dict[str, Tensor] = {}

    def save() -> None:
        if metrics:
            _check_finite(metrics, progress.step)
        if rank_zero:
            _save(output, name, config, module, optimizer, data_spec(source), progress)
        fabric.barrier()

    interruption = Interruption()
    with bar, interruption, contextlib.closing(log) if log else contextlib.nullcontext():
        while progress.step < config.num_steps and not _any_process(
            fabric, time.monotonic() >= deadline or interruption.requested
        ):
            _set_learning_rates(optimizer, config, progress.step)
            batch = next(batches)
            loss, metrics = forward(batch.pixels, batch.actions, batch.positions, progress.step)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            # Not Fabric's clipping, which counts all the optimizer has: the probe must not shrink the model's gradient.
            metrics["gradient_norm"] = nn.utils.clip_grad_norm_(module.objective.parameters(), config.clip_norm)
            optimizer.step()
            progress.step += 1
            bar.update()
            step, last = progress.step, progress.step == config.num_steps
            if log and (step % config.log_every == 0 or last):
                row = {key: value.item() for key, value in metrics.items()}
                _check_finite(metrics, step)
                log.write("train", step, row | {"learning_rate": optimizer.param_groups[0]["lr"]})
                bar.set_postfix({key: f"{row[key]:.3f}" for key in ("loss", "prediction")})
            if step % config.validate_every == 0 or last:
                row = validate(module.objective.model, module.probe, validation_source)
                if log:
                    log.write("validation", step, row)
                    bar.write(f"step {step}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
            if step % config.checkpoint_every == 0 or last:
                save()
    if progress.step < config.num_steps:
        save()
        logger.warning(
            "stopped after step %d of %d; the same command resumes the run in %s",
            progress.step, config.num_steps, output,
        )  # fmt: skip
    if interruption.requested:
        raise KeyboardInterrupt
    return output


class Progress:
    """How far a run has come, counted over all its resumptions.

    Args:
        step: Training steps made so far.
        seconds: Seconds spent so far.
    """

    def __init__(self, step: int = 0, seconds: float = 0.0) -> None:
        self.step = step
        self._began = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds spent, those before resuming included."""
        return time.monotonic() - self._began


def build_training_module(config: PretrainConfig, source: WindowSource) -> TrainingModule:
    """The untrained model with its normalisation fitted, in its objective, with the probe beside it."""
    data = data_spec(source)
    model = build_model(config.model, data)
    sample = source.sample(NORMALIZATION_WINDOWS, np.random.default_rng([config.seed, 0]))
    model.fit_normalization(sample.pixels.cpu(), sample.actions.cpu())
    objective = Objective(
        model,
        config.weights,
        rollout_steps=config.rollout_steps,
        idm_layers=config.idm_layers,
        seed=config.seed,
    )
    return TrainingModule(objective, build_probe(config.model, data))


def _save(
    output: Path,
    name: str,
    config: PretrainConfig,
    module: TrainingModule,
    optimizer: torch.optim.Optimizer,
    data: DataSpec,
    progress: Progress,
) -> None:
    """Writes what resuming needs, and the checkpoint that agents load."""
    spent = {"step": progress.step, "seconds": progress.seconds}
    state = {"config": json.dumps(_saved(config)), "module": module.state_dict(), "optimizer": optimizer.state_dict()}
    save_training_state(output, spent | state)
    training = {"preset": name, "config": asdict(config), **spent}
    save_pretrained(output, module.objective.model, config.model, data, module.probe, training)


def build_sources(config: DataConfig, frame_skip: int, device: torch.device) -> tuple[WindowSource, WindowSource]:
    """The sources of training and of validation windows.

    Raises:
        ValueError: If no dataset is named.
    """
    if config.dataset == "two-rooms":

        def simulated(layout_set: str) -> WindowSource:
            return TwoRoomsWindows(
                config.num_frames, frame_skip, recipe=config.recipe, layout_set=layout_set, device=device
            )

        return simulated(config.layout_set), simulated("validation")
    if config.dataset in ("", "?"):
        raise ValueError("dataset must be 'two-rooms' or the id or folder of a Minari dataset, got none")

    def recorded(split: str) -> WindowSource:
        return MinariWindows(
            config.dataset,
            config.num_frames,
            frame_skip,
            split=split,
            validation_fraction=config.validation_fraction,
            device=device,
        )

    return recorded("train"), recorded("validation")


def data_spec(source: WindowSource) -> DataSpec:
    """What a model must know of its data."""
    return DataSpec(
        pixel_shape=source.pixel_shape,
        action_dim=source.action_dim,
        action_low=tuple(source.action_low),
        action_high=tuple(source.action_high),
        action_max_norm=source.action_max_norm,
        position_low=source.position_low,
        position_high=source.position_high,
    )


def _batches(source: WindowSource, config: PretrainConfig, fabric: Fabric, first_step: int) -> Iterator[WindowBatch]:
    """This process's share of the batches from ``first_step`` on; the next are drawn while the last are used."""
    share, remainder = divmod(config.data.batch_size, fabric.world_size)
    if remainder:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes ({fabric.world_size}), "
            f"got {config.data.batch_size}"
        )

    per_draw = max(1, WINDOWS_PER_DRAW // share)

    def draw(number: int) -> WindowBatch:
        generator = np.random.default_rng([config.seed, 1, fabric.global_rank, number])
        return fabric.to_device(source.sample(per_draw * share, generator))

    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: Future[WindowBatch] = pool.submit(draw, first_step // per_draw)
        for step in itertools.count(first_step):
            place = step % per_draw
            if step == first_step or place == 0:
                drawn = coming.result()
                coming = pool.submit(draw, step // per_draw + 1)
            rows = slice(place * share, (place + 1) * share)
            yield drawn.select(rows)


def _optimizer(config: PretrainConfig, module: TrainingModule) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": list(module.objective.parameters()), "peak": config.learning_rate},
    ]
    if module.probe is not None:
        groups.append({"params": list(module.probe.parameters()), "peak": config.probe_learning_rate})
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


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


def _set_learning_rates(optimizer: torch.optim.Optimizer, config: PretrainConfig, step: int) -> None:
    factor = learning_rate_factor(step, config.num_steps, config.warmup_fraction)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _precision(config: PretrainConfig) -> Literal["32-true", "bf16-mixed"]:
    """Autocast only where the hardware computes in bfloat16; elsewhere it is emulated and many times slower."""
    if config.precision != "auto":
        return config.precision
    if config.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capabilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "32-true"


def _saved(config: PretrainConfig) -> dict[str, Any]:
    """The part of the configuration that a resumed run must share with the interrupted one, in JSON types."""
    return json.loads(json.dumps({key: value for key, value in asdict(config).items() if key not in UNSAVED_FIELDS}))


def _resume(output: Path, config: PretrainConfig) -> dict[str, Any] | None:
    """The state to resume from; None for a new run.

    Raises:
        ValueError: If the folder holds a run of another configuration.
    """
    if config.overwrite or not (output / TRAINING_STATE).exists():
        return None
    state = load_training_state(output)
    before, now = json.loads(state["config"]), _saved(config)
    different = sorted(_differences(before, now))
    if different:
        raise ValueError(
            f"{output} holds a run of another configuration; it differs in {'; '.join(different)}. "
            "Choose another --output, or --overwrite"
        )
    return state


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key in before.keys() | now.keys():
        a, b = before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} (was {a}, now {b})"


def _check_finite(metrics: dict[str, Tensor], step: int) -> None:
    """Raises FloatingPointError before weights that are not finite are logged or saved."""
    value = float(metrics["loss"] + metrics["gradient_norm"])
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss and its gradient must be finite, got {value} at step {step}; try a lower learning rate"
        )


def _any_process(fabric: Fabric, wish: bool) -> bool:
    """Whether any process wishes so; processes that stopped after different steps would wait for each other."""
    if fabric.world_size == 1:
        return wish
    return bool(fabric.all_reduce(torch.tensor(float(wish), device=fabric.device), reduce_op="sum"))
