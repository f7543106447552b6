"""The plug of an environment: all that the rest of the project may ask of it.

A :class:`Domain` describes a family of environments: their ids, what they can show, which frozen episodes they are
evaluated on, who can act in them without learning, how films draw them, and, where somebody wrote it, a simulation
that makes training data without the environment. Environments that nobody registered have a generic domain::

    envs/__init__.py    register(DOMAIN)
    everyone else       domain_of("TwoRooms-v0") ──► Domain;  domain_of("my_module:MyEnv-v0") ──► a generic one
"""

import contextlib
import difflib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from envs.explorers import random_walk
from envs.inputs import check_choice
from envs.simulation import Array, Simulation

VALIDATION = "validation"
"""Name of the layout set and of the manifest that are for tuning; looks at them are not logged. The names of further
manifests for tuning begin so."""
PIXELS, STATE = "pixels", "state"
"""Kinds of observation that commands ask for."""


@runtime_checkable
class Policy(Protocol):
    """Who acts: Stable-Baselines3's ``predict``."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Returns the actions for an observation, and the state for the next call."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a manifest is made; never changed once results with it are published.

    Attributes:
        seed: Seed of all its random choices.
        num_episodes: Number of episodes.
        env_id: The environment they take place in.
        env_kwargs: Keywords that it is made with.
        layout_set: For :attr:`Domain.draw_episodes`: layouts that the episodes are drawn from.
        max_steps: Steps of an episode; None: as many as the environment's own limit.
        measure: Which success tables show: "final", after the last step, or "ever", where a goal counts when passed.
        trained_on: Recipes of the environment's simulation: published evaluations on this manifest are of models that
            were trained on one of these, and of no others. Empty: it is for all.
    """

    seed: int
    num_episodes: int
    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    layout_set: str | None = None
    max_steps: int | None = None
    measure: Literal["final", "ever"] = "final"
    trained_on: tuple[str, ...] = ()


