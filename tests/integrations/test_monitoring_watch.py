"""Watching the log of predictions: each request in one check, whatever happens to the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops import MLOpsClient
from mlops.errors import ConfigError, DataIntegrityError, ReferenceDataError, WorkspaceLockedError
from mlops.integrations.bentoml_serving import prediction_log
from mlops.integrations.bentoml_serving.bento_service.prediction_log import PredictionLog
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, runtime
from mlops.integrations.evidently_monitoring import watch as watch_module
from mlops.integrations.evidently_monitoring.watch import SETTLE
from mlops.workspace.tools import ToolContext

HOUR = timedelta(hours=1)
NOW = timedelta(0)
SECONDS = 60.0


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take requests for written down as soon as they are a third of a second old."""
    monkeypatch.setattr(watch_module, "SETTLE", timedelta(seconds=0.3))


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return prepared(context)


def prepared(context: ToolContext) -> EvidentlyMonitoring:
    monitoring = EvidentlyMonitoring(context)
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"age": rng.normal(40, 10, 500), "answer": rng.integers(0, 2, 500)})
    monitoring.set_reference_data(reference, prediction_column="answer")
    return monitoring


def served(
    monitoring: EvidentlyMonitoring,
    count: int,
    *,
    first: int = 0,
    ago: timedelta = HOUR,
    version: str = "1",
    model: str = "clf",
    server: str = "a",
    age: float = 40.0,
) -> None:
    """Append what a server would have: one row per request, a millisecond apart."""
    directory = prediction_log.log_directory(monitoring.workspace, model)
    directory.mkdir(parents=True, exist_ok=True)
    begun = datetime.now(UTC) - ago
    path = next(directory.glob(f"*-{server}.jsonl"), directory / f"{begun:%Y%m%dT%H%M%S.%fZ}-{server}.jsonl")
    rng = np.random.default_rng(first)
    with path.open("a") as stream:
        for number in range(first, first + count):
            at = begun + timedelta(milliseconds=number)
            record = {
                "at": at.isoformat(timespec="microseconds"),
                "model": f"churn.{model}:{version}",
                "version": version,
                "request_id": f"{server}-{number}",
                "latency_ms": 5.0,
                "rows": [{"age": float(rng.normal(age, 10)), "number": number}],
                "predictions": [number % 2],
            }
            stream.write(json.dumps(record) + "\n")


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def looked(monitoring: EvidentlyMonitoring, model: str = "clf", **options: Any) -> list[Any]:
    """Watch until one look at the log is over, and return what it did."""
    found: list[Any] = []
    options = {"window": 50, "every": 3600, **options}
    with monitoring.watch(model, on_check=found.append, **options) as watch:
        until(lambda: watch.looks > 0)
        assert watch.checks == sum(not isinstance(each, BaseException) for each in found)
    return found


def test_full_windows_are_checked_and_the_rest_waits(monitoring: EvidentlyMonitoring) -> None:
    served(monitoring, 120)
    first, second = looked(monitoring)
    assert [first.rows, second.rows] == [50, 50]
    assert (first.model, first.model_version, first.latency_ms.count) == ("clf", "1", 50)
    assert "answer" in first.columns
    served(monitoring, 30, first=120)
    (third,) = looked(monitoring)
    assert third.rows == 50
    assert looked(monitoring) == []
    assert len(monitoring.history("clf")) == 3


def test_a_watch_goes_on_by_itself_and_stops_when_told(
    monitoring: EvidentlyMonitoring, at_once: None
) -> None:
    with monitoring.watch("clf", every=timedelta(seconds=0.1), window=10) as watch:
        until(lambda: watch.looks > 1)
        served(monitoring, 25, ago=NOW)
        until(lambda: watch.checks == 2)
        served(monitoring, 5, ago=NOW, server="b")
        until(lambda: watch.checks == 3)
    assert not watch.running
    served(monitoring, 50, ago=NOW, server="c")
    looks = watch.looks
    time.sleep(0.4)
    assert (watch.looks, watch.checks) == (looks, 3)
    watch.stop()


def test_versions_have_windows_of_their_own(monitoring: EvidentlyMonitoring) -> None:
    served(monitoring, 60, server="a", version="1")
    served(monitoring, 40, server="b", version="2")
    assert [(each.model_version, each.rows) for each in looked(monitoring)] == [("1", 50)]
    served(monitoring, 40, first=40, server="b", version="2")
    assert [(each.model_version, each.rows) for each in looked(monitoring)] == [("2", 50)]


