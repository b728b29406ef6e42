"""Checks of batches against bare Evidently: time, memory, size on disk, and what a long history costs.

Both get the same frames of 20 columns, 14 of numbers and 6 of labels, with shifts from none to large. The
bare preset computes on all rows, ours on 10 000 of each side: a normed Wasserstein distance is then off by
0.014 (one standard deviation), so the shifts keep 0.04 from the threshold of 0.1, and every column must get
the same verdict.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import Ratio, interleaved

if TYPE_CHECKING:
    import pandas as pd

LARGE, SMALL = 1_000_000, 10_000
# In standard deviations, one per numeric column; for labels, the share of rows that becomes one label.
SHIFTS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03, 0.05, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
SHARES = (0.0, 0.0, 0.02, 0.05, 0.2, 0.5)
PAST_CHECKS, MANY_CHECKS = 300, 1000
OPENING_SECONDS = 1.0


def frames(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a reference and a batch of so many rows."""
    import numpy as np
    import pandas as pd

    def frame(seed: int, *, shifted: bool) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        columns: dict[str, Any] = {}
        for number, shift in enumerate(SHIFTS):
            values = rng.normal(size=rows) if number % 2 else rng.gamma(9, 1 / 3, size=rows)
            columns[f"number_{number}"] = values + shift * shifted
        for number, share in enumerate(SHARES):
            labels = rng.integers(0, 4 + 3 * number, size=rows)
            labels[rng.random(rows) < share * shifted] = 0
            columns[f"label_{number}"] = np.array([f"v{i}" for i in range(30)], dtype=object)[labels]
        return pd.DataFrame(columns)

    return frame(1, shifted=False), frame(2, shifted=True)


def bare_verdicts(reference: pd.DataFrame, batch: pd.DataFrame) -> tuple[dict[str, bool], Any]:
    """Run the preset as its documentation shows it; return which columns drifted, and the snapshot."""
    import warnings

    from evidently import Report
    from evidently.presets import DataDriftPreset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = Report([DataDriftPreset()], include_tests=True).run(batch, reference)
    found = {}
    for test in json.loads(snapshot.json())["tests"]:
        parameters = test["metric_config"]["params"]
        if "column" in parameters:
            found[parameters["column"]] = test["status"] == "FAIL"
    return found, snapshot


def large(kind: str, base: str) -> dict[str, Any]:
    """Check once on the large frames; runs in a process of its own, for its peak of memory."""
    import resource
    import time

    from mlops import MLOpsClient
    from mlops.integrations.evidently_monitoring import runtime

    runtime.load(operation="benchmark", workspace="large")
    client = MLOpsClient.from_project("large", base_path=base)
    reference, batch = frames(LARGE)
    if kind == "prepare":
        client.set_reference_data(reference)
        return {}
    if kind == "ours":
        del reference
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if kind == "ours":
        verdicts = {
            name: column.drifted for name, column in client.monitor_predictions(batch).columns.items()
        }
    else:
        verdicts, _ = bare_verdicts(reference, batch)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "gigabytes": peak / 1024**2, "verdicts": verdicts}


OPEN_OURS = """
import sys, time
from mlops import MLOpsClient
start = time.perf_counter()
client = MLOpsClient.from_project("past", base_path=sys.argv[1])
assert client.monitoring.summary()["checks"] == int(sys.argv[2])
assert len(client.monitoring.history()) == int(sys.argv[2])
print(time.perf_counter() - start)
"""
OPEN_BARE = """
import sys, time
from evidently.ui.workspace import Workspace
start = time.perf_counter()
workspace = Workspace(sys.argv[1])
(project,) = workspace.list_projects()
assert len(workspace.list_runs(project.id)) == int(sys.argv[2])
print(time.perf_counter() - start)
"""


def run(scratch: Path) -> list[Ratio]:
    scratch.mkdir(parents=True)
    return [*_on_large_frames(scratch), *_on_small_frames(scratch), *_with_a_history(scratch)]


def _on_large_frames(scratch: Path) -> list[Ratio]:
    base = str(scratch / "large")
    _child("prepare", base)
    ours, bare = _child("ours", base), _child("bare", base)
    _require_equal(bare["verdicts"], ours["verdicts"])
    return [
        Ratio(
            f"check of {LARGE:,} rows x 20 columns | DataDriftPreset", bare["seconds"], ours["seconds"], 10
        ),
        Ratio("its peak of memory above the frames | same", bare["gigabytes"], ours["gigabytes"], 1, "MB"),
    ]


