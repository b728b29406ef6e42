"""A report on 1,000 projects of 20 runs, with nothing else and with data, models, Bentos and checks.

Every figure is of a fresh process with the files in the system's cache. The report counts its imports; that
of a base in which nothing changed is the call alone. The bare loop opens one ``MlflowClient`` per project and
asks for the runs and the models only, no other tool; it is measured on some projects and counted for all, as
it leaves two files open for each store. Of the 5,000 projects 4,000 are links to the others, read each for
itself: their files would be half a million.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.benchmarks.measure import Ratio
from tests.reporting.fleet import RUNS, build_fleet, name_of

PROJECTS: Final = 1000
MANY: Final = 5000
BARE_PROJECTS: Final = 60
COLD_SECONDS, WARM_SECONDS = 3.0, 0.5
MEMORY_MB, DESCRIPTORS = 250, 32
TIMES_FASTER: Final = 30
KEPT: Final = "the same, nothing changed"
# How much more than five times the cost five times the projects may have.
TOLERANCE: Final = 1.3
OURS: Final = """
import json, os, resource, sys, threading, time
began = time.perf_counter()
most, done = [0], threading.Event()
def watch():
    while not done.wait(0.005):
        most[0] = max(most[0], len(os.listdir("/proc/self/fd")))
if "watch" in sys.argv:
    threading.Thread(target=watch, daemon=True).start()
from mlops import StatusReport
if "again" in sys.argv:
    from mlops.reporting import collecting, rankings, totals, trends
    from mlops.workspace import manager
imported = time.perf_counter() - began
report = StatusReport.collect(sys.argv[1])
taken = time.perf_counter() - began
done.set()
# Of the process itself what it used since it began: ru_maxrss begins with what its parent had.
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
helpers = min(len(os.sched_getaffinity(0)), 4)
memory = own + helpers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
heavy = [name for name in ("mlflow", "evidently", "pandas", "dvc", "bentoml") if name in sys.modules]
facts = [report.totals.projects, report.totals.runs, taken, memory / 1024, most[0], taken - imported, heavy]
print(json.dumps(facts))
"""
BARE: Final = """
import json, sys, time
began = time.perf_counter()
from mlflow import MlflowClient
imported = time.perf_counter() - began
uris = sys.argv[1:]
began = time.perf_counter()
for uri in uris:
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, max_results=1000)
    models = client.search_registered_models()
    versions = [v for model in models for v in client.search_model_versions(f"name = '{model.name}'")]
    assert len(runs) >= 20 and (versions or not models)
print(json.dumps([imported, (time.perf_counter() - began) / len(uris)]))
"""


def run(scratch: Path) -> list[Ratio]:
    runs, full = scratch / "runs", scratch / "full"
    build_fleet(runs, PROJECTS, only_runs=True)
    build_fleet(full, PROJECTS)
    # What has just been written is read anew each time, so that no change goes unnoticed.
    time.sleep(2.5)
    _collect(runs, scratch / "bytecode")
    of_runs, of_all = (_cold(base, scratch) for base in (runs, full))
    bare_runs, bare_all = (_bare(base) * PROJECTS for base in (runs, full))
    again_runs, again_all = (_again(base, scratch) for base in (runs, full))
    watched = _collect(full, scratch / "watched", "watch")
    for number in range(PROJECTS, MANY):
        (full / name_of(number)).symlink_to(full / name_of(number % PROJECTS))
    many = _collect(full, scratch / "many")
    if many[0] != MANY:
        raise AssertionError(f"{many[0]} projects instead of {MANY}")
    label = f"report on {PROJECTS:,} projects x {RUNS} runs"
    more = "the same with data, a model, a Bento and checks"
    return [
        Ratio(f"one MlflowClient per project | {label}", bare_runs, of_runs, TIMES_FASTER),
        Ratio(f"allowed: {COLD_SECONDS:g} s | {label}", COLD_SECONDS, of_runs, 1.0),
        Ratio(f"allowed: {WARM_SECONDS:g} s | {KEPT}", WARM_SECONDS, again_runs, 1.0),
        Ratio(f"one MlflowClient per project | {more}", bare_all, of_all, TIMES_FASTER),
        Ratio(f"allowed: {COLD_SECONDS:g} s | {more}", COLD_SECONDS, of_all, 1.0),
        Ratio(f"allowed: {WARM_SECONDS:g} s | {KEPT}", WARM_SECONDS, again_all, 1.0),
        Ratio(
            "allowed | memory of the report, helpers included", MEMORY_MB / 1e3, watched[3] / 1e3, 1.0, "MB"
        ),
        Ratio("allowed | most files open at once", DESCRIPTORS / 1e3, watched[4] / 1e3, 1.0, "files"),
        Ratio(
            f"{MANY // PROJECTS} times the report, allowed {TOLERANCE:g} times that | report on {MANY:,}",
            TOLERANCE * of_all * MANY / PROJECTS,
            many[2],
            1.0,
        ),
    ]


def _cold(base: Path, scratch: Path) -> float:
    """Return the seconds that a report takes from the start of its process, with nothing kept."""
    found = [_collect(base, scratch / f"{base.name}-{number}") for number in range(3)]
    for projects, runs, *_, heavy in found:
        if (projects, runs, heavy) != (PROJECTS, PROJECTS * RUNS, []):
            raise AssertionError(f"not what was made: {projects} projects, {runs} runs, imported {heavy}")
    return float(median(each[2] for each in found))


def _again(base: Path, scratch: Path) -> float:
    """Return the seconds that a report takes in which nothing changed since the last one."""
    return float(median(_collect(base, scratch / f"{base.name}-0", "again")[5] for _ in range(3)))


def _collect(base: Path, cache: Path, *options: str) -> list[Any]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(base), *options],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    values: list[Any] = json.loads(done.stdout)
    return values


def _bare(base: Path) -> float:
    """Return the seconds that each project costs, the import shared by all."""
    uris = [f"sqlite:///{base}/{name_of(number)}/mlflow/mlflow.db" for number in range(BARE_PROJECTS)]
    done = subprocess.run([sys.executable, "-c", BARE, *uris], check=True, capture_output=True, text=True)
    imported, each = json.loads(done.stdout.splitlines()[-1])
    return each + imported / PROJECTS
