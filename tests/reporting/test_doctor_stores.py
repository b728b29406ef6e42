"""What the doctor finds in the stores of the four tools, and how it puts it right."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.integrations.evidently_monitoring.project import project_path
from mlops.integrations.mlflow_tracking import store
from mlops.reporting.doctor import Finding, examine
from mlops.workspace.model import ProjectWorkspace
from tests.reporting.demo import build_demo

# Of the demo as it is made.
KNOWN = [("broken", "corrupt-workspace"), ("torn", "store-unavailable")]


@pytest.fixture(scope="module")
def original(demo: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A place for the demo, and a copy of it as it was in that place."""
    root = tmp_path_factory.mktemp("ward")
    build_demo(root / "base", cache=shared_cache)
    manager = WorkspaceManager(root / "base")
    for name in ("broken", "torn"):
        manager.delete_workspace(name, force=True, purge=True)
    folder = root / "pictures"
    (folder / "cats").mkdir(parents=True)
    for name in ("one.txt", "cats/two.txt"):
        (folder / name).write_text(name)
    client = MLOpsClient("quiet", workspace_manager=manager)
    client.dvc_add(folder)
    client.dvc_push()
    client.close()
    subprocess.run(["cp", "-a", root / "base", root / "kept"], check=True)
    return root / "base", root / "kept"


@pytest.fixture
def ward(original: tuple[Path, Path]) -> Path:
    """The demo without what is wrong in it, to be damaged."""
    place, kept = original
    shutil.rmtree(place)
    subprocess.run(["cp", "-a", kept, place], check=True)
    return place


def of(base: Path, project: str) -> ProjectWorkspace:
    return WorkspaceManager(base).get_workspace(project)


def state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything there is: what each file has in it, its inode and when it was changed."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def _difference(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def found_in(base: Path, project: str | None = None, **options: bool) -> list[Finding]:
    return examine(WorkspaceManager(base), project, **options)


def checks(findings: list[Finding]) -> list[str]:
    return [str(finding.check) for finding in findings]


def cured(base: Path, *expected: str, project: str = "churn", deep: bool = False) -> list[Finding]:
    """Find exactly this, without a change; put it right; then nothing is left, and a second time is safe."""
    before = state(base)
    found = found_in(base, deep=deep)
    assert checks(found) == list(expected), found
    assert {finding.project for finding in found} <= {project}
    assert all(finding.fixable and not finding.fixed and finding.hint for finding in found)
    assert state(base) == before
    done = found_in(base, fix=True, deep=deep)
    # Nothing of another project was touched.
    mine = (project, ".mlops")
    assert [each for each in _difference(before, state(base)) if not each.startswith(mine)] == []
    assert all(finding.fixed and finding.hint == "nothing is left to do" for finding in done), done
    assert checks(done) == list(expected)
    after = state(base)
    assert found_in(base, fix=True, deep=deep) == []
    assert state(base) == after
    return done


def reported(base: Path, *expected: str, project: str = "churn", **options: bool) -> list[Finding]:
    """Find exactly this, which a person has to decide on, so that nothing is changed."""
    before = state(base)
    found = found_in(base, fix=True, **options)
    assert checks(found) == list(expected), found
    assert {finding.project for finding in found} == {project}
    assert not any(finding.fixable or finding.fixed for finding in found)
    assert state(base) == before
    return found


def test_nothing_is_wrong_with_projects_in_use(ward: Path, demo: Path) -> None:
    before = state(demo)
    for deep in (False, True):
        assert [(f.project, str(f.check)) for f in found_in(demo, deep=deep)] == KNOWN
    assert state(demo) == before

    client = MLOpsClient("churn", workspace_manager=WorkspaceManager(ward))
    with (
        client.start_run("at work"),
        client.watch_predictions("classifier", every=3600),
        client.workspace.lock("dvc"),
    ):
        before = state(ward)
        for deep in (False, True):
            assert found_in(ward, fix=True, deep=deep) == []
        assert state(ward) == before
    client.close()


def test_progress_is_reported_where_data_is_read(ward: Path) -> None:
    seen: list[tuple[int, int]] = []
    examine(
        WorkspaceManager(ward), "churn", deep=True, progress=lambda done, total: seen.append((done, total))
    )
    assert seen
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_damaged_database_is_found_where_it_still_opens(ward: Path) -> None:
    path = ward / "churn" / "mlflow" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'metrics'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(os.urandom(size))
    for deep in (False, True):
        (found,) = reported(ward, "damaged-database", deep=deep)
        assert found.problem


