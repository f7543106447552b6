"""The manifests: frozen episodes of each environment, made from checked-in seeds.

``python -m benchmarks.evaluation.manifests`` writes them into the folders of the environments, ``--check`` compares.
"""

import functools
from pathlib import Path

import tyro
from rich.console import Console

import envs as _envs  # noqa: F401 - registers the environments of this project
from agents.evaluation.manifest import Manifest
from envs.domain import Domain, domains, find_domain, find_spec
from worldmodel.config import config


def make_manifest(domain: Domain, name: str) -> Manifest:
    """Makes a manifest from its recipe; always the same one.

    Args:
        domain: An environment with recipes.
        name: Which of them.
    """
    recipe = domain.recipes[name]
    assert domain.draw_episodes is not None
    seeds, options, shortest_paths = domain.draw_episodes(recipe)
    return Manifest(
        name=name,
        env_id=recipe.env_id,
        seeds=tuple(seeds),
        episodes=None if options is None else tuple(options),
        shortest_paths=None if shortest_paths is None else tuple(shortest_paths),
        env_kwargs=dict(recipe.env_kwargs),
        max_steps=recipe.max_steps or find_spec(recipe.env_id).max_episode_steps,
    )


def find_manifest(name: str) -> tuple[Domain, str]:
    """The environment that a manifest is of, and the manifest's name in it.

    Args:
        name: ``ENVIRONMENT/MANIFEST``, or a manifest alone: then the first environment that has one of this name.

    Raises:
        ValueError: If there is no such manifest.
    """
    given, _, short = name.rpartition("/")
    for domain in domains():
        if short in domain.recipes and given in ("", domain.name):
            return domain, short
    known = [(domain.name, short) for domain in domains() for short in domain.recipes]
    first = {short: environment for environment, short in reversed(known)}
    names = [short if first[short] == environment else f"{environment}/{short}" for environment, short in known]
    raise ValueError(f"manifest must be one of {', '.join(map(repr, names))}, got {name!r}")


def load_manifest(name: str) -> Manifest:
    """Loads a manifest that ships with the package, and checks its hash; for names see :func:`find_manifest`.

    A file is read and checked once, as long as nobody writes it anew.

    Raises:
        ValueError: If the name is unknown or the file was changed.
    """
    path = _path(*find_manifest(name))
    return _load(path, path.stat().st_mtime_ns if path.exists() else None)


@functools.cache
def _load(path: Path, written: int | None) -> Manifest:
    """The manifest in a file, as it was at the time when it was written."""
    return Manifest.load(path)


def _path(domain: Domain, name: str) -> Path:
    assert domain.manifests is not None
    return domain.manifests / f"{name}.json"


@config
class ManifestsConfig:
    """Makes the manifests from their recipes."""

    environments: tuple[str, ...] = ()
    """Only those of these environments; by default of all."""
    check: bool = False
    """Write nothing; fail if a manifest differs from what its recipe gives."""


def run(config: ManifestsConfig) -> None:
    """Writes or checks manifests.

    Raises:
        ValueError: If there is no such environment, or ``check`` is set and a manifest differs from its recipe.
    """
    console = Console()
    for domain in map(find_domain, config.environments) if config.environments else domains():
        for name in domain.recipes:
            manifest, path = make_manifest(domain, name), _path(domain, name)
            if not config.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                manifest.save(path)
            elif (found := Manifest.load(path).hash) != manifest.hash:
                raise ValueError(f"{path.name} must be what its recipe gives ({manifest.hash}), got {found}")
            console.print(f"{domain.name:<12} {name:<12} {len(manifest):>5} episodes  {manifest.hash[:16]}")


if __name__ == "__main__":
    run(tyro.cli(ManifestsConfig))
