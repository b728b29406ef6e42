"""What it costs to get at the library, in fresh processes."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.measure import Ratio, interleaved, process


def run(scratch: Path) -> list[Ratio]:
    opened = (
        "from mlops import MLOpsClient; import sys; MLOpsClient.from_project('churn', base_path=sys.argv[1])"
    )
    mlflow = process("import mlflow")
    rows = [
        ("import mlops | import mlflow", process("import mlops"), 10.0),
        ("from_project, process included | import mlflow", process(opened, str(scratch)), 3.0),
        ("mlops --help | mlflow --help", process("from mlops.cli import main; main(['--help'])"), 3.0),
    ]
    bare = [mlflow, mlflow, process("from mlflow.cli import cli; cli(['--help'])")]
    ratios = []
    for (name, ours, bound), other in zip(rows, bare, strict=True):
        other(), ours()  # bytecode and file caches
        ratios.append(Ratio(name, *interleaved(other, ours, repeats=5), bound))
    return ratios