class Episodes(NamedTuple):
    """Frozen episodes.

    Attributes:
        seeds: The environment's seed in each, for what is drawn at random beside the options.
        options: Options of ``reset`` in each, in JSON types and with the same keys in all; the environment gets them
            as numpy arrays and numbers. None: the seeds alone decide.
        shortest_paths: Length of the shortest path of each until the goal counts as reached; None: nobody knows.
    """

    seeds: Sequence[int]
    options: Sequence[dict[str, Any]] | None = None
    shortest_paths: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What is known of a family of environments.

    A name and a title are needed, all else adds something:

    =======================================  =====================================================================
    fields                                   what they add
    =======================================  =====================================================================
    environments                             ids, in Gymnasium's registry and here; ``--env-id`` takes them
    observations, rewards, layout_sets       the kinds that ``train-rl``, validation and scripted experts ask for
    recipes, draw_episodes, manifests        ``--manifest``: frozen episodes to evaluate on
    compared_on                              ``compare``: the manifests of the comparison
    expert, expert_sees                      ``expert``: the ceiling of every table
    explorers, explorers_see                 ``collect --policy``
    agent_pixels                             appearance shifts of the agent: its colour and its size
    draw_scene, to_canvas                    films that show imagined paths; without, films show ``env.render()``
    simulate, compact                        training data without end, compact datasets, ``maps``, ``attribute``
    =======================================  =====================================================================

    Whatever the domain, an environment's ``info`` should hold ``is_success`` (after each step: is the goal reached
    now?), and may hold ``distance`` (to the goal) and ``position`` (of the agent), which SPL and films use.

    Attributes:
        name: For files, commands and tables, such as "two-rooms".
        title: For people, such as "Two Rooms".
        environments: Gymnasium id → keywords of :func:`gymnasium.register`; the first is what is trained in.
        unit: Unit of positions and distances.
        observations: Kind of observation → keywords of the environment that give it: :data:`PIXELS` is what image
            agents see, :data:`STATE` numbers that say all. Empty: there is one kind.
        compact: Kind of observation that datasets store instead of pixels: states of :attr:`simulate`, which draws them
            when they are needed. None without a simulation.
        rewards: Kind of reward, "sparse" or "dense" → keywords that give it. Empty: there is one kind.
        layout_sets: Values of the keyword ``layout_set``: "train" and :data:`VALIDATION`, which share no layout, and
            others. Empty: there is no such keyword.
        has_vector: Whether it brings a vector environment of its own, which takes a keyword ``autoreset_mode`` and
            options of ``reset`` with an entry for each environment.
        reports_action: Whether ``info["action"]`` is the action as executed, where the environment changes actions in
            other ways than clipping them to the box.
        action_max_norm: Largest Euclidean norm of an action; None: the box alone bounds it.
        goal_radius: Distance below which a goal counts as reached, for plots.
        recipes: Name of a manifest → how it is made; one is called :data:`VALIDATION`, others begin so.
        draw_episodes: Draws the episodes of a recipe.
        compared_on: Manifests of published comparisons, the main one first.
        manifests: Folder where its manifests lie.
        expert: From the environment's keywords, a scripted policy that succeeds.
        expert_sees: Kind of observation that it is given.
        explorers: Name → from observation space, action space and keywords, a policy that gathers data.
        explorers_see: Name → kind of observation that it is given; those that are not named take any.
        read_positions: From images ``(N, ...)`` as agents see them, the agent's positions ``(N, P)``: for rewards of
            relabelled goals, never for a policy.
        agent_pixels: From images ``(N, ...)`` as agents see them, how much of each pixel shows the agent, ``(N, H, W)``
            in [0, 1]: for appearance shifts, never for a policy.
        simulate: From the environment's keywords, its simulation.
        draw_scene: From a side in pixels, the info of a step, a position, and the trail that leads to it and ends
            there ``(T, P)``, a square RGB picture. The position may lie between two steps.
        to_canvas: From positions ``(..., P)`` and a side in pixels, where these lie in the picture, ``(..., 2)``.

    Raises:
        ValueError: If fields that need each other do not go together.
    """

    name: str
    title: str
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unit: str = ""
    observations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compact: str | None = None
    rewards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layout_sets: tuple[str, ...] = ()
    has_vector: bool = False
    reports_action: bool = False
    action_max_norm: float | None = None
    goal_radius: float | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    draw_episodes: Callable[[Recipe], Episodes] | None = None
    compared_on: tuple[str, ...] = ()
    manifests: Path | None = None
    expert: Callable[[Mapping[str, Any]], Policy] | None = None
    expert_sees: str | None = None
    explorers: Mapping[str, Callable[[gym.Space[Any], gym.spaces.Box, Mapping[str, Any]], Policy]] = field(
        default_factory=lambda: {"random-walk": random_walk}
    )
    explorers_see: Mapping[str, str] = field(default_factory=dict)
    read_positions: Callable[[NDArray[np.uint8]], Array] | None = None
    agent_pixels: Callable[[NDArray[np.uint8]], Array] | None = None
    simulate: Callable[[Mapping[str, Any]], Simulation] | None = None
    draw_scene: Callable[[int, Mapping[str, Any], Array, Array], NDArray[np.uint8]] | None = None
    to_canvas: Callable[[Array, int], Array] | None = None

    def __post_init__(self) -> None:
        kinds = (None, *self.observations)
        for holds, rule in (
            (not self.recipes or (self.draw_episodes and self.manifests), "recipes need draw_episodes and manifests"),
            (not self.recipes or VALIDATION in self.recipes, f"recipes must hold {VALIDATION!r}, for tuning"),
            (set(self.compared_on) <= set(self.recipes), "compared_on must name recipes"),
            (self.expert_sees in kinds, "expert_sees must be one of observations"),
            (set(self.explorers_see) <= set(self.explorers), "explorers_see must name explorers"),
            (set(self.explorers_see.values()) <= set(kinds), "explorers_see must hold observations"),
            (self.compact in kinds, "compact must be one of observations"),
            (self.compact is None or self.simulate is not None, "compact needs simulate"),
            ((self.draw_scene is None) == (self.to_canvas is None), "draw_scene and to_canvas need each other"),
        ):
            if not holds:
                raise ValueError(f"domain {self.name!r}: {rule}")

    @property
    def env_id(self) -> str:
        """The environment that is trained in.

        Raises:
            ValueError: If it has none.
        """
        for env_id in self.environments:
            return env_id
        raise ValueError(f"domain {self.name!r} must have environments, got none")

    def keywords(
        self, *, observation: str | None = None, reward: str | None = None, layout_set: str | None = None
    ) -> dict[str, Any]:
        """Keywords of the environment that give a kind of observation, a kind of reward and a set of layouts.

        An environment of which nobody said that it has several kinds has one, and gets no keyword.

        Raises:
            ValueError: If it has several, but not this one.
        """
        found: dict[str, Any] = {}
        for what, kinds, kind in (("observation", self.observations, observation), ("reward", self.rewards, reward)):
            if kind is not None and kinds:
                found |= kinds[check_choice(f"{what} of {self.title}", kind, kinds)]
        if layout_set is not None and self.layout_sets:
            found["layout_set"] = check_choice(f"layout set of {self.title}", layout_set, self.layout_sets)
        return found

    def simulation(self, env_kwargs: Mapping[str, Any] | None = None) -> Simulation:
        """Its simulation.

        Raises:
            ValueError: If it has none.
        """
        if self.simulate is None:
            able = ", ".join(repr(domain.name) for domain in domains() if domain.simulate)
            raise ValueError(f"this needs an environment with a simulation ({able}), got {self.title}")
        return self.simulate(env_kwargs or {})


_DOMAINS: dict[str, Domain] = {}


def register(domain: Domain) -> None:
    """Registers a domain and its environments; the same one again takes the place of the first.

    Raises:
        ValueError: If the name belongs to another domain.
    """
    known = _DOMAINS.get(domain.name)
    if known is not None and set(known.environments) != set(domain.environments):
        raise ValueError(f"domain names must be unique, got {domain.name!r} twice")
    _DOMAINS[domain.name] = domain
    for env_id, keywords in domain.environments.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, **keywords)


def domains() -> tuple[Domain, ...]:
    """All registered domains."""
    return tuple(_DOMAINS.values())


def find_domain(name: str) -> Domain:
    """A domain by its name.

    Raises:
        ValueError: If there is none.
    """
    return _DOMAINS[check_choice("environment", name, _DOMAINS)]


def domain_of(env: str | EnvSpec | None) -> Domain:
    """The domain of an environment; a generic one where nobody registered it. Never fails.

    Environments are told apart by what makes them, not by how they are called; where one class makes those of several
    domains, by the keywords that it is registered with.

    Args:
        env: Its id, such as "TwoRooms-v0" or "my_module:MyEnv-v0", or its specification.
    """
    if isinstance(env, str):
        try:
            env = find_spec(env)
        except ValueError:
            return Domain(name=slug(str(env)), title=str(env))
    if env is None:
        return Domain(name="unnamed", title="an environment")
    maker, given = _entry_point_name(env.entry_point), env.kwargs.items()
    made = [
        (domain, keywords.get("kwargs", {}).items() <= given)
        for domain in _DOMAINS.values()
        for keywords in domain.environments.values()
        if _entry_point_name(keywords["entry_point"]) == maker
    ]
    if not made:
        return Domain(name=slug(env.id), title=env.id)
    return max(made, key=lambda one: one[1])[0]


def find_spec(env_id: str) -> EnvSpec:
    """The specification of a registered environment, which a dataset can store.

    Args:
        env_id: Its id, such as "TwoRooms-v0" or "my_module:MyEnv-v0". For an id that is not registered, installed
            packages that register environments are imported.

    Raises:
        ValueError: If there is no such environment, or its entry point cannot be imported by name.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"env_id must name an importable module before its colon, got {env_id!r}: {error} "
                "(is its folder in PYTHONPATH?)"
            ) from error
    elif name not in gym.registry:
        _import_registering(name)
    try:
        return _serializable(gym.spec(name))
    except gym.error.Error as error:
        close = difflib.get_close_matches(name, list(gym.registry), n=5, cutoff=0.5)
        hint = f"; close matches are {', '.join(map(repr, close))}" if close else ""
        raise ValueError(
            f"env_id must be a registered Gymnasium environment (or 'module:Env-v0'), got {env_id!r}{hint}"
        ) from error


