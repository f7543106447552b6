"""Measures what an installation takes beside torch: `python -P tests/install_size.py [COMMIT]`.

New environments get torch, then the project alone, then with all extras; where a commit is given, the project as it was
then comes first. Sizes are those of files, in MB. Writes benchmarks/results/install.json.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.records import provenance
from benchmarks.records.store import new_record, write_record

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"


def megabytes(folder: Path) -> float:
    """The size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(folder: Path, commit: str, extras: str) -> float:
    """What the project as it was at a commit takes beside torch."""
    source, environment = folder / "source", folder / "environment"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x"], cwd=source, check=True, input=archive)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(environment)]
    install = [*pip, "install", "--no-compile", "--constraint", str(CONSTRAINTS)]
    torch = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    subprocess.run([*install, torch], check=True)
    before = megabytes(environment)
    subprocess.run([*install, f"{source}{extras}"], check=True)
    return megabytes(environment) - before


def main(commits: list[str]) -> None:
    """Measures and writes the record."""
    head = str(provenance.commit())[:7]
    cases = [("before", commit, "") for commit in commits] + [("core", head, ""), ("all", head, "[all]")]
    rows = []
    for what, commit, extras in cases:
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"what": what, "commit": commit, "megabytes": round(measure(Path(folder), commit, extras))})
    record = new_record({"analysis": "install"}, {"commits": [commit for _, commit, _ in cases]}, rows=rows)
    write_record(provenance.RESULTS / "install.json", record)
    sys.stdout.write("".join(f"{row['what']:8s} {row['megabytes']:6,d} MB\n" for row in rows))


if __name__ == "__main__":
    main(sys.argv[1:])
