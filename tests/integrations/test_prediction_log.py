"""The log of predictions: what a server process writes, and what the project reads back."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import ConfigError
from mlops.integrations.bentoml_serving import BentoServing, prediction_log
from mlops.integrations.bentoml_serving.bento_service import prediction_log as writer
from mlops.integrations.bentoml_serving.bento_service.prediction_log import PredictionLog
from mlops.workspace.tools import ToolContext

FACTS = {"model": "churn.iris:1", "version": "1"}


def note(log: PredictionLog, *, rows: list[Any] | None = None, size: int = 100, number: int = 0) -> None:
    rows = [{"a": number}] if rows is None else rows
    log.record(rows, [0] * len(rows), request_id=f"{number:016x}", latency_ms=1.5, size=size)


def records(directory: Path, **options: Any) -> list[dict[str, Any]]:
    return [*prediction_log.read(directory, **options)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "iris"


def test_what_is_recorded_is_read_back(directory: Path) -> None:
    before = datetime.now(UTC)
    log = PredictionLog(directory, facts=FACTS)
    log.record(
        [{"a": 1.5, "b": None}], [float("nan")], request_id="00000000000000ab", latency_ms=2.0, size=50
    )
    deadline = time.monotonic() + 1.5
    # Without being closed: within a second.
    while not (found := records(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert before <= datetime.fromisoformat(found[0].pop("at")) <= datetime.now(UTC)
    assert found == [
        {
            **FACTS,
            "request_id": "00000000000000ab",
            "latency_ms": 2.0,
            "rows": [{"a": 1.5, "b": None}],
            "predictions": [None],
        }
    ]
    (path,) = directory.iterdir()
    assert f"-{os.getpid()}-" in path.name
    log.close()


def test_closing_writes_the_rest_and_a_rate_samples(directory: Path) -> None:
    log = PredictionLog(directory, facts=FACTS, rate=0.5)
    assert 350 < sum(log.wanted() for _ in range(1000)) < 650
    for number in range(2000):
        note(log, number=number)
    log.close()
    assert [record["rows"][0]["a"] for record in records(directory)] == [*range(2000)]
    assert (log.dropped, not PredictionLog(directory, facts=FACTS, rate=0.0).wanted()) == (0, True)


def test_files_are_bounded_and_the_oldest_go_first_but_not_one_being_written(directory: Path) -> None:
    directory.mkdir()
    busy, idle, foreign = (
        directory / name
        for name in ("20260101T000000Z-1-aa.jsonl", "20260102T000000Z-1-bb.jsonl", "notes.txt")
    )
    for path in (busy, idle, foreign):
        path.write_text("x" * 1000)
    with busy.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        log = PredictionLog(directory, facts=FACTS, file_bytes=2000, total_bytes=6000)
        for number in range(100):
            note(log, number=number)
            if number % 10 == 9:
                time.sleep(0.06)
        log.close()
    assert (busy.exists(), idle.exists(), foreign.exists()) == (True, False, True)
    assert len([*directory.glob("*.jsonl")]) > 2
    # One line more than a file may be begun before it is noticed to be full.
    assert sum(path.stat().st_size for path in directory.glob("*.jsonl")) <= 6000 + 300
    kept = [record["rows"][0]["a"] for record in records(directory)]
    assert kept == [*range(kept[0], 100)]
    assert kept[0] > 0


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": number, "text": "x" * 50} for number in range(5000)],
        [{"text": "x" * 1_000_000}],
        [[[0.123456789] * 300] * 3000],
        [{f"column {number}": "x" * 100 for number in range(20_000)}],
    ],
    ids=["rows", "text", "tensor", "columns"],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_large_request_is_cut_to_size(directory: Path, rows: list[Any], known: bool) -> None:
    log = PredictionLog(directory, facts=FACTS, record_bytes=20_000)
    # A request may not say how large it is.
    note(log, rows=rows, size=len(json.dumps(rows)) if known else 0)
    log.close()
    (record,) = records(directory)
    (path,) = directory.iterdir()
    assert path.stat().st_size <= 20_001
    assert record["rows_in_request"] == len(rows)
    assert len(record["rows"]) == len(record["predictions"])
    if len(rows) > 1:
        assert 10 < len(record["rows"]) < len(rows)
        assert record["rows"] == rows[: len(record["rows"])]


def test_a_full_queue_drops_counts_and_says_so(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "QUEUE_RECORDS", 10)
    log = PredictionLog(directory, facts=FACTS)
    start = time.perf_counter()
    for number in range(1000):
        note(log, number=number)
    assert time.perf_counter() - start < 0.5
    log.close()
    assert 10 <= len(records(directory)) < 100
    assert log.dropped + len(records(directory)) == 1000
    assert f"{log.dropped} predictions were not written" in caplog.text


def test_values_that_no_json_can_hold_are_dropped_alone(directory: Path) -> None:
    log = PredictionLog(directory, facts=FACTS)
    for rows in ([{"a": object()}], [{"a": 1}]):
        note(log, rows=rows)
    log.close()
    assert [record["rows"] for record in records(directory)] == [[{"a": 1}]]
    assert log.dropped == 1


def test_a_workspace_that_is_gone_does_not_come_back(tmp_path: Path) -> None:
    directory = tmp_path / "project" / "predictions" / "iris"
    directory.mkdir(parents=True)
    shutil.rmtree(tmp_path / "project")
    log = PredictionLog(directory, facts=FACTS)
    note(log)
    log.close()
    assert log.dropped == 1
    assert not (tmp_path / "project").exists()


CHILD = """
import sys, time
from pathlib import Path
from mlops.integrations.bentoml_serving.bento_service.prediction_log import PredictionLog
log = PredictionLog(Path(sys.argv[1]), facts={"model": "churn.iris:1", "version": sys.argv[2]})
def note(number, text=""):
    log.record([{"a": number, "text": text}], [0], request_id="0", latency_ms=1.0, size=100)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_full_disk_leaves_whole_lines_and_the_server_alive(directory: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
for number in range(20):
    note(number, "x" * 30)
    time.sleep(0.05)
time.sleep(1.0)
# There is space again.
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
note(99)
log.close()
print(log.dropped)
"""
    output, _ = start(code, directory, "1").communicate(timeout=60)
    dropped = int(output.split()[-1])
    numbers = [record["rows"][0]["a"] for record in records(directory)]
    assert dropped > 0
    assert len(numbers) == 21 - dropped
    assert numbers[-1] == 99
    assert all(path.read_bytes().endswith(b"}\n") for path in directory.iterdir() if path.stat().st_size)


def test_servers_write_at_once_and_a_kill_loses_at_most_a_second(directory: Path) -> None:
    code = """
print("ready", flush=True)
for number in range(10_000):
    note(number)
    time.sleep(0.002)
"""
    directory.mkdir()
    servers = [start(code, directory, version) for version in (1, 2)]
    for server in servers:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
    time.sleep(2.5)
    killed = datetime.now(UTC)
    for server in servers:
        server.send_signal(signal.SIGKILL)
        server.communicate()
    everything = records(directory)
    assert [record["at"] for record in everything] == sorted(record["at"] for record in everything)
    for version in ("1", "2"):
        own = records(directory, version=version)
        assert [record["rows"][0]["a"] for record in own] == [*range(len(own))]
        assert killed - datetime.fromisoformat(own[-1]["at"]) < timedelta(seconds=1)
    assert records(directory, limit=5) == everything[-5:]
    middle = everything[len(everything) // 2]
    assert (
        records(directory, since=datetime.fromisoformat(middle["at"]))
        == everything[everything.index(middle) :]
    )
    assert records(directory, version="3") == []


def test_what_is_damaged_is_passed_over(directory: Path) -> None:
    log = PredictionLog(directory, facts=FACTS)
    note(log, number=1)
    log.close()
    (path,) = directory.iterdir()
    good = path.read_bytes()
    path.write_bytes(b"\x00\x00\n[1]\n{}\n" + good + good[: len(good) // 2])
    (directory / "notes.jsonl").write_text("{}\n")
    assert [record["rows"] for record in records(directory)] == [[{"a": 1}]]
    assert [record["rows"] for record in records(directory, limit=3)] == [[{"a": 1}]]


def test_rotated_files_are_read_in_order_and_from_the_end(directory: Path) -> None:
    log = PredictionLog(directory, facts=FACTS, file_bytes=1000)
    for number in range(60):
        note(log, number=number)
    log.close()
    assert len([*directory.iterdir()]) > 5
    assert [record["rows"][0]["a"] for record in records(directory)] == [*range(60)]
    assert [record["rows"][0]["a"] for record in records(directory, limit=20)] == [*range(40, 60)]
    assert records(directory, limit=0) == []


def test_options_that_make_no_sense_are_refused(context: ToolContext) -> None:
    serving = BentoServing(context)
    with pytest.raises(ConfigError, match="has no time zone"):
        serving.predictions("iris", since=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ConfigError, match="limit=-1 is negative"):
        serving.predictions("iris", limit=-1)
    # Reading makes nothing.
    assert [*serving.predictions("iris")] == []
    assert not (context.workspace.monitoring_path / "predictions").exists()


def test_projects_and_models_have_logs_of_their_own(make_context: Callable[..., ToolContext]) -> None:
    one, other = make_context("one"), make_context("other")
    for context, number in ((one, 1), (other, 2)):
        directory = prediction_log.log_directory(context.workspace, "iris")
        directory.mkdir(parents=True)
        log = PredictionLog(directory, facts=FACTS)
        note(log, number=number)
        log.close()
    assert [record["rows"] for record in BentoServing(one).predictions("one.iris")] == [[{"a": 1}]]
    assert [record["rows"] for record in BentoServing(other).predictions("iris")] == [[{"a": 2}]]
    assert [*BentoServing(one).predictions("rose")] == []


def test_rows_for_monitoring() -> None:
    def flat(rows: list[Any], predictions: Any, **options: str) -> list[dict[str, Any]]:
        record = {"model": "churn.iris:1", "rows": rows, "predictions": predictions}
        return [*prediction_log.to_rows([record], **options)]

    assert flat([{"a": 1}, {"a": 2}], [0, 1]) == [{"a": 1, "prediction": 0}, {"a": 2, "prediction": 1}]
    assert flat([[1, 2]], [0.5]) == [{"0": 1, "1": 2, "prediction": 0.5}]
    assert flat(["text"], [{"label": "x", "score": 1.0}]) == [
        {"value": "text", "prediction.label": "x", "prediction.score": 1.0}
    ]
    assert flat([{"a": 1}, {"a": 2}], ["one answer"]) == []
    with pytest.raises(ConfigError, match="have a column 'prediction' themselves"):
        flat([{"prediction": 1}], [0])
    assert flat([{"prediction": 1}], [0], prediction_column="answer") == [{"prediction": 1, "answer": 0}]
