"""Jobs as tasks of Ray, on a cluster of two nodes: the same results, whatever ends in the middle."""

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cluster_jobs
from agents.evaluation.manifest import Manifest
from agents.world_model.config import PlannerConfig
from benchmarks.ablation import ablate
from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import GRIDS, Grid, Variant
from benchmarks.comparison import compare, tune
from benchmarks.comparison.compare import CompareConfig
from benchmarks.comparison.tune import TuneConfig
from benchmarks.evaluation import episodes, headline, success
from benchmarks.evaluation.config import EvaluateConfig
from benchmarks.evaluation.headline import HeadlineConfig
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.records import log
from benchmarks.records.store import Record, Store, read_record
from marked_episodes import marks
from pretrain.collection import shards
from pretrain.collection.collect import CollectConfig, collect
from pretrain.loop.run_log import read_metrics
from worldmodel.__main__ import main
from worldmodel.checkpoint import SHIPPED, load_training_state
from worldmodel.cluster import jobs
from worldmodel.cluster.config import ClusterConfig
from worldmodel.cluster.jobs import connect
from worldmodel.config import ConfigError, parse

ray = pytest.importorskip("ray")
TESTS = Path(__file__).parent
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
"""How soon Ray sees that a node is gone."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a node with one core."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS.parent))  # what is tested, whatever is installed
        found = Cluster(initialize_head=True, head_node_args=options)
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def joined(nodes: Any) -> Iterator[ClusterConfig]:
    """The configuration that names it, for two tasks at once; tests share one connection, and so their processes."""
    files = [str(TESTS / f"{module}.py") for module in ("cluster_jobs", "slow_steps", "marked_episodes")]
    ray.init(address=nodes.address, log_to_driver=False, runtime_env={"py_modules": files})
    yield ClusterConfig(ray=nodes.address, ray_cpus=0.5)
    ray.shutdown()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run in a folder of their own, beside no log of evaluations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "ROOT", tmp_path)
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 1)


# --- without a cluster ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "a:b", "127.0.0.1:99999999"])
def test_a_cluster_that_cannot_be_reached_is_one_line(address, capsys, tmp_path):
    options = ["random", "--manifest", "validation", "--ray", address, "--output", str(tmp_path / "a.json")]
    assert main(["evaluate", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"ray must be 'local' or the address of a Ray cluster that can be reached, got {address!r}: " in line


def test_a_missing_ray_is_one_line_that_names_the_extra(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ["random", "--manifest", "validation", "--ray", "local", "--output", str(tmp_path / "a.json")]
    assert main(["evaluate", *options]) == 1
    assert capsys.readouterr().err == "worldmodel evaluate: --ray needs ray: pip install 'worldmodel[ray]'\n"


def test_every_command_takes_the_same_options():
    for kind, words in (
        (EvaluateConfig, []), (CollectConfig, []), (CompareConfig, []), (HeadlineConfig, []), (TuneConfig, ["gcbc"]),
        (AblateConfig, ["planning"]),
    ):  # fmt: skip
        config = parse(kind, [*words, "--ray", "local", "--ray-gpus", "0.5"], prog="", description="")
        assert config.cluster == ClusterConfig(ray="local", ray_gpus=0.5)
        with pytest.raises(ConfigError, match=r"cluster\.ray_cpus must be greater than 0, got 0\.0"):
            parse(kind, [*words, "--ray-cpus", "0"], prog="", description="")
    with pytest.raises(ConfigError, match="num_workers must be 1 with --ray, whose tasks do the work, got 2"):
        CollectConfig(num_workers=2, cluster=ClusterConfig(ray="local"))


# --- on a cluster ------------------------------------------------------------------------------------------------


def stop_after(count: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is stopped by Ctrl-C after some calls."""
    calls: list[int] = []

    def stopped(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return result

    return stopped


def test_a_node_that_is_killed_in_the_middle_loses_nothing_and_repeats_only_what_was_lost(nodes, tmp_path):
    node = nodes.add_node(num_cpus=1)
    wanted = {f"job {number}": (number, tmp_path, 0.7) for number in range(8)}
    found, cluster = {}, ClusterConfig(ray=nodes.address)
    with connect(cluster, modules=("cluster_jobs",), shared=tmp_path, progress=False) as workers:
        for name, result in workers.map(cluster_jobs.take, wanted, "squares"):
            found[name] = result
            if len(found) == 2:
                nodes.remove_node(node, allow_graceful=False)
                stored = set(found)
    assert found == {f"job {number}": (number**2, str(tmp_path)) for number in range(8)}
    times = {f"job {path.name}": len(path.read_text()) for path in tmp_path.iterdir()}
    assert {times[name] for name in stored} == {1}
    assert sum(times.values()) <= 8 + 2


def test_an_evaluation_that_loses_a_node_has_the_rows_of_one_process_and_repeats_nothing_stored(
    nodes, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(TESTS))
    folder = tmp_path / "marks"
    folder.mkdir()
    config = EvaluateConfig(
        policy="random", env_id="marked_episodes:MarkedPendulum-v0", num_episodes=4, num_envs=1, latency_episodes=0,
        env_kwargs={"folder": str(folder), "seconds": 0.25, "nodes": 2}, output=tmp_path / "here.json", progress=False,
    )  # fmt: skip
    seeds = episodes.find_episodes(config)[0].seeds
    alone = success.run(config)
    assert marks(folder) == {seed: ["none"] for seed in seeds}
    for path in folder.iterdir():
        path.unlink()

    node = nodes.add_node(num_cpus=1)
    stored: list[set[int]] = []
    lost: list[int] = []
    original = success.write_record

    def write(path: Path, record: Record) -> None:
        original(path, record)
        stored.append({seeds[row["index"]] for row in record.rows})
        deadline = time.monotonic() + 60
        while not lost:  # at first the node is lost, as soon as an episode has begun there that is not stored
            assert time.monotonic() < deadline, "no episode began"
            time.sleep(0.02)
            begun = {int(path.name) for path in folder.iterdir() if time.time() - path.stat().st_mtime < 0.5}
            lost.extend(seed for seed in begun - stored[0] if marks(folder)[seed] == [node.node_id])
            if lost:
                nodes.remove_node(node, allow_graceful=False)

    monkeypatch.setattr(success, "write_record", write)
    there = replace(config, cluster=ClusterConfig(ray=nodes.address), output=tmp_path / "there.json")
    record = success.run(there)
    assert record.rows == alone.rows
    assert read_record(there.output) == record
    assert [len(found) for found in stored] == [1, 2, 3, 4]
    ran = marks(folder)
    assert {len(ran[seed]) for seed in stored[0]} == {1}
    for seed in lost:
        assert ran[seed][0] == node.node_id != ran[seed][1]
    assert sum(map(len, ran.values())) <= 4 + 2
    assert success.run(there) == record
    assert marks(folder) == ran


def test_an_evaluation_goes_on_after_ctrl_c_to_the_rows_of_one_process(joined, tmp_path, monkeypatch):
    config = EvaluateConfig(
        policy="two-rooms", manifest="validation", num_episodes=3, num_envs=1, latency_episodes=1, progress=False,
        planner=PlannerConfig(num_samples=8, num_elites=4, num_iterations=1, horizon=3), output=tmp_path / "here.json",
    )  # fmt: skip
    alone = success.run(config)
    there = replace(config, cluster=joined, output=tmp_path / "there.json")
    with monkeypatch.context() as patch:
        patch.setattr(success, "write_record", stop_after(1, success.write_record))
        with pytest.raises(KeyboardInterrupt):
            success.run(there)
    before = read_record(there.output)
    assert not before.finished
    assert len(before.rows) < 3
    asked = []
    original = jobs.Workers.map
    monkeypatch.setattr(
        jobs.Workers, "map", lambda self, f, todo, what: asked.extend(todo) or original(self, f, todo, what)
    )
    record = success.run(there)
    assert record.rows == alone.rows
    assert (record.key, record.config) == (alone.key, alone.config)
    assert record.facts["id"] == before.facts["id"]
    assert record.facts["latency"]["num_plans"] == alone.facts["latency"]["num_plans"]
    assert record.provenance["ray"] == {"cpus": 0.5, "gpus": 0.0}
    assert len(asked) == 4 - 1
    assert success.run(there) == record


def test_a_collection_goes_on_after_ctrl_c_to_the_same_dataset(joined, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    config = CollectConfig(
        env_id="slow_steps:SlowPendulum-v0", num_episodes=12, seed=3, root=tmp_path / "here", progress=False
    )
    alone = collect(config)
    there = replace(config, cluster=joined, root=tmp_path / "there")
    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardFolder, "save", stop_after(3, shards.ShardFolder.save))
        with pytest.raises(KeyboardInterrupt, match="3 of 12 episodes"):
            collect(there)
    for a, b in zip(alone, collect(there), strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)
        np.testing.assert_array_equal(a.actions, b.actions)


def test_a_grid_gives_the_same_rows_and_trains_once_what_variants_share(joined, tmp_path, monkeypatch):
    # Tasks are other processes, where nothing is patched: the grid itself makes a tiny model of the preset.
    tiny = {
        "model.hidden_channels": 4, "model.num_blocks": 1, "model.stride": 8, "model.predictor_channels": (4,),
        "data.num_frames": 4, "data.batch_size": 2, "heads.batch_size": 2, "heads.num_steps": 1, "accelerator": "cpu",
    }  # fmt: skip
    names = {"one": 1, "one again": 1}
    variants = tuple(Variant(name=name, train=tiny | {"rollout_steps": k}) for name, k in names.items())
    monkeypatch.setitem(GRIDS, "video", Grid(preset="moving-mnist", measured="detection", variants=variants))
    config = AblateConfig(
        name="video", num_steps=1, num_videos=2, runs=tmp_path / "here", output=tmp_path / "here.json", progress=False
    )
    alone = ablate.run(config)["rows"]
    config = replace(config, cluster=joined, runs=tmp_path / "there", output=tmp_path / "there.json")
    rows = ablate.run(config)["rows"]
    told = ("variant", "seed", "detection", "weights")
    assert [[row[name] for name in told] for row in rows] == [[row[name] for name in told] for row in alone]
    assert {path.name for path in (tmp_path / "there" / "ablate-video").iterdir()} == {"one-seed0"}
    assert {row["provenance"]["command"] for row in rows} == {alone[0]["provenance"]["command"]}
    assert not list((tmp_path / "there").glob(".seen-*"))


def test_a_comparison_fills_the_store_that_one_without_ray_goes_on_from(joined, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "draw", lambda *_: None)
    monkeypatch.setattr(compare, "LATENCY_EPISODES", 0)
    config = CompareConfig(
        contenders=("random", "gcbc"), seeds=(0,), minutes=0.01, num_episodes=2, runs=tmp_path / "runs",
        store=tmp_path / "store", output=tmp_path / "compare.json", progress=False,
    )  # fmt: skip
    content = compare.run(replace(config, cluster=joined))
    assert [row["contender"] for row in content["rows"]] == ["random", "gcbc"]
    assert len(list(Store(config.store).records())) == 2 * 3
    assert content["rows"][1]["env_steps"][0] > 0
    alone = replace(config, contenders=("random",), store=tmp_path / "alone", output=tmp_path / "alone.json")
    assert compare.run(alone)["rows"][0]["manifests"] == content["rows"][0]["manifests"]
    monkeypatch.setattr(success, "run_all", None)  # calling it would fail
    assert compare.run(config)["rows"] == content["rows"]


def test_candidates_that_train_side_by_side_are_those_of_one_process(joined, tmp_path, monkeypatch):
    candidates = ({"learning_rate": 1e-3, "num_steps": 3}, {"learning_rate": 3e-4, "num_steps": 3})
    monkeypatch.setattr(tune, "CANDIDATES", {"gcbc": candidates})
    config = TuneConfig(contender="gcbc", minutes=5.0, num_episodes=2, progress=False)
    alone = tune.run(replace(config, runs=tmp_path / "here", output=tmp_path / "alone"))
    there = replace(config, runs=tmp_path / "there", output=tmp_path / "stored", cluster=joined)
    records = tune.run(there)
    assert [record.facts["changes"] for record in records] == list(candidates)
    assert [(record.key, record.rows) for record in records] == [(record.key, record.rows) for record in alone]
    monkeypatch.setattr(success, "run_all", None)  # calling it would fail
    assert tune.run(replace(there, cluster=ClusterConfig())) == records


def test_a_training_that_ctrl_c_stops_saves_what_it_has_and_goes_on_from_there(joined, tmp_path, monkeypatch):
    changes = {"num_steps": 60, "warmup_fraction": 0.0, "log_every": 1, "checkpoint_every": 1_000}
    monkeypatch.setattr(tune, "CANDIDATES", {"gcbc": (changes,)})
    config = TuneConfig(
        contender="gcbc", minutes=5.0, num_episodes=1, runs=tmp_path / "runs", output=tmp_path / "stored",
        cluster=joined, progress=False,
    )  # fmt: skip

    def steps() -> list[float]:
        """Steps in the training's log, each once if nothing was repeated."""
        found = list(config.runs.glob("*/metrics.jsonl"))
        return [row["step"] for row in read_metrics(found[0].parent) if "train/loss" in row] if found else []

    def stop(self: jobs.Workers) -> int:
        if len(steps()) >= 5:
            raise KeyboardInterrupt
        return slots(self)

    slots = jobs.Workers._slots
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "GRACE_SECONDS", 60)
        patch.setattr(jobs.Workers, "_slots", stop)  # asked again and again while tasks run
        with pytest.raises(KeyboardInterrupt):
            tune.run(config)
    (folder,) = (path for path in config.runs.iterdir() if path.is_dir())
    saved = load_training_state(folder)["step"]
    assert 5 <= saved < 60
    assert steps() == [*range(1, saved + 1)]
    assert not list(config.output.glob("*.json"))
    began = (folder / "metrics.jsonl").read_text().splitlines()[:saved]
    (record,) = tune.run(config)
    assert record.finished
    assert load_training_state(folder)["step"] == 60
    assert steps() == [*range(1, 61)]
    assert (folder / "metrics.jsonl").read_text().splitlines()[:saved] == began


