"""Whether jobs run as tasks of Ray, and with which resources."""

from typing import Annotated

import tyro

from worldmodel.config import NonNegative, Positive, config


@config
class ClusterConfig:
    """Runs jobs side by side as tasks of Ray."""

    ray: str | None = None
    """Run jobs side by side as tasks of Ray: 'local' on this machine, or the address of a cluster (auto, HOST:PORT or
    ray://HOST:PORT). Each task has one thread; what comes out is what one thread gives without Ray. Needs the ray
    extra."""
    ray_cpus: Positive = 1.0
    """With ray: cores of each task, which say how many run at once."""
    ray_gpus: NonNegative = 0.0
    """With ray: GPUs of each task; it may be a part of one."""


Cluster = Annotated[ClusterConfig, tyro.conf.arg(name="")]
"""As a part of a command's configuration: its options stand among the command's own, as ``--ray``."""
