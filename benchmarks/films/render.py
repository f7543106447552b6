"""``worldmodel render``: MP4 and GIF of an agent planning: the scene, what it imagines, cost and distance.

::

    record   one scene a step: positions or pictures, distance, the plan in force with its imagined candidates
    draw     EpisodeFigure or SideBySide of benchmarks.films, several frames a step
    encode   benchmarks.films.encoding: MP4, and a GIF small enough to share
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from annotated_types import Ge, Le, MinLen
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from agents.evaluation.evaluate import Manifest, Policy
from agents.evaluation.task import GoalImageConfig, Task, make_task
from agents.saved import Source, make_policy, open_source
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.films.drawing import EpisodeFigure, PlanView, Scene
from benchmarks.films.encoding import write_videos
from benchmarks.films.side_by_side import SideBySide
from benchmarks.records.plots import rgb
from benchmarks.records.store import file_name
from envs.domain import domains
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import load_pretrained
from worldmodel.config import CountFromZero, JsonDict, Seed, command, config, number
from worldmodel.nn.probes import Probe

logger = logging.getLogger(__name__)


TITLES = {
    "random": "Random policy",
    "expert": "Scripted expert",
    "world model": "Planning in imagination",
    "offline": "Offline agent",
    "rl": "Reinforcement learning",
}
"""Titles by policy or kind of policy."""
LIMITS = ("max_steps", "steps_after_success", "num_candidates")
"""Fields of a configuration that :func:`record_episode` takes."""


@config
class RenderConfig:
    """Makes a video of an agent planning."""

    policy: tyro.conf.Positional[str] = DEFAULT
    """'random', 'expert', the directory of a checkpoint, the name of one that ships with the package, or
    hub:owner/name."""
    compare: tuple[str, ...] = ()
    """Other policies that play the same episodes beside it, each in a panel without plans."""
    manifest: str = domains()[0].compared_on[0]
    """Where the episodes come from."""
    env_id: str | None = None
    """Make the video in this Gymnasium environment instead."""
    goal_image: GoalImageConfig = field(default_factory=GoalImageConfig)
    """How an environment without goal images is shown; any of these wraps it in envs.GoalImage."""
    episodes: Annotated[tuple[CountFromZero, ...], MinLen(1)] = (0,)
    """Which episodes of the manifest, one after the other; in an environment without one they are the seeds."""
    env_kwargs: JsonDict = field(default_factory=dict)
    """Keywords of the environment in place of the manifest's, as JSON, such as {"collision": "bounce"}."""
    seed: Seed = 0
    """Seed of the policy."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    """How a checkpoint plans."""
    device: str = "cpu"
    """Where a checkpoint plans."""
    max_steps: Annotated[int, Ge(1), Le(100_000), number(int, "in 1…100,000")] = 200
    """Most environment steps of an episode."""
    steps_after_success: CountFromZero = 12
    """Steps that an episode goes on after the goal was first reached."""
    frames_per_step: Annotated[int, Ge(1), Le(100), number(int, "in 1…100")] = 3
    """Frames an environment step; more make the video slower and smoother."""
    fps: Annotated[int, Ge(1), Le(240), number(int, "in 1…240")] = 20
    """Frames a second."""
    hold_seconds: Annotated[float, Ge(0), Le(60), number(float, "in [0, 60]")] = 1.2
    """How long the last picture of each episode stays."""
    num_candidates: Annotated[int, Ge(1), Le(10_000), number(int, "in 1…10,000")] = 48
    """Most candidates drawn of an iteration."""
    output: Path | None = None
    """Where to write, without the suffix; by default runs/render/POLICY-MANIFEST, or POLICY-ENVIRONMENT."""
    formats: Annotated[tuple[Literal["mp4", "gif"], ...], MinLen(1)] = ("mp4", "gif")
    """Which files to write."""
    progress: bool = True
    """Whether to show a progress bar."""


def run(config: RenderConfig) -> list[Path]:
    """Makes the video.

    Returns:
        The files written.

    Raises:
        ValueError: If the policy, the manifest, the environment or an episode is unknown, or they do not fit.
    """
    manifest, task = _episodes(config)
    draw: Callable[..., Sequence[EpisodeFigure | SideBySide]] = _beside if config.compare else _alone
    figures = draw(config, manifest, task)
    held = max(1, round(config.hold_seconds * config.fps))
    frames = (frame for figure in figures for frame in draw_frames(figure, config.frames_per_step, held))
    count = sum(figure.num_steps * config.frames_per_step + held for figure in figures)
    name = f"{Path(config.policy).name}-{manifest.name}" + ("-compared" if config.compare else "")
    output = config.output or Path("runs") / "render" / file_name(name)
    paths = [output.with_name(f"{output.name}.{suffix}") for suffix in config.formats]
    output.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(frames, total=count, desc="drawing", unit="frame", disable=not config.progress or None)
    written = write_videos(paths, iter(bar), count, config.fps)
    for path in written:
        logger.info("written to %s (%.1f MB)", path, path.stat().st_size / 1e6)
    return written


main = command(RenderConfig, run, "render")


def _alone(config: RenderConfig, manifest: Manifest, task: Task) -> list[EpisodeFigure]:
    """The policy's episodes, with what it imagines."""
    source = open_source(config.policy)
    policy, observation = make_policy(
        source, task, planner=config.planner, seed=config.seed, device=config.device, record=True
    )
    probe = None
    if source.kind == "world model" and source.checkpoint is not None and task.domain.to_canvas:
        probe = load_pretrained(source.checkpoint, config.device).probe
    title = _title(source)
    limits, figures = {name: getattr(config, name) for name in LIMITS}, []
    for index in config.episodes:
        place = manifest.seeds.index(index) if config.env_id else index
        scenes = record_episode(policy, task, manifest, place, observation=observation, probe=probe, **limits)
        subtitle = f"{Path(config.policy).name}  ·  {manifest.name}  ·  episode {index}"
        figures.append(EpisodeFigure(scenes, title, subtitle))
    return figures


