"""README and the page of results: made from templates and results, the same each time."""

import json
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.readme import PAGES, ReadmeConfig, Values, machines, render, run, values
from benchmarks.records.store import Record


@pytest.fixture(scope="module")
def found() -> Values:
    return values()


def test_pages_are_as_templates_and_results_make_them(found, monkeypatch):
    monkeypatch.setattr(readme, "values", lambda: found)
    run(ReadmeConfig(check=True))


def test_pages_show_what_was_measured(found):
    short, long = (render(page, found) for page in PAGES[:2])
    for title in ("random actions", "scripted expert", "JEPA + MPPI", "SAC + HER, state", "SAC + HER, pixels", "GCIVL"):
        assert f"\n| {title} |" in short
    assert {comparison["domain"].title for comparison in found["comparisons"]} >= {"Two Rooms"}
    assert all(ablation["table"] in long for ablation in found["ablations"])
    assert found["tuning"]["table"] in long


def test_pages_stand_without_any_result(tmp_path, monkeypatch):
    """What has not been measured is left out."""
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    monkeypatch.setattr(readme.compare, "RESULTS", tmp_path)
    monkeypatch.setattr(readme.tune, "FOLDER", tmp_path)
    empty = values()
    assert not any(empty["analyses"].values())
    assert not any(value for name, value in empty.items() if name != "analyses")
    assert all("|--:|" not in render(page, empty) for page in PAGES)


def test_a_second_environment_has_rows_and_a_section_of_its_own(tmp_path, monkeypatch):
    content = json.loads((readme.RESULTS / "compare.json").read_text(encoding="utf-8"))
    chosen = [row for row in content["rows"] if row["contender"] in ("random", "expert", "jepa-mppi", "sac-state")]
    for row in chosen:
        row["manifests"] = {"random": row["manifests"]["random-wall"], "held-out": None}
    measures = {"random": "final", "held-out": "final"}
    (tmp_path / "compare-pillars.json").write_text(
        json.dumps(content | {"environment": "pillars", "measures": measures, "rows": chosen})
    )
    for module in (readme, readme.compare):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    short, long = (render(page, values()) for page in PAGES[:2])
    assert "| Pillars, random | " in short
    assert "Two Rooms:" not in short
    assert "worldmodel compare --environment pillars\n" in long


def test_an_ablation_has_a_section_for_each_environment(tmp_path, monkeypatch):
    content = json.loads((readme.RESULTS / "ablation-planning.json").read_text(encoding="utf-8"))
    for name in ("point-maze-medium", "two-rooms"):
        report = content | {"grid": "training", "manifest": f"{name}/validation"}
        path = tmp_path / ("ablation-training.json" if name == "two-rooms" else f"ablation-training-{name}.json")
        path.write_text(json.dumps(report))
    for module in (readme, readme.compare):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    long = render(PAGES[1], values())
    headings = [line for line in long.splitlines() if line.startswith("### ") and "Training" in line]
    assert headings == ["### Training, Two Rooms", "### Training, PointMaze Medium"]
    assert "On 200 episodes of `point-maze-medium/validation`." in long


def test_checks_and_mends_pages(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(readme, "values", dict)
    monkeypatch.setattr(readme, "render", lambda page, found: f"text of {page}\n")
    monkeypatch.setattr(readme.summary, "rows", list)
    monkeypatch.setattr(readme, "cards", dict)
    config = ReadmeConfig(folder=tmp_path)
    with pytest.raises(ValueError, match=r"README\.md must be as its template and the results make it"):
        run(ReadmeConfig(folder=tmp_path, check=True))
    assert not any((tmp_path / page).exists() for page in PAGES)
    run(config)
    run(ReadmeConfig(folder=tmp_path, check=True))
    (tmp_path / PAGES[1]).write_text("edited by hand")
    with pytest.raises(ValueError, match=r"results\.md must be as"):
        run(ReadmeConfig(folder=tmp_path, check=True))
    run(config)
    assert (tmp_path / PAGES[1]).read_text() == f"text of {PAGES[1]}\n"


def test_names_each_machine_once():
    made_on = [{"machine": {"num_cpus": 2, "processor": name}} for name in ("Xeon", "EPYC", "Xeon")]
    records = [Record(key={}, config={}, provenance=provenance) for provenance in made_on]
    assert machines(records) == "2 cores of EPYC and 2 cores of Xeon"
