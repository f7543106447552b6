"""Commands of README and docs are run, in a temporary folder, with the numbers on the page lowered.

What a command reads, another command on a page makes (``runs/NAME``, a dataset), and is run first; what people bring
along is made here (:data:`BROUGHT`). What is not run is parsed by ``tests/test_docs.py``; :data:`NOT_RUN` says why.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import recordings
from agents.evaluation.manifest import Manifest
from benchmarks.evaluation import success
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records import log
from documents import BLOCK, PAGES, ROOT, commands, name_of, shorten
from mujoco_rendering import require_mujoco
from pretrain.collection.collect import default_dataset_id
from pretrain.loop.run_log import read_metrics
from pretrain.presets import PRESETS
from pretrain.rl import train as train_rl
from worldmodel.__main__ import main

NOT_RUN = {
    r"ablate (training|images|image-weights)": "many trainings; tests/benchmarks/ablation/test_ablate.py has few",
    r"compare": "trains all contenders; tests/benchmarks/comparison/test_compare.py runs it with small ones",
    r"headline": "needs three seeds; tests/benchmarks/evaluation/test_headline.py runs it on stand-ins",
    r"tune": "trains each candidate by the clock; tests/benchmarks/comparison/test_tune.py runs it with few steps",
    r"pretrain two-rooms --accelerator cuda": "needs a GPU",
    r"pretrain two-rooms --log-wandb": "the variable before it is not set; tests/interplay/test_logs.py logs offline",
    r"gpu-check": "compiles every kind of training; tests/benchmarks/gpu runs all stages without",
    r"pretrain two-rooms --devices 4": "starts four processes, each of which trains",
    r"(evaluate|render) hub:|push (?!.*--dry-run)": "needs a hub of models; tests/benchmarks/sharing has one",
    r"(evaluate|ablate) .*--ray": "starts a Ray, as `collect --ray local` does; tests/test_cluster.py has one for all",
    r"time-export": "exports once more; tests/benchmarks/analysis/test_exported.py times a small model",
    r"pretrain .*--help": "tests/test_command_line.py reads the help",
}
"""Commands that are parsed and not run, and why."""
MADE_FROM_RECORDS = "docs/results.md"
"""A page whose commands have run: they come from the records of what it shows."""

FEW = {
    "--goal-image.goal-steps": 5,
    "--num-episodes": 2,
    "--num-steps": 2,
    "--num-videos": 8,
    "--num-workers": 1,
    "--planner.num-samples": 16,
    "--policy.num-steps": 2,
}
"""What numbers on the pages are lowered to."""

ADDED = {
    "collect": "--num-episodes 12 --max-episode-steps 60 --no-progress",
    "evaluate": "--num-episodes 2 --latency-episodes 0 --no-progress",
    "appearance": "--num-episodes 2 --output outputs/appearance --no-progress",
    "attribute": "--num-episodes 2 --num-videos 0 --no-progress",
    "demo": "--video-episodes",
    "detect": "--num-videos 8 --shown 1 --no-progress",
    "latency": "--budgets-ms 1.0 --long-budgets-ms 1.0 --num-episodes 1",
    "maps": "--episodes 0",
    "moving-mnist": "--num-videos 8 --num-frames 4 --no-progress",
    "probe": "--images fashion-mnist --no-progress",
    "render": "--max-steps 2 --hold-seconds 0 --frames-per-step 1 --no-progress",
    "speed": "--repeats 1 --seconds 0.01 --num-envs 2",
    "train-rl": "--max-steps 40 --eval-every 20 --eval-episodes 1 --num-envs 2 --action-repeat 1 --no-progress",
    "ablate": "--only CEM --num-episodes 2 --overwrite --no-progress",
}
"""What is added to a command, unless the page has it."""


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


def made_by(words: list[str]) -> str | None:
    """What a command makes that others read: the folder of a run, or the id of a dataset."""
    if words[0] == "pretrain" and len(words) > 1:
        return option(words, "--output", f"runs/{words[1]}-seed{option(words, '--seed', '0')}")
    if words[0] == "train-rl":
        environment = option(words, "--env-id", "TwoRooms-v0")
        default = f"rl-{train_rl.slug(environment)}-{words[1]}-{option(words, '--observation', 'state')}-seed0"
        return option(words, "--output", f"runs/{default}")
    if words[0] == "collect":
        actor = option(words, "--policy", "random-walk")
        return option(words, "--dataset-id", default_dataset_id(option(words, "--env-id", "TwoRooms-v0"), actor))
    return None


def read_by(words: list[str]) -> list[str]:
    """What a command reads that is not there: runs, datasets."""
    before = ["", *words]
    runs = [w for w, last in zip(words, before, strict=False) if w.startswith("runs/") and last != "--output"]
    data = [option(words, name) for name in ("--data.dataset", "--dataset", "--goals-from") if name in words]
    if words[0] == "pretrain" and len(words) > 1 and not data:
        known = getattr(PRESETS[words[1]][1].data, "dataset", "")  # type: ignore[attr-defined]
        data = [known] if "/" in known else []
    return [*runs, *data]


def on_pages() -> dict[str, list[str]]:
    """The commands to run, by what is written, without ``worldmodel``; each once, however many pages have it."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if match["language"] == "bash" and not match["reason"] and name_of(page) != MADE_FROM_RECORDS:
                for program, *words in commands(match["text"]):
                    if program == "worldmodel":
                        found.setdefault(" ".join(words), words)
    return found


