"""``worldmodel compare``: one store, one budget, nothing run twice; table and plots come from what is stored."""

import json
from dataclasses import replace

import pytest

from agents.evaluation.task import GoalImageConfig
from benchmarks.comparison import compare, training
from benchmarks.comparison.compare import RESULTS, CompareConfig, output_of, run
from benchmarks.comparison.contenders import CONTENDERS, RANDOM, learned, longer, named, planned
from benchmarks.comparison.contest import find_contest
from benchmarks.comparison.page import ReportConfig
from benchmarks.comparison.page import run as page_run
from benchmarks.comparison.tables import table
from benchmarks.evaluation import success
from benchmarks.records.store import Store, plain
from pretrain.collection.collect import CollectConfig, collect
from worldmodel.config import ConfigError


@pytest.fixture
def quick(monkeypatch):
    """No plots, no latency, which take most of the time: one test has them."""
    monkeypatch.setattr(compare, "draw", lambda *_: None)
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 0)


def test_every_contender_is_trained_evaluated_and_shown_once(tiny, monkeypatch):
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 1)
    config, learned = tiny
    names = ("random", "expert", "jepa-mppi", "ppo-pixels", "sac-state", "gcbc")
    config = replace(config, contenders=names)
    content = run(config)
    rows = {row["contender"]: row for row in content["rows"]}
    assert sorted(rows) == sorted(names)
    assert [run_config.max_minutes for run_config in learned] == [5.0] * 2
    assert rows["expert"]["manifests"]["random-wall"]["final"] == [1.0]
    assert rows["random"]["env_steps"] == [0]
    assert rows["jepa-mppi"]["difference"]["difference"] == 0.0
    # Two steps of two windows of four images, then two trajectories of 23 that are encoded.
    assert rows["jepa-mppi"]["env_steps"] == [2 * 2 * 3 * 4 + 2 * 22 * 4]
    assert rows["jepa-mppi"]["images"] == [2 * 2 * 4 + 2 * 23]
    assert rows["gcbc"]["env_steps"] == [2 * 2 * 3 * 4]
    assert rows["gcbc"]["images"] == [2 * 2 * 4]
    assert rows["sac-state"]["env_steps"][0] >= 64
    assert [point["steps"] for point in rows["sac-state"]["curves"][0]] == [32, 64]
    assert [point["step"] for point in rows["gcbc"]["curves"][0]] == [2]
    assert rows["gcbc"]["curves"][0][0]["loss"] > 0
    assert json.loads(config.output.read_text())["rows"] == json.loads(json.dumps(content["rows"]))
    text = config.output.with_suffix(".md").read_text()
    assert text == table(content).markdown()
    assert len(text.splitlines()) == 2 + len(names)
    keys = [record.key for record in Store(config.store).records()]
    assert len(keys) == 3 * len(names)
    key = {"environment": "two-rooms", "contender": "gcbc", "minutes": 5.0, "seed": 0, "manifest": "bounce"}
    assert key in keys
    assert key | {"contender": "random", "minutes": None} in keys
    for name in ("costs", "curves", "difficulty"):
        assert config.output.with_name(f"compare-{name}.png").stat().st_size > 10_000

    def never(*_, **__):
        raise AssertionError("run twice")

    monkeypatch.setattr(compare.success, "run_all", never)
    assert run(config)["rows"] == content["rows"]
    assert run(replace(config, only_report=True))["rows"] == content["rows"]


def test_runs_are_shared(tiny, quick, tmp_path):
    config, _ = tiny
    run(replace(config, contenders=("jepa-mppi", "jepa-actor")))
    assert {path.name for path in (tmp_path / "runs" / "two-rooms").iterdir()} == {"two-rooms-5min-seed0"}


def test_a_longer_budget_goes_on_with_the_common_one_and_is_a_column(tiny, quick):
    config, learned = tiny
    config = replace(config, contenders=("tqc-state", "tqc-state-4x"), seeds=(3, 4))
    content = run(config)
    assert [(one.max_minutes, one.output.name) for one in learned] == [
        (5.0, "tqc-state-5min-seed3"),
        (5.0, "tqc-state-5min-seed4"),
        (20.0, "tqc-state-20min-seed3"),
    ]
    first, second = content["rows"]
    # 64 steps were its budget already, and are not run again.
    assert second["curves"] == first["curves"][:1]
    assert second["extends"] == "tqc-state"
    shown = table(content)
    assert len(shown.rows) == 1
    assert shown.columns[4] == "with 4× time"
    assert shown.rows[0][4].startswith(f"{second['manifests']['random-wall']['final'][0]:.1%} [")
    assert set(shown.columns) - set(table(content, short=True).columns) >= {"ever", "SPL", "steps to goal", "bounce"}


