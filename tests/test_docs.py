"""README and docs: every command parses, every example runs, every link leads somewhere.

Blocks of commands may hold what :data:`CHECKS` knows and nothing else; ``tests/test_docs_commands.py`` runs them.
Examples in Python run in an empty folder, each by itself; :func:`small` makes short what takes minutes. Notebooks are
run by ``make notebooks``; here their cells are read, and what they import is imported.
``<!-- skip: reason -->`` above a block leaves it out.
"""

import ast
import contextlib
import importlib
import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import jupytext
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement

import envs
from agents.offline.agent import OFFLINE
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.comparison.tune import CANDIDATES
from benchmarks.evaluation.manifests import find_manifest
from documents import BLOCK, NOTEBOOKS, PAGES, ROOT, blocks, commands, name_of, shorten
from envs.domain import find_spec
from pretrain.presets import PRESETS
from worldmodel import ENCODERS
from worldmodel import config as configurations
from worldmodel.__main__ import COMMANDS
from worldmodel.planning import PLANNERS

MAX_README_BYTES = 8_000


# --- commands ------------------------------------------------------------------------------------------------------


class Parsed(Exception):  # noqa: N818 - no error
    """What a command would run with."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Any]:
    """Parses the arguments of ``worldmodel`` as its command does, without running it."""
    original = configurations.parse

    def told(*arguments: Any, **keywords: Any) -> None:
        raise Parsed(original(*arguments, **keywords))

    def parse(arguments: list[str]) -> Any:
        name, *rest = arguments
        module = importlib.import_module(COMMANDS[name][1])
        for owner in (configurations, module):
            if hasattr(owner, "parse"):
                monkeypatch.setattr(owner, "parse", told)
        try:
            module.main(rest)
        except Parsed as parsed:
            return parsed.args[0]
        return None

    return parse


def check_names(parsed: Any) -> None:
    """What is looked up later than arguments are parsed exists: manifests, environments, contenders."""
    manifest = getattr(parsed, "manifest", None)
    if manifest is not None:
        find_manifest(manifest)
    env_id = getattr(parsed, "env_id", None)
    if env_id is not None and not env_id.startswith("my_env:"):
        find_spec(env_id)
    environment = getattr(parsed, "environment", None)
    if environment is not None:
        envs.find_domain(environment)
        assert set(getattr(parsed, "contenders", ())) <= set(CONTENDERS[environment])
    if hasattr(parsed, "contender"):
        assert parsed.contender in CANDIDATES


def check_worldmodel(words: list[str], parse: Callable[[list[str]], Any]) -> None:
    if words == ["pretrain"] or words[-1] == "--help":
        assert words[0] in COMMANDS
        assert words[0] != "pretrain" or words[1:-1] == [] or words[1] in PRESETS
    else:
        parsed = parse(words)
        assert parsed is not None, words
        check_names(parsed)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))


def check_make(words: list[str], parse: Any) -> None:
    assert {word for word in words if "=" not in word} <= make_targets()


def check_python(words: list[str], parse: Any) -> None:
    assert words[0] == "-m"
    module = importlib.import_module(words[1])
    if hasattr(module, "parse_args"):
        module.parse_args(words[2:])
    kinds = [value for name, value in vars(module).items() if name.endswith("Config") and value.__module__ == words[1]]
    for kind in kinds[:1]:
        configurations.parse(kind, words[2:], prog=words[1], description="")


def check_pip(words: list[str], parse: Any) -> None:
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for wanted in map(Requirement, [word for word in words[1:] if word not in ("-e", ".")]):
        assert wanted.name == "worldmodel"
        assert wanted.extras <= extras.keys()


CHECKS: dict[str, Callable[[list[str], Any], None]] = {
    "worldmodel": check_worldmodel,
    "make": check_make,
    "python": check_python,
    "pip": check_pip,
    "export": lambda words, parse: None,
    ".venv/bin/pre-commit": lambda words, parse: None,
}
"""How a line that begins with a word is checked."""


@pytest.mark.parametrize("text", blocks("bash"))
def test_commands_are_understood(text, parse):
    for first, *rest in commands(text):
        assert first in CHECKS, f"a line must begin with one of {', '.join(CHECKS)}, got {first!r}"
        CHECKS[first](rest, parse)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_exist(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`worldmodel ([a-z-]+)", text)) <= {*COMMANDS, "--help"}
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= make_targets()


def test_a_wrong_command_is_noticed(parse):
    check_worldmodel(["evaluate", "two-rooms", "--manifest", "validation"], parse)
    with pytest.raises(SystemExit), contextlib.redirect_stderr(None):
        check_worldmodel(["evaluate", "--collision", "bounce"], parse)
    with pytest.raises(ValueError, match="manifest must be one of"):
        check_worldmodel(["evaluate", "--manifest", "three-rooms"], parse)
    with pytest.raises(ValueError, match="preset must be one of"):
        check_worldmodel(["pretrain", "three-rooms"], parse)


# --- examples ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, registries that are as before afterwards, and presets that train for two steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("envs.domain._DOMAINS", {domain.name: domain for domain in envs.domains()})
    registries: list[tuple[dict, dict]] = [(registry, dict(registry)) for registry in (ENCODERS, PLANNERS)]
    before = set(gym.registry)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    shorten(monkeypatch)
    yield
    for env_id in set(gym.registry) - before:
        del gym.registry[env_id]
    for registry, as_before in registries:
        registry.clear()
        registry.update(as_before)


@pytest.mark.parametrize("text", blocks("python"))
def test_examples_run(text, small):
    if "gym.register(" in text:
        pytest.skip("tests/test_end_to_end.py goes the whole way with this environment")
    exec(compile(text, "example", "exec"), {"__name__": "example"})


def test_every_block_is_of_a_language_that_is_tried():
    languages = {m["language"] for page in PAGES for m in BLOCK.finditer(page.read_text("utf-8"))}
    assert languages == {"bash", "python", "diff", ""}  # the last are diagrams


# --- notebooks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", NOTEBOOKS, ids=name_of)
def test_a_notebook_has_cells_that_python_reads_and_imports_what_there_is(page):
    cells = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    assert cells == [match["text"].rstrip("\n") for match in BLOCK.finditer(page.read_text("utf-8"))]
    code = ast.parse("\n".join(TransformerManager().transform_cell(cell) for cell in cells))
    imports = [node for node in code.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), name_of(page), "exec"), {})


def test_the_first_page_leads_to_every_notebook():
    assert len(NOTEBOOKS) == 4
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(f"(notebooks/{page.name})" in index for page in NOTEBOOKS)


# --- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if not link.startswith("https://"):
            target = page.parent / path if path else page
            assert target.is_file(), link
            if anchor:
                assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What a link to a heading ends in, on GitHub and on the site."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= MAX_README_BYTES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_use_the_packages_tops(page):
    """``from agents import PlanningAgent``, never from where it lives."""
    text = "\n".join(m["text"] for m in BLOCK.finditer(page.read_text("utf-8")) if m["language"] == "python")
    assert not re.findall(r"^(?:from|import) (?:worldmodel|agents|pretrain|envs|benchmarks)\.\S+", text, flags=re.M)


def test_guides_name_all_that_there_is():
    def text(page: str) -> str:
        return (ROOT / "docs" / page).read_text(encoding="utf-8")

    assert all(f"`{name}`" in text("guides/plan.md") for name in PLANNERS)
    assert all(f"`{name}`" in text("guides/pretrain.md") for name in OFFLINE)
    for domain in envs.domains():
        assert all(f"| `{env_id}` |" in text("guides/environments.md") for env_id in domain.environments)
        for name, recipe in domain.recipes.items():
            row = f"| {domain.title} | `{name}` | {recipe.num_episodes:,} |"
            assert row in text("how-numbers-are-made.md"), row


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in navigation