def test_requests_of_one_moment_are_not_divided(monitoring: EvidentlyMonitoring) -> None:
    for server in "ab":
        served(monitoring, 30, server=server)
    directory = prediction_log.log_directory(monitoring.workspace, "clf")
    moment = (datetime.now(UTC) - HOUR).isoformat(timespec="microseconds")
    for path in directory.iterdir():
        records = [json.loads(line) | {"at": moment} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    (checked,) = looked(monitoring)
    assert checked.rows == 60
    assert looked(monitoring) == []


def test_what_a_server_may_still_be_writing_is_left_for_later(monitoring: EvidentlyMonitoring) -> None:
    served(monitoring, 50, ago=SETTLE / 2)
    assert looked(monitoring) == []
    served(monitoring, 50, first=50, ago=HOUR, server="b")
    (checked,) = looked(monitoring)
    assert checked.rows == 50


def test_what_servers_write_is_what_is_checked(monitoring: EvidentlyMonitoring) -> None:
    directory = prediction_log.log_directory(monitoring.workspace, "clf")
    directory.mkdir(parents=True)
    log = PredictionLog(directory, facts={"model": "churn.clf:3", "version": "3"})
    for number in range(20):
        log.record([{"age": 40.0 + number}], [1], request_id=f"{number:016x}", latency_ms=2.5, size=50)
    log.close()
    with monitoring.watch("clf", every=0.3, window=20) as watch:
        until(lambda: watch.checks == 1, SETTLE.total_seconds() + SECONDS)
    (record,) = monitoring.history("clf")
    assert (record["model_version"], record["rows"], record["latency_ms"]["mean"]) == ("3", 20, 2.5)


def test_drift_of_what_is_served_is_an_alert(monitoring: EvidentlyMonitoring) -> None:
    told: list[Any] = []
    served(monitoring, 100, age=90.0)
    looked(monitoring, thresholds={"columns": {"age": 1.0}, "drift_share": 1}, on_alert=told.append)
    (alert,) = monitoring.alerts()
    assert (alert.metric, alert.column, alert.count, alert.model) == ("drift.score", "age", 2, "clf")
    assert [[each.id for each in call] for call in told] == [[alert.id]]


def test_silence_is_one_alert_until_there_are_predictions_again(monitoring: EvidentlyMonitoring) -> None:
    told: list[Any] = []
    options: dict[str, Any] = {"thresholds": {"silence_hours": 2}, "on_alert": told.append}
    # Without any prediction, silence begins with the watch.
    assert looked(monitoring, **options) == []
    assert monitoring.alerts() == []
    served(monitoring, 5, ago=3 * HOUR)
    with monitoring.watch("clf", every=0.05, window=50, **options) as watch:
        until(lambda: watch.looks > 3)
    (alert,) = monitoring.alerts(open_only=True)
    assert (alert.kind, alert.count, alert.snapshot_id) == ("silence", 1, "")
    assert alert.value == pytest.approx(3, abs=0.1)
    # Batches from elsewhere say nothing about what is served.
    monitoring.monitor({"age": [40.0] * 40, "answer": [1] * 40}, model="clf")
    assert "silence" in {each.kind for each in monitoring.alerts(open_only=True)}
    served(monitoring, 5, ago=HOUR, server="b")
    looked(monitoring, **options)
    assert [each.status for each in monitoring.alerts() if each.kind == "silence"] == ["cleared"]
    assert len(told) == 1


def test_a_window_that_cannot_be_checked_is_tried_again(
    monitoring: EvidentlyMonitoring, at_once: None
) -> None:
    served(monitoring, 60)
    found: list[Any] = []
    pointers = monitoring.path / "reference"
    assert pointers.is_dir()
    with monitoring.watch("clf", every=0.05, window=50, on_check=found.append) as watch:
        until(lambda: watch.checks == 1)
        hidden = pointers.rename(pointers.with_name("hidden"))
        served(monitoring, 50, ago=NOW, server="b")
        until(lambda: watch.error is not None)
        assert watch.running
        hidden.rename(pointers)
        until(lambda: watch.checks == 2)
    # As it is found gone before, or in the middle of being read.
    assert any(isinstance(each, (ReferenceDataError, DataIntegrityError)) for each in found)
    assert watch.error is None
    assert [record["rows"] for record in monitoring.history("clf")] == [50, 50]


def test_the_hook_of_a_user_may_fail_and_may_stop_the_watch(monitoring: EvidentlyMonitoring) -> None:
    served(monitoring, 200, age=90.0)
    limits = {"columns": {"age": 1.0}}

    def fail(alerts: Any) -> None:
        raise RuntimeError("hook")

    found: list[Any] = []
    options: dict[str, Any] = {"window": 50, "thresholds": limits, "on_alert": fail}
    with monitoring.watch("clf", every=0.05, on_check=found.append, **options) as watch:
        until(lambda: watch.checks == 4)
    # The check that raised the alert was told first, and is not made again.
    assert found[0].rows == 50
    assert isinstance(found[1], RuntimeError)
    assert len(monitoring.history("clf")) == 4

    served(monitoring, 200, first=200)
    watch = monitoring.watch("clf", every=0.05, window=50, on_check=lambda _: watch.stop())
    until(lambda: not watch.running)
    assert len(monitoring.history("clf")) == 5
    watch = monitoring.watch("clf", every=0.05, window=50)
    until(lambda: watch.checks == 3)
    watch.stop()


def test_one_watch_per_model_across_processes(monitoring: EvidentlyMonitoring, base: Path) -> None:
    with monitoring.watch("clf", every=3600):
        with pytest.raises(WorkspaceLockedError, match="'clf' are being watched already"):
            monitoring.watch("clf")
        with monitoring.watch("other", every=3600):
            assert len([*monitoring.in_use()]) == 2
        assert [*monitoring.in_use()] == ["the predictions of clf are being watched"]
        code = """
import sys
from mlops import MLOpsClient
MLOpsClient("churn", base_path=sys.argv[1]).monitoring.watch("clf")
"""
        other = subprocess.run(
            [sys.executable, "-c", code, str(base)], capture_output=True, text=True, check=False, timeout=120
        )
        assert "WorkspaceLockedError" in other.stderr
    assert [*monitoring.in_use()] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": 0}, "every=0 is no time"),
        ({"every": timedelta(0)}, "every=datetime.timedelta"),
        ({"window": 0}, "window=0 is no number of rows"),
        ({"thresholds": {"silence": 1}}, "silence is no key"),
        ({"model": "clf:1"}, "'clf:1' is not the name of a model alone"),
        ({"model": "clf@production"}, "'clf@production' is not the name of a model alone"),
    ],
)
def test_nonsense_is_refused(monitoring: EvidentlyMonitoring, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        monitoring.watch(**{"model": "clf", **options})
    assert says in str(caught.value)
    assert [*monitoring.in_use()] == []


def test_without_a_reference_there_is_nothing_to_watch(context: ToolContext) -> None:
    monitoring = EvidentlyMonitoring(context)
    with pytest.raises(ReferenceDataError):
        monitoring.watch("clf")
    assert [*monitoring.in_use()] == []


WATCHER = """
import sys, time
from mlops import MLOpsClient
monitoring = MLOpsClient("churn", base_path=sys.argv[1]).monitoring
with monitoring.watch("clf", every=0.05, window=20, on_check=lambda result: print(result, flush=True)):
    time.sleep(600)
"""


def test_a_kill_loses_no_request_and_checks_none_twice(monitoring: EvidentlyMonitoring, base: Path) -> None:
    served(monitoring, 240)
    process = subprocess.Popen([sys.executable, "-c", WATCHER, str(base)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    between = len(monitoring.history("clf"))
    assert 3 <= between < 12
    looked(monitoring, window=20)
    times = sorted(record["metadata"]["watched_until"] for record in monitoring.history("clf"))
    assert len(times) == len(set(times)) == 12
    assert [record["rows"] for record in monitoring.history("clf")] == [20] * 12
    # Each check ends where every twentieth request was made: together they are all of them, each once.
    directory = prediction_log.log_directory(monitoring.workspace, "clf")
    (path,) = directory.iterdir()
    moments = [json.loads(line)["at"] for line in path.read_text().splitlines()]
    assert times == moments[19::20]


def test_a_client_logs_what_is_watched_to_mlflow(base: Path, context: ToolContext) -> None:
    monitoring = prepared(context)
    served(monitoring, 50, age=90.0)
    with MLOpsClient("churn", base_path=base) as client:
        told: list[Any] = []
        options: dict[str, Any] = {"columns": {"age": 1.0}, "drift_share": 1, "silence_hours": 0.5}
        with client.watch_predictions(
            "clf", every=3600, window=50, thresholds=options, on_alert=told.append
        ) as watch:
            until(lambda: watch.looks > 0)
        assert watch.error is None
        (run,) = client.tracking.list_runs()
        assert run["run_name"] == "monitoring clf"
        assert run["metrics"]["drift.age.score"] > 1
        assert run["metrics"]["silence.hours"] == pytest.approx(1, abs=0.1)
        assert [call[0].kind for call in told] == ["drift", "silence"]
        snapshot = client.monitoring.history("clf")[0]["snapshot_id"]
        assert any(link.target == f"snapshot:{snapshot}" for link in client.monitoring.links())
