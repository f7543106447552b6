"""What the planning agent asks of a world model and of an actor."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class WorldModel(Protocol):
    """A model as the agent uses it; :class:`worldmodel.jepa.JEPA` is one."""

    frame_skip: int
    action_dim: int
    context: int

    @property
    def idle_action(self) -> Tensor:
        """What is taken for done before an episode, ``(a,)``; asked only where the context is above 1."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents ``(b, d)`` of uint8 images ``(b, c, h, w)`` or ``(b, h, w, c)``."""
        ...

    def states(self, latents: Tensor, actions: Tensor) -> Tensor:
        """States ``(b, 1, s)`` from the last ``context`` latents and the blocks of actions between them.

        Asked only where the context is above 1: otherwise a latent is a state.
        """
        ...

    def rollout(self, states: Tensor, actions: Tensor) -> Tensor:
        """States ``(b, t, s)`` after blocks of actions ``(b, t, frame_skip * a)``; they end in their latents."""
        ...


@runtime_checkable
class Actor(Protocol):
    """An actor as the agent uses it; :class:`worldmodel.imagination.actor_critic.ActorCritic` is one."""

    def policy(self, states: Tensor, goals: Tensor) -> Tensor:
        """Actions ``(b, a)`` from states ``(b, s)`` towards goals ``(b, d)``."""
        ...
