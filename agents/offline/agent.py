"""Agents learned from trajectories without reward: one class for all methods, with ``predict`` and checkpoints.

The methods (:data:`OFFLINE`) say how they learn and how they act; :mod:`pretrain.offline.training` trains them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.actions import check_action_space, check_defined, to_space
from agents.history import History, continue_histories, recent_frames, remember
from agents.observations import read_images
from agents.offline.gcbc import GCBC
from agents.offline.gcidm import GCIDM
from agents.offline.gcivl import GCIVL
from envs.inputs import read_starts
from worldmodel.build import Context, DataSpec, ModelConfig, build_encoder, build_model
from worldmodel.checkpoint import CheckpointFiles, Kind, Loaded
from worldmodel.config import Depth, Name, NonNegative, ProperFraction, Width, config, construct, number
from worldmodel.encoders import EncoderConfig, EncoderName
from worldmodel.jepa import JEPA
from worldmodel.nn.normalize import Normalizer
from worldmodel.planning import ActionBounds

OFFLINE: dict[str, type[nn.Module]] = {"gcbc": GCBC, "gcidm": GCIDM, "gcivl": GCIVL}
"""Offline methods by name. One is built from an encoder of its own, or from a world model if it says that it
``needs_world_model``, and from fields of :class:`MethodConfig` with the names of its further keywords."""


@runtime_checkable
class Method(Protocol):
    """A method, as an agent uses it."""

    def act(self, pixels: Tensor, goals: Tensor) -> Tensor:
        """Actions ``(b, a)`` in the environment's units towards goals.

        Args:
            pixels: The frames that are seen at once, uint8 ``(b, context, c, h, w)`` or ``(b, context, h, w, c)``.
            goals: Goal images, uint8 ``(b, c, h, w)`` or ``(b, h, w, c)``.
        """
        ...


@config
class MethodConfig:
    """An offline method, and its networks."""

    name: Annotated[str, Name(OFFLINE)] = "gcbc"
    """gcbc: behavioural cloning. gcidm: inverse dynamics on the latents of a world model. gcivl: implicit value
    learning."""
    encoder: EncoderName = "axial"
    """gcbc, gcivl: the encoder, trained with the rest; the shipped world model has the axial one."""
    latent_dim: Width = 128
    """gcbc, gcivl: features of an image."""
    hidden_dim: Width = 512
    """Width of hidden layers."""
    num_layers: Depth = 3
    """Number of hidden layers."""
    frame_skip: Annotated[int, Ge(1), Le(10_000), number(int, "≥ 1")] = 4
    """Environment steps between two images; their mean action is learned. Not gcidm, which has the world model's."""
    context: Context = 1
    """gcbc, gcivl: images that are seen at once, frame_skip steps apart; with 2 or more, velocity is seen."""
    discount: ProperFraction = 0.97
    """gcivl: discount of a block of actions."""
    expectile: Annotated[float, Gt(0), Lt(1), number(float, "in (0, 1)")] = 0.9
    """gcivl: the value is this expectile of the returns in the data."""
    temperature: NonNegative = 3.0
    """gcivl: how much more good actions are imitated than bad ones."""


def build_method(config: MethodConfig, data: DataSpec, model: ModelConfig | None = None) -> nn.Module:
    """Builds an untrained method.

    Args:
        config: Which method, and its networks.
        data: Shapes and bounds of the data.
        model: gcidm: architecture of the world model whose latents it acts on.

    Raises:
        ValueError: If it lacks a world model.
    """
    kind = OFFLINE[config.name]
    if getattr(kind, "needs_world_model", False):
        if model is None:
            raise ValueError(f"method {config.name!r} acts on the latents of a world model, got none")
        return construct(kind, build_model(model, data), options=config)
    options = EncoderConfig(encoder=config.encoder, latent_dim=config.latent_dim)
    encoder = JEPA(
        build_encoder(options, data.pixel_shape),
        nn.Identity(),
        Normalizer(data.pixel_shape, data.action_dim),
        config.latent_dim,
        config.frame_skip,
        config.context,
    )
    return construct(kind, encoder, options=config)


@dataclass(frozen=True, kw_only=True)
class PretrainedMethod(Loaded):
    """A method read from a checkpoint.

    Attributes:
        method: The method.
        data: Shapes of its images, and bounds of its actions.
    """

    method: nn.Module
    data: DataSpec


OFFLINE_METHOD = Kind(
    format="worldmodel.offline/1",
    result=PretrainedMethod,
    sections={"method": MethodConfig, "data": DataSpec, "model": ModelConfig},
    parts={"method": lambda sections: build_method(sections["method"], sections["data"], sections.get("model"))},
    required=("method", "data"),
)
"""Checkpoints of offline methods; the model is the world model's architecture, where one is needed."""


class OfflineAgent:
    """Acts by an offline method; sees the current image and the goal image, nothing else.

    Args:
        method: The method, in evaluation mode.
        data: Shapes of its images, and bounds of its actions.
        action_space: If given, actions get its shape and dtype, and are clipped to its bounds.

    Raises:
        ValueError: If the action space does not fit the data.
    """

    def __init__(self, method: nn.Module, data: DataSpec, action_space: spaces.Box | None = None) -> None:
        check_action_space(action_space, data.action_dim)
        self.method = method
        weights = next(method.parameters(), None)
        self._device = torch.device("cpu") if weights is None else weights.device
        encoders = [(module.context, module.frame_skip) for module in method.modules() if isinstance(module, JEPA)]
        self._seen = encoders[0] if encoders else (1, 1)
        self.pixel_shape = data.pixel_shape
        self.bounds = ActionBounds(data.action_low, data.action_high, data.action_max_norm)
        self.action_space = action_space

    @classmethod
    def from_pretrained(
        cls,
        source: Path | str | CheckpointFiles,
        action_space: spaces.Box | None = None,
        device: torch.device | str = "cpu",
    ) -> "OfflineAgent":
        """Reads an agent from a checkpoint, or from the files of one, to act on a device; nothing in it is executed.

        Raises:
            CheckpointError: If it is missing, corrupt, or of another format or architecture.
        """
        pretrained = OFFLINE_METHOD.load(source, device)
        return cls(pretrained.method, pretrained.data, action_space)

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: tuple[History, ...] | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[History, ...]]:
        """The next actions, and what is remembered of the past images of each environment; nothing is random.

        Raises:
            ValueError: If the observation, the state or the flags do not fit.
            FloatingPointError: If the method's actions hold NaN.
        """
        images, goals, batched = read_images(observation)
        histories = continue_histories(state, read_starts(episode_start, len(images)))
        seen = np.stack([recent_frames(*pair, *self._seen) for pair in zip(histories, images, strict=True)])
        assert isinstance(self.method, Method)
        pixels, wanted = (torch.from_numpy(images).to(self._device) for images in (seen, goals))
        actions = self.method.act(pixels, wanted).float().cpu()
        check_defined(actions.numpy())
        chosen = self.bounds.project(actions).numpy()
        if self.action_space is not None:
            chosen = to_space(chosen, self.action_space)
        state = tuple(remember(*pair, *self._seen) for pair in zip(histories, images, strict=True))
        return (chosen if batched else chosen[0, ...]), state
