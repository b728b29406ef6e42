from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from mlops import ArchiveError, MLOpsClient, WorkspaceExistsError, WorkspaceManager
from mlops.errors import InvalidProjectNameError, WorkspaceError, WorkspaceNotFoundError
from mlops.workspace import archive, links
from mlops.workspace.portable import portable
from mlops.workspace.unpacking import Reader
from tests.workspace.populated import ORIGINAL


def members(path: Path) -> dict[str, bytes]:
    """Return what an archive stores, read without this library's reader."""
    with (
        pyarrow.CompressedInputStream(str(path), "zstd") as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def link_set(client: MLOpsClient) -> set[tuple[str, str, str]]:
    logged, damaged = links.logged(client.workspace)
    assert damaged == []
    return {(link.source, link.target, link.relation) for link in logged}


def check_everything(client: MLOpsClient, work: Path) -> None:
    """Use what ``populate_everything`` stored, under whatever name the project has now."""
    name = client.project_name
    (run,) = client.list_runs()
    assert (run["run_name"], run["params"], run["metrics"]) == ("first", {"depth": "3"}, {"accuracy": 0.5})
    assert run["tags"]["mlops.project"] == name
    history = client.tracking.client().get_metric_history(run["run_id"], "accuracy")
    assert [point.value for point in history] == [0.5]
    note = client.tracking.client().download_artifacts(run["run_id"], "note.txt", str(work))
    assert Path(note).read_text() == "kept"

    version = client.tracking.models.get("classifier", alias="production")
    assert version.full_name == f"{name}.classifier"
    assert version.run_id == run["run_id"]
    assert client.tracking.models.load("classifier", as_pyfunc=True).predict([{"a": 3.0}]).tolist() == [1]

    (data,) = client.data.datasets()
    assert data.pushed
    pulled = work / f"pulled-{name}.csv"
    client.data.pull(data.name, destination=pulled)
    assert pulled.read_text() == "a,b\n1,2\n"
    assert client.data.verify().ok

    (deployment,) = client.serving.deployments()
    assert deployment.bento_tag == deployment.model_tag == f"{name}.classifier:1"
    assert deployment.labels["project"] == name

    status = client.get_status()
    assert {status[tool]["state"] for tool in ("mlflow", "dvc", "bentoml", "evidently")} == {"ready"}
    (check,) = client.monitoring.history()
    assert check["drift_detected"] is True
    assert client.monitoring.reference("classifier").rows == 200
    client.monitoring.save_html(check["snapshot_id"], work / "report.html")
    assert (client.workspace.outputs_path / "notes.md").read_text() == "of the user"

    before = link_set(client)
    assert (f"run:{run['run_id']}", f"model:{name}.classifier:1", "produced") in before
    assert (f"model:{name}.classifier:1", f"bento:{name}.classifier:1", "packaged-as") in before
    links.rebuild(client._context)
    assert link_set(client) == before
    client.close()


def test_a_project_works_under_another_name_without_the_original(
    everything: Path, manager: WorkspaceManager, tmp_path: Path
) -> None:
    assert not (everything.parent / ORIGINAL).exists()
    workspace = manager.import_workspace(everything, project_name="kept")
    assert (workspace.project_name, workspace.root_path) == ("kept", manager.base_path / "kept")
    client = MLOpsClient("kept", workspace_manager=manager)
    check_everything(client, tmp_path)
    # And it goes on from there, in its own directory only.
    with client.start_run("second") as run:
        client.log_metric("accuracy", 0.7)
        client.log_text("new", "new.txt")
    assert (workspace.mlflow_path / "artifacts" / "0" / run.run_id / "artifacts" / "new.txt").exists()
    assert client.tracking.count_runs() == {"FINISHED": 3}  # one is what a check logged
    client.close()
    assert not (everything.parent / ORIGINAL).exists()
    assert os.listdir(manager.base_path / ".mlops" / "staging" / "workspaces") == []
    assert not list(workspace.root_path.glob(".*"))


def test_an_import_keeps_the_id_unless_the_original_is_here(
    everything: Path, manager: WorkspaceManager
) -> None:
    exported = Reader(everything, "test").manifest()
    first = manager.import_workspace(everything)
    second = manager.import_workspace(everything, project_name="second")
    assert first.id == exported.workspace_id
    assert second.id not in ("", first.id)
    assert second.evidently_project_id == second.id
    untouched = tree(first.root_path)
    client = MLOpsClient("second", workspace_manager=manager)
    with client.start_run("only here"):
        client.log_metric("accuracy", 0.1)
    client.monitoring.ensure()
    client.close()
    assert tree(first.root_path) == untouched
    inodes = {path.stat().st_ino for path in first.root_path.rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in second.root_path.rglob("*") if path.is_file()}


def test_an_import_names_no_two_projects_the_same(everything: Path, populated: WorkspaceManager) -> None:
    before = tree(populated.base_path / "churn")
    with pytest.raises(WorkspaceExistsError, match="already exists") as caught:
        populated.import_workspace(everything)
    assert caught.value.operation == "import_workspace"
    assert "project_name" in (caught.value.hint or "")
    with pytest.raises(InvalidProjectNameError):
        populated.import_workspace(everything, project_name="../escape")
    assert tree(populated.base_path / "churn") == before


def test_force_moves_the_present_project_to_the_trash(everything: Path, populated: WorkspaceManager) -> None:
    present = populated.get_workspace("churn")
    (present.outputs_path / "notes.md").write_text("newer")
    imported = populated.import_workspace(everything, force=True)
    assert imported.id == present.id
    assert (imported.outputs_path / "notes.md").read_text() == "of the user"
    populated.delete_workspace("churn", force=True, purge=True)
    assert (populated.restore_workspace("churn").outputs_path / "notes.md").read_text() == "newer"


def test_force_does_not_pull_a_project_away_from_an_open_run(
    everything: Path, populated: WorkspaceManager
) -> None:
    client = MLOpsClient("churn", workspace_manager=populated)
    with client.start_run("at work") as run:
        with pytest.raises(WorkspaceError, match=run.run_id):
            populated.import_workspace(everything, force=True)
        client.log_metric("accuracy", 0.9)
    assert client.tracking.count_runs() == {"FINISHED": 3}  # one is what a check logged
    client.close()


def test_an_archive_has_no_secrets_and_no_paths_of_the_machine(
    manager: WorkspaceManager, tmp_path: Path
) -> None:
    manager.create_workspace(
        "team",
        mlflow_tracking_uri="http://someone:hunter2@127.0.0.1:9/",
        dvc_remote_path="s3://bucket/data?AWSAccessKeyId=hunter2&region=here",
    )
    manager.create_workspace("local", dvc_remote_path=str(tmp_path / "shared"))
    manager.create_workspace("reference", mlflow_tracking_uri="postgresql://me:${DB_PASSWORD}@127.0.0.1/db")
    (tmp_path / "shared").mkdir()
    data = tmp_path / "data.csv"
    data.write_text("1")
    client = MLOpsClient("local", workspace_manager=manager)
    client.dvc_add(data)
    client.dvc_push()
    (client.workspace.dvc_path / ".dvc" / "config.local").write_text("password = hunter2")
    with client.start_run():
        client.log_text("x", "x.txt")
    client.close()

    stored = members(manager.export_workspace("local", tmp_path / "local.tar.zst"))
    text = b"".join(stored.values())
    assert b"hunter2" not in text
    assert str(manager.base_path).encode() not in text
    assert str(tmp_path / "shared").encode() not in text
    assert "dvc_remote_path: it is a path of this machine" in json.loads(stored["manifest.json"])["left_out"]

    team, notes = portable(manager.get_workspace("team"))
    assert team.mlflow_tracking_uri == "http://someone@127.0.0.1:9/"
    assert team.dvc_remote_path == "s3://bucket/data?region=here"
    assert len(notes) == 2
    reference, notes = portable(manager.get_workspace("reference"))
    assert (reference.mlflow_tracking_uri, notes) == ("postgresql://me:${DB_PASSWORD}@127.0.0.1/db", [])


def test_without_data_the_versions_are_known_and_their_content_is_not(
    populated: WorkspaceManager, tmp_path: Path
) -> None:
    path = populated.export_workspace("churn", tmp_path / "small.tar.zst", include_data=False)
    assert not any("files/md5" in name for name in members(path))
    populated.import_workspace(path, project_name="small")
    client = MLOpsClient("small", workspace_manager=populated)
    (data,) = client.data.datasets()
    from mlops import DataIntegrityError

    with pytest.raises(DataIntegrityError):
        client.data.pull(data.name, destination=tmp_path / "gone.csv")
    assert client.data.health().state == "ready"
    client.close()


def test_an_export_while_runs_are_logging_is_consistent(manager: WorkspaceManager, tmp_path: Path) -> None:
    client = MLOpsClient("busy", workspace_manager=manager)
    stop, logged = threading.Event(), threading.Event()

    def train() -> None:
        with client.start_run("training"):
            step = 0
            while not stop.is_set():
                client.log_metric("loss", 1.0 / (step + 1), step=step)
                client.log_text(str(step), f"{step % 7}.txt")
                step += 1
                if step > 20:
                    logged.set()

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert logged.wait(60)
        path = manager.export_workspace("busy", tmp_path / "busy.tar.zst")
    finally:
        stop.set()
        thread.join()
    client.close()
    manager.import_workspace(path, project_name="copy")
    copy = MLOpsClient("copy", workspace_manager=manager)
    (run,) = copy.list_runs()
    assert (run["run_name"], run["status"]) == ("training", "RUNNING")
    with sqlite3.connect(copy.workspace.mlflow_path / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (points,) = database.execute("SELECT count(*) FROM metrics WHERE key = 'loss'").fetchone()
    database.close()
    assert points > 0
    copy.close()


def test_files_of_every_kind_travel(manager: WorkspaceManager, tmp_path: Path) -> None:
    workspace = manager.create_workspace("churn", description="größer")
    outputs = workspace.outputs_path
    (outputs / "empty" / "inner").mkdir(parents=True)
    script = outputs / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    os.utime(script, (1_000_000_000.25, 1_000_000_000.25))
    (outputs / ("long" * 60)).write_text("long name")
    odd = os.fsdecode(os.fsencode(outputs) + b"/caf\xe9 \xff")
    Path(odd).write_text("not UTF-8")
    (outputs / "within").symlink_to(script)
    (tmp_path / "secret").write_text("outside")
    (outputs / "out").symlink_to(tmp_path / "secret")
    (outputs / "directory").symlink_to(outputs / "empty")
    os.mkfifo(outputs / "pipe")
    (workspace.root_path / "pipelines").mkdir()
    (workspace.root_path / "pipelines" / "v1.json").write_text("{}")

    path = manager.export_workspace("churn", tmp_path / "files.tar.zst")
    assert {entry.partition(":")[0] for entry in Reader(path, "test").manifest().left_out} == {
        "outputs/out",
        "outputs/directory",
        "outputs/pipe",
    }
    assert b"outside" not in b"".join(members(path).values())
    copy = manager.import_workspace(path, project_name="copy")
    assert copy.description == "größer"
    assert (copy.outputs_path / "empty" / "inner").is_dir()
    status = (copy.outputs_path / "run.sh").stat()
    assert (status.st_mode & 0o111, status.st_mtime) == (0o111, 1_000_000_000.25)
    assert (copy.outputs_path / ("long" * 60)).read_text() == "long name"
    assert Path(odd.replace("/churn/", "/copy/")).read_text() == "not UTF-8"
    assert not (copy.outputs_path / "within").is_symlink()
    assert (copy.outputs_path / "within").read_text() == "#!/bin/sh\n"
    assert (copy.root_path / "pipelines" / "v1.json").read_text() == "{}"


def test_equal_files_are_stored_once(manager: WorkspaceManager, tmp_path: Path) -> None:
    workspace = manager.create_workspace("churn")
    content = os.urandom(300_000)
    for name in ("one", "two", "three"):
        (workspace.outputs_path / name).write_bytes(content)
    path = manager.export_workspace("churn", tmp_path / "equal.tar.zst")
    assert path.stat().st_size < 400_000
    copy = manager.import_workspace(path, project_name="copy")
    assert {(copy.outputs_path / name).read_bytes() for name in ("one", "two", "three")} == {content}
    (copy.outputs_path / "one").write_bytes(b"changed")
    assert (copy.outputs_path / "two").read_bytes() == content


def test_what_runs_share_is_shared_by_those_of_a_copy(manager: WorkspaceManager, tmp_path: Path) -> None:
    with MLOpsClient("churn", workspace_manager=manager) as client:
        for _ in range(3):
            with client.start_run():
                client.log_metric("accuracy", 0.5)
        used = client.tracking.usage().bytes
    path = manager.export_workspace("churn", tmp_path / "churn.tar.zst")
    for copy in (
        manager.import_workspace(path, project_name="copy"),
        manager.clone_workspace("churn", "twin"),
    ):
        texts = [*copy.mlflow_path.glob("artifacts/*/*/artifacts/mlops/environment.txt")]
        assert [text.stat().st_nlink for text in texts] == [4, 4, 4]
        with MLOpsClient(copy.project_name, workspace_manager=manager) as client:
            assert client.tracking.usage().bytes <= used


def test_the_same_name_can_be_exported_to_twice(populated: WorkspaceManager, tmp_path: Path) -> None:
    path = tmp_path / "churn.tar.zst"
    path.write_text("something older")
    calls: list[tuple[int, int]] = []
    populated.export_workspace("churn", path, progress=lambda *pair: calls.append(pair))
    assert calls == sorted(calls)
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1] > 0
    calls.clear()
    populated.import_workspace(path, project_name="copy", progress=lambda *pair: calls.append(pair))
    assert calls[-1][0] == calls[-1][1] > 0
    assert [entry.name for entry in tmp_path.glob(".*")] == []


def test_an_error_of_the_callers_progress_passes_through(
    populated: WorkspaceManager, everything: Path, tmp_path: Path
) -> None:
    def fail(done: int, total: int) -> None:
        if done:
            raise OSError("of the caller")

    with pytest.raises(OSError, match="of the caller") as caught:
        populated.export_workspace("churn", tmp_path / "x.tar.zst", progress=fail)
    assert not isinstance(caught.value, ArchiveError)
    with pytest.raises(OSError, match="of the caller"):
        populated.import_workspace(everything, project_name="copy", progress=fail)
    assert [w.project_name for w in populated.list_workspaces()] == ["churn"]
    assert not (tmp_path / "x.tar.zst").exists()


def test_a_bad_place_for_an_archive_is_refused_at_once(manager: WorkspaceManager, tmp_path: Path) -> None:
    workspace = manager.create_workspace("churn")
    for target in (tmp_path, tmp_path / "missing" / "x.tar.zst", workspace.outputs_path / "x.tar.zst"):
        with pytest.raises(ArchiveError) as caught:
            manager.export_workspace("churn", target)
        assert (caught.value.operation, caught.value.workspace) == ("export_workspace", "churn")
    with pytest.raises(WorkspaceNotFoundError):
        manager.export_workspace("nobody", tmp_path / "x.tar.zst")


# -- archives that somebody made to do harm, or that come from elsewhere


def entry(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def build(path: Path, listed: dict[str, bytes], *, extra: Any = (), **manifest: Any) -> Path:
    """Write an archive whose manifest lists ``listed``, followed by entries that nobody asked for."""
    values = {
        "format": archive.FORMAT,
        "format_version": archive.FORMAT_VERSION,
        "project_name": "evil",
        "workspace_id": "0",
        "created_at": "2026-01-01T00:00:00+00:00",
        "versions": {},
        "left_out": [],
        "directories": [],
        "members": [
            {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in listed.items()
        ],
        **manifest,
    }
    text = json.dumps(values).encode()
    head = [
        entry("manifest.json", text),
        entry("manifest.sha256", hashlib.sha256(text).hexdigest().encode()),
    ]
    with (
        pyarrow.CompressedOutputStream(str(path), "zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for info, content in [*head, *(entry(name, content) for name, content in listed.items()), *extra]:
            tar.addfile(info, io.BytesIO(content))
    return path


YAML = b"project_name: evil\nschema_version: 1\nid: 00000000-0000-4000-8000-000000000000\n"
YAML += b"created_at: 2026-01-01T00:00:00+00:00\nupdated_at: 2026-01-01T00:00:00+00:00\n"
GOOD = {"workspace.yaml": YAML}


def duplicate(name: str) -> dict[str, Any]:
    value = {"path": name, "size": len(YAML), "sha256": hashlib.sha256(YAML).hexdigest()}
    return {"members": [value, value]}


def same_as(path: str) -> dict[str, Any]:
    value = {"path": "workspace.yaml", "size": len(YAML), "sha256": hashlib.sha256(YAML).hexdigest()}
    return {"members": [value, {**value, "path": "files/x", "same_as": path}]}


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "absolute": lambda p: build(p, {**GOOD, f"{p.parent}/evil": b"x"}),
    "upwards": lambda p: build(p, {**GOOD, "files/../../../evil": b"x"}),
    "upwards in a tool": lambda p: build(p, {**GOOD, "tools/../evil": b"x"}),
    "elsewhere": lambda p: build(p, {**GOOD, ".mlops/evil": b"x"}),
    "into a tool's directory": lambda p: build(p, {**GOOD, "files/mlflow/mlflow.db": b"x"}),
    "over the configuration": lambda p: build(p, {**GOOD, "files/workspace.yaml": b"x"}),
    "a renaming": lambda p: build(p, {**GOOD, "files/.renaming.json": b"{}"}),
    "NUL": lambda p: build(p, GOOD, members=[{"path": "files/\0", "size": 0, "sha256": "0" * 64}]),
    "directory upwards": lambda p: build(p, GOOD, directories=["files/../../evil"]),
    "symbolic link": lambda p: build(
        p, GOOD, extra=[entry("files/x", type=tarfile.SYMTYPE, linkname="/etc/passwd")]
    ),
    "listed link": lambda p: build(
        p,
        GOOD,
        extra=[entry("files/x", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        members=[
            {"path": "workspace.yaml", "size": len(YAML), "sha256": hashlib.sha256(YAML).hexdigest()},
            {"path": "files/x", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        ],
    ),
    "hard link": lambda p: build(
        p, GOOD, extra=[entry("files/x", type=tarfile.LNKTYPE, linkname="/etc/passwd")]
    ),
    "device": lambda p: build(p, GOOD, extra=[entry("files/x", type=tarfile.CHRTYPE)]),
    "fifo": lambda p: build(p, GOOD, extra=[entry("files/x", type=tarfile.FIFOTYPE)]),
    "directory entry": lambda p: build(p, GOOD, extra=[entry("../evil", type=tarfile.DIRTYPE)]),
    "unlisted": lambda p: build(p, GOOD, extra=[entry("files/x", b"x")]),
    "twice": lambda p: build(p, GOOD, extra=[entry("workspace.yaml", YAML)]),
    "listed twice": lambda p: build(p, GOOD, **duplicate("workspace.yaml")),
    "missing": lambda p: build(
        p,
        GOOD,
        members=[
            *duplicate("workspace.yaml")["members"][:1],
            {"path": "files/x", "size": 1, "sha256": "0" * 64},
        ],
    ),
    "larger than listed": lambda p: build(
        p, GOOD, members=[{"path": "workspace.yaml", "size": 1, "sha256": "0" * 64}]
    ),
    "other content": lambda p: build(
        p, GOOD, members=[{"path": "workspace.yaml", "size": len(YAML), "sha256": "0" * 64}]
    ),
    "negative size": lambda p: build(
        p, GOOD, members=[{"path": "workspace.yaml", "size": -1, "sha256": "0" * 64}]
    ),
    "same as nothing": lambda p: build(p, GOOD, **same_as("files/y")),
    "same as a path outside": lambda p: build(p, GOOD, **same_as("../../etc/passwd")),
    "file and directory": lambda p: build(p, {**GOOD, "files/x": b"", "files/x/y": b""}),
    "no configuration": lambda p: build(p, {"files/x": b"x"}),
    "bad configuration": lambda p: build(p, {"workspace.yaml": b"[]"}),
    "unknown tool": lambda p: build(p, {**GOOD, "tools/feast/x": b"x"}),
    "bad store": lambda p: build(p, {**GOOD, "tools/mlflow/mlflow.db": b"no database"}),
    "larger than the disk": lambda p: build(
        p, GOOD, members=[{"path": "workspace.yaml", "size": 1 << 60, "sha256": "0" * 64}]
    ),
    "long header": lambda p: build(
        p, GOOD, extra=[entry("././@LongLink", b"a" * (2 << 20), type=tarfile.GNUTYPE_LONGNAME)]
    ),
    "mad time": lambda p: build(
        p,
        {},
        members=duplicate("workspace.yaml")["members"][:1],
        extra=[entry("workspace.yaml", YAML, pax_headers={"mtime": "nan"})],
    ),
    "another format": lambda p: build(p, GOOD, format="other"),
    "no version": lambda p: build(p, GOOD, format_version=None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_changes_nothing(case: str, manager: WorkspaceManager, tmp_path: Path) -> None:
    path = HOSTILE[case](tmp_path / "evil.tar.zst")
    outside = {entry.name for entry in tmp_path.iterdir()}
    with pytest.raises((ArchiveError, InvalidProjectNameError)) as caught:
        manager.import_workspace(path)
    assert caught.value.operation == "import_workspace"
    assert caught.value.hint
    assert manager.list_workspaces() == []
    assert {entry.name for entry in tmp_path.iterdir()} == outside
    staging = manager.base_path / ".mlops" / "staging" / "workspaces"
    assert not staging.exists() or os.listdir(staging) == []


def test_a_good_archive_of_that_make_is_imported(manager: WorkspaceManager, tmp_path: Path) -> None:
    path = build(tmp_path / "good.tar.zst", {**GOOD, "files/outputs/x": b"x"})
    workspace = manager.import_workspace(path)
    assert (workspace.outputs_path / "x").read_bytes() == b"x"


def test_an_archive_of_a_newer_format_says_what_to_do(manager: WorkspaceManager, tmp_path: Path) -> None:
    path = build(tmp_path / "new.tar.zst", GOOD, format_version=archive.FORMAT_VERSION + 1)
    with pytest.raises(ArchiveError, match="format version 2") as caught:
        manager.import_workspace(path)
    assert "upgrade" in (caught.value.hint or "")


def test_something_else_is_no_archive(manager: WorkspaceManager, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not an archive")
    for path in (other, tmp_path / "missing", tmp_path):
        with pytest.raises(ArchiveError) as caught:
            manager.import_workspace(path)
        assert caught.value.hint
    assert not manager.base_path.joinpath("churn").exists()


def test_something_that_is_no_project_is_never_replaced(
    everything: Path, manager: WorkspaceManager, tmp_path: Path
) -> None:
    other = manager.base_path / "churn"
    other.mkdir()
    (other / "mine").write_text("kept")
    with pytest.raises(WorkspaceExistsError, match="something else"):
        manager.import_workspace(everything, force=True)
    assert (other / "mine").read_text() == "kept"
    shutil.rmtree(other)
