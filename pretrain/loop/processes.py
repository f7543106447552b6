"""The processes of a training run: on which device, how many, and which of them writes."""

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import distributed as dist

from pretrain.config import PretrainConfig
from worldmodel.nn.devices import check_device


def make_fabric(config: PretrainConfig, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Device, precision and processes of a run.

    Raises:
        ValueError: If there is no such device, or the processes cannot be started so.
    """
    if config.accelerator in ("cuda", "mps"):
        check_device(config.accelerator)
    if config.accelerator == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        check_device("cuda")
    processes = config.devices * config.num_nodes
    launched = TorchElasticEnvironment.detect()
    if not launched and SLURMEnvironment.detect():
        tasks = os.environ.get("SLURM_NTASKS", "1")
        if tasks != str(processes):
            raise ValueError(
                f"SLURM's tasks (SLURM_NTASKS, --ntasks) must be as many as --devices times --num-nodes, {processes}, "
                f"got {tasks}"
            )
        launched = processes > 1
    if config.devices > 1 and not launched and not _has_program():
        raise ValueError(
            "devices must be 1 where Python runs from standard input or -c: each further process runs the program's "
            f"file again, got {config.devices}"
        )
    for part in fields(config):
        size = getattr(getattr(config, part.name), "batch_size", processes)
        if size % processes:
            raise ValueError(
                f"{part.name}.batch_size must be a multiple of the number of processes ({processes}), got {size}"
            )
    # One process needs no scheduler's help, whatever a scheduler has put into the environment.
    plugins: list[ClusterEnvironment] = [] if launched or config.devices > 1 else [LightningEnvironment()]
    try:
        return Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            precision=precision,
            plugins=plugins,  # type: ignore[arg-type]
        )
    except (TypeError, RuntimeError, ValueError) as error:  # Fabric's own check of processes and devices
        wanted = f"accelerator={config.accelerator}, devices={config.devices}, num_nodes={config.num_nodes}"
        raise ValueError(f"processes must be such that they can be started, got {wanted}: {error}") from error


def is_first_process() -> bool:
    """Whether this is the process that writes, as far as the environment tells before processes are connected."""
    task = os.environ.get("SLURM_PROCID", "0") if SLURMEnvironment.detect() else "0"
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", task))
    return rank == "0" and os.environ.get("GROUP_RANK", os.environ.get("NODE_RANK", "0")) == "0"


def leave_processes() -> None:
    """Ends the connection to other processes: gloo's threads abort a program that ends while they run."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def any_process(fabric: Fabric, wish: bool) -> bool:
    """Whether any process wishes so; processes that stopped after different steps would wait for each other."""
    if fabric.world_size == 1:
        return wish
    return bool(fabric.all_reduce(torch.tensor(float(wish), device=fabric.device), reduce_op="sum"))


def _has_program() -> bool:
    """Whether this program is a file or a module, which further processes can run too."""
    main = sys.modules.get("__main__")
    return getattr(main, "__spec__", None) is not None or Path(sys.argv[0]).is_file()
