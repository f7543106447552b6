"""What may be wrong with results, manifests, and what agents are given: how it comes, and what is said."""

import math

import numpy as np
from gymnasium import spaces

from bad_inputs.checkpoints import GONE
from bad_inputs.runs import key

DEEP = b"[" * 10**6
STORED = r"store/random-seed0-random-wall.json"
EVALUATION = "must be the JSON of an evaluation"


def constant(value):
    return lambda _: value


COMPARE, EVALUATE, REPORT = "compare --only-report", "evaluate random", "report --comparison compare.json"
TABLE = {"contender": "gcbc", "minutes": 5.0, "seed": 100, "num_episodes": 200}
COSTS = {"minutes": "x", "env_steps": [], "images": 1, "curve": []}
ROW = {"contender": "random", "random-wall": {"final": [0.5]}}
FILES = (
    (EVALUATE, "deep", constant(DEEP), rf"out.json {EVALUATION}, an object: .*"),
    (EVALUATE, "of a list", constant([]), rf"out.json {EVALUATION}, an object: got a list"),
    (EVALUATE, "binary", constant(b"\x80\xff"), rf"out.json {EVALUATION}, an object"),
    (EVALUATE, "without manifest", key("manifest", GONE), rf"out.json {EVALUATION}, got one without 'manifest'"),
    (EVALUATE, "without result", key("result", GONE), rf"out.json {EVALUATION}, got one without 'result'"),
    (EVALUATE, "with a result of 5", key("result", 5), rf"out.json {EVALUATION}: "),
    (EVALUATE, "of another policy", key("fingerprint", "x"), r"out.json holds another evaluation \(policy 'random'"),
    (COMPARE, "deep", constant(DEEP), rf"{STORED} {EVALUATION}, an object"),
    (COMPARE, "without config", key("config", GONE), rf"{STORED} {EVALUATION}, got one without 'config'"),
    (COMPARE, "without manifest", key("manifest", GONE), rf"{STORED} .*without 'manifest'"),
    (
        COMPARE,
        "of an unknown manifest",
        key("manifest", "mine"),
        rf"{STORED} must be of one of the manifests .*, got 'mine'",
    ),
    (COMPARE, "of a manifest in a list", key("manifest", ["mine"]), rf"{STORED} must be .*"),
    (COMPARE, "of another hash", key("manifest_hash", "x"), rf"{STORED} must be of one of the manifests"),
    (
        COMPARE,
        "without training",
        key("training", GONE),
        rf"{STORED} must say what its training cost, in minutes, .*, got None",
    ),
    (
        COMPARE,
        "with training of 5",
        key("training", 5),
        rf"{STORED} must say what its training cost, in minutes, .*, got 5",
    ),
    (COMPARE, "with a training of texts", key("training", COSTS), rf"{STORED} must say what its training cost, .*'x'"),
    (COMPARE, "with a summary of nothing", key("summary", {}), rf"{STORED} {EVALUATION}: KeyError: 'num_episodes'"),
    (
        COMPARE,
        "with a summary of texts",
        lambda c: c | {"summary": c["summary"] | {"final_success": "x"}},
        rf"{STORED} {EVALUATION}: .*final_success",
    ),
    (
        "compare --contenders random",
        "of other episodes",
        lambda c: c | {"config": c["config"] | {"num_episodes": 7}},
        rf"{STORED} must be of 1 episodes, got 7",
    ),
    (REPORT, "deep", constant(DEEP), r"compare.json must be a comparison, an object"),
    (REPORT, "of a list", constant([]), r"compare.json must be a comparison, an object: got a list"),
    (REPORT, "without rows", constant({}), r"compare.json must be written by worldmodel compare; it lacks 'rows'"),
    (
        REPORT,
        "with rows of 5",
        constant({"rows": 5}),
        r"compare.json must be written by worldmodel compare, got TypeError",
    ),
    (REPORT, "with a row of nothing", constant({"rows": [{}]}), r"it lacks '(random-wall|contender)'"),
    (REPORT, "with a short row", constant({"rows": [ROW]}), r"it lacks 'difference'"),
    (REPORT, "without provenance", constant({"rows": []}), r"it lacks 'provenance'"),
    (REPORT, "with provenance of 5", constant({"rows": [], "provenance": 5}), r"compare.json must be .*TypeError"),
    (
        REPORT,
        "with provenance without command",
        constant({"rows": [], "provenance": {"machine": {}}}),
        r"it lacks 'command'",
    ),
    ("tune gcbc", "deep", constant(DEEP), r"tune.json must be a table of hyperparameters, an object"),
    ("tune gcbc", "of a list", constant([]), r"tune.json must be a table of hyperparameters, an object: got a list"),
    (
        "tune gcbc",
        "of nothing",
        constant({}),
        r"tune.json must be a table that worldmodel tune wrote, got one without 'contender'",
    ),
    (
        "tune gcbc",
        "of another",
        constant({"contender": "x"}),
        r"contender of \S+tune.json must be x, got gcbc; or another --output",
    ),
    (
        "tune gcbc",
        "without rows",
        constant(TABLE),
        r"tune.json must hold rows that worldmodel tune wrote, each with changes",
    ),
    (
        "tune gcbc",
        "with rows of 5",
        constant(TABLE | {"rows": [5]}),
        r"tune.json must hold rows that worldmodel tune wrote, each with changes",
    ),
    ("ablate planning", "deep", constant(DEEP), r"ablate.json must be the table of an ablation, an object"),
    (
        "ablate planning",
        "of a list",
        constant([]),
        r"ablate.json must be the table of an ablation, an object: got a list",
    ),
    (
        "ablate planning",
        "without rows",
        constant({}),
        r"ablate.json must be the table of an ablation, with a list of rows",
    ),
    (
        "ablate planning",
        "with rows of 5",
        constant({"rows": [5]}),
        r"ablate.json must be the table of an ablation, with a list of rows",
    ),
)
"""Contents of the file that a command reads."""

