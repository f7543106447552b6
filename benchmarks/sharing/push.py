"""``worldmodel push``: uploads a checkpoint with its model card; ``hub:owner/name`` reads it again."""

import json
import logging
import re
import sys
from pathlib import Path

import tyro

from benchmarks.records.provenance import RESULTS
from benchmarks.sharing.about import open_about
from benchmarks.sharing.card import card
from benchmarks.sharing.figures import find_figures
from worldmodel.config import command, config
from worldmodel.storage import hub
from worldmodel.storage.files import write_text
from worldmodel.storage.weights import CONFIG, WEIGHTS

logger = logging.getLogger(__name__)


@config
class PushConfig:
    """Uploads a checkpoint and its model card to a hub of models, where hub:owner/name finds it."""

    checkpoint: tyro.conf.Positional[str]
    """Folder of a checkpoint, or the name of one that ships with the package."""
    name: tyro.conf.Positional[str]
    """Repository: owner/name. It is made if missing."""
    revision: str | None = None
    """Branch to upload to, made if missing; by default main."""
    private: bool = False
    """Whether the repository must be private."""
    licence: str = "mit"
    """Licence of the weights, as the hub calls it."""
    results: tuple[Path, ...] = ()
    """JSON files of evaluations, or folders of such: the card shows what they say of exactly these weights. By default
    benchmarks/results of the checkout."""
    dry_run: bool = False
    """Upload nothing: show what would be uploaded, and the model card."""
    output: Path | None = None
    """With dry-run: folder to write the model card to, in place of the terminal."""


def run(config: PushConfig) -> str:
    """Uploads a checkpoint, or shows what would be uploaded; what is there already is not uploaded again.

    Returns:
        Its name, pinned to the commit; with a dry run, its name.

    Raises:
        ValueError: If it is no checkpoint, a file of results is not of it, or the hub does not take it.
        ImportError: If huggingface_hub is needed and not installed.
    """
    repository = config.name.removeprefix(hub.PREFIX)
    name = f"{hub.PREFIX}{repository}"
    hub.parse(name)
    about = open_about(config.checkpoint)
    places = config.results or ((RESULTS,) if RESULTS.is_dir() else ())
    text = card(about, name, find_figures(about.files.sha256, places), config.licence)
    described = json.dumps(about.files.config, indent=2) + "\n"
    files = {CONFIG: described.encode(), WEIGHTS: about.files.weights, hub.CARD: text.encode()}
    for file, content in files.items():
        logger.info("%s  %s: %s bytes", repository, file, f"{len(content):,}")
    for path in re.findall(r'"(/[^"]*)"', described):
        logger.warning("%s names a folder of this machine, %s; others will read it", CONFIG, path)
    if config.dry_run:
        if config.output is None:
            sys.stdout.write(text)
        else:
            config.output.mkdir(parents=True, exist_ok=True)
            write_text(config.output / hub.CARD, text)
        return name
    message = f"{about.kind}, weights {about.files.sha256[:8]}"
    pinned = hub.push(files, repository, branch=config.revision, private=config.private, message=message)
    sys.stdout.write(f"checkpoint: {pinned}\n")
    return pinned


main = command(PushConfig, run, "push")
