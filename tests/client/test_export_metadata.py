"""The metadata of a project as one file: complete, whole or not there, of any size, and readable again."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mlops import ArchiveError, ConfigError, MetadataExport, MLOpsClient, Project
from mlops.client import json_stream
from mlops.integrations.mlflow_tracking.api_queries import ApiReader

RUNS = 20_000


@pytest.fixture
def client(base: Path) -> MLOpsClient:
    return MLOpsClient.from_project("churn", base_path=base, description="Who leaves")


def fill(client: MLOpsClient, count: int) -> None:
    """Add runs as fast as SQLite takes them; a third of them share their start time with others."""
    client.tracking.ensure()
    ids = [f"{n:032x}" for n in range(count)]
    with closing(sqlite3.connect(client.tracking.database)) as connection, connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id,"
            " artifact_uri, source_type, user_id, source_name, source_version, entry_point_name)"
            " VALUES (?, ?, 'FINISHED', ?, ?, 'active', 0, '', 'LOCAL', 'me', '', '', '')",
            [(i, f"run-{n}", 1_700_000_000_000 + n // 3, 1_700_000_001_000 + n) for n, i in enumerate(ids)],
        )
        for key in ("a", "b", "c"):
            connection.executemany(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
                " VALUES (?, ?, 0, 0, 0, ?)",
                [(key, float(n), i) for n, i in enumerate(ids)],
            )
        for table in ("params", "tags"):
            connection.executemany(
                f"INSERT INTO {table} (key, value, run_uuid) VALUES ('text', ?, ?)",  # noqa: S608
                [(f"{n:0400d}", i) for n, i in enumerate(ids)],
            )


def test_what_was_written_is_read_back(client: MLOpsClient, base: Path, tmp_path: Path) -> None:
    data = tmp_path / "daten für.csv"
    data.write_text("a\n1\n")
    with client.start_run("first", params={"text": "zwei\nZeilen"}, tags={"emoji": "🚀"}):
        client.log_metrics({"loss": 0.5, "nan": math.nan, "up": math.inf, "down": -math.inf})
        client.log_text("x", "notes.txt")
        client.dvc_add(data)
    with client.start_run("second"):
        pass
    project = Project("churn", projects_dir=base)
    project.log_model_metrics("clf", {"accuracy": 0.9, "none": math.nan}, environment="production")
    project.add_tag("team", "a")

    before = datetime.now(UTC)
    path = project.export_metadata(tmp_path / "new" / "folder" / "backup.json")
    assert path == tmp_path / "new" / "folder" / "backup.json"
    export = MetadataExport(path)
    assert (export.schema, export.project_name) == (1, "churn")
    assert before <= export.exported_at <= datetime.now(UTC)
    assert export.workspace["description"] == "Who leaves"
    assert export.workspace["tags"] == {"team": "a"}
    assert export.stats == client.get_stats()

    runs, expected = list(export.runs()), client.list_runs(limit=None)
    for run in (*runs, *expected):
        run["metrics"] = {key: repr(value) for key, value in run["metrics"].items()}
    assert runs == expected
    assert runs[1]["metrics"] == {"loss": "0.5", "nan": "nan", "up": "inf", "down": "-inf"}

    artifacts = list(export.artifacts())
    assert len(artifacts) == export.stats["total_artifacts"]
    assert sorted(str(a) for a in artifacts) == sorted(str(a) for a in client.get_artifacts(limit=None))
    (measured,) = export.model_metrics()
    assert (measured["metrics"]["accuracy"], measured["environment"]) == (0.9, "production")
    assert math.isnan(measured["metrics"]["none"])
    assert list(export.checks()) == []
    # Strict JSON, and nothing that is true on this machine only.
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert str(base) not in json.dumps(document["workspace"])


def test_any_layout_of_the_same_document_is_read(client: MLOpsClient, tmp_path: Path) -> None:
    for n in range(3):
        with client.start_run(f"run-{n}"):
            client.log_metric("m", n)
    path = client.export_metadata(tmp_path / "a.json")
    expected = list(MetadataExport(path).runs())
    assert [run["run_name"] for run in expected] == ["run-2", "run-1", "run-0"]
    document = json.loads(path.read_text())
    for layout in ({"indent": 4}, {"separators": (",", ":")}, {"sort_keys": True, "ensure_ascii": False}):
        path.write_text(json.dumps(document, **layout))  # type: ignore[arg-type]
        export = MetadataExport(path)
        assert list(export.runs()) == expected
        assert list(export.runs()) == expected
        assert len(list(export.artifacts())) == 3


@pytest.mark.parametrize("block", [1, 2, 7])
def test_values_are_found_across_the_pieces_of_a_file(block: int) -> None:
    class Slow(io.StringIO):
        def read(self, size: int | None = -1, /) -> str:
            return super().read(block)

    document = {
        "a": [1, -2.5e10, "}],", [[]], {"k": []}, None],
        "e": [],
        "n": 12345,
        "o": {"x": [1]},
        "é": "ü",
    }
    read = {
        key: list(value) if isinstance(value, Iterator) else value
        for key, value in json_stream.members(Slow(json.dumps(document, indent=2)))
    }
    assert read == document
    # What was not asked for is stepped over.
    assert [key for key, _ in json_stream.members(Slow(json.dumps(document)))] == list(document)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a"', '{"a": [1', '{"a": [1 2]}', '{"a": 1} x', "{1: 2}"])
def test_text_that_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        list(json_stream.members(io.StringIO(text)))


def test_thousands_of_runs_take_no_more_memory_than_a_few(client: MLOpsClient, tmp_path: Path) -> None:
    fill(client, RUNS)
    target = tmp_path / "large.json"
    script = """