MANIFEST = {
    "name": "m",
    "env_id": "TwoRooms-v0",
    "seeds": (1, 2),
    "episodes": ({"goal": [1, 2]}, {"goal": [3, 4]}),
}
MANIFESTS = (
    ({"seeds": 5}, r"manifest 'm': seeds must be a list of values, got 5"),
    ({"seeds": (), "episodes": None}, r"manifest 'm': seeds must be at least one, got \(\)"),
    ({"seeds": (1, -1)}, r"manifest 'm': seeds\[1\] must be at least 0, got -1"),
    ({"seeds": (1, 2**63)}, r"manifest 'm': seeds\[1\] must be .*, got 9223372036854775808"),
    ({"seeds": (1, "x")}, r"manifest 'm': seeds\[1\] must be an integer, got 'x'"),
    ({"seeds": (1,)}, r"manifest 'm': episodes must be one entry for each of the 1 seeds, got '2 of them'"),
    ({"episodes": 5}, r"manifest 'm': episodes must be a list of values, got 5"),
    ({"episodes": (1, 2)}, r"manifest 'm': episodes\[0\] must be names with values, got 1"),
    (
        {"episodes": ({"goal": [1, 2]}, {})},
        r"manifest 'm': episodes\[1\] must be an object with the keys goal, as the first",
    ),
    ({"shortest_paths": (1.0, math.nan)}, r"manifest 'm': shortest_paths\[1\] must be .*, got nan"),
    ({"shortest_paths": (1.0, -1.0)}, r"manifest 'm': shortest_paths\[1\] must be at least 0, got -1"),
    ({"max_steps": 0}, r"manifest 'm': max_steps must be at least 1, got 0"),
    ({"max_steps": "200"}, r"manifest 'm': max_steps must be an integer, got '200'"),
    (
        {"env_id": "os:system"},
        r"manifest 'm': env_id must be the id of an environment, such as 'TwoRooms-v0', got 'os:system'",
    ),
    ({"env_id": ""}, r"manifest 'm': env_id must be the id of an environment, such as 'TwoRooms-v0', got ''"),
    ({"env_id": 5}, r"manifest 'm': env_id must be a text, got 5"),
    ({"env_kwargs": 5}, r"manifest 'm': env_kwargs must be names with values, got 5"),
    ({"name": 5}, r"manifest '5': name must be a text, got 5"),
)
"""Fields of a manifest."""
MANIFEST_FILES = (
    ({"seeds": [1, 3]}, r"manifest.json must match its hash \w+, got \w+: it was edited after it was made"),
    ({"hash": "x"}, r"manifest.json must match its hash x, got"),
    ({"evil": 1}, r"manifest.json is not a manifest: its keys must be .*evil"),
    ({"seeds": 5}, r"seeds must be a list of values, got 5"),
    ({"episodes": 5}, r"episodes must be a list of values, got 5"),
    (DEEP, r"manifest.json must be a manifest, an object"),
    (b"[]", r"manifest.json must be a manifest, an object: got a list"),
    (b"{}", r"manifest.json is not a manifest: its keys must be"),
    (b"\xff", r"manifest.json must be a manifest, an object"),
)
"""Contents of the file of a manifest, or keys of it."""

