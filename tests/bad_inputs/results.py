"""What may be wrong with results, manifests, and what agents are given: how it comes, and what is said."""

import math

import numpy as np
from gymnasium import spaces

from bad_inputs.checkpoints import GONE
from bad_inputs.runs import key

DEEP = b"[" * 10**6
COMPARE, EVALUATE, REPORT = "compare --only-report", "evaluate random", "report --comparison compare.json"
TUNE, ABLATE = "tune gcbc", "ablate planning"
PLACES = {
    EVALUATE: "out.json",
    COMPARE: "store/two-rooms-random-seed0-random-wall.json",
    "compare --contenders random": "store/two-rooms-random-seed0-random-wall.json",
    REPORT: "compare.json",
    TUNE: "tune/two-rooms-gcbc-learning_rate-0.001--num_steps-3500-seed100.json",
    ABLATE: "ablate/planning-full--MPPI-seed0.json",
}
"""The file that a command reads."""


def constant(value):
    return lambda _: value


def within(part, name, value):
    """A change of one entry of a part of a record."""
    return lambda c: c | {part: {k: v for k, v in (c[part] | {name: value}).items() if v is not GONE}}


KEY = {"environment": "two-rooms", "contender": "random", "minutes": None, "seed": 0, "manifest": "random-wall"}
"""Key of an evaluation in the store of the comparison."""
COSTS = {"minutes": "x", "env_steps": [], "images": 1, "curve": []}
ROW = {"contender": "random", "manifests": {"random-wall": {"final": [0.5]}}}
RECORD = (
    ("deep", constant(DEEP), r"{} must be a record, an object: .*"),
    ("of a list", constant([]), r"{} must be a record, an object: got a list"),
    ("binary", constant(b"\x80\xff"), r"{} must be a record, an object"),
    ("of nothing", constant({}), r"{} must be a record, an object with key, config, .*, got"),
    ("without key", key("key", GONE), r"{} must be a record, an object with key, .*, got"),
    ("with rows of 5", key("rows", 5), r"rows of \S*{} must be of type list, got '5'"),
    ("with rows of numbers", key("rows", [5]), r"{} must be a record whose rows"),
    ("with facts of 5", key("facts", 5), r"facts of \S*{} must be of type dict, got '5'"),
)
STORED = r"store must hold evaluations that worldmodel compare made, got one of 'random' that is not"
FILES = (
    *(
        (command, name, change, words.format(PLACES[command]))
        for command in (EVALUATE, COMPARE, TUNE, ABLATE)
        for name, change, words in RECORD
    ),
    (
        EVALUATE,
        "of another policy",
        within("config", "policy", "expert"),
        r"out.json holds the result of other settings",
    ),
    (EVALUATE, "of another seed", within("config", "seed", 7), r"out.json holds the result of other settings \(.*seed"),
    (COMPARE, "without training", within("facts", "training", GONE), rf"{STORED}: KeyError"),
    (COMPARE, "with training of 5", within("facts", "training", 5), rf"{STORED}: TypeError"),
    (COMPARE, "with a training of texts", within("facts", "training", COSTS), STORED),
    (COMPARE, "with episodes of nothing", key("rows", [{}]), r"must be a record whose rows have the columns"),
    (COMPARE, "of an unknown contender", within("key", "contender", "x"), r"store must hold evaluations .*, got none"),
    (
        "compare --contenders random",
        "of other episodes",
        within("config", "num_episodes", 7),
        r"random-wall.json holds the result of other settings \(.*num_episodes",
    ),
    (REPORT, "deep", constant(DEEP), r"compare.json must be a comparison, an object"),
    (REPORT, "of a list", constant([]), r"compare.json must be a comparison, an object: got a list"),
    (REPORT, "without rows", constant({}), r"compare.json must be written by worldmodel compare; it lacks"),
    (REPORT, "with rows of 5", constant({"environment": "two-rooms", "rows": 5}), r"compare.json must be written by"),
    (REPORT, "with a row of nothing", constant({"environment": "two-rooms", "rows": [{}]}), r"it lacks"),
    (REPORT, "with a short row", constant({"environment": "two-rooms", "rows": [ROW]}), r"it lacks"),
    (REPORT, "of nowhere", constant({"environment": "x", "rows": []}), r"compare.json must be .*'x'"),
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
        r"manifest 'm': env_id must be the id of an environment, such as 'Pendulum-v1', got 'os:system'",
    ),
    ({"env_id": ""}, r"manifest 'm': env_id must be the id of an environment, such as 'Pendulum-v1', got ''"),
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