COMMANDS = on_pages()
RUN = [text for text in COMMANDS if not any(re.match(rule, text) for rule in NOT_RUN)]


# --- what people bring along ---------------------------------------------------------------------------------------


def recorded(write: Callable[..., Path], target: str, **keywords: object) -> Callable[[], None]:
    """Makes a recording of a format, and puts it where the page has it."""

    def make() -> None:
        place = Path(target).expanduser()
        scratch = Path("scratch", place.name)
        scratch.mkdir(parents=True)
        folder = scratch / "made" if write is recordings.write_lerobot else scratch
        made = write(folder, recordings.episodes((30, 24, 26, 40)), **keywords)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, place)

    return make


def in_minari(name: str, **keywords: object) -> Callable[[], None]:
    def make() -> None:
        scratch = Path("scratch", name.replace("/", "-"))
        scratch.mkdir(parents=True)
        made = recordings.write_minari(scratch, recordings.episodes((30, 24, 26, 40)), **keywords)
        place = Path(os.environ["MINARI_DATASETS_PATH"], name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, place)

    return make


def cameras(frames: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {"cameras": {"wrist": frames, "top": frames}}


BROUGHT: dict[str, Callable[[], None]] = {
    "arm/demos-v0": in_minari("arm/demos-v0", observe=cameras),
    "big/walk-v0": in_minari("big/walk-v0"),
    "data/point_maze": recorded(recordings.write_dino_wm, "data/point_maze"),
    "data/pusht_noise/train": recorded(recordings.write_dino_wm, "data/pusht_noise/train", images="mp4", lengths="pkl"),
    "~/.cache/huggingface/lerobot/lerobot/pusht": recorded(
        recordings.write_lerobot, "~/.cache/huggingface/lerobot/lerobot/pusht"
    ),
    "~/.ogbench/data/visual-antmaze-medium-navigate-v0.npz": recorded(
        recordings.write_ogbench, "~/.ogbench/data/visual-antmaze-medium-navigate-v0.npz"
    ),
    "~/.stable_worldmodel/pusht_expert.h5": recorded(
        recordings.write_stable_worldmodel, "~/.stable_worldmodel/pusht_expert.h5"
    ),
}
"""Recordings of others, by what a page calls them."""


def fashion(folder: Path) -> None:
    """A few images in the files of Fashion-MNIST."""
    folder.mkdir(parents=True)
    for part, count in (("train", 64), ("t10k", 32)):
        for name, array in (
            ("images-idx3", np.zeros((count, 28, 28), np.uint8)),
            ("labels-idx1", np.arange(count) % 10),
        ):
            rng = np.random.default_rng(0)
            array = rng.integers(256, size=array.shape, dtype=np.uint8) if array.ndim == 3 else array.astype(np.uint8)
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())


# --- the workplace -------------------------------------------------------------------------------------------------