def test_what_is_not_trained_is_compared_with_every_seed_and_a_seed_without_partner_with_none(tiny, quick):
    config, _ = tiny
    content = run(replace(config, contenders=("random", "jepa-mppi"), seeds=(0, 1)))
    rows = {row["contender"]: row for row in content["rows"]}
    assert rows["random"]["difference"]["num_episodes"] == 2 * 2
    content = run(replace(config, contenders=("gcbc",), seeds=(7,)))
    rows = {row["contender"]: row for row in content["rows"]}
    assert rows["gcbc"]["seeds"] == [7]
    assert rows["gcbc"]["difference"] is None


def test_budgets_and_numbers_of_episodes_are_not_mixed(tiny, quick):
    config, learned = tiny
    config = replace(config, contenders=("sac-state",))
    run(config)
    longer = run(replace(config, minutes=7.0))
    assert [one.output.name for one in learned] == ["sac-state-5min-seed0", "sac-state-7min-seed0"]
    assert len(longer["rows"][0]["seeds"]) == 1
    with pytest.raises(
        ValueError, match=r"random-wall\.json holds the result .*config.num_episodes \(was 2, now 1000\)"
    ):
        run(replace(config, num_episodes=None))
    with pytest.raises(ValueError, match=r"config.num_episodes \(was 2, now 3\)"):
        run(replace(config, num_episodes=3))


def test_what_is_trained_otherwise_is_not_taken_for_the_same(tiny, quick, monkeypatch):
    config, _ = tiny
    config = replace(config, contenders=("gcbc",))
    run(config)
    before = training.preset
    monkeypatch.setattr(training, "preset", lambda name: training.changed(before(name), {"learning_rate": 0.5}))
    with pytest.raises(ValueError, match=r"config.training.learning_rate \(was 0.001, now 0.5\)"):
        run(config)


def test_what_was_trained_elsewhere_is_not_trained_again(tiny, quick, tmp_path, monkeypatch):
    config, _ = tiny
    config = replace(config, contenders=("gcbc", "sac-state"))
    content = run(config)
    (tmp_path / "runs").rename(tmp_path / "gone")
    monkeypatch.setattr(success, "run_all", None)  # calling it would fail
    assert run(config)["rows"] == content["rows"]


def test_new_weights_are_measured_anew(tiny, quick, tmp_path):
    config, _ = tiny
    config = replace(config, contenders=("jepa-mppi", "jepa-actor"))
    run(config)
    before = {record.key["contender"]: record.config["weights"] for record in Store(config.store).records()}
    run(replace(config, seeds=(1,)))
    other, folder = (tmp_path / "runs" / "two-rooms" / f"two-rooms-5min-seed{seed}" for seed in (1, 0))
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    run(config)
    after = {r.key["contender"]: r.config["weights"] for r in Store(config.store).records(seed=0)}
    assert all(after[name] != before[name] for name in before)


def test_facts_of_what_is_not_trained_are_nothing(tmp_path):
    facts = training.costs(RANDOM, tmp_path)
    assert (facts["minutes"], facts["env_steps"], facts["curve"]) == (0.0, 0, [])
    assert training.settings(RANDOM, 0) == {}


def test_contenders_say_what_they_are():
    contenders = CONTENDERS["two-rooms"]
    assert all(one.name == name and one.environment == "two-rooms" for name, one in contenders.items())
    recurrent = named("two-rooms", learned("recurrent-ppo", "state", "Recurrent PPO, state"))["recurrent-ppo-state"]
    settings = training.settings(recurrent, 3)
    assert {name: settings[name] for name in ("algorithm", "observation", "env_id", "seed")} == {
        "algorithm": "recurrent-ppo", "observation": "state", "env_id": "TwoRooms-v0", "seed": 3
    }  # fmt: skip
    assert longer(recurrent).extends == recurrent.name
    assert find_contest("two-rooms").base == contenders["jepa-mppi"]


def test_another_environment_has_contenders_manifests_and_files_of_its_own(tiny, quick, monkeypatch):
    config, _ = tiny
    ours = named("two-rooms", RANDOM, planned("model", "A model", preset="two-rooms"))
    monkeypatch.setitem(CONTENDERS, "two-rooms", ours)
    content = run(config)
    assert (content["environment"], content["base"]) == ("two-rooms", "model")
    assert table(content).columns[-1] == "difference to A model"
    assert output_of(CompareConfig()) == RESULTS / "compare.json"
    assert output_of(CompareConfig(environment="pillars")).name == "compare-pillars.json"
    with pytest.raises(ConfigError, match=r"environment must be one of 'two-rooms', 'pillars', .*, got 'mine'"):
        CompareConfig(environment="mine")


