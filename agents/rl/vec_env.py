"""Stable-Baselines3 on Gymnasium vector environments.

Stable-Baselines3 has its own vector interface and makes a Python object of each environment; a native Gymnasium vector
environment steps all of them in single array operations. :class:`SB3VecEnv` lets the one train on the other::

    model = SAC("MultiInputPolicy", SB3VecEnv(gym.make_vec(id, num_envs=16, autoreset_mode="SameStep")))
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

Indices = int | Iterable[int] | None

_FINAL = ("final_info", "_final_info", "final_obs", "_final_obs")


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment as a Stable-Baselines3 ``VecEnv``.

    The vector environment must reset in the step in which an episode ends (``AutoresetMode.SAME_STEP``), as
    Stable-Baselines3 expects. Its infos become one dictionary an environment, with ``terminal_observation`` and
    ``TimeLimit.truncated`` where an episode ended; what the new episode reported is in ``reset_infos``.

    Methods and attributes are looked up on the vector environment first, then on the environments it holds. The vector
    environment answers for all of its environments at once. An attribute, or what a method gives that was called
    without arguments, is split if it is an array, a list or a tuple with one entry for each environment; anything else
    belongs to every environment. What a method gives for arguments (such as a batched ``compute_reward``) is the answer
    to these, and is given whole for every environment asked for.

    Args:
        vector_env: The vector environment.

    Raises:
        TypeError: If it is no vector environment.
        ValueError: If it does not reset in the step in which an episode ends.
    """

    def __init__(self, vector_env: VectorEnv | Env) -> None:
        if not isinstance(vector_env, VectorEnv):
            raise TypeError(f"vector_env must be a gymnasium.vector.VectorEnv, got {type(vector_env).__name__}")
        mode = vector_env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                "vector_env must have autoreset mode AutoresetMode.SAME_STEP (gym.make_vec(id, ..., "
                "autoreset_mode='SameStep') for native vector environments, vector_kwargs={'autoreset_mode': ...} for "
                f"others), got {mode}"
            )
        self.vector_env = vector_env
        self._actions: NDArray[Any] | None = None
        self._shared_options: dict[str, Any] | None = None
        super().__init__(vector_env.num_envs, vector_env.single_observation_space, vector_env.single_action_space)

    def reset(self) -> Any:
        """Starts new episodes, with the seeds and options set for them.

        Returns:
            Observations.
        """
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        options, self._shared_options = self._shared_options, None
        observation, infos = self.vector_env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        self._reset_seeds()
        self.reset_infos = _split(infos, self.num_envs)
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Sets the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Steps with the actions that were set.

        Returns:
            Observations, rewards float32 ``(num_envs,)``, dones, and one info an environment.

        Raises:
            RuntimeError: If no actions were set.
        """
        if self._actions is None:
            raise RuntimeError("step_async must be called before step_wait")
        actions, self._actions = self._actions, None
        observation, rewards, terminated, truncated, infos = self.vector_env.step(actions)
        dones = terminated | truncated
        final_infos, final_observations = infos.get("final_info", {}), infos.get("final_obs", ())
        rows = _split({key: value for key, value in infos.items() if key not in _FINAL}, self.num_envs)
        if dones.any():
            last = _split(final_infos, self.num_envs)
            for i in np.flatnonzero(dones).tolist():
                if "episode" in rows[i]:  # RecordEpisodeStatistics reports the episode that ended beside the new one
                    last[i]["episode"] = rows[i].pop("episode")
                self.reset_infos[i] = rows[i]
                rows[i] = last[i] | {"terminal_observation": final_observations[i]}
        for row, out_of_time in zip(rows, (truncated & ~terminated).tolist(), strict=True):
            row["TimeLimit.truncated"] = out_of_time
        return observation, np.asarray(rewards, dtype=np.float32), dones, rows

    def close(self) -> None:
        """Closes the vector environment."""
        self.vector_env.close()

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Sets options of the next reset.

        Args:
            options: One dictionary, passed to the vector environment as it is, or one an environment, with the same
                keys: then each option is stacked along the first axis.

        Raises:
            ValueError: If there is not one dictionary an environment, or their keys differ.
        """
        if options is None or isinstance(options, dict):
            self._shared_options = deepcopy(options) or None
            return
        if len(options) != self.num_envs or len({frozenset(one) for one in options}) != 1:
            raise ValueError(
                f"options must be a dictionary or {self.num_envs} of them with the same keys, got {options!r}"
            )
        self._shared_options = {key: np.stack([np.asarray(one[key]) for one in options]) for key in options[0]} or None

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """An attribute of each of the environments asked for; spaces are those of a single environment.

        Raises:
            AttributeError: If there is none of this name.
        """
        chosen = list(self._get_indices(indices))
        if attr_name in ("observation_space", "action_space"):
            attr_name = f"single_{attr_name}"
        owner = self._owner(attr_name)
        if owner is not None:
            return self._answers(getattr(owner, attr_name), chosen)
        return self._ask("get_attr", attr_name, chosen)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Sets an attribute of all environments.

        Raises:
            ValueError: If only some of them are meant: they share it.
        """
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(
                f"indices must be None: attribute {attr_name!r} is shared by all environments, got {indices}"
            )
        setattr(self.vector_env.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method and returns what it gives for each of the environments asked for.

        A method of the vector environment itself is called once. Called without arguments, it gives something for each
        environment; called with arguments, it answers for these (see the class).

        Raises:
            AttributeError: If there is none of this name.
        """
        chosen = list(self._get_indices(indices))
        owner = self._owner(method_name)
        if owner is not None:
            answer = getattr(owner, method_name)(*method_args, **method_kwargs)
            if method_args or method_kwargs or method_name == "reset":  # which gives observations and infos of all
                return [answer] * len(chosen)
            return self._answers(answer, chosen)
        return self._ask("call", method_name, chosen, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[Wrapper], indices: Indices = None) -> list[bool]:
        """Whether each environment has this wrapper: vector environments have no wrappers of single environments."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A rendered frame of each environment."""
        frames = self.vector_env.render()
        return [None] * self.num_envs if frames is None else list(frames)  # type: ignore[arg-type]

    def _answers(self, answer: Any, chosen: list[int]) -> list[Any]:
        """The vector environment's answer for the chosen environments: an entry each if it has one for each."""
        if isinstance(answer, np.ndarray) and answer.shape == (self.num_envs,):
            answer = answer.tolist()
        is_batch = isinstance(answer, list | tuple) or getattr(answer, "ndim", 0) > 0
        if is_batch and len(answer) == self.num_envs:
            return [answer[i] for i in chosen]
        return [answer] * len(chosen)

    def _owner(self, name: str) -> Any | None:
        """The vector environment or the wrapper of it that has the attribute."""
        return next((owner for owner in (self.vector_env, self.vector_env.unwrapped) if hasattr(owner, name)), None)

    def _ask(self, accessor: str, name: str, chosen: list[int], *args: Any, **kwargs: Any) -> list[Any]:
        """What the chosen ones of the environments that the vector environment holds answer."""
        method = getattr(self.vector_env.unwrapped, accessor, None)
        if method is None:
            raise AttributeError(f"{type(self.vector_env.unwrapped).__name__} has no attribute {name!r}")
        values = method(name, *args, **kwargs)
        return [values[i] for i in chosen]


def refuse_normalized(name: str, env: VecEnv) -> None:
    """Raises ValueError if Stable-Baselines3's ``VecNormalize`` is among the wrappers of an environment.

    What a policy sees through it depends on running statistics, which no run keeps: it would act on other numbers than
    it was trained on, without an error.
    """
    if unwrap_vec_normalize(env) is not None:
        raise ValueError(
            f"{name} must be without VecNormalize, whose statistics a run does not keep (features standardise what "
            f"they are given), got it in {type(env).__name__}"
        )


def _split(infos: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """One dictionary an environment from a vector environment's infos; what ``_key`` masks out is left out."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        if isinstance(values, dict):
            values = _split(values, num_envs)
        elif values.ndim == 1:
            values = values.tolist()
        mask = infos.get(f"_{key}")
        if mask is None or mask.all():
            for row, value in zip(rows, values, strict=True):
                row[key] = value
        else:
            for i in np.flatnonzero(mask).tolist():
                rows[i][key] = values[i]
    return rows
