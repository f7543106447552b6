"""What may be wrong with the folders of training runs and unfinished collections: how it comes, and what is said."""

import json
import math
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bad_inputs.checking import MENDED
from bad_inputs.checkpoints import GONE
from bad_inputs.commands import ALWAYS
from bad_inputs.data import put

PRETRAIN = [
    *shlex.split(f"pretrain two-rooms {ALWAYS['pretrain two-rooms']}"),
    *shlex.split("--num-steps 2 --checkpoint-every 1 --accelerator cpu --precision 32-true --model.latent-dim 4"),
    *shlex.split("--model.encoder-channels 4 4 --model.predictor-hidden-dim 8 --policy.networks.hidden-dim 8"),
]
"""A run of two steps of the model, one of its refinement, and one of the policy."""
TRAIN_RL = shlex.split(f"train-rl sac {ALWAYS['train-rl']} --net-arch 8 --eval-every 4")
"""A run of two steps of two environments."""


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def edited(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes a JSON file."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def setting(name: str, key: str, value: object) -> Callable[[Path], None]:
    """Sets a key of a JSON file, or takes it away."""
    return edited(name, lambda content: changed(content, key, value))


def changed(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    return {k: v for k, v in (content | {key: value}).items() if v is not GONE}


def key(name: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda content: changed(content, name, value)


def weights(change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[dict[str, Any]], Any]:
    """Changes the first tensor of a state."""

    def damage(state: dict[str, Any]) -> dict[str, Any]:
        module = dict(state["module"])
        name = next(name for name, tensor in module.items() if tensor.is_floating_point())
        new = change(module.pop(name))
        return state | {"module": module if new is None else module | {name: new}}

    return damage


def moments(optimizer: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    """Changes the moments of an optimiser's state."""
    state = {
        i: {name: change(t) if name.startswith("exp_") else t for name, t in values.items()}
        for i, values in optimizer["state"].items()
    }
    return optimizer | {"state": state}


STATES = (
    ("a list", lambda _: [1], r"training_state.pt must hold 'step', a int, got"),
    ("a tensor", lambda _: torch.zeros(3), r"training_state.pt must hold 'step', a int, got"),
    ("text", lambda _: b"hello, world", r"training_state.pt is not a training state of this package"),
    ("nothing", lambda _: b"", r"training_state.pt is not a training state of this package"),
    *(
        (f"lacks {name}", key(name, GONE), rf"training_state.pt must hold '{name}', a \w+, got")
        for name in ("step", "seconds", "module", "optimizer", "config")
    ),
    *(
        (
            f"step {value!r}",
            key("step", value),
            rf"training_state.pt must hold 'step', a int, got {type(value).__name__}",
        )
        for value in ("x", 5.5, None, True)
    ),
    ("step -1", key("step", -1), r"training_state.pt must hold a step and finite seconds, both from 0, got -1"),
    ("step 1e9", key("step", 10**9), r"training_state.pt must hold a step of at most 4, got 1000000000"),
    ("seconds nan", key("seconds", math.nan), r"training_state.pt must hold a step and finite seconds, .*nan"),
    ("seconds -1", key("seconds", -1.0), r"training_state.pt must hold .*seconds.*-1"),
    ("config a list", key("config", "[]"), r"training_state.pt must hold the configuration of a run"),
    ("config no JSON", key("config", "{"), r"training_state.pt must hold the configuration of a run"),
    ("config deep", key("config", "[" * 10**6), r"training_state.pt must hold the configuration of a run"),
    ("config of another run", key("config", '{"seed": 5}'), r"run holds a run of another configuration; it differs in"),
    ("module a list", key("module", []), r"training_state.pt must hold 'module', a dict, got list"),
    ("module of nothing", key("module", {}), r"training_state.pt does not fit the configuration: .*[Mm]issing key"),
    (
        "module lacks a tensor",
        weights(lambda _: None),
        r"training_state.pt does not fit the configuration: .*[Mm]issing",
    ),
    ("module of another shape", weights(lambda t: t[:1]), r"training_state.pt does not fit the configuration: .*size"),
    ("module of texts", weights(lambda _: "x"), r"training_state.pt does not fit the configuration"),
    ("module NaN", weights(lambda t: t * math.nan), r"training_state.pt must hold finite weights, got some in '\S+'"),
    ("optimizer of nothing", lambda s: s | {"optimizer": {}}, r"training_state.pt does not fit the optimiser"),
    (
        "optimizer of another",
        lambda s: s | {"optimizer": {"state": {}, "param_groups": []}},
        r"training_state.pt does not fit the optimiser of its stage: .*parameter group",
    ),
    (
        "optimizer NaN",
        lambda s: s | {"optimizer": moments(s["optimizer"], lambda t: t * math.nan)},
        r"training_state.pt must hold finite numbers",
    ),
    (
        "optimizer of another shape",
        lambda s: s | {"optimizer": moments(s["optimizer"], lambda t: torch.zeros(3, 1, 4))},
        r"training_state.pt does not fit the optimiser of its stage: 'exp_avg' must be \[.*\], got \[3, 1, 4\]",
    ),
)
"""What becomes of ``training_state.pt``, as it is after the first step."""


METRICS = (
    ("numbers", b"5\n", r"metrics.jsonl must hold a JSON object in each line, got 5 in line 1"),
    ("lists", b"[]\n", r"metrics.jsonl must hold a JSON object in each line, got \[\] in line 1"),
    ("step in words", b'{"step": "x"}\n', r"metrics.jsonl must hold .*, got step 'x' in line 1"),
    ("step True", b'{"step": true}\n', r"metrics.jsonl must hold .*, got step True in line 1"),
    ("no step", b'{"loss": 1}\n', r"metrics.jsonl must hold .*, got no 'step' in line 1"),
    ("binary", b"\x80\xff\n", r"metrics.jsonl must hold .*, got b'\S+' in line 1"),
    ("text", b"hello, world\n", r"metrics.jsonl must hold .*, got b'hello, world' in line 1"),
    ("deep", b"[" * 10**6 + b"\n", r"metrics.jsonl must hold .*, got b'\[+' in line 1"),
)
"""First lines of ``metrics.jsonl``."""


def empty_zip(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w"):
            pass

    return damage


def both(*damages: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


RL = "rl.json"
LEARNED = (
    ("empty", put(RL, b""), r"rl.json must be how a run was configured, an object"),
    ("null", put(RL, b"null"), r"rl.json must be how a run was configured, an object: got null"),
    ("deep", put(RL, b"[" * 10**6), r"rl.json must be how a run was configured, an object"),
    (
        "of an older version",
        setting(RL, "format", GONE),
        r"rl.json must have format 'worldmodel.rl/2'; .*older version",
    ),
    ("of another format", setting(RL, "format", "evil"), r"rl.json: format must be .*'worldmodel.rl/2', got 'evil'"),
    *(
        (f"lacks {name}", setting(RL, name, GONE), rf"rl.json: RunConfig must be an object with the field '{name}'")
        for name in ("action_repeat", "kept_as", "observation", "algorithm", "net_arch", "action_space")
    ),
    ("unknown key", setting(RL, "evil", 1), r"rl.json: RunConfig must be an object with fields among .*, got 'evil'"),
    ("action_repeat 0", setting(RL, "action_repeat", 0), r"rl.json: action_repeat must be at least 1, got 0"),
    (
        "action_repeat 1e9",
        setting(RL, "action_repeat", 1e9),
        r"rl.json: action_repeat must be an integer, got 1000000000.0",
    ),
    ("action_repeat foo", setting(RL, "action_repeat", "foo"), r"rl.json: action_repeat must be an integer, got 'foo'"),
    ("action_repeat 5", setting(RL, "action_repeat", 5), r"rl.json must be the one that \S+ was trained with"),
    ("algorithm a list", setting(RL, "algorithm", ["sac"]), r"rl.json: algorithm must be one of .*got \('sac',\)"),
    ("algorithm ppo", setting(RL, "algorithm", "ppo"), r"rl.json: (hindsight|hyperparameters)\S* must be"),
    ("algorithm tqc", setting(RL, "algorithm", "tqc"), r"rl.json must be the one that \S+ was trained with"),
    (
        "net_arch 1e9",
        setting(RL, "net_arch", [10**9]),
        r"rl.json: net_arch\[0\] must be at most 16777216, got 1000000000",
    ),
    ("spaces of 5", setting(RL, "observation_space", 5), r"rl.json: observation_space must be .*got 5"),
    ("no zips", both(put("model.zip", None), put("best_model.zip", None)), r"(must hold|has no|contain) .*model.zip"),
    ("zips empty", both(empty_zip("model.zip"), empty_zip("best_model.zip")), r"model.zip must .*"),
    ("zips of text", both(put("model.zip", b"hello"), put("best_model.zip", b"hello")), r"model.zip must .*"),
)
"""What becomes of the folder of an agent that is to be evaluated."""
RESUMED = (
    ("evaluations empty", put("evaluations.npz", b""), MENDED),
    ("progress empty", put("progress.json", b""), r"progress.json must be what a run has spent, an object"),
    ("progress of unknown key", setting("progress.json", "x", 1), r"progress.json: Progress must be .*, got 'x'"),
    ("progress of -1 steps", setting("progress.json", "steps", -1), r"progress.json: steps must be at least 0, got -1"),
    ("progress of 1e30 steps", setting("progress.json", "steps", 10**30), r"progress.json: steps must be .*, got 1000"),
    ("replay empty", put("replay.npz", b""), r"replay.npz must .*"),
    ("replay of text", put("replay.npz", b"hello, world"), r"replay.npz must .*"),
    ("model empty", put("model.zip", b""), r"model.zip must .*"),
    ("no model", put("model.zip", None), r"must hold model.zip beside progress.json"),
    ("config of another run", setting(RL, "seed", 5), r"holds a run of another configuration; it differs in seed"),
)
"""What becomes of the folder of a run that is to go on."""

SHARD = "episode-0000000.npz"
UNREADABLE = r"an unfinished collection whose parameters cannot be read is in"


def cut(folder: Path) -> None:
    """Takes the last action of an episode away; the archive's checksums are right."""
    with np.load(folder / SHARD) as file:
        arrays = dict(file)
    np.savez(folder / SHARD, **arrays | {"actions": arrays["actions"][:-1]})


COLLECTIONS = (
    ("parameters not UTF-8", put("manifest.json", b"\xff"), UNREADABLE),
    ("parameters a list", put("manifest.json", b"[]"), UNREADABLE),
    ("parameters deep", put("manifest.json", b"[" * 10**6), UNREADABLE),
    ("parameters gone", put("manifest.json", None), UNREADABLE),
    (
        "other parameters",
        setting("manifest.json", "seed", 5),
        r"an unfinished collection with other parameters is in .*seed: 5",
    ),
    ("mark of text", put("joined.ok", b"x"), MENDED),
    ("shard empty", put(SHARD, b""), MENDED),
    ("shard of text", put(SHARD, b"hello, world"), MENDED),
    ("shard with too few actions", cut, MENDED),
)
"""What becomes of the folder of an unfinished collection."""
