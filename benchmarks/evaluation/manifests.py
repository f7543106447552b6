"""The manifests: frozen episodes of Two Rooms, made from checked-in seeds by ``python -m benchmarks.evaluation.manifests``.

===========  ========  ===================================  ====================
manifest     episodes  layouts                              collision
===========  ========  ===================================  ====================
random-wall  1,000     train                                stay
fixed-wall   300       wall 32, door 18                     stay
held-out     500       held-out                             stay
validation   500       validation (for all tuning)          stay
bounce       1,000     those of random-wall, same episodes  bounce
===========  ========  ===================================  ====================
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from agents.evaluation.manifest import Manifest
from envs.two_rooms.layouts import FIXED_LAYOUT, sample_endpoints, sample_layouts
from envs.two_rooms.physics import Layout, shortest_path_to_goal_disc
from worldmodel.config import config

FOLDER = Path(__file__).parent.parent / "manifests"
"""Where the manifests lie."""
MAX_STEPS = 200
"""Steps of an episode."""
VALIDATION = "validation"
"""The manifest for tuning, whose evaluations are not logged."""


@dataclass(frozen=True)
class Recipe:
    """How a manifest is made.

    Attributes:
        seed: Seed of all its random choices.
        num_episodes: Number of episodes.
        layouts: Layout set that the episodes are drawn from; none for the fixed layout.
        collision: Collision mode.
    """

    seed: int
    num_episodes: int
    layouts: str | None
    collision: str = "stay"


RECIPES = {
    "random-wall": Recipe(seed=1, num_episodes=1000, layouts="train"),
    "fixed-wall": Recipe(seed=2, num_episodes=300, layouts=None),
    "held-out": Recipe(seed=3, num_episodes=500, layouts="held-out"),
    VALIDATION: Recipe(seed=4, num_episodes=500, layouts="validation"),
    "bounce": Recipe(seed=1, num_episodes=1000, layouts="train", collision="bounce"),
}
"""Recipe of each manifest; never changed once results with a manifest are published."""


def make_manifest(name: str) -> Manifest:
    """Makes a manifest from its recipe; always the same one.

    Raises:
        ValueError: If the name is unknown.
    """
    recipe = RECIPES[_check_name(name)]
    rng = np.random.default_rng(recipe.seed)
    n = recipe.num_episodes
    if recipe.layouts is None:
        layouts = Layout(*FIXED_LAYOUT).broadcast((n,))
    else:
        layouts = sample_layouts(rng, n, recipe.layouts)
    # Two decimals keep the files small; the bounds of starts and goals have one, so rounding never leaves them.
    starts, goals = (points.astype(np.float64).round(2) for points in sample_endpoints(rng, layouts))
    shortest = shortest_path_to_goal_disc(starts.astype(np.float32), goals.astype(np.float32), layouts)
    return Manifest(
        name=name,
        env_id="TwoRoomsFixed-v0" if recipe.layouts is None else "TwoRooms-v0",
        seeds=tuple(rng.integers(2**31, size=n).tolist()),
        episodes=tuple(
            {"layout": [int(wall), int(door)], "start": start.tolist(), "goal": goal.tolist()}
            for wall, door, start, goal in zip(layouts.wall, layouts.door, starts, goals, strict=True)
        ),
        shortest_paths=tuple(shortest.round(4).tolist()),
        env_kwargs={"collision": recipe.collision},
        max_steps=MAX_STEPS,
    )


def load_manifest(name: str) -> Manifest:
    """Loads a manifest that ships with the package, and checks its hash.

    Raises:
        ValueError: If the name is unknown or the file was changed.
    """
    return Manifest.load(FOLDER / f"{_check_name(name)}.json")


def _check_name(name: str) -> str:
    if name not in RECIPES:
        raise ValueError(f"manifest must be one of {', '.join(map(repr, RECIPES))}, got {name!r}")
    return name


@config
class ManifestsConfig:
    """Makes the manifests from their recipes."""

    output: Path = FOLDER
    """Folder to write them to."""
    check: bool = False
    """Write nothing; fail if the folder's manifests differ from what their recipes give."""


def run(config: ManifestsConfig) -> None:
    """Writes or checks all manifests.

    Raises:
        ValueError: If ``check`` is set and a manifest differs from its recipe.
    """
    console = Console()
    for name in RECIPES:
        manifest, path = make_manifest(name), config.output / f"{name}.json"
        if not config.check:
            config.output.mkdir(parents=True, exist_ok=True)
            manifest.save(path)
        elif (found := Manifest.load(path).hash) != manifest.hash:
            raise ValueError(f"{path.name} must be what its recipe gives ({manifest.hash}), got {found}")
        console.print(f"{name:<12} {len(manifest):>5} episodes  {manifest.hash[:16]}")


if __name__ == "__main__":
    run(tyro.cli(ManifestsConfig))