@pytest.mark.parametrize(
    ("schema", "hint"),
    [("451aebb31d03", "mlflow db upgrade 'sqlite:///"), ("0123456789ab", "install the MLflow that wrote it")],
)
def test_schemas_of_another_mlflow_are_told_from_damage(ward: Path, schema: str, hint: str) -> None:
    path = ward / "forecast" / "mlflow" / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    (found,) = reported(ward, "schema-version", project="forecast")
    assert hint in found.hint


def test_places_outside_of_the_project_are_found_in_the_database(ward: Path, tmp_path: Path) -> None:
    path = ward / "churn" / "mlflow" / "mlflow.db"
    elsewhere = tmp_path / "elsewhere"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE runs SET artifact_uri = ? WHERE name = 'baseline'", (f"{elsewhere.as_uri()}/x/artifacts",)
        )
    (note,) = reported(ward, "foreign-location")
    assert (note.problem, note.details["places"]) == (False, [str(elsewhere / "x" / "artifacts")])
    into = ward / "forecast" / "mlflow" / "artifacts" / "0" / "x"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE name = 'baseline'", (into.as_uri(),))
    (finding,) = reported(ward, "foreign-location")
    assert finding.problem
    assert str(into) in finding.message


def test_files_of_models_that_are_gone_and_artifacts_without_a_run(ward: Path) -> None:
    root = ward / "churn" / "mlflow" / "artifacts" / "0"
    (model,) = (path for path in (root / "models").iterdir() if _logged_by(ward, path.name) == "2")
    shutil.rmtree(model)
    (lost,) = reported(ward, "missing-model-files")
    assert lost.details["models"] == ["models:/churn.classifier/2"]
    # As mlflow gc leaves the directory of a run that it removed.
    of_run, of_model = root / ("0" * 32), root / "models" / f"m-{'0' * 32}"
    (of_run / "artifacts").mkdir(parents=True)
    reported(ward, "missing-model-files")
    (of_run / "artifacts" / "notes.txt").write_text("notes")
    of_model.mkdir()
    (of_model / "MLmodel").write_text("flavors: {}\n")
    _, orphans = reported(ward, "missing-model-files", "orphaned-artifacts")
    assert not orphans.problem
    assert orphans.details["paths"] == [str(of_run), str(of_model)]


def _logged_by(base: Path, model_id: str) -> str:
    with contextlib.closing(sqlite3.connect(base / "churn" / "mlflow" / "mlflow.db")) as connection:
        found = connection.execute(
            "SELECT version FROM model_version_tags WHERE key = 'mlops.model_id' AND value = ?", (model_id,)
        ).fetchone()
    return str(found[0]) if found else ""


def test_a_model_whose_logging_was_cut_off_is_marked_failed(ward: Path) -> None:
    client = MLOpsClient("churn", workspace_manager=WorkspaceManager(ward))
    api = client.tracking.client()
    model = api.create_logged_model("0", name="half")
    with client.start_run("at work") as run:
        written = api.create_logged_model("0", name="new", source_run_id=run.run_id)
        assert found_in(ward) == []
        long_ago = int((time.time() - 2 * 86_400) * 1000)
        with contextlib.closing(sqlite3.connect(client.tracking.database)) as connection, connection:
            connection.execute("UPDATE logged_models SET creation_timestamp_ms = ?", (long_ago,))
        (done,) = cured(ward, "unfinished-model")
        assert done.details["models"] == [model.model_id]
    states = {
        each.model_id: str(each.status)
        for each in (api.get_logged_model(m.model_id) for m in (model, written))
    }
    assert states == {model.model_id: "FAILED", written.model_id: "PENDING"}
    client.close()


def test_a_restore_of_the_runs_that_was_cut_off_is_undone(ward: Path) -> None:
    workspace = of(ward, "churn")
    previous = store.previous_store(workspace)
    (workspace.root_path / "mlflow").rename(previous)
    cured(ward, "interrupted-restore")
    assert not previous.exists()
    assert MLOpsClient("churn", workspace_manager=WorkspaceManager(ward)).list_runs(limit=1)
    # And where the new store was complete, the former one goes.
    subprocess.run(["cp", "-a", workspace.mlflow_path, previous], check=True)
    cured(ward, "interrupted-restore")


def _object(base: Path, project: str, part: str) -> Path:
    """A stored object of a project, in its cache or its remote."""
    root = {"cache": ".dvc/cache/files/md5", "remote": "remote/files/md5"}[part]
    found = sorted(path for path in (base / project / "dvc" / root).rglob("*") if path.is_file())
    return next(path for path in found if not path.name.endswith(".dir"))