class Workplace:
    """A folder in which commands are run, and what they have made there."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def run(self, text: str) -> None:
        """Runs a command, after those that make what it reads."""
        words = COMMANDS[text]
        for needed in read_by(words):
            self.provide(needed)
        makes = made_by(words)
        if makes is not None:
            self.remove(makes)
        assert main(self.small(words)) == 0, f"worldmodel {text} failed"
        if makes is not None:
            self.made[makes] = text

    def provide(self, needed: str) -> None:
        """Makes a run or a dataset, unless it is there."""
        if needed in self.made:
            return
        if needed in BROUGHT:
            BROUGHT[needed]()
            self.made[needed] = "brought along"
            return
        makers = [text for text, words in COMMANDS.items() if made_by(words) == needed]
        assert makers, f"{needed} must be made by a command on a page"
        self.run(makers[0])

    def remove(self, name: str) -> None:
        """Removes what another command has made under the same name."""
        self.made.pop(name, None)
        shutil.rmtree(name if name.startswith("runs/") else Path(os.environ["MINARI_DATASETS_PATH"], name), True)

    @staticmethod
    def small(words: list[str]) -> list[str]:
        """A command with lower numbers, and as the shell would have expanded it."""
        lowered = [
            str(min(int(word), FEW[last])) if last in FEW else word
            for last, word in zip(["", *words], words, strict=False)
        ]
        places = {"/usr/share/datasets/fashion-mnist": "fashion-mnist", "/scratch/frames": "frames"}
        lowered = [places.get(word, word) for word in lowered]
        lowered = [str(Path(word).expanduser()) if word.startswith("~/") else word for word in lowered]
        added = shlex.split(ADDED.get(words[0], ""))
        names = [i for i, word in enumerate(added) if word.startswith("--")]
        for start, end in pairwise([*names, len(added)]):
            if added[start] not in words:
                lowered += added[start:end]
        return lowered


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "datasets"))
        patch.syspath_prepend(folder)
        (folder / ".git").mkdir()
        patch.setattr(log, "LOG", folder / "evaluations.jsonl")
        patch.setattr(log, "ROOT", folder)
        shutil.copytree(ROOT / "benchmarks/results", folder / "benchmarks/results", ignore=only_shown)
        shorten(patch)
        shorter_episodes(patch)
        options = train_rl.hyperparameters
        patch.setattr(train_rl, "hyperparameters", lambda config: options(config) | smaller(options(config)))
        fashion(folder / "fashion-mnist")
        (folder / "my_env.py").write_text(own_environment())
        before = set(gym.registry)
        yield Workplace()
        for env_id in set(gym.registry) - before:
            del gym.registry[env_id]
        sys.modules.pop("my_env", None)


def only_shown(folder: str, names: list[str]) -> list[str]:
    """What of the results no command on a page names: all but comparisons and a film."""
    return [name for name in names if not re.fullmatch(r"compare.*\.(json|png)|planning\.gif", name)]


def shorter_episodes(patch: pytest.MonkeyPatch) -> None:
    """Manifests of two episodes of a few steps; episodes without a manifest have as few."""

    @functools.cache
    def short(name: str) -> object:
        manifest = load_manifest(name)
        parts = {part: getattr(manifest, part) for part in ("seeds", "episodes", "shortest_paths")}
        return replace(manifest, max_steps=6, **{part: rows and rows[:2] for part, rows in parts.items()})

    for module in ("episodes", "appearance"):
        patch.setattr(f"benchmarks.evaluation.{module}.load_manifest", short)
    for module in ("attribution", "latency", "maps", "speed"):
        patch.setattr(f"benchmarks.analysis.{module}.load_manifest", short)
    patch.setattr("benchmarks.ablation.ablate.load_manifest", short)
    patch.setattr(success, "Manifest", lambda *parts, **named: Manifest(*parts, **named | {"max_steps": 6}))


def smaller(options: dict[str, object]) -> dict[str, object]:
    """Keywords that make an algorithm small."""
    return {"buffer_size": 200, "batch_size": 8} if "buffer_size" in options else {"n_steps": 8, "batch_size": 8}


def own_environment() -> str:
    """``my_env.py`` of the guide."""
    text = (ROOT / "docs/guides/own-environment.md").read_text(encoding="utf-8")
    (source,) = [m["text"] for m in BLOCK.finditer(text) if "gym.register(" in m["text"]]
    return source


@pytest.mark.parametrize("text", RUN, ids=RUN)
def test_commands_run(text: str, workplace: Workplace) -> None:
    if re.search(r"PointMaze|Reacher|point-maze|reacher", text):
        require_mujoco()
    workplace.run(text)


def test_each_reason_is_of_a_command_on_a_page() -> None:
    assert {rule for rule in NOT_RUN if not any(re.match(rule, text) for text in COMMANDS)} == set()


def test_the_loss_of_the_guide_is_trained(tmp_path: Path) -> None:
    """The patch fits the sources, and the command that follows trains with it."""
    page = (ROOT / "docs/guides/own-loss.md").read_text(encoding="utf-8")
    found = {m["language"]: m["text"] for m in BLOCK.finditer(page)}
    shutil.copytree(ROOT / "worldmodel", tmp_path / "worldmodel")
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=found["diff"], text=True, check=True)
    (words,) = commands(found["bash"])
    few = "--num-steps 2 --data.batch-size 2 --validate-every 2 --log-every 1"
    few += " --policy.num-steps 0 --refinement.num-steps 0"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "worldmodel", *words[1:], *few.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any("train/curvature" in row for row in read_metrics(tmp_path / "runs/straight"))
