"""Layers that several modules share."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.nn.distributed import gather_batch, num_processes


def perceptron(in_dim: int, hidden_dims: Sequence[int], out_dim: int, *, normalized: bool = False) -> nn.Sequential:
    """A multilayer perceptron; linear where there are no hidden layers.

    Args:
        in_dim: Number of inputs.
        hidden_dims: Widths of the hidden layers.
        out_dim: Number of outputs.
        normalized: Hidden layers are LayerNorm and SiLU after the linear map, instead of ReLU: slower, but calmer where
            a network learns from its own predictions.
    """
    layers: list[nn.Module] = []
    for hidden_dim in hidden_dims:
        layers += [nn.Linear(in_dim, hidden_dim)]
        layers += [nn.LayerNorm(hidden_dim), nn.SiLU()] if normalized else [nn.ReLU()]
        in_dim = hidden_dim
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(relu(x))))``, with 3 × 3 convolutions.

    Args:
        channels: Number of channels ``C``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Adds the block's output to an image."""
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class ChannelNorm(nn.Module):
    """Layer normalisation (arXiv 1607.06450) of each position of an image over its channels, without parameters."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalises each position."""
        return F.layer_norm(x.movedim(1, -1), (x.shape[1],)).movedim(-1, 1)


class BatchNorm(nn.Module):
    """Batch normalisation (arXiv 1502.03167) with the statistics of the joint batch of all processes.

    It does on any device what torch's SyncBatchNorm does on GPUs only. With one process it is torch's own.

    Args:
        num_features: Number of channels ``C``.
    """

    running_mean: Tensor
    running_var: Tensor

    momentum = 0.1
    """Part of the running statistics that a batch replaces."""
    epsilon = 1e-5
    """Added to variances."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """Normalises each channel: by its batch in training, by the running statistics in evaluation.

        Every process must have as many rows.
        """
        if not self.training or num_processes() == 1:
            running = self.running_mean, self.running_var
            return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.epsilon)
        values = x.float()
        var, mean = torch.var_mean(values, dim=[0, *range(2, x.ndim)], correction=0)
        means, variances = gather_batch(torch.stack([mean, var])[None]).unbind(dim=1)  # (processes, C) each
        mean, var = means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)
        count = num_processes() * x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        shape = (-1, *[1] * (x.ndim - 2))
        scale = self.weight * torch.rsqrt(var + self.epsilon)
        return ((values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
