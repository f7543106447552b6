"""``python -m benchmarks.readme`` writes README.md, pages of docs, model cards, and benchmarks/results/summary.json.

The pages' words stand in ``benchmarks/templates``, their figures in ``benchmarks/results``; here they meet. What has
not been measured is left out of the pages.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro

from agents.saved import SCRIPTED
from benchmarks import summary
from benchmarks.ablation import ablate, findings
from benchmarks.ablation.config import AblateConfig
from benchmarks.ablation.grids import GRIDS
from benchmarks.analysis import attribution, detection, exported, scaling, speed
from benchmarks.comparison import compare, plots, tune
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.comparison.tables import overview, table
from benchmarks.evaluation import appearance, headline, success
from benchmarks.gpu import check
from benchmarks.records import pages, tables
from benchmarks.records.provenance import RESULTS, ROOT
from benchmarks.records.store import Record, Store, read_record
from benchmarks.sharing.about import KINDS, open_about
from benchmarks.sharing.card import card
from benchmarks.sharing.figures import find_figures
from envs.domain import VALIDATION, Domain, domains, find_domain
from pretrain.presets import DEFAULT
from worldmodel.checkpoint import SHIPPED, read_config, shipped_checkpoints
from worldmodel.config import config
from worldmodel.storage.files import read_json, to_lines, write_text
from worldmodel.storage.hub import CARD

Values = dict[str, Any]
PAGES = ("README.md", "docs/results.md", "docs/guides/own-environment.md", "docs/guides/cluster.md")
"""The pages, by their places in the project; the template of each has its name."""
SHOWN = ("random", "jepa-mppi", "jepa-actor", "sac-state", "gcivl")
"""Contenders that README.md shows of tasks with recorded data."""
ANALYSES: dict[str, Callable[[Record], tables.Table] | None] = {
    "attribution": attribution.table,
    "gpu": check.table,
    "install": None,
    "latency": None,
    "maps": None,
    "scaling": scaling.table,
    "speed": speed.table,
    "time-export": exported.table,
}
"""Records in files of their own, and their tables."""


@config
class ReadmeConfig:
    """Writes README.md and pages of docs with the figures of benchmarks/results, and summary.json there."""

    check: bool = False
    """Only check that the files are as they would be written; fail if not."""
    folder: Path = ROOT
    """Folder to write to."""


def run(config: ReadmeConfig) -> None:
    """Writes the pages and the summary, or checks them.

    Raises:
        ValueError: If a file that is checked is missing or differs.
    """
    found = values()
    texts = {page: render(page, found) for page in PAGES} | {summary.SUMMARY: to_lines(summary.rows()) + "\n"} | cards()
    for name, text in texts.items():
        path = config.folder / name
        if not config.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{path} must be as its template and the results make it; run python -m benchmarks.readme")


def render(page: str, found: Values) -> str:
    """The text of a page, from its template and the values that it shows."""
    return pages.render(f"{Path(page).name}.jinja", found, mean=fmean, machines=machines)


def cards() -> dict[str, str]:
    """The model cards of the checkpoints that ship with the package, by their places in the project."""
    names = [name for kind in KINDS for name in shipped_checkpoints(kind)]
    found = {name: open_about(name) for name in names}
    return {
        f"worldmodel/checkpoints/{name}/{CARD}": card(about, name, find_figures(about.files.sha256, [RESULTS]))
        for name, about in found.items()
    }


def values() -> Values:
    """All that the pages show."""
    ablations = list(_ablations())
    comparisons = [found for name in CONTENDERS for found in _comparison(find_domain(name))]
    recorded = [found["content"] for found in comparisons if found["domain"].simulate is None]
    planned = [content for content in recorded if any(row["kind"] == "world model" for row in content["rows"])]
    return {
        "comparisons": comparisons,
        "tasks": overview(recorded).markdown() if recorded else "",
        "tasks_short": overview(planned, SHOWN, intervals=False).markdown() if planned else "",
        "headlines": [found for domain in domains() for found in _headline(domain)],
        "appearances": list(_appearances()),
        "seen": _evaluations(summary.SEEN),
        "tried": _evaluations("tried"),
        "tuning": _tuning(),
        "ablations": ablations,
        "findings": _findings(ablations),
        "videos": list(_videos()),
        "speeds": [_analysis(path, speed.table) for path in sorted(RESULTS.glob("speed-*.json"))],
        "analyses": {name: _analysis(RESULTS / f"{name}.json", show) for name, show in ANALYSES.items()},
    }


def machines(records: Sequence[Record]) -> str:
    """The machines that records were made on, in words."""
    found = [record.provenance["machine"] for record in records]
    return " and ".join(sorted({f"{machine['num_cpus']} cores of {machine['processor']}" for machine in found}))


def _comparison(domain: Domain) -> Iterator[Values]:
    """The comparison in an environment: the same in numbers and as a table, its plots, and what it was made from."""
    path = compare.output_of(compare.CompareConfig(environment=domain.name))
    if path.exists():
        content = read_json(path, "a comparison")
        records = list(Store(RESULTS / "compare").records(environment=domain.name))
        yield {
            "domain": domain,
            "content": content,
            "table": table(content).markdown(),
            "records": records,
            "minutes": sorted({record.key["minutes"] for record in records if record.key["minutes"]}),
            "plots": {kind: plot.name for kind, plot in plots.paths(path).items() if plot.exists()},
        }


def _headline(domain: Domain) -> Iterator[Values]:
    """The published evaluations in an environment, and those of its shipped checkpoint beside floor and ceiling."""
    records = list(Store(RESULTS / "headline").records(environment=domain.name))
    if records:
        main, recipe = domain.compared_on[0], headline.first_recipe(domain)
        shipped = read_config(SHIPPED / DEFAULT)["training"]
        first = [record for record in records if record.matches(recipe=recipe, manifest=main)]
        own = [r for r in first if r.matches(preset=shipped["preset"], seed=shipped["config"]["seed"])]
        beside = [path for policy in SCRIPTED if (path := RESULTS / f"{policy}-{main}.json").exists()]
        yield {
            "domain": domain,
            "records": records,
            "recipes": {record.key["recipe"] for record in records},
            "trainings": sorted({headline.training(record.key) for record in records}),
            "table": headline.table(RESULTS / "headline", domain.name).markdown(),
            "others": headline.other_recipes(RESULTS / "headline", domain.name),
            "main": [record.facts for record in first if record.matches(planner="mppi")],
            "shipped": shipped,
            "policies": success.table([*own, *map(read_record, beside)]).markdown() if own else "",
        }


def _tuning() -> Values | None:
    """What the comparison's hyperparameters were chosen from."""
    records = [record for path in sorted(tune.FOLDER.glob("*")) for record in Store(path).records()]
    return {"records": records, "table": tune.markdown()} if records else None


