"""Any environment that can be seen, as one with goal images."""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from envs.domain import PIXELS, STATE, domain_of
from envs.goal_image.images import AUTO, RENDER, ImageReader, find_image, is_image, leaves, pick
from envs.goal_image.success import OWN, Moment, Value, find_function, is_key, own_success
from envs.inputs import check_choice, check_count, check_seed
from envs.offscreen import keep_apart

EXPLORE, GIVEN = "explore", "given"
"""Goals that an explorer reaches, and goals that each reset is given."""
SAME_PIXEL = 48
"""Two images count as the same, for rewards, where no value differs by more than this, of 255."""
OPTIONS = ("goal", "goal_value", "start_actions", "goal_actions")
"""Reset options that are the wrapper's."""

Array = NDArray[Any]
Info = Mapping[str, Any]
Goals = str | Callable[[gym.Env[Any, Any], np.random.Generator], Any]
Success = str | Callable[[Any, Info, Any, Info], bool]


class GoalImage(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Shows an environment as images, with a goal image, under the names of Gymnasium-Robotics.

    ::

        reset(seed) ──► explorer, N steps ──► picture of the goal ──► reset(seed) again ──► the episode

    Observations are a ``Dict`` of uint8 images ``(H, W, C)``: ``observation``, ``achieved_goal`` (the same image) and
    ``desired_goal``. With ``observation="state"`` they are the environment's own numbers and the values that decide
    success. The reward is 0 where the goal is reached and −1 elsewhere: with images, where the picture is that of the
    goal; with values, within the tolerance of them. ``info`` gets ``is_success`` and, where values are compared,
    ``distance``.

    The same seed gives the same start and the same goal. An environment in which two resets with one seed differ is
    refused, except where goals are given.

    Args:
        env: The environment; for "render" it must be made with ``render_mode="rgb_array"``.
        image: "render", the key of an image in its observations (``outer.inner`` of a nested one), or "auto": the only
            image in its observations, else what it renders.
        axes: How that image lies in memory (:data:`envs.goal_image.images.AXES`); "" finds out.
        channels: Channels of the newest frame where frames are stacked along the channels.
        size: Sides of the images, one number or ``(H, W)``; None: as they come.
        goals: "explore": what an explorer reaches from the same reset. "given": each reset has ``options["goal"]``. Or
            a function ``(env, generator) -> observation``, or its name ``module:function``: it brings the environment
            to the goal's state and returns what is observed there.
        goal_steps: Steps of the explorer.
        explorer: Who explores: an explorer of the environment's domain, such as "random-walk".
        success: "auto": the environment's own where ``goals`` is a function, else none. "own": the environment's own
            (``info["is_success"]`` or ``info["success"]``), whatever its own goal is. A key of its observations, or
            ``info.key``, of which a part may be picked (``observation[0:2]``): what is there must come within the
            tolerance of what was there at the goal. Or a function ``(observation, info, observation at the goal, info
            at the goal) -> bool``, or its name.
        tolerance: Largest Euclidean distance of such a value from the goal's.
        observation: "pixels" or "state".

    Reset options, beside the environment's own:

    - ``goal``: an image of the goal ``(H, W, C)``, and ``goal_value``, its value where success compares values.
    - ``start_actions``: actions ``(T, ...)`` that lead from the reset to the start; rows of NaN are left out.
    - ``goal_actions``: actions that lead on from there to the goal, as to a later step of a recorded episode.

    Raises:
        ValueError: If an argument is not as above, the image is ambiguous, or actions are not a bounded Box.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        image: str = AUTO,
        axes: str = "",
        channels: int | None = None,
        size: int | Sequence[int] | None = 64,
        goals: Goals = EXPLORE,
        goal_steps: int = 50,
        explorer: str = "random-walk",
        success: Success = AUTO,
        tolerance: float | None = None,
        observation: str = PIXELS,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, image=image, axes=axes, channels=channels, size=size, goals=goals, goal_steps=goal_steps,
            explorer=explorer, success=success, tolerance=tolerance, observation=observation,
        )  # fmt: skip
        gym.Wrapper.__init__(self, env)
        check_choice("observation", observation, (PIXELS, STATE))
        space = _check_actions(env.action_space)
        self._image_key = find_image(env, image)
        self._reader = self._make_reader(axes, channels, size)
        self._make_goal = None if goals in (EXPLORE, GIVEN) else find_function("goals", goals, (EXPLORE, GIVEN))
        self._goals_are_given = goals == GIVEN
        self._explorer = _make_explorer(env, explorer, space) if goals == EXPLORE else None
        self._goal_steps = check_count("goal_steps", goal_steps)
        if success == AUTO:
            success = OWN if self._make_goal else ""
        self._value = Value(env.observation_space, success, tolerance) if is_key(success) else None
        self._succeeds = (
            own_success if success == OWN else find_function("success", success) if self._value is None else None
        )
        self._shows_state = observation == STATE
        self._generator = np.random.default_rng()
        self.observation_space = self._make_space()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Starts an episode with a goal; the class says which options it takes.

        Raises:
            ValueError: If an option does not fit, or the environment starts elsewhere when it is reset the same way.
        """
        given = {key: value for key, value in (options or {}).items() if value is not None}
        goal, goal_value, start_actions, goal_actions = (given.pop(key, None) for key in OPTIONS)
        seed = check_seed(seed)
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        episode = int(self._generator.integers(2**31)) if seed is None else seed

        def start() -> Moment:
            return self._replay(Moment(*self.env.reset(seed=episode, options=given or None)), start_actions)

        now, image = start(), None
        if goal is not None:
            self._goal, self._goal_image = None, self._check_image(goal)
            self._goal_value = None if goal_value is None or self._value is None else self._value.check(goal_value)
        elif self._goals_are_given and goal_actions is None:
            raise ValueError("options must hold a 'goal', an image, where goals are given, got none")
        else:
            before = self._see(now)
            self._goal = copy.deepcopy(self._reach(now, goal_actions, np.random.default_rng([episode, 1])))
            if not self._shows_state:
                self._goal_image = self._see(self._goal)
            self._goal_value = None if self._value is None else self._value.read(self._goal)
            now = start()
            image = self._see(now)
            if not np.array_equal(before, image):
                raise ValueError(
                    f"{self.env} must start the same way whenever it is reset with the same seed, but the second time "
                    f"it is reset with {episode} it shows another image; give it goals (goals='given')"
                )
        return self._observe(now, image)

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Steps the environment, and compares what is seen with the goal."""
        observation, _, terminated, truncated, info = self.env.step(action)
        seen, info = self._observe(Moment(observation, info))
        reward = self.compute_reward(seen["achieved_goal"], seen["desired_goal"], info)
        return seen, reward, terminated, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Rewards of achieved goals for desired ones, one or a batch, as hindsight relabelling needs them.

        Returns:
            A number, or float64 ``(...)`` for batches: 0 where the goal is reached, −1 elsewhere.
        """
        achieved, desired = np.asarray(achieved_goal), np.asarray(desired_goal)
        if self._shows_state:
            assert self._value is not None
            reached = self._value.distance(achieved, desired) <= self._value.tolerance
        else:
            reached = np.abs(achieved.astype(np.int16) - desired).max(axis=(-3, -2, -1)) <= SAME_PIXEL
        reward = np.where(reached, 0.0, -1.0)
        return reward if reward.ndim else float(reward)

    def _make_reader(self, axes: str, channels: int | None, size: int | Sequence[int] | None) -> ImageReader:
        if self._image_key == RENDER:
            if "mujoco" in sys.modules:
                keep_apart()
            self.env.reset(seed=0)
            shape, is_float = np.asarray(self.env.render()).shape, False
        else:
            space = leaves(self.env.observation_space)[self._image_key]
            shape, is_float = space.shape or (), space.dtype != np.uint8
        return ImageReader(shape, is_float=is_float, axes=axes, channels=channels, size=size)

    def _make_space(self) -> gym.Space[Any]:
        if not self._shows_state:
            return gym.spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), self._reader.space))
        if self._value is None or self._value.dim is None:
            raise ValueError("observation 'state' needs success to be a key of observations, whose value is the goal")
        self._state_keys = _state_keys(self.env.observation_space)
        parts = leaves(self.env.observation_space)
        state = _joined([parts[key] for key in self._state_keys])
        goal = _joined([parts[self._value.key]], self._value.part)
        return gym.spaces.Dict(observation=state, achieved_goal=goal, desired_goal=goal)

    def _see(self, moment: Moment) -> NDArray[np.uint8]:
        """The image of a moment that is now."""
        image = self.env.render() if self._image_key == RENDER else pick(moment.observation, self._image_key)
        return self._reader(np.asarray(image))

    def _observe(self, now: Moment, image: Array | None = None) -> tuple[dict[str, Array], dict[str, Any]]:
        """What an agent is shown, and the info with success; ``image`` if this moment was drawn before."""
        info = dict(now.info)
        value = None if self._value is None else self._value.read(now)
        if self._value is not None and self._goal_value is not None:
            info["distance"] = float(self._value.distance(value, self._goal_value))
            info["is_success"] = info["distance"] <= self._value.tolerance
        elif self._succeeds is not None and (self._goal is not None or self._succeeds is own_success):
            success = self._succeeds(*now, *(self._goal or now))
            info |= {} if success is None else {"is_success": bool(success)}
        if not self._shows_state:
            image = self._see(now) if image is None else image
            return {"observation": image, "achieved_goal": image.copy(), "desired_goal": self._goal_image.copy()}, info
        if self._goal_value is None or value is None:
            raise ValueError("options must hold a 'goal_value' beside the 'goal' for observation 'state', got none")
        state = np.concatenate([np.ravel(pick(now.observation, key)) for key in self._state_keys])
        return {
            "observation": state.astype(np.float32),
            "achieved_goal": value.astype(np.float32),
            "desired_goal": self._goal_value.astype(np.float32),
        }, info

    def _reach(self, start: Moment, actions: Any, generator: np.random.Generator) -> Moment:
        """Brings the environment to a goal."""
        if actions is not None:
            return self._replay(start, actions)
        if self._make_goal is not None:
            return Moment(self._make_goal(self.env, generator), start.info)
        assert self._explorer is not None
        self._explorer.set_random_seed(int(generator.integers(2**31)))
        state, moment = None, start
        for number in range(self._goal_steps):
            action, state = self._explorer.predict(moment.observation, state, np.array([number == 0]))
            observation, _, terminated, truncated, info = self.env.step(action)
            moment = Moment(observation, info)
            if terminated or truncated:
                break
        return moment

    def _replay(self, moment: Moment, actions: Any) -> Moment:
        """What is seen after some more actions."""
        for action in () if actions is None else np.asarray(actions, self.env.action_space.dtype):
            if not np.isnan(action).any():
                observation, _, _, _, info = self.env.step(action)
                moment = Moment(observation, info)
        return moment

    def _check_image(self, image: Any) -> NDArray[np.uint8]:
        """A goal image as given.

        Raises:
            ValueError: If it is not one as agents see them.
        """
        array, space = np.asarray(image), self._reader.space
        if array.dtype != np.uint8 or array.shape != space.shape:
            raise ValueError(
                f"goal must be a uint8 image of shape {space.shape}, got {array.dtype} of shape {array.shape}"
            )
        return array.copy()


def _check_actions(space: gym.Space[Any]) -> gym.spaces.Box:
    """Raises a ValueError, which says what helps, unless an action space is a bounded box."""
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(
            f"actions must be a Box, got {space}; gymnasium.wrappers.TransformAction makes such actions of a Box's"
        )
    if not space.is_bounded():
        raise ValueError(
            f"actions must be bounded, got {space}; gymnasium.wrappers.TransformAction with a bounded action_space "
            "bounds them (RescaleAction changes bounds that are there)"
        )
    return space


def _make_explorer(env: gym.Env[Any, Any], name: str, space: gym.spaces.Box) -> Any:
    domain = domain_of(env.spec)
    check_choice("explorer", name, [known for known in domain.explorers if known not in domain.explorers_see])
    return domain.explorers[name](env.observation_space, space, env.spec.kwargs if env.spec else {})


def _joined(boxes: Sequence[Any], part: slice = slice(None)) -> gym.spaces.Box:
    """The space of numbers of several boxes, or of a part of them, side by side, float32 ``(D,)``."""
    low, high = (np.concatenate([np.ravel(getattr(box, end)) for box in boxes])[part] for end in ("low", "high"))
    return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))


def _state_keys(space: gym.Space[Any]) -> list[str]:
    """Keys of the numbers that say all: of "observation" where there is one, else of all that is no image or goal."""
    numbers = [key for key, part in leaves(space).items() if isinstance(part, gym.spaces.Box) and not is_image(part)]
    own = [key for key in numbers if key.split(".")[0] == "observation"]
    chosen = own or [key for key in numbers if key not in ("achieved_goal", "desired_goal")]
    if not chosen:
        raise ValueError(f"observation 'state' needs numbers in the environment's observations, got {space}")
    return chosen