PLANNERS = (
    ({"num_samples": 32.5}, r"num_samples must be an integer, got 32.5"),
    ({"num_samples": True}, r"num_samples must be an integer, got True"),
    ({"horizon": "3"}, r"horizon must be an integer, got '3'"),
    ({"horizon": None}, r"horizon must be an integer, got None"),
    ({"cost": "foo"}, r"cost must be one of 'value', 'summed', 'last', 'closest', 'reach', got 'foo'"),
    ({"planner": ["mppi"]}, r"planner must be one of 'mppi', 'cem', 'icem', 'policy', got \['mppi'\]"),
    ({"reach_weight": math.nan}, r"reach_weight must be .*, got nan"),
    ({"init_std": math.inf}, r"init_std must be a finite number, got inf"),
    ({"propose": "yes"}, r"propose must be True or False, got 'yes'"),
    ({"budget_ms": 0}, r"budget_ms must be greater than 0, got 0"),
)
"""Keywords of ``PlannerConfig``."""


def box(*shape: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, shape, np.float32)


AGENTS = (
    ({"device": "cuda"}, r"device must be one of 'cpu' on this machine, got 'cuda'"),
    ({"device": "foo"}, r"device must be one of 'cpu' on this machine, got 'foo'"),
    ({"dtype": int}, r"dtype must be one of torch.bfloat16, torch.float16, None, got <class 'int'>"),
    ({"dtype": "float16"}, r"dtype must be one of torch.bfloat16, torch.float16, None, got float16"),
    ({"action_space": box(3)}, r"action_space must .*2.*, got .*3"),
    ({"action_space": spaces.Discrete(2)}, r"action_space must be a Box.*, got Discrete\(2\)"),
    ({"max_norm": -1.0}, r"max_norm must be positive or None, got -1"),
    ({"max_norm": math.nan}, r"max_norm must be positive or None, got nan"),
    ({"seed": -1}, r"seed must be .*, got -1"),
    ({"config": {"horizon": 3}}, r"config must be a PlannerConfig.*, got"),
)
"""Keywords of ``PlanningAgent.from_pretrained``."""

IMAGE = np.zeros((2, 2, 65, 65), np.uint8)


def pair(observation: object, goal: object = IMAGE) -> dict:
    return {"observation": {"observation": observation, "desired_goal": goal}}


OBSERVATIONS = (
    ("no dictionary", {"observation": IMAGE}, r"observation must be .*'observation'.*'desired_goal'.*, got"),
    ("None", {"observation": None}, r"observation must be .*'observation'.*'desired_goal'.*, got"),
    ("no goal", {"observation": {"observation": IMAGE}}, r"observation must .*'desired_goal'.*, got"),
    ("floats", pair(IMAGE / 255), r"observation must have dtype uint8, got float64"),
    ("floats for a goal", pair(IMAGE, IMAGE / 255), r"desired_goal must have dtype uint8, got float64"),
    ("text", pair("image"), r"observation must have dtype uint8, got <U5"),
    ("other sides", pair(IMAGE[..., :64], IMAGE[..., :64]), r"must .*65"),
    ("another shape of goal", pair(IMAGE, IMAGE[:1]), r"must .*shape"),
    ("one dimension", pair(np.zeros(5, np.uint8), np.zeros(5, np.uint8)), r"must .*\(5,\)"),
    ("no environments", pair(IMAGE[:0], IMAGE[:0]), r"must .*0"),
    ("state a tuple", {"state": (1, 2)}, r"state must be a PlanningState, as predict returns it, or None, got tuple"),
    ("state a text", {"state": "x"}, r"state must be a PlanningState, as predict returns it, or None, got str"),
    ("episode_start of texts", {"episode_start": ["yes", "no"]}, r"episode_start must .*"),
    ("episode_start of one", {"episode_start": [True]}, r"episode_start must .*2"),
    ("episode_start of floats", {"episode_start": [0.5, np.nan]}, r"episode_start must .*"),
)
"""Arguments of ``PlanningAgent.predict``."""