def _appearances() -> Iterator[Values]:
    """What is kept of success under appearance shifts, by policy and manifest, and examples of the shifts."""
    for records in appearance.groups(list(Store(RESULTS / "appearance").records())):
        shown = appearance.table(records)
        means = [dict(zip(shown.columns, row, strict=True)) for row in shown.rows if appearance.MEAN in row]
        yield {
            "domain": find_domain(records[0].key["environment"]),
            "records": records,
            "table": shown.markdown(),
            "kept": [mean["kept of success"] for mean in means],
            "picture": f"appearance-{records[0].key['environment']}.png",
        }


def _evaluations(folder: str) -> Values | None:
    """Single evaluations, such as those in an environment of somebody else; None where there are none."""
    records = list(Store(RESULTS / folder).records())
    return {"records": records, "table": success.table(records).markdown()} if records else None


def _ablations() -> Iterator[Values]:
    """The reports of ablations, in the order of the grids, then of the environments; other images come last."""
    titles = {f"{domain.name}/{VALIDATION}": domain.title for domain in domains()}
    places = {manifest: place for place, manifest in enumerate(titles)}
    reports = [read_json(path, "the report of an ablation") for path in sorted(RESULTS.glob("ablation-*.json"))]
    reports.sort(
        key=lambda content: (places.get(content.get("manifest", ""), 0), content.get("images") != AblateConfig.images)
    )
    for name, grid in GRIDS.items():
        for content in (content for content in reports if content["grid"] == name):
            first = content["rows"][0]
            yield {
                "grid": name,
                "measured": grid.measured,
                "of": titles.get(content.get("manifest", "")) or first.get("images") or "",
                "first": first,
                "report": content,
                "table": ablate.table(content).markdown(),
            }


def _videos() -> Iterator[Values]:
    """What Video-JEPA reaches on each kind of videos, over all seeds."""
    records = list(Store(RESULTS / summary.VIDEO).records())
    for videos in dict.fromkeys(record.key["videos"] for record in records):
        found = sorted((r for r in records if r.key["videos"] == videos), key=lambda r: r.key["seed"])
        margins = {figure: detection.margin(found, figure) for figure in ("reference_mean", "strict_mean")}
        untrained = detection.figures(found, detection.UNTRAINED, "reference_mean")
        yield {
            "videos": videos,
            "records": found,
            "trainings": [each["command"] for record in found for each in record.facts["trainings"].values()],
            "table": detection.table(found).markdown(),
            "margins": {figure: detection.over_seeds(each, "+") for figure, each in margins.items() if each},
            "map": detection.over_seeds(detection.figures(found, detection.MODEL, "reference_mean")),
            "untrained": detection.over_seeds(untrained) if untrained else None,
            "policies": sorted({row["policy"] for record in found for row in record.rows}),
            "film": _film(videos),
        }


def _film(videos: str) -> str | None:
    """The film of a kind of videos in the results, if there is one."""
    stem = "-".join(re.findall(r"\w+", videos))
    return next((path.name for path in sorted((RESULTS / summary.VIDEO).glob(f"{stem}-seed*.gif"))), None)


def _findings(ablations: Sequence[Values]) -> str:
    """EB-JEPA's findings on images beside those of each set of images."""
    rows = {(found["first"].get("images"), found["grid"]): found["report"]["rows"] for found in ablations}
    sets = dict.fromkeys(images for images, _ in rows if images is not None)
    shown = {images: (rows.get((images, "images"), []), rows.get((images, "image-weights"), [])) for images in sets}
    return findings.table(shown).markdown() if shown else ""


def _analysis(path: Path, table: Callable[[Record], tables.Table] | None) -> Values | None:
    """A record in a file of its own, its rows by their names, and its table; None where there is no such file."""
    if not path.exists():
        return None
    record = read_record(path)
    named = {str(next(iter(row.values()))): row for row in record.rows}
    return {"record": record, "rows": named, "table": table(record).markdown() if table else ""}


if __name__ == "__main__":
    run(tyro.cli(ReadmeConfig))
