from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceExistsError, WorkspaceManager, WorkspaceNotFoundError
from mlops.errors import IntegrationError, InvalidModelNameError, InvalidProjectNameError, WorkspaceError
from mlops.workspace import links, renaming
from mlops.workspace.model import ProjectWorkspace
from tests.workspace.test_archive import check_everything, link_set, tree


def test_everything_follows_a_rename(populated: WorkspaceManager, tmp_path: Path) -> None:
    before = populated.get_workspace("churn")
    client = MLOpsClient("churn", workspace_manager=populated)
    data = tmp_path / "outside.csv"
    data.write_text("of the project")
    client.dvc_add(data)
    client.close()
    workspace = populated.rename_workspace("churn", "retention")
    assert (workspace.project_name, workspace.root_path.name) == ("retention", "retention")
    assert (workspace.id, workspace.created_at) == (before.id, before.created_at)
    assert [w.project_name for w in populated.list_workspaces()] == ["retention"]
    assert "churn" not in populated.workspaces
    with pytest.raises(WorkspaceNotFoundError):
        populated.get_workspace("churn")

    client = MLOpsClient("retention", workspace_manager=populated)
    # Added from outside by this very project, so that it may be put back there.
    data.unlink()
    client.data.pull(data)
    assert data.read_text() == "of the project"
    assert client.tracking.client().get_experiment("0").name == "retention"
    assert [m.name for m in client.tracking.client().search_registered_models()] == ["retention.classifier"]
    with client.start_run("next"):
        client.log_metric("accuracy", 0.6)
    client.close()
    for file in ("workspace.yaml", "links.jsonl"):
        assert "churn" not in (workspace.root_path / file).read_text()
    assert not renaming.pending(workspace.root_path)


def test_a_renamed_project_serves_and_works(populated: WorkspaceManager, tmp_path: Path) -> None:
    populated.rename_workspace("churn", "retention")
    client = MLOpsClient("retention", workspace_manager=populated)
    check_everything(client, tmp_path)
    with client.serving.serve("classifier") as server:
        assert server.predict([{"a": 3.0}]) == [1]
        with pytest.raises(WorkspaceError, match=r"retention\.classifier:1 is being served") as caught:
            populated.rename_workspace("retention", "again")
        assert str(server.pid) in str(caught.value)
    client.close()
    assert populated.rename_workspace("retention", "again").project_name == "again"


def test_the_old_name_is_free(populated: WorkspaceManager) -> None:
    populated.rename_workspace("churn", "retention")
    fresh = populated.create_workspace("churn")
    assert fresh.id != populated.get_workspace("retention").id
    client = MLOpsClient("churn", workspace_manager=populated)
    assert client.list_runs() == []
    client.close()
    with pytest.raises(WorkspaceExistsError):
        populated.rename_workspace("retention", "churn")


def test_a_name_can_be_given_back(populated: WorkspaceManager, tmp_path: Path) -> None:
    populated.rename_workspace("churn", "churn2")
    populated.rename_workspace("churn2", "churn")
    check_everything(MLOpsClient("churn", workspace_manager=populated), tmp_path)


def test_names_that_share_a_lock(manager: WorkspaceManager) -> None:
    manager.create_workspace("credit_risk")
    assert manager.rename_workspace("credit_risk", "credit-risk").project_name == "credit-risk"
    manager.create_workspace("other")
    with pytest.raises(InvalidProjectNameError, match="collides"):
        manager.rename_workspace("other", "credit_risk")


def test_a_rename_that_cannot_be_is_refused(populated: WorkspaceManager) -> None:
    populated.create_workspace("taken")
    before = tree(populated.base_path)
    for old, new, error in (
        ("nobody", "new", WorkspaceNotFoundError),
        ("churn", "taken", WorkspaceExistsError),
        ("churn", "churn", WorkspaceExistsError),
        ("churn", "Not A Name", InvalidProjectNameError),
        ("churn", "../elsewhere", InvalidProjectNameError),
    ):
        with pytest.raises(error) as caught:
            populated.rename_workspace(old, new)
        assert caught.value.operation == "rename_workspace"
    after = {name: digest for name, digest in tree(populated.base_path).items() if ".mlops" not in name}
    assert after == {name: digest for name, digest in before.items() if ".mlops" not in name}