import resource, sys
from mlops import MLOpsClient, MetadataExport
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small, large = (MLOpsClient.from_project(name, base_path=sys.argv[1]) for name in ("small", "churn"))
MetadataExport(small.export_metadata(sys.argv[2]))
before = peak()
export = MetadataExport(large.export_metadata(sys.argv[2]))
written = peak()
runs = sum(1 for _ in export.runs())
print(runs, written - before, peak() - before)
"""
    MLOpsClient.from_project("small", base_path=client.manager.base_path)
    done = subprocess.run(
        [sys.executable, "-c", script, str(client.manager.base_path), str(target)],
        check=True,
        capture_output=True,
        text=True,
    )
    runs, writing, reading = (float(word) for word in done.stdout.split())
    assert runs == RUNS
    assert target.stat().st_size > 20_000_000
    assert max(writing, reading) < 25, "MB more than for an empty project"

    export = MetadataExport(target)
    assert export.stats["total_runs"] == RUNS
    assert export.stats["artifacts_by_type"]["metrics"] == RUNS
    ids = [run["run_id"] for run in export.runs()]
    assert len(set(ids)) == RUNS
    assert ids[:50] == [run["run_id"] for run in client.list_runs(limit=50)]
    assert sum(1 for _ in export.artifacts()) == RUNS
    # The first items are there at once.
    started = time.perf_counter()
    assert len(list(islice(MetadataExport(target).runs(), 10))) == 10
    assert time.perf_counter() - started < 1


def test_a_server_tells_the_same_runs_as_the_file(client: MLOpsClient) -> None:
    fill(client, 2_300)
    told = list(client.tracking.each_run())
    asked = list(ApiReader(client.tracking.client(), experiment_id=None).each_run())
    assert told == asked
    assert client.tracking.measured_runs() == 2_300
    assert [run["run_id"] for run in client.get_artifacts("metrics", limit=5)] == [
        run["run_id"] for run in client.list_runs(limit=5)
    ]


def test_runs_that_come_and_go_meanwhile_disturb_no_other(client: MLOpsClient) -> None:
    fill(client, 4_500)
    runs = client.tracking.each_run()
    seen = [next(runs)["run_id"] for _ in range(10)]
    api = client.tracking.client()
    for run_id in (*seen[:3], f"{5:032x}"):
        api.delete_run(run_id)
    api.create_run("0", run_name="new")
    seen += [run["run_id"] for run in runs]
    assert set(seen) == {f"{n:032x}" for n in range(4_500)} - {f"{5:032x}"}
    assert len(seen) == 4_499


def test_a_kill_while_writing_leaves_the_file_before(client: MLOpsClient, tmp_path: Path) -> None:
    fill(client, 2_000)
    target = tmp_path / "backup.json"
    client.export_metadata(target)
    before = target.read_bytes()
    script = """
