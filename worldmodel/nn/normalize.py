"""The normaliser: the one place where pixels become floats and actions become unit scale."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Scales pixels and actions with statistics fitted on training data and saved with the model.

    Args:
        pixel_shape: ``(C, H, W)`` of the images the model takes.
        action_dim: Number of components of one environment action.
        each_pixel: Whether every pixel has a mean of its own, and all share one scale: what never changes is then zero.
            Otherwise each channel has its mean and its scale.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, pixel_shape: Sequence[int], action_dim: int, *, each_pixel: bool = False) -> None:
        super().__init__()
        self.pixel_shape = tuple(pixel_shape)
        self.action_dim = action_dim
        self.register_buffer("pixel_mean", torch.zeros(self.pixel_shape if each_pixel else self.pixel_shape[0]))
        self.register_buffer("pixel_std", torch.full((self.pixel_shape[0],), 255.0))
        self.register_buffer("action_mean", torch.zeros(action_dim))
        self.register_buffer("action_std", torch.ones(action_dim))

    @torch.no_grad()
    def fit(self, pixels: Num[Tensor, "*b c h w"], actions: Float[Tensor, "*n a"] | None = None) -> None:
        """Fits means and standard deviations on a sample of training data.

        Args:
            pixels: CHW images, uint8.
            actions: Actions or flattened blocks of actions, in the environment's units; None where there are none.

        Raises:
            ValueError: If all images are of one colour: there is nothing to learn from them.
        """
        flat = pixels.reshape(-1, *self.pixel_shape).float()
        if not bool((flat != flat[:1, :, :1, :1]).any()):
            colour = flat[0, :, 0, 0].int().tolist()
            raise ValueError(f"images must show something, got {len(flat)} that are of one colour, {colour}")
        if self.pixel_mean.ndim == 3:
            self.pixel_mean.copy_(flat.mean(dim=0))
            self.pixel_std.copy_((flat - self.pixel_mean).std().clamp_min(1.0))
        else:
            self.pixel_mean.copy_(flat.mean(dim=(0, 2, 3)))
            self.pixel_std.copy_(flat.std(dim=(0, 2, 3)).clamp_min(1.0))
        if actions is None:
            return
        single = actions.reshape(-1, self.action_dim)
        self.action_mean.copy_(single.mean(dim=0))
        self.action_std.copy_(single.std(dim=0).clamp_min(1e-6))

    def pixels(self, pixels: Num[Tensor, "*b x y z"]) -> Float[Tensor, "n c h w"]:
        """Turns images into normalised floats.

        Args:
            pixels: uint8 ``(..., C, H, W)`` or ``(..., H, W, C)``.

        Returns:
            Normalised images with leading dimensions flattened.

        Raises:
            ValueError: If the images have neither shape.
        """
        images = self.turned(pixels)
        # Not `.to`: torch 2.6 exports nothing that changes its result in place.
        images = torch.empty_like(images, dtype=torch.float32).copy_(images)
        mean = self.pixel_mean if self.pixel_mean.ndim == 3 else self.pixel_mean[:, None, None]
        return images.sub_(mean).mul_(self.pixel_std[:, None, None].reciprocal())

    def turned(self, pixels: Num[Tensor, "*b x y z"]) -> Num[Tensor, "n c h w"]:
        """CHW images with leading dimensions flattened; HWC images are turned here, and nowhere else.

        Raises:
            ValueError: If the images have neither shape.
        """
        channels, height, width = self.pixel_shape
        if tuple(pixels.shape[-3:]) == self.pixel_shape:
            return pixels.reshape(-1, channels, height, width)
        if tuple(pixels.shape[-3:]) == (height, width, channels):
            return pixels.reshape(-1, height, width, channels).movedim(-1, 1)
        raise ValueError(
            f"pixels must have shape (..., {channels}, {height}, {width}) or (..., {height}, {width}, {channels}), "
            f"got {tuple(pixels.shape)}"
        )

    def actions(self, actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Normalises actions, or blocks of actions flattened, in the environment's units."""
        blocks = actions.unflatten(-1, (-1, self.action_dim))
        return ((blocks - self.action_mean) / self.action_std).flatten(-2)