def _import_registering(name: str) -> None:
    """Imports installed packages that register Gymnasium environments, until one registers this id.

    Only those whose own first file says so in its text: others are not imported for a misspelt id.
    """
    for package, (distribution, *_) in importlib.metadata.packages_distributions().items():
        if package in sys.modules or name in gym.registry:
            continue
        needs = importlib.metadata.requires(distribution) or ()
        if any(re.match(r"gymnasium\b(?!-)", need) for need in needs):
            found = importlib.util.find_spec(package)
            # Bytes: the first file of a package may be a compiled one.
            if found and found.origin and re.search(rb"\bregister\(", Path(found.origin).read_bytes()):
                with contextlib.suppress(ImportError):
                    importlib.import_module(package)


def _serializable(spec: EnvSpec) -> EnvSpec:
    """The specification with its entry point as a name, for a dataset cannot store the class itself."""
    entry_point = spec.entry_point
    if callable(entry_point):
        name = str(_entry_point_name(entry_point))
        try:
            found = load_env_creator(name)
        except (AttributeError, ImportError):
            found = None
        if found is not entry_point:
            raise ValueError(f"the entry point of {spec.id!r} must be importable by name, got {entry_point!r}")
        spec.entry_point = name
    return spec


def _entry_point_name(entry_point: Any) -> str | None:
    """An entry point as ``module:name``, whether it is that already or the class itself."""
    if callable(entry_point):
        return f"{getattr(entry_point, '__module__', '')}:{getattr(entry_point, '__qualname__', '')}"
    return entry_point


def slug(env_id: str) -> str:
    """A name for files made from an id.

    Example:
        >>> slug("my_module:RGBReach-v2")
        'rgb-reach'
    """
    name = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2]).rpartition("/")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
    return re.sub(r"[^\w]+", "-", words).strip("-") or "unnamed"
