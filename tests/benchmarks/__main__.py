"""Measure against the bare tools, side by side in one run: ``python -m tests.benchmarks [NAME ...]``.

Prints one row per measurement with the ratio, and exits 1 if a stated bound does not hold. ``--json FILE``
keeps the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    bench_dashboard,
    bench_data,
    bench_imports,
    bench_logging,
    bench_monitoring,
    bench_pipelines,
    bench_reporting,
    bench_serving,
    bench_tracking,
    bench_workspaces,
)
from tests.benchmarks.measure import Ratio

BENCHMARKS = {
    "imports": bench_imports.run,
    "workspaces": bench_workspaces.run,
    "logging": bench_logging.run,
    "tracking": bench_tracking.run,
    "serving": bench_serving.run,
    "data": bench_data.run,
    "monitoring": bench_monitoring.run,
    "pipelines": bench_pipelines.run,
    "reporting": bench_reporting.run,
    "dashboard": bench_dashboard.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="all by default")
    parser.add_argument("--json", type=Path, dest="output")
    arguments = parser.parse_args()
    # Without bytecode the tools' imports take three times as long, and that would flatter the ratios.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.names or BENCHMARKS:
            ratios += BENCHMARKS[name](Path(scratch) / name)
    table = Table("measured", "bare", "ours", "ratio", "bound", box=box.SIMPLE_HEAD)
    for ratio in ratios:
        verdict = "" if ratio.bound is None else f">= {ratio.bound:.3g} {'ok' if ratio.holds else 'MISSED'}"
        table.add_row(
            ratio.name,
            f"{ratio.bare * 1e3:.2f} {ratio.unit}",
            f"{ratio.ours * 1e3:.3f} {ratio.unit}",
            f"{ratio.value:.1f}x",
            verdict,
        )
    Console(width=120).print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(r) | {"ratio": r.value} for r in ratios], indent=2))
    return 0 if all(ratio.holds for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