@pytest.mark.parametrize("project", ["churn", "quiet"])
def test_objects_that_the_remote_lost_are_sent_again(ward: Path, project: str) -> None:
    lost = _object(ward, project, "remote")
    content = lost.read_bytes()
    lost.unlink()
    (finding,) = cured(ward, "missing-remote-data", project=project)
    assert lost.read_bytes() == content
    assert len(finding.details["gaps"]) == 1
    shutil.rmtree(ward / project / "dvc" / "remote")
    cured(ward, "missing-remote-data", project=project)


def _overwrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(change(content))


def test_a_cut_off_object_is_found_by_its_size_and_replaced(ward: Path) -> None:
    damaged = ward / "churn" / "dvc" / ".dvc" / "cache" / "files" / "md5"
    sent = _object(ward, "churn", "remote")
    cached = damaged / sent.parent.name / sent.name
    _overwrite(cached, lambda content: content[:-3])
    cured(ward, "damaged-data")
    assert cached.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize("part", ["cache", "remote"])
def test_a_deep_look_finds_bytes_that_changed_in_place(ward: Path, part: str) -> None:
    damaged = _object(ward, "quiet", part)
    content = damaged.read_bytes()
    _overwrite(damaged, lambda content: content.swapcase())
    assert found_in(ward) == []
    # What only the cache has whole is gone from the remote, too.
    also = ["missing-remote-data"] if part == "remote" else []
    cured(ward, "damaged-data", *also, project="quiet", deep=True)
    assert damaged.read_bytes() == content


def test_data_that_is_gone_for_good_is_named(ward: Path) -> None:
    (listing,) = (ward / "quiet" / "dvc" / ".dvc" / "cache").rglob("*.dir")
    listing.chmod(0o644)
    listing.write_text("[]")
    cured(ward, "damaged-data", project="quiet")
    lost = [_object(ward, "quiet", part) for part in ("cache", "remote")]
    assert lost[0].name == lost[1].name
    for path in lost:
        path.unlink()
    (finding,) = reported(ward, "missing-data", project="quiet")
    assert "pictures@" in finding.details["missing"][0]


def test_a_remote_out_of_reach_hides_no_other_finding(ward: Path) -> None:
    manager = WorkspaceManager(ward)
    manager.update_workspace_metadata("churn", dvc_remote_path="http://127.0.0.1:9/bucket")
    # Nothing was pushed there, so nobody asks it.
    assert found_in(ward) == []
    _object(ward, "churn", "cache").unlink()
    (ward / "churn" / "models" / "models" / "churn.classifier" / "1" / "model.yaml").write_text("{")
    for deep in (False, True):
        found = found_in(ward, deep=deep)
        assert checks(found) == ["store-unavailable", "damaged-bento"]
        assert "http://127.0.0.1:9/bucket/churn cannot be reached" in found[0].message


def test_a_ledger_that_cannot_be_understood_is_left_to_people(ward: Path) -> None:
    with (ward / "churn" / "dvc" / "ledger.jsonl").open("a") as stream:
        stream.write('{"event": "added"}\n')
    (finding,) = reported(ward, "damaged-log")
    assert finding.details["line"] == 4
    assert "ledger.jsonl" in finding.message


def test_packaged_models_that_are_damaged_or_gone(ward: Path) -> None:
    entry = ward / "churn" / "models" / "models" / "churn.classifier" / "1"
    files = [path for path in (entry / "mlflow_model").iterdir() if path.suffix not in (".yaml", ".txt", "")]
    content = files[0].read_bytes()
    _overwrite(files[0], lambda content: content[::-1])
    # The same file in MLflow's artifacts, of which it is a hard link.
    (found,) = reported(ward, "damaged-bento", deep=True)
    assert found.details["tag"] == "churn.classifier:1"
    files[0].write_bytes(content[:10])
    (found,) = reported(ward, "damaged-bento")
    assert "bytes instead of" in found.message
    files[0].write_bytes(content)
    (entry / "model.yaml").write_text("name: [")
    reported(ward, "damaged-bento")
    shutil.rmtree(entry)
    (found,) = reported(ward, "missing-bento-model")
    assert found.details["models"] == ["churn.classifier:1"]
    (ward / "churn" / "models" / "bentos" / "churn.classifier" / "1" / "bento.yaml").unlink()
    (found,) = reported(ward, "damaged-bento")
    assert "the file is missing" in found.message