def test_an_environment_that_nobody_registered(tiny, quick, tmp_path, monkeypatch):
    seen = {"size": 16, "goal_steps": 5, "success": "observation[0:2]", "tolerance": 0.3}
    dataset = collect(
        CollectConfig(
            env_id="Pendulum-v1",
            goal_image=GoalImageConfig(size=16, goal_steps=5),
            num_episodes=4,
            max_episode_steps=20,
            root=tmp_path / "datasets",
            progress=False,
        )
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    tiny_config, learned = tiny
    config = replace(
        tiny_config,
        env_id="Pendulum-v1",
        goal_image=GoalImageConfig(**seen),
        dataset=dataset.id,
        store=None,
        output=None,
    )
    content = run(config)
    assert [row["contender"] for row in content["rows"]] == ["random", "jepa-mppi", "sac-state"]
    assert content["base"] == "jepa-mppi"
    folder = tmp_path / "runs" / "Pendulum-v1"
    assert {path.name for path in folder.iterdir()} >= {"results", "compare.json", "compare.md", "dataset-5min-seed0"}
    assert learned[0].goal_image == GoalImageConfig(**seen)
    records = list(Store(folder / "results").records())
    assert {len(record.rows) for record in records} == {2}
    assert {record.config["env_kwargs"]["goal_image"]["size"] for record in records} == {16}
    again = run(replace(config, only_report=True))
    assert again["rows"] == content["rows"]
    page = page_run(ReportConfig(comparison=folder / "compare.json", output=tmp_path / "report.html"))
    assert "Pendulum-v1: plan with a world model" in page.read_text()
    without = find_contest(
        "Pendulum-v1", {"goal_image": {"size": 16, "success": "own"}, "dataset": None, "num_episodes": 2}
    )
    assert list(without.contenders) == ["random"]


def test_words_that_belong_to_an_environment_of_ones_own():
    with pytest.raises(ConfigError, match=r"goal_image must be given with --env-id only: .*, got {'size': 64}"):
        CompareConfig(goal_image=GoalImageConfig(size=64))
    with pytest.raises(ConfigError, match=r"dataset must be given with --env-id only: .*, got 'a/b-v0'"):
        CompareConfig(dataset="a/b-v0")
    with pytest.raises(ConfigError, match=r"--goal-image.success must be given where success is measured"):
        run(CompareConfig(env_id="Pendulum-v1", goal_image=GoalImageConfig(size=64)))


def test_what_is_published_is_of_the_contenders_as_they_are(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(training, "train", never)
    names = ("environment", "contender", "seed")
    stored = {tuple(record.key[name] for name in names) for record in Store(RESULTS / "compare").records()}
    for environment, name, seed in sorted(stored):
        config = CompareConfig(environment=environment, runs=tmp_path)
        contender = CONTENDERS[environment][name]
        if seed in compare._seeds(config, contender):
            assert not compare._cell(config, find_contest(environment), contender, seed).is_missing()


def test_what_is_published_makes_the_published_table():
    config = CompareConfig()
    published = json.loads((RESULTS / "compare.json").read_text())["rows"]
    assert rounded(report_rows(config)) == rounded(published)


def rounded(rows):
    """Plain values without the digits that differ from library to library."""
    return json.loads(json.dumps(plain(rows)), parse_float=lambda digits: round(float(digits), 9))


def report_rows(config):
    contest = find_contest("two-rooms")
    results = compare._read(config, contest)
    return [compare._row(contest, name, found, results["jepa-mppi"]) for name, found in results.items()]


def test_errors_name_the_rule(tmp_path):
    config = CompareConfig(store=tmp_path, output=tmp_path / "compare.json", progress=False)
    with pytest.raises(ValueError, match=r"contenders must be among 'random', .*, got 'human'"):
        run(replace(config, contenders=("human",)))
    with pytest.raises(ValueError, match=r"minutes must be greater than 0, got 0\.0"):
        run(replace(config, minutes=0.0))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x.json must be a record"):
        run(replace(config, only_report=True))
    (tmp_path / "x.json").unlink()
    with pytest.raises(ValueError, match="store must hold evaluations of contenders, got none in"):
        run(replace(config, only_report=True))
    with pytest.raises(ValueError, match="num_episodes must be at least 1, got 0"):
        run(replace(config, num_episodes=0))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "got one of 'random' that is not: KeyError: 'training'"),
        ({"training": 5}, "TypeError"),
        ({"training": {"minutes": "x", "env_steps": [], "images": 1, "curve": []}}, "TypeError"),
        (
            {"training": {"minutes": 0, "env_steps": 0, "images": 1, "curve": [{}]}},
            "points of a curve must have seconds",
        ),
    ],
)
def test_records_of_something_else_are_refused(tmp_path, facts, message):
    published = next(Store(RESULTS / "compare").records(contender="random", manifest="random-wall"))
    kept = {name: value for name, value in published.facts.items() if name != "training"}
    Store(tmp_path).save(replace(published, facts=kept | facts))
    with pytest.raises(ValueError, match=message):
        run(CompareConfig(store=tmp_path, output=tmp_path / "compare.json", only_report=True, progress=False))