def test_a_name_too_long_for_a_model_is_refused_and_nothing_is_renamed(
    populated: WorkspaceManager, tmp_path: Path
) -> None:
    client = MLOpsClient("churn", workspace_manager=populated)
    model = client.tracking.models.download("classifier")
    client.serving.deploy(
        model, model="a-name-of-forty-characters-that-is-long", version=1, build_bento=False
    )
    client.close()
    with pytest.raises(InvalidModelNameError, match="63") as caught:
        populated.rename_workspace("churn", "a-project-name-with-many-letters")
    assert caught.value.operation == "rename_workspace"
    assert [w.project_name for w in populated.list_workspaces()] == ["churn"]
    client = MLOpsClient("churn", workspace_manager=populated)
    assert client.tracking.models.get("classifier").full_name == "churn.classifier"
    assert not renaming.pending(client.workspace.root_path)
    assert len(client.serving.deployments()) == 2
    client.close()
    with pytest.raises(InvalidModelNameError):
        populated.clone_workspace("churn", "a-project-name-with-many-letters")
    assert [w.project_name for w in populated.list_workspaces()] == ["churn"]


def test_a_run_open_in_another_process_is_named(populated: WorkspaceManager) -> None:
    script = f"""
import sys
from mlops import MLOpsClient
client = MLOpsClient("churn", base_path={str(populated.base_path)!r})
with client.start_run("at work") as run:
    print(run.run_id, flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        run_id = process.stdout.readline().strip()
        with pytest.raises(WorkspaceError, match="in use") as caught:
            populated.rename_workspace("churn", "retention")
        assert run_id in str(caught.value)
        assert str(process.pid) in str(caught.value)
        assert caught.value.hint
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.wait(60) == 0
    assert populated.rename_workspace("churn", "retention").project_name == "retention"


def test_what_a_killed_rename_left_is_finished_by_whoever_opens_the_project(
    populated: WorkspaceManager, tmp_path: Path
) -> None:
    root = populated.base_path / "churn"
    note = {"to": "retention", "former_name": "churn", "former_root": str(root), "former_prefix": "churn."}
    (root / renaming.MARKER).write_text(json.dumps(note))
    # Before the directory had its new name: nothing happened.
    MLOpsClient("churn", workspace_manager=populated).close()
    assert not renaming.pending(root)
    (root / renaming.MARKER).write_text(json.dumps(note))
    root.rename(populated.base_path / "retention")
    assert [w.project_name for w in populated.list_workspaces()] == ["retention"]
    check_everything(MLOpsClient("retention", workspace_manager=populated), tmp_path)
    assert not renaming.pending(populated.base_path / "retention")


def test_a_project_with_a_damaged_store_is_not_renamed(populated: WorkspaceManager) -> None:
    root = populated.base_path / "churn"
    (root / "mlflow" / "mlflow.db").write_bytes(b"damaged" * 100)
    with pytest.raises(IntegrationError, match="cannot be read") as caught:
        populated.rename_workspace("churn", "retention")
    assert caught.value.operation == "rename_workspace"
    assert [w.project_name for w in populated.list_workspaces()] == ["churn"]


def test_a_tool_that_cannot_be_renamed_does_not_keep_the_project_closed(
    populated: WorkspaceManager, caplog: pytest.LogCaptureFixture
) -> None:
    root = populated.base_path / "churn"
    note = {"to": "retention", "former_name": "churn", "former_root": str(root), "former_prefix": "churn."}
    (root / renaming.MARKER).write_text(json.dumps(note))
    (root / "mlflow" / "mlflow.db").write_bytes(b"damaged" * 100)
    root.rename(populated.base_path / "retention")
    client = MLOpsClient("retention", workspace_manager=populated)
    assert "could not be finished" in caplog.text
    assert client.get_status()["mlflow"]["state"] == "unavailable"
    assert client.get_status()["dvc"]["state"] == "ready"
    client.close()


def test_a_prefix_of_its_own_stays(manager: WorkspaceManager) -> None:
    manager.create_workspace("churn", bentoml_tag_prefix="team.")
    renamed = manager.rename_workspace("churn", "churn2")
    assert renamed.bentoml_tag_prefix == "team."
    assert manager.clone_workspace("churn2", "copy").bentoml_tag_prefix == "team."


def test_projects_on_one_server_share_no_names_after_a_clone(
    manager: WorkspaceManager, tmp_path: Path
) -> None:
    manager.create_workspace(
        "churn",
        mlflow_tracking_uri=f"sqlite:///{tmp_path}/shared.db",
        mlflow_experiment_id="7",
        bentoml_tag_prefix="team.",
    )
    copy = manager.clone_workspace("churn", "copy", with_runs=False)
    assert (copy.bentoml_tag_prefix, copy.mlflow_experiment_id) == ("copy.", None)


def test_a_rename_on_a_shared_store_takes_experiment_and_models_along(
    manager: WorkspaceManager, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/shared.db"
    for name in ("churn", "fraud"):
        manager.create_workspace(name, mlflow_tracking_uri=uri)
        client = MLOpsClient(name, workspace_manager=manager)
        with client.start_run("first"):
            client.log_metric("accuracy", 0.5)
        client.tracking.client().create_registered_model(f"{name}.classifier")
        client.close()
    manager.rename_workspace("churn", "retention")
    client = MLOpsClient("retention", workspace_manager=manager)
    assert [run["run_name"] for run in client.list_runs()] == ["first"]
    with client.start_run("second"):
        client.log_metric("accuracy", 0.6)
    mlflow = client.tracking.client()
    names = {experiment.name for experiment in mlflow.search_experiments()}
    assert {"retention", "fraud"} <= names
    assert "churn" not in names
    assert {m.name for m in mlflow.search_registered_models()} == {"retention.classifier", "fraud.classifier"}
    client.close()


def test_a_clone_is_independent(populated: WorkspaceManager, tmp_path: Path) -> None:
    original = populated.get_workspace("churn")
    before = tree(original.root_path)
    copy = populated.clone_workspace("churn", "copy")
    assert copy.id != original.id
    assert copy.evidently_project_id == copy.id
    check_everything(MLOpsClient("copy", workspace_manager=populated), tmp_path)
    assert tree(original.root_path) == before
    inodes = {path.stat().st_ino for path in original.root_path.rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in copy.root_path.rglob("*") if path.is_file()}
    populated.delete_workspace("churn", force=True, purge=True)
    (tmp_path / "alone").mkdir()
    check_everything(MLOpsClient("copy", workspace_manager=populated), tmp_path / "alone")


def test_a_clone_without_runs_has_the_data_and_nothing_else(
    populated: WorkspaceManager, tmp_path: Path
) -> None:
    populated.update_workspace_metadata("churn", metadata={"owner": "ada"})
    copy = populated.clone_workspace("churn", "fresh", with_runs=False)
    assert copy.metadata == {"owner": "ada"}
    client = MLOpsClient("fresh", workspace_manager=populated)
    assert client.list_runs() == []
    assert client.serving.models() == []
    assert client.monitoring.history() == []
    assert link_set(client) == set()
    (data,) = client.data.datasets()
    client.data.pull(data.name, destination=tmp_path / "data.csv")
    assert (client.workspace.outputs_path / "notes.md").exists()
    client.close()
    with pytest.raises(WorkspaceExistsError):
        populated.clone_workspace("churn", "fresh")
    with pytest.raises(WorkspaceNotFoundError):
        populated.clone_workspace("nobody", "new")


def test_renames_that_cross_each_other_end(manager: WorkspaceManager) -> None:
    manager.create_workspace("a")
    manager.create_workspace("b")
    outcomes: list[object] = []

    def rename(old: str, new: str) -> None:
        try:
            outcomes.append(WorkspaceManager(manager.base_path).rename_workspace(old, new).project_name)
        except WorkspaceError as error:
            outcomes.append(type(error))

    pairs = [("a", "b"), ("b", "a"), ("a", "c"), ("a", "d")]
    threads = [threading.Thread(target=rename, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 4
    present = {w.project_name: w.id for w in manager.list_workspaces()}
    assert len(present) == len(set(present.values())) == 2


def test_another_projects_links_and_names_stay(populated: WorkspaceManager) -> None:
    """Only the project's own names change: those that merely begin alike do not."""
    client = MLOpsClient("churn", workspace_manager=populated)
    client.tracking.client().create_registered_model("churning.other")
    client.close()
    workspace = populated.get_workspace("churn")
    own = links.Link("model:churning.other:1", "run:x", "produced")
    links.record(workspace, [own], operation="test")
    with links.log_file(workspace).open("ab") as log:
        log.write(b"damaged\n")
    populated.rename_workspace("churn", "retention")
    renamed = populated.get_workspace("retention")
    logged, damaged = links.logged(renamed)
    assert own in logged
    assert len(damaged) == 1
    with sqlite3.connect(renamed.mlflow_path / "mlflow.db") as database:
        found = {name for (name,) in database.execute("SELECT name FROM registered_models")}
        orphans = database.execute("PRAGMA foreign_key_check").fetchall()
    database.close()
    assert found == {"retention.classifier", "churning.other"}
    assert orphans == []


def test_a_directory_renamed_by_hand_is_still_found(populated: WorkspaceManager) -> None:
    os.rename(populated.base_path / "churn", populated.base_path / "byhand")
    workspace = populated.get_workspace("byhand")
    assert isinstance(workspace, ProjectWorkspace)
    client = MLOpsClient("byhand", workspace_manager=populated)
    assert len(client.list_runs()) == 1
    client.close()