def _title(source: Source) -> str:
    """What kind of policy it is."""
    return TITLES.get(source.name) or TITLES[source.kind]


def side_titles(policies: Sequence[str]) -> list[str]:
    """What stands above each of several policies: its kind, or the name of its folder where others are of its kind."""
    kinds = [_title(open_source(policy)) for policy in policies]
    return [kind if kinds.count(kind) == 1 else Path(policy).name for policy, kind in zip(policies, kinds, strict=True)]


def _beside(config: RenderConfig, manifest: Manifest, task: Task) -> list[SideBySide]:
    """All policies in the same episodes; each begins each episode anew."""
    policies = (config.policy, *config.compare)
    titles = side_titles(policies)
    limits, figures = {name: getattr(config, name) for name in LIMITS}, []
    for index in config.episodes:
        place = manifest.seeds.index(index) if config.env_id else index
        made = (make_policy(p, task, planner=config.planner, seed=config.seed, device=config.device) for p in policies)
        played = [record_episode(policy, task, manifest, place, observation=seen, **limits) for policy, seen in made]
        figures.append(SideBySide(titles, played))
    return figures


def record_episode(
    policy: Policy,
    task: Task,
    manifest: Manifest,
    index: int,
    *,
    observation: str | None = None,
    probe: Probe | None = None,
    max_steps: int = 200,
    steps_after_success: int = 12,
    num_candidates: int = 48,
) -> list[Scene]:
    """Plays an episode in a single environment and keeps what is to be drawn.

    Args:
        policy: The policy; an agent made with ``record=True`` shows its plans.
        task: The environment.
        manifest: Where the episode comes from.
        index: Which episode of it.
        observation: Kind of observation that the policy is given, one of the domain's.
        probe: Decodes imagined latents to positions.
        max_steps: Most steps.
        steps_after_success: Steps after the goal was first reached.
        num_candidates: Most candidates kept of an iteration.

    Returns:
        One scene before each step, and one after the last.
    """
    env = _make_env(task, observation)
    try:
        options = None if manifest.episodes is None else dict(manifest.episodes[index])
        seen, info = env.reset(seed=manifest.seeds[index], options=options)
        scenes: list[Scene] = []
        state, record, plan = None, None, None
        since_success, ended = 0, False
        for step in range(max_steps + 1):
            success = bool(info.get("is_success", False))
            since_success += success or since_success > 0
            done = ended or step == max_steps or since_success > steps_after_success
            if not done:
                action, state = policy.predict(seen, state, np.array([step == 0]), True)
                made = state.envs[0].record if hasattr(state, "envs") else None
                if made is not record:
                    record, plan = made, _plan_view(made, step, policy, probe, num_candidates)
            scenes.append(_scene(env, task, step, seen, info, plan))
            if done:
                return scenes
            seen, _, terminated, truncated, info = env.step(action)
            ended = bool(terminated or truncated)
    finally:
        env.close()
    return scenes