def test_all_planners_on_all_manifests_give_the_records_of_one_process(joined, tmp_path, monkeypatch):
    def short(name: str) -> Manifest:
        found = load_manifest(name)
        halves = {"seeds": found.seeds[:2], "episodes": found.episodes[:2], "shortest_paths": found.shortest_paths[:2]}
        return replace(found, **halves, max_steps=8)

    monkeypatch.setattr(episodes, "load_manifest", short)
    monkeypatch.setattr(headline, "PLANNERS", {"policy": "the actor alone"})
    monkeypatch.setattr(headline, "ELSEWHERE", ("policy",))
    config = HeadlineConfig(
        checkpoints=(SHIPPED / "two-rooms",), latency_episodes=0, output=tmp_path / "here", progress=False
    )
    alone = headline.run(config)
    records = headline.run(replace(config, output=tmp_path / "there", cluster=joined))
    assert len(records) == 4
    assert [(record.key, record.rows) for record in records] == [(record.key, record.rows) for record in alone]


class Terminal(io.StringIO):
    """A terminal that keeps what it is told."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_how_many_jobs_are_done_and_which_run(joined, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    wanted = {f"job {number}": (number, tmp_path, 0.3) for number in range(5)}
    with connect(joined, progress=True) as workers:
        done = [name for name, _ in workers.map(cluster_jobs.take, wanted, "squares")]
    shown = re.findall(r"squares: +\d+%\|[^|]*\| (\d)/5 \[[^,]*, [^,\]]*(?:, ([^\]]*))?\]", terminal.getvalue())
    counts = [int(count) for count, _ in shown]
    assert counts == sorted(counts)
    assert {*counts} == {*range(6)}
    running = [(int(count), names.split("; ")) for count, names in shown if names]
    assert max(len(names) for _, names in running) == 2
    assert {name for _, names in running for name in names} == {*wanted}
    assert all(name not in done[: max(0, count - 1)] for count, names in running for name in names)
    assert shown[-1] == ("5", "")  # nothing runs any more


def test_errors_of_jobs_are_told_as_they_are(joined, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_RETRIES", 0)

    def first(function):
        with connect(joined, progress=False) as workers:
            return list(workers.map(function, {"a job": (7,)}, "jobs"))

    with pytest.raises(ValueError, match=r"^number must be small, got 7$"):
        first(cluster_jobs.fail)
    with pytest.raises(ChildProcessError, match="the task 'a job' could not be brought to its end"):
        first(cluster_jobs.die)