def test_a_restore_of_packaged_models_that_was_cut_off_is_undone(ward: Path) -> None:
    home = ward / "churn" / "models"
    (home / ".replaced").mkdir()
    (home / "models").rename(home / ".replaced" / "models")
    cured(ward, "interrupted-restore")
    assert (home / "models" / "churn.classifier" / "1" / "model.yaml").is_file()


def snapshots(base: Path) -> list[Path]:
    return sorted((project_path(of(base, "churn")) / "snapshots").glob("*.json"))


def test_damaged_files_of_evidently_are_set_aside(ward: Path) -> None:
    path = project_path(of(ward, "churn"))
    before = {name: json.loads((path / name).read_text()) for name in ("metadata.json", "dashboard.json")}
    for name in before:
        (path / name).write_text('{"id": "')
    cured(ward, "damaged-monitoring", "damaged-monitoring")
    assert {name: json.loads((path / name).read_text()) for name in before} == before
    torn = snapshots(ward)[0]
    _overwrite(torn, lambda content: content[:1000])
    from evidently.ui.workspace import Workspace

    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        Workspace(str(path.parent)).list_projects()
    (done,) = found_in(ward, fix=True)
    assert (str(done.check), done.fixed) == ("damaged-snapshot", True)
    (path / "metadata.json").write_text("")
    assert checks(found_in(ward, fix=True)) == ["damaged-monitoring"]
    aside = ward / "churn" / "monitoring" / "damaged" / path.name
    assert sorted(each.name for each in aside.glob("metadata*")) == ["metadata.json", "metadata.json.1"]
    assert [found.name for found in Workspace(str(path.parent)).list_projects()] == ["churn"]
    kept = ward / "churn" / "monitoring" / "damaged" / path.name / "snapshots" / torn.name
    assert len(kept.read_bytes()) == 1000
    assert found_in(ward) == []
    client = MLOpsClient("churn", workspace_manager=WorkspaceManager(ward))
    assert len(client.monitoring.history()) == 2


def test_snapshots_and_history_are_compared(ward: Path) -> None:
    first, last = snapshots(ward)
    content = first.read_bytes()
    first.unlink()
    # What is older than all that are left went by retention.
    assert found_in(ward) == []
    first.write_bytes(content)
    last.unlink()
    (gone,) = reported(ward, "incomplete-history")
    assert (gone.problem, gone.details["snapshots"]) == (False, [last.stem])
    other = first.with_name("01a2018d-78e6-7ffe-8eec-3df611000000.json")
    other.write_bytes(content)
    reported(ward, "incomplete-history")  # a check may be storing it at this moment
    os.utime(other, (time.time() - 100, time.time() - 100))
    _, extra = reported(ward, "incomplete-history", "incomplete-history")
    assert extra.details["snapshots"] == [other.stem]


def test_references_are_read_and_their_list_is_made_again(ward: Path) -> None:
    client = MLOpsClient("churn", workspace_manager=WorkspaceManager(ward))
    before = client.monitoring.reference("classifier")
    pointer = ward / "churn" / "monitoring" / "reference" / "current.json"
    content = json.loads(pointer.read_text())
    for damaged in ('{"schema_version": 1, "cur', '{"current": {"m": 1}}'):
        pointer.write_text(damaged)
        cured(ward, "damaged-reference")
        assert client.monitoring.reference("classifier") == before
        assert json.loads(pointer.read_text()) == content
    data = before.path / "data.parquet"
    _overwrite(data, lambda content: content[:4] + bytes(len(content) - 8) + content[-4:])
    assert found_in(ward) == []
    reported(ward, "damaged-reference", deep=True)
    data.write_bytes(data.read_bytes()[:-20])
    reported(ward, "damaged-reference")
    schema = json.loads((before.path / "schema.json").read_text())
    (before.path / "schema.json").write_text(json.dumps(schema | {"schema_version": 99}))
    (newer,) = reported(ward, "schema-version")
    assert "schema version 99" in newer.message


def test_saved_versions_of_pipelines_are_read(ward: Path) -> None:
    (code,) = (ward / "churn" / "pipelines" / "versions").rglob("*.pkl")
    _overwrite(code, lambda content: content[:-1])
    (finding,) = reported(ward, "damaged-pipeline")
    assert finding.details["pipeline"] == "retrain"


@pytest.fixture(autouse=True)
def closed(ward: Path) -> Iterator[None]:
    yield
    for name in ("churn", "forecast", "quiet"):
        store.forget(store.database_uri(ward / name / "mlflow" / "mlflow.db"))