def draw_frames(figure: EpisodeFigure | SideBySide, frames_per_step: int, num_held: int) -> Iterator[NDArray[np.uint8]]:
    """Draws the frames of an episode, so many a step, and the last one so often."""
    for step in range(figure.num_steps):
        for part in range(frames_per_step):
            yield figure.frame(step, part / frames_per_step)
    yield from repeat(figure.frame(figure.num_steps), num_held)


def _episodes(config: RenderConfig) -> tuple[Manifest, Task]:
    if config.env_id is not None:
        task = make_task(config.env_id, config.goal_image.join(config.env_kwargs))
        seeds = tuple(dict.fromkeys(config.episodes))
        return Manifest(config.env_id, config.env_id, seeds, env_kwargs=task.env_kwargs, max_steps=task.max_steps), task
    config.goal_image.require_none()
    manifest = load_manifest(config.manifest)
    if max(config.episodes) >= len(manifest):
        raise ValueError(
            f"episodes of {config.manifest!r} must be from 0 to {len(manifest) - 1}, got {max(config.episodes)}"
        )
    return manifest, make_task(manifest.env_id, manifest.env_kwargs | config.env_kwargs)


def _make_env(task: Task, observation: str | None) -> gym.Env[Any, Any]:
    env = task.make(observation)
    if task.domain.draw_scene or "rgb_array" not in env.metadata.get("render_modes", []):
        return env
    env.close()
    return task.make(observation, render_mode="rgb_array")


def _scene(
    env: gym.Env[Any, Any], task: Task, step: int, seen: Any, info: dict[str, Any], plan: PlanView | None
) -> Scene:
    distance = float(info["distance"]) if "distance" in info else None
    scene = Scene(step, task.domain, distance=distance, success=bool(info.get("is_success", False)), plan=plan)
    if task.domain.draw_scene:
        return replace(scene, info=info, position=np.array(info["position"], dtype=np.float64))
    images = seen if isinstance(seen, dict) else {}
    picture = env.render() if env.render_mode == "rgb_array" else None
    return replace(
        scene,
        picture=rgb(images.get("observation")) if picture is None else np.asarray(picture, dtype=np.uint8),
        goal_picture=rgb(images.get("desired_goal")),
    )


@torch.no_grad()
def _plan_view(record: Any, step: int, policy: Policy, probe: Probe | None, num_candidates: int) -> PlanView | None:
    """A recorded plan (:class:`agents.world_model.state.PlanRecord`), decoded to positions and thinned out."""
    if record is None:
        return None
    trace = record.plan.trace

    def positions(latents: Tensor) -> NDArray[Any]:
        assert probe is not None
        start = record.start.expand(*latents.shape[:-2], 1, -1)
        return probe(torch.cat([start, latents], -2).float()).cpu().numpy()

    candidates, num_elites = [], max(1, num_candidates // 8)
    if probe is not None:
        for latents, costs in zip(record.candidate_states, trace.candidate_costs or (), strict=True):
            order = costs[0].argsort()
            rest = order[num_elites:]
            spread = torch.linspace(0, len(rest) - 1, min(len(rest), num_candidates - num_elites)).long()
            chosen = torch.cat([order[:num_elites], rest[spread.to(rest.device)]])
            candidates.append(positions(latents[chosen]))
    return PlanView(
        step=step,
        duration=int(getattr(policy, "steps_per_plan", 1)),
        best=trace.best[0].cpu().numpy(),
        elite=trace.elite[0].cpu().numpy(),
        path=None if probe is None else positions(record.states),
        candidates=tuple(candidates),
        num_elites=num_elites,
    )
