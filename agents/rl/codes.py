"""Codes of images: what reinforcement learning keeps of them, by functions that its training does not change.

::

    profiles    means along both axes of an image, from which a network trained with the rest reads on
    latents     the frozen encoder of a pretrained world model

    image ──► code ──► replay buffer, rollouts ──► networks         training:  CodedVecEnv
    image ──► code ──► policy ──► action                            acting:    CodedPolicy

The same image always gives the same code, so it is computed once, when the image is seen, rather than whenever the
image is learned from; and a replay buffer holds a hundred times more of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor

from agents.actions import to_space
from agents.observations import channels_first, read_images
from worldmodel.checkpoint import load_pretrained
from worldmodel.encoders import axis_means

WORLD_MODEL = "world-model"
"""Folder of a run's copy of the world model whose latents it learned from."""
GOALS = ("achieved_goal", "desired_goal")
"""Keys whose codes are followed by a position."""


@dataclass(frozen=True)
class Code:
    """A function of images.

    Attributes:
        dim: Numbers of a code.
        encode: Codes ``(B, dim)`` of uint8 images ``(B, C, H, W)``.
    """

    dim: int
    encode: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes ``(B, dim)`` of images ``(B, C, H, W)`` or ``(B, H, W, C)``."""
        return self.encode(torch.from_numpy(channels_first(images))).float().numpy()


def profiles(pixel_shape: tuple[int, ...]) -> Code:
    """Means of each channel along each image axis, in pixel values: where :class:`AxialEncoder` begins.

    Args:
        pixel_shape: ``(C, H, W)`` of the images.
    """
    channels, height, width = pixel_shape
    return Code(channels * (height + width), lambda images: axis_means(images.float()))


def latents(checkpoint: Path | str) -> Code:
    """Latents of a pretrained world model, whose encoder stays as it is.

    Args:
        checkpoint: Directory of the world model's checkpoint, or name of a shipped one.
    """
    model = load_pretrained(checkpoint).model
    return Code(model.latent_dim, model.encode)


def open_code(name: str, folder: Path, pixel_shape: tuple[int, ...]) -> Code:
    """Opens the code on which a run was trained.

    Args:
        name: "profiles" or "latents".
        folder: The run's folder, which holds its world model as :data:`WORLD_MODEL`.
        pixel_shape: Shape of an image, channels first or last.

    Raises:
        ValueError: If there is no such code.
        CheckpointError: If the world model is missing or corrupt.
    """
    if name == "profiles":
        return profiles(channels_first(np.empty(pixel_shape, np.uint8)).shape)
    if name == "latents":
        return latents(folder / WORLD_MODEL)
    raise ValueError(f"code must be one of 'profiles', 'latents', got {name!r}")


class CodedVecEnv(VecEnvWrapper):
    """Environments whose images are seen as codes.

    Goals are relabelled in hindsight as codes too, and have to be rewarded: each is followed by the position that the
    environment itself reads off its image for that. Networks must leave it out
    (:class:`agents.rl.features.CodeFeatures` does).

    Args:
        venv: Environments whose observations are a Dict of uint8 images.
        code: The code.
        locate: Positions ``(B, P)`` of what images ``(B, C, H, W)`` show.
        compute_reward: Rewards of achieved positions for desired ones.
        position_dim: Coordinates P of a position.
    """

    def __init__(
        self,
        venv: VecEnv,
        code: Code,
        locate: Callable[[NDArray[np.uint8]], NDArray[Any]],
        compute_reward: Callable[[NDArray[Any], NDArray[Any]], Any],
        position_dim: int,
    ) -> None:
        self.code = code
        self.locate = locate
        self.compute_reward = compute_reward
        sizes = {"observation": code.dim} | dict.fromkeys(GOALS, code.dim + position_dim)
        boxes: dict[str, spaces.Space[Any]] = {
            key: spaces.Box(-np.inf, np.inf, (size,), np.float32) for key, size in sizes.items()
        }
        super().__init__(venv, spaces.Dict(boxes))

    def reset(self) -> Any:
        """Starts new episodes; returns coded observations."""
        return self._coded(self.venv.reset())

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Coded observations, also of the ends of episodes, with rewards, dones and infos."""
        observation, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                batch = {key: image[None] for key, image in info["terminal_observation"].items()}
                info["terminal_observation"] = {key: codes[0] for key, codes in self._coded(batch).items()}
        return self._coded(observation), rewards, dones, infos

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Calls a method of the environments; rewards are computed from the positions behind codes."""
        if method_name != "compute_reward":
            return super().env_method(method_name, *method_args, indices=indices, **method_kwargs)
        achieved, desired = (goals[..., self.code.dim :] for goals in method_args[:2])
        return [self.compute_reward(achieved, desired)] * len(list(self._get_indices(indices)))

    def _coded(self, images: Any) -> dict[str, NDArray[np.float32]]:
        keys = ("observation", *GOALS)
        stacked = np.concatenate([images[key] for key in keys])
        coded = dict(zip(keys, np.split(self.code(stacked), len(keys)), strict=True))
        for key in GOALS:
            coded[key] = np.concatenate([coded[key], self.locate(images[key]).astype(np.float32)], axis=-1)
        return coded


class CodedPolicy:
    """A policy that was trained on codes, and is given images.

    Args:
        model: The policy.
        code: The code that it was trained on.

    Attributes:
        action_space: The action space that the policy was trained in; its actions are in it.
    """

    def __init__(self, model: BaseAlgorithm, code: Code) -> None:
        self.model = model
        self.code = code
        self.action_space = model.action_space

    def set_random_seed(self, seed: int) -> None:
        """Starts the randomness of the policy anew."""
        self.model.set_random_seed(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[Any], Any]:
        """The next actions, and the policy's next state.

        Raises:
            ValueError: If the observation does not fit.
        """
        images, goals, batched = read_images(observation)
        present, wanted = np.split(self.code(np.concatenate([images, goals])), 2)
        # Positions are for rewards: there are none here, and the policy does not miss them.
        space = self.model.observation_space
        assert isinstance(space, spaces.Dict)
        nowhere = np.zeros((len(images), spaces.flatdim(space["desired_goal"]) - self.code.dim), dtype=np.float32)
        coded = {
            "observation": present,
            "achieved_goal": np.concatenate([present, nowhere], axis=-1),
            "desired_goal": np.concatenate([wanted, nowhere], axis=-1),
        }
        actions, state = self.model.predict(coded, state, episode_start, deterministic)
        if isinstance(self.model.action_space, spaces.Box):
            actions = to_space(actions, self.model.action_space)
        return (actions if batched else actions[0, ...]), state