import sys
from mlops import MLOpsClient
client = MLOpsClient.from_project("churn", base_path=sys.argv[1])
print("ready", flush=True)
while True:
    client.export_metadata(sys.argv[2])
"""
    for wait in (0.05, 0.3, 0.6):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(client.manager.base_path), str(target)],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            os.kill(process.pid, signal.SIGKILL)
        assert sum(1 for _ in MetadataExport(target).runs()) == 2_000
        assert abs(target.stat().st_size - len(before)) < 100


def test_a_failed_write_leaves_the_file_before_and_no_litter(client: MLOpsClient, tmp_path: Path) -> None:
    with client.start_run("first"):
        pass
    path = client.export_metadata(tmp_path / "out" / "backup.json")
    before = path.read_bytes()
    with closing(sqlite3.connect(client.tracking.database)) as connection, connection:
        connection.execute("DROP TABLE latest_metrics")
    with pytest.raises(Exception, match="latest_metrics"):
        client.export_metadata(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ConfigError, match="is a directory"):
        client.export_metadata(path.parent)


def test_a_newer_schema_is_refused(client: MLOpsClient, tmp_path: Path) -> None:
    path = client.export_metadata(tmp_path / "a.json")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(ArchiveError, match="schema 2") as caught:
        MetadataExport(path)
    assert caught.value.details == {"schema": 2, "supported": 1}
    assert "upgrade" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "does not exist"),
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "is no export"),
        ('{"format": "other", "schema": 1}', "is no export"),
        ('{"format": "mlops-metadata"}', "is no export"),
        ('{"format": "mlops-metadata", "schema": "1"}', "schema"),
        ('{"format": "mlops-metadata", "schema": 0}', "schema"),
        ('{"format": "mlops-metadata", "schema": 1}', "exported_at"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, content: str | None, match: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArchiveError, match=match) as caught:
        MetadataExport(path)
    assert "a.json" in str(caught.value)


def test_a_damaged_list_is_an_error_when_it_is_reached(client: MLOpsClient, tmp_path: Path) -> None:
    for n in range(3):
        with client.start_run(f"run-{n}"):
            pass
    path = client.export_metadata(tmp_path / "a.json")
    whole = path.read_text()

    def damaged(text: str) -> Any:
        path.write_text(text)
        return list(MetadataExport(path).runs())

    with pytest.raises(ArchiveError, match="cannot be read"):
        damaged(whole[: whole.index("run-0")])
    with pytest.raises(ArchiveError, match="runs"):
        damaged(whole.replace('"runs": [', '"runs": [3, '))
    with pytest.raises(ArchiveError, match="no list of runs"):
        damaged(whole.replace('"runs": [', '"others": ['))
    with pytest.raises(ArchiveError, match="damaged item"):
        damaged(whole.replace('"start_time": "', '"start_time": "x'))


def test_saved_versions_of_pipelines_are_exported(client: MLOpsClient, tmp_path: Path) -> None:
    def load(seed: int = 1) -> list[int]:
        return [seed]

    pipeline = client.create_pipeline("train").add_step(load)
    saved = [pipeline.save_version(name, metadata={"by": "night"}) for name in ("v1.0.0", "v1.1.0")]
    (exported,) = MetadataExport(client.export_metadata(tmp_path / "a.json")).pipelines()
    assert exported["name"] == "train"
    assert [version["version"] for version in exported["versions"]] == ["v1.0.0", "v1.1.0"]
    assert exported["versions"] == json.loads(json.dumps([version.to_dict() for version in saved]))
