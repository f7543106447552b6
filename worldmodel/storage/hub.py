"""Checkpoints on a hub of models, by names such as ``hub:owner/name``; only the files of a checkpoint are fetched.

::

    hub:owner/name             the newest commit of the branch "main"
    hub:owner/name@revision    a branch, a tag, or a whole commit, which always means the same
    fetch                      a name ──► the folder in the cache of huggingface_hub, its weights' hash checked
    push                       files  ──► the name of what was uploaded, pinned to its commit

The library ``huggingface_hub`` (the extra ``hub``) goes on with interrupted downloads, keeps the cache, and reads the
environment: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``. Files are asked for by name, so whatever
else a repository holds, such as code or pickles, is never fetched. Nothing in a checkpoint is executed.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from worldmodel import import_extra
from worldmodel.storage.files import read_bytes
from worldmodel.storage.weights import CONFIG, WEIGHTS

PREFIX = "hub:"
"""What names of checkpoints on a hub begin with."""
CARD = "README.md"
"""Name of the model card."""
FILES = (CONFIG, WEIGHTS, CARD)
"""The files that are fetched, and no others."""
ABOUT = "worldmodel"
"""Key of the card's metadata whose ``sha256`` is the hash of the weights."""
MAX_CARD_BYTES = 2**20
"""Most bytes of a card."""

NAME = re.compile(rf"{PREFIX}(?!.*\.\.)([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
FRONT_MATTER = re.compile(r"---\r?\n(.*?)\r?\n---\s*(?:\n|$)", re.DOTALL)
SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(ValueError):
    """A hub does not give, or does not take, a checkpoint."""


def is_name(text: Path | str) -> bool:
    """Whether a text is meant as the name of a checkpoint on a hub."""
    return str(text).startswith(PREFIX)


def parse(name: str) -> tuple[str, str | None]:
    """The repository and the revision in a name.

    Raises:
        HubError: If it is of another form.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise HubError(
            f"a checkpoint on a hub must be named {PREFIX}owner/name or {PREFIX}owner/name@revision, got {name!r}"
        )
    return match[1], match[2]


def fetch(name: str) -> Path:
    """The folder of a checkpoint on a hub; what is not in the cache is downloaded.

    Without a network, what is in the cache of a branch counts as its newest commit.

    Args:
        name: Its name.

    Raises:
        HubError: If it cannot be had, is no checkpoint, or its weights have another hash than its repository states.
        ImportError: If huggingface_hub is not installed.
    """
    repository, revision = parse(name)
    library = _library(name)
    with _in_words(name):
        folder = Path(library.snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    lacking = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if lacking:
        raise HubError(
            f"{name} must hold {CONFIG} and {WEIGHTS}, as checkpoints do; there is no {' and no '.join(lacking)}"
        )
    _verify(name, folder)
    return folder


def push(
    files: Mapping[str, bytes], repository: str, *, branch: str | None = None, private: bool = False, message: str
) -> str:
    """Uploads files in one commit. The repository and the branch are made if missing; what is there already is kept.

    Args:
        files: The files, by name.
        repository: ``owner/name``.
        branch: Where they go; "main" by default.
        private: Whether the repository must be private.
        message: What the commit says.

    Returns:
        The name of the checkpoint, pinned to the commit: that of the last one if nothing is new.

    Raises:
        HubError: If the hub does not take them, or the repository is public and must not be.
        ImportError: If huggingface_hub is not installed.
    """
    name = f"{PREFIX}{repository}"
    parse(name if branch is None else f"{name}@{branch}")
    library = _library(name)
    if library.get_token() is None:
        raise HubError(f"{name} needs a token that may write: log in with 'hf auth login', or set HF_TOKEN")
    api = library.HfApi()
    with _in_words(name):
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise HubError(f"{name} must be private already, or new, to be pushed to in private; it is public")
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        operations = [library.CommitOperationAdd(file, content) for file, content in files.items()]
        commit = api.create_commit(repository, operations, commit_message=message, revision=branch)
    return f"{name}@{commit.oid}"


def cached() -> Iterator[tuple[str, Path]]:
    """Pinned names and folders of all repositories of models in the cache; nothing without huggingface_hub."""
    with contextlib.suppress(ImportError):
        library = _library("the cache")
        with contextlib.suppress(library.errors.CacheNotFound):
            repositories = library.scan_cache_dir(library.constants.HF_HUB_CACHE).repos
            for repository in sorted(repositories, key=lambda found: found.repo_id):
                if repository.repo_type == "model":
                    for revision in sorted(repository.revisions, key=lambda found: found.last_modified):
                        yield f"{PREFIX}{repository.repo_id}@{revision.commit_hash}", revision.snapshot_path


def read_card(folder: Path) -> dict[str, Any]:
    """Metadata of the model card in a folder; nothing where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
        match = FRONT_MATTER.match(read_bytes(folder / CARD, max_bytes=MAX_CARD_BYTES).decode())
        found = yaml.safe_load(match[1]) if match else None
        if isinstance(found, dict):
            return found
    return {}


def _verify(name: str, folder: Path) -> None:
    """Compares the weights' hash with all that the repository states; weights of another hash leave the cache."""
    weights = folder / WEIGHTS
    stated: dict[str, str] = {}
    about = read_card(folder).get(ABOUT)
    if isinstance(about, dict) and isinstance(about.get("sha256"), str):
        stated["its card"] = about["sha256"].lower()
    # The cache names a large file as the hub does, by its SHA-256, and links to it.
    if weights.is_symlink() and SHA256.fullmatch(blob := weights.readlink().name):
        stated["its repository"] = blob
    if not stated:
        raise HubError(f"{name} must state the SHA-256 of {WEIGHTS}: in its card, or by keeping it as a large file")
    found = hashlib.sha256(read_bytes(weights)).hexdigest()
    for place, wanted in stated.items():
        if found != wanted:
            for file in (weights.resolve(), weights):
                file.unlink(missing_ok=True)
            raise HubError(
                f"{WEIGHTS} of {name} must have the SHA-256 {wanted} that {place} states, got {found}; "
                "it was removed from the cache, and the next call downloads it again"
            )


def _library(name: str) -> ModuleType:
    for part in ("constants", "errors"):
        import_extra(f"huggingface_hub.{part}", name)
    library: ModuleType = import_extra("huggingface_hub", name)
    return library


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Turns errors of huggingface_hub into one line that names the checkpoint."""
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{name} is gated: ask for access on its page at {endpoint}, and log in with 'hf auth login'"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{name} must be a repository at {endpoint} that this login may use, and is not") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name} must name a branch, a tag or a whole commit of its repository, and does not") from error
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise HubError(
                f"{name} must be in the cache while HF_HUB_OFFLINE is set, and is not, or not whole"
            ) from error
        reason = _first_line(error.__cause__ or error)
        raise HubError(
            f"{name} is not in the cache, or not whole, and {endpoint} cannot be reached: {reason}"
        ) from error
    except errors.HfHubHTTPError as error:
        reason = getattr(error, "server_message", None) or _first_line(error)
        raise HubError(f"{endpoint} refuses {name}: {reason}") from error
    except (errors.HTTPError, ConnectionError, RuntimeError) as error:  # of httpx, of sockets, of hf_xet
        reason = _first_line(error.__cause__ or error)
        raise HubError(f"the connection to {endpoint} broke for {name}: {reason}; the same command goes on") from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
