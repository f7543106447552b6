"""The planning agent: encode observation and goal, search for actions that bring them together, act, repeat.

::

    observation ──► encoder ──► state ─┐
                                       ├─► planner ──► actions of one block ──► environment ──► replan
    desired_goal ─► encoder ──► goal ──┘   (imagines with the world model)

It follows Stable-Baselines3's ``predict`` protocol, so every loop written for that runs it unchanged.
"""

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.actions import check_action_space, to_space
from agents.observations import read_images
from agents.world_model.config import PlannerConfig, bounds_from_space, build_measure, build_planner
from agents.world_model.parts import Actor, WorldModel
from agents.world_model.state import EnvState, PlanningState, PlanRecord, continue_episodes
from envs.inputs import read_starts
from worldmodel.checkpoint import Pretrained, load_pretrained
from worldmodel.planning import (
    ActionBounds,
    CostFn,
    Measure,
    Plan,
    Planner,
    ProposalPlanner,
    make_cost,
    shift,
    warm_start,
)

DTYPES = (torch.bfloat16, torch.float16, None)
"""Precisions that a model can run in: under autocast, or in its own."""
LARGEST = float(np.finfo(np.float32).max)
"""What actions are limited to when they are remembered: those of an environment in float64 may be larger."""


@dataclass(eq=False, repr=False)
class PlanningAgent:
    """Acts by planning with a world model; sees the current image and the goal image, nothing else.

    Observations are dicts with uint8 images ``observation`` and ``desired_goal``, of one environment (3 dimensions) or
    of a vector (4), CHW or HWC. All memory travels in ``state``; the same call with the same state gives the same
    action. Environments of a vector may be out of phase: the agent plans only for those whose planned actions have run
    out, or whose goal image has changed.

    *Randomness.* The noise of a plan is drawn from a generator seeded with ``(seed, index of the environment, episode,
    number of the plan in the episode)``, so environments, episodes and plans differ, and a whole run repeats exactly.
    With ``deterministic=True`` it is seeded with ``(seed, number of the plan in the episode)``: the same episode is
    then played the same way wherever and whenever it is played.

    Args:
        model: The world model. A module is put in evaluation mode.
        planner: The planner; its bounds are those of a constant action, or of a whole block.
        measure: Cost of imagined trajectories.
        redraw: What images ``(b, ...)`` go through before they are encoded; None: nothing.
        actor: Proposes actions: its plan is a candidate and the first mean of each search. None proposes nothing.
        chunk_size: Most trajectories to imagine at once, to bound the memory; None: all.
        constant_blocks: Whether the planner plans one action for each predictor step, repeated ``frame_skip`` times;
            otherwise it plans blocks of ``frame_skip`` actions.
        replan_every: Environment steps before planning again; None: one where the actor acts alone, otherwise a
            predictor step.
        warm_start: Whether the next search starts from the previous plan and its elites, shifted.
        fill: How the previous plan is continued when the next search starts from it (see ``planning.shift``).
        action_space: If given, actions get its shape and dtype, and are clipped to its bounds.
        seed: Seed of the planner's noise.
        device: Where to plan; a module is moved there. None: where the model's parameters are.
        dtype: ``torch.bfloat16`` or ``torch.float16`` runs the model under autocast; None does not.
        record: Keep each plan with its candidates and imagined latents in ``state`` (slow; for pictures).

    Attributes:
        timings: Seconds of each replan, encoding included, for all environments planned for at once.
        steps_per_plan: Environment steps that a plan serves, :attr:`replan_every`.

    Raises:
        ValueError: If the planner's actions do not fit the model's, or an option is out of its range.
    """

    model: WorldModel
    planner: Planner
    measure: Measure
    _: KW_ONLY
    redraw: Callable[[Tensor], Tensor] | None = None
    actor: Actor | None = None
    chunk_size: int | None = None
    constant_blocks: bool = True
    replan_every: int | None = None
    warm_start: bool = True
    fill: str = "last"
    action_space: spaces.Box | None = None
    seed: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    record: bool = False
    timings: list[float] = field(init=False, default_factory=list)
    steps_per_plan: int = field(init=False)

    def __post_init__(self) -> None:
        model, planner, block = self.model, self.planner, 1 if self.constant_blocks else self.model.frame_skip
        if planner.bounds.action_dim != block * model.action_dim or planner.bounds.block != block:
            raise ValueError(
                f"planner must plan blocks of {block} actions of {model.action_dim} dimensions for this model with "
                f"constant_blocks={self.constant_blocks}, got {planner.bounds}"
            )
        alone, longest = isinstance(planner, ProposalPlanner), planner.horizon * model.frame_skip
        default = 1 if alone else model.frame_skip
        self.steps_per_plan = default if self.replan_every is None else self.replan_every
        if not 1 <= self.steps_per_plan <= longest:
            raise ValueError(
                f"replan_every must be in [1, horizon · frame_skip = {longest}], got {self.steps_per_plan}"
            )
        check_action_space(self.action_space, model.action_dim)
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {self.dtype}")
        self._device = _place(model, self.device)
        # Wrong options fail here, not in the first episode.
        self._make_cost(torch.zeros(1, 1), torch.zeros(1, 1))
        if self.actor is not None and not self.constant_blocks:
            raise ValueError("constant_blocks must be True where an actor proposes: its actions are held, got False")
        if self.actor is None and alone:
            raise ValueError("actor must be given for a planner that executes proposals, got None")
        shift(torch.zeros(1, 1), 0, fill=self.fill)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | Pretrained,
        config: PlannerConfig | None = None,
        *,
        action_space: spaces.Box | None = None,
        max_norm: float | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        record: bool = False,
    ) -> "PlanningAgent":
        """Makes an agent from a checkpoint.

        Args:
            source: Directory of a checkpoint, name of one shipped with the package or on a hub
                (``hub:owner/name@revision``), or one that was read.
            config: How to plan; by default ``PlannerConfig()``.
            action_space: Bounds of the actions; by default those stored in the checkpoint.
            max_norm: Norm bound of the actions; by default the one stored in the checkpoint.
            seed: Seed of the planner's noise.
            device: Where to plan.
            dtype: See the class.
            record: See the class.

        Raises:
            worldmodel.checkpoint.CheckpointError: If the checkpoint is missing or not valid.
            ValueError: If the configuration or the action space does not fit the model.
        """
        config = PlannerConfig() if config is None else config
        if not isinstance(config, PlannerConfig):
            raise TypeError(f"config must be a PlannerConfig or None, got {config!r}")
        pretrained = source if isinstance(source, Pretrained) else load_pretrained(source, device)
        model = pretrained.model
        if pretrained.actor_critic is not None:  # which was perhaps read on another device, as the model was
            pretrained.actor_critic.to(device)
        check_action_space(action_space, model.action_dim)
        measure = build_measure(config, pretrained)
        data, block = pretrained.data, 1 if config.constant_blocks else model.frame_skip
        max_norm = data.action_max_norm if max_norm is None else max_norm
        if action_space is None:
            bounds = ActionBounds(data.action_low, data.action_high, max_norm, block=block)
        else:
            bounds = bounds_from_space(action_space, max_norm, block=block)
        return cls(
            model,
            build_planner(config, bounds),
            measure,
            redraw=model.redraw if config.redraw else None,
            actor=pretrained.actor_critic if config.propose or config.planner == "policy" else None,
            chunk_size=config.chunk_size,
            constant_blocks=config.constant_blocks,
            replan_every=config.replan_every,
            warm_start=config.warm_start,
            fill=config.fill,
            action_space=action_space,
            seed=seed,
            device=device,
            dtype=dtype,
            record=record,
        )

    def set_random_seed(self, seed: int) -> None:
        """Sets the seed of the planner's noise."""
        self.seed = seed

    def predict(
        self,
        observation: Any,
        state: PlanningState | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], PlanningState]:
        """The next actions, planned if none are pending, or if they were planned for another goal image.

        Args:
            observation: Dict with uint8 images ``observation`` and ``desired_goal``, of one shape.
            state: What the last call returned; None begins an episode in every environment.
            episode_start: Flags ``(n,)`` of environments whose episode has just begun: their part of the state is
                dropped.
            deterministic: Whether the noise is the same in every environment and every episode.

        Returns:
            An action in the environment's units, or a batch of them, and the state for the next call.

        Raises:
            ValueError: If the observation, the state or the flags do not fit.
            FloatingPointError: If the model imagines nothing but non-finite latents.
        """
        images, goals, batched = read_images(observation)
        envs = continue_episodes(state, read_starts(episode_start, len(images)), self.model.action_dim)
        changed = [i for i, env in enumerate(envs) if not env.is_towards(goals[i])]
        for i in changed:  # plans towards another goal are dropped
            envs[i] = replace(envs[i], pending=envs[i].pending[:0], init=None)
        due = [i for i, env in enumerate(envs) if len(env.pending) == 0]
        started = time.perf_counter()
        # What a state is made of is seen at every step, also where nothing is planned.
        self._look(envs, due if self.model.context == 1 else range(len(envs)), changed, images, goals)
        if due:
            self._replan(envs, due, deterministic)
            self.timings.append(time.perf_counter() - started)
        actions = np.stack([env.pending[0] for env in envs])
        if self.action_space is not None:
            actions = to_space(actions, self.action_space)
        length = (self.model.context - 1) * self.model.frame_skip
        taken = actions.reshape(len(envs), -1).clip(-LARGEST, LARGEST).astype(np.float32)
        envs = [env.remember(action, length) for env, action in zip(envs, taken, strict=True)]
        return (actions if batched else actions[0, ...]), PlanningState(tuple(envs))

    @torch.no_grad()
    def _look(
        self,
        envs: list[EnvState],
        seen: Sequence[int],
        changed: list[int],
        images: NDArray[np.uint8],
        goals: NDArray[np.uint8],
    ) -> None:
        """Puts latents of the images of environments ``seen``, and of the goals of those ``changed``, into ``envs``."""
        if not len(seen) and not changed:
            return
        pixels = torch.from_numpy(np.concatenate([images[list(seen)], goals[changed]])).to(self._device)
        if self.redraw is not None:
            pixels = self.redraw(pixels)
        with self._autocast():
            latents = self.model.encode(pixels).float()
        kept = self.model.context > 1
        for latent, i in zip(latents[: len(seen)], seen, strict=True):
            envs[i] = replace(envs[i], latents=(*envs[i].latents, latent) if kept else (latent,))
        for latent, i in zip(latents[len(seen) :], changed, strict=True):
            envs[i] = replace(envs[i], goal_image=goals[i].copy(), goal=latent)

    @torch.no_grad()
    def _replan(self, envs: list[EnvState], due: list[int], deterministic: bool) -> None:
        """Plans for the environments ``due`` and puts the plans into ``envs``."""
        starts = self._states(envs, due)
        plans: list[tuple[list[int], Plan]] = []
        # Apart, so that an environment's plan does not depend on whether others have a plan to start from.
        for group in ([i for i in due if envs[i].init is None], [i for i in due if envs[i].init is not None]):
            if not group:
                continue
            start = torch.stack([starts[i] for i in group])
            goal = torch.stack([goal for i in group if (goal := envs[i].goal) is not None])
            inits = [init for i in group if (init := envs[i].init) is not None]
            plan = self.planner.plan(
                self._make_cost(start, goal),
                init=self._starting_plans(start, goal, torch.stack(inits) if inits else None),
                generators=[self._generator(i, envs[i], deterministic) for i in group],
                record=self.record,
            )
            plans.append((group, plan))
            actions = self._env_actions(plan.actions)
            executed = self.steps_per_plan // self.model.frame_skip
            carried = warm_start(plan, executed, fill=self.fill) if self.warm_start else [None] * len(group)
            for j, i in enumerate(group):
                envs[i] = replace(envs[i], pending=actions[j], init=carried[j], num_plans=envs[i].num_plans + 1)
        if self.record:
            for group, plan in plans:
                for j, i in enumerate(group):
                    envs[i] = replace(envs[i], record=self._imagine(plan.select(j), starts[i], envs[i].goal))

    def _states(self, envs: list[EnvState], due: list[int]) -> dict[int, Tensor]:
        """The states of environments ``due``, each ``(s,)``."""
        context, skip = self.model.context, self.model.frame_skip
        if context == 1:
            return {i: envs[i].latents[-1] for i in due}
        latents, actions = zip(*(envs[i].recent(context, skip, self._idle_action) for i in due), strict=True)
        between = torch.from_numpy(np.stack(actions)).to(self._device)
        return dict(zip(due, self.model.states(torch.stack(latents), between)[:, 0], strict=True))

    @functools.cached_property
    def _idle_action(self) -> NDArray[np.float32]:
        return self.model.idle_action.cpu().numpy()

    def _make_cost(self, start: Tensor, goal: Tensor) -> CostFn:
        return make_cost(self._rollout, start, goal, self.measure, chunk_size=self.chunk_size)

    def _starting_plans(self, start: Tensor, goal: Tensor, carried: Tensor | None) -> Tensor | None:
        """Plans ``(b, k, t, a)`` for a search to start from: the actor's, if there is one, then those carried over."""
        if self.actor is None:
            return carried
        states, actions = start, []
        with self._autocast():
            for _ in range(self.planner.horizon):
                actions.append(self.actor.policy(states, goal).float())
                if len(actions) < self.planner.horizon:
                    states = self._rollout(states, actions[-1][:, None])[:, 0]
        proposed = torch.stack(actions, 1)[:, None]
        return proposed if carried is None else torch.cat([proposed, carried], 1)

    def _rollout(self, states: Tensor, actions: Tensor) -> Tensor:
        """Imagined states ``(b, t, s)`` after the planner's actions ``(b, t, a)``."""
        blocks = actions.repeat(1, 1, self.model.frame_skip) if self.constant_blocks else actions
        with self._autocast():
            return self.model.rollout(states, blocks).float()

    def _env_actions(self, plans: Tensor) -> NDArray[np.float32]:
        """The first ``steps_per_plan`` environment actions of plans, ``(b, steps_per_plan, action_dim)``."""
        steps = plans[:, : -(-self.steps_per_plan // self.model.frame_skip)]
        if self.constant_blocks:
            steps = steps.repeat_interleave(self.model.frame_skip, 1)
        singles = steps.reshape(len(plans), -1, self.model.action_dim)
        return singles[:, : self.steps_per_plan].cpu().numpy()

    def _generator(self, index: int, env: EnvState, deterministic: bool) -> torch.Generator:
        key = [self.seed, env.num_plans] if deterministic else [self.seed, index, env.episode, env.num_plans]
        # SeedSequence mixes the key well, and 63 bits are what torch takes on every device.
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator(self._device).manual_seed(seed)

    def _imagine(self, plan: Plan, start: Tensor, goal: Tensor | None) -> PlanRecord:
        def states(actions: Tensor) -> Tensor:
            return self._rollout(start.expand(len(actions), -1), actions)

        assert goal is not None
        return PlanRecord(
            plan=plan,
            start=start,
            goal=goal,
            states=states(plan.actions)[0],
            candidate_states=tuple(states(candidates[0]) for candidates in plan.trace.candidates or ()),
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, self.dtype, enabled=self.dtype is not None)


def _place(model: WorldModel, device: torch.device | str | None) -> torch.device:
    """Where to plan; a module is moved there and put in evaluation mode."""
    if not isinstance(model, nn.Module):
        return torch.device(device or "cpu")
    model.eval()
    if device is not None:
        model.to(device)
    tensor = next(model.parameters(), next(model.buffers(), None))
    return torch.device(device or "cpu") if tensor is None else tensor.device