def _on_small_frames(scratch: Path) -> list[Ratio]:
    from evidently.sdk.models import ProjectModel
    from evidently.ui.workspace import Workspace

    from mlops import MLOpsClient

    client = MLOpsClient.from_project("small", base_path=scratch / "small")
    reference, batch = frames(SMALL)
    client.set_reference_data(reference)
    result = client.monitor_predictions(batch)
    verdicts, snapshot = bare_verdicts(reference, batch)
    _require_equal(verdicts, {name: column.drifted for name, column in result.columns.items()})
    taken = interleaved(
        lambda: bare_verdicts(reference, batch), lambda: client.monitor_predictions(batch), repeats=3
    )
    workspace = Workspace.create(str(scratch / "bare"))
    project = workspace.add_project(ProjectModel(name="past"))
    workspace.add_run(project.id, snapshot)
    sizes = [_megabytes(scratch / "bare"), _megabytes(client.monitoring.path)]
    return [
        Ratio(f"check of {SMALL:,} rows x 20 columns | DataDriftPreset", *taken, 4),
        Ratio("size of its snapshot | default", *sizes, 10, "kB"),
    ]


def _with_a_history(scratch: Path) -> list[Ratio]:
    from mlops import MLOpsClient

    reference, batch = frames(1000)
    # Most columns drift, so that every check raises an alert that goes on.
    batch += {name: 5.0 if name.startswith("number") else "" for name in batch.columns}
    clients = {}
    for name, checks in (("first", 1), ("past", PAST_CHECKS), ("many", MANY_CHECKS)):
        clients[name] = MLOpsClient.from_project(name, base_path=scratch / "past")
        clients[name].set_reference_data(reference)
        clients[name].monitor_predictions(batch)
        clients[name].monitor_predictions(batch)
        _multiply(clients[name].monitoring, checks)
    (bare,) = (path.parent for path in (scratch / "bare").glob("*/snapshots"))
    _copies(bare / "snapshots", PAST_CHECKS)
    opening = [
        _seconds(OPEN_BARE, str(scratch / "bare"), str(PAST_CHECKS)),
        _seconds(OPEN_OURS, str(scratch / "past"), str(PAST_CHECKS)),
    ]
    adding = interleaved(
        lambda: clients["first"].monitor_predictions(batch),
        lambda: clients["many"].monitor_predictions(batch),
        repeats=9,
    )
    return [
        # A bound in seconds, not in times: ours takes at most one.
        Ratio(
            f"opening {PAST_CHECKS} past checks | Workspace(path)",
            *opening,
            opening[0] / OPENING_SECONDS,
        ),
        Ratio(f"check after {MANY_CHECKS} | check after 2", *adding, 1 / 1.25),
    ]


def _multiply(monitoring: Any, checks: int) -> None:
    """Repeat the last check of a project until it has so many: snapshots, history and alerts."""
    path = monitoring.path
    snapshots = path / monitoring.project_id / "snapshots"
    ids = _copies(snapshots, checks)
    history = path / "history.jsonl"
    *others, last = history.read_text().splitlines()
    former = json.loads(last)["snapshot_id"]
    lines = [*others, last, *(last.replace(former, new) for new in ids)][:checks] if ids else [*others, last]
    history.write_text("".join(f"{line}\n" for line in lines))
    alerts = path / "alerts.jsonl"
    if ids and alerts.exists():
        *events, seen = alerts.read_text().splitlines()
        alerts.write_text("".join(f"{line}\n" for line in [*events, *[seen] * checks]))


def _copies(snapshots: Path, number: int) -> list[str]:
    """Copy the newest snapshot under other names until there are so many; return the new ids."""
    newest = max(snapshots.glob("*.json"))
    ids = [
        str(uuid.UUID(int=uuid.UUID(newest.stem).int + i + 1))
        for i in range(number - len(list(snapshots.iterdir())))
    ]
    for name in ids:
        shutil.copyfile(newest, snapshots / f"{name}.json")
    return ids


def _megabytes(directory: Path) -> float:
    return max(path.stat().st_size for path in directory.glob("*/snapshots/*.json")) / 1e6


def _require_equal(bare: dict[str, bool], ours: dict[str, bool]) -> None:
    assert bare.keys() == ours.keys(), (bare, ours)
    different = {name: (bare[name], ours[name]) for name in bare if bare[name] != ours[name]}
    assert not different, f"another verdict than bare Evidently: {different}"
    assert 0 < sum(bare.values()) < len(bare)


def _child(kind: str, base: str) -> dict[str, Any]:
    code = (
        "import json, sys; from tests.benchmarks import bench_monitoring as bench; "
        "print(json.dumps(bench.large(*sys.argv[1:])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, kind, base], check=True, capture_output=True, text=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _seconds(code: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])
