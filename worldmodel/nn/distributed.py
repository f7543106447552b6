"""Batch statistics over the joint batch of several processes, which data parallelism leaves out."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def num_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


def gather_batch(x: Tensor) -> Tensor:
    """Concatenates a tensor over processes along the batch dimension, with gradients.

    Each process then computes the same batch statistics; the gradients of all are summed on the way back, which data
    parallel averaging turns into exactly the gradient of one process on the joint batch.

    Returns:
        ``x`` itself where there is one process.
    """
    if num_processes() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    return _ContiguousGradient.apply(torch.cat(all_gather(x.contiguous()), dim=0))


def own_share(joint: Tensor, dim: int = 0) -> Tensor:
    """This process's rows of a tensor of the joint batch, of which each process has as many."""
    return joint.chunk(num_processes(), dim)[process_rank()]


class _ContiguousGradient(torch.autograd.Function):
    """Passes a tensor on, and its gradient in the order of its memory: gloo sends that of views as it lies there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()
