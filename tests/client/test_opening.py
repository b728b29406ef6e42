from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops import (
    ConfigError,
    InvalidProjectNameError,
    IsolationError,
    MLOpsClient,
    WorkspaceCorruptError,
    WorkspaceManager,
    create_client,
)


def test_the_documented_import_paths_are_one_and_the_same() -> None:
    from mlops import client

    assert client.MLOpsClient is MLOpsClient
    assert client.create_client is create_client


def test_one_line_makes_a_workspace_and_finds_it_again(base: Path) -> None:
    first = MLOpsClient.from_project("churn", base_path=base, description="Churn")
    again = MLOpsClient.from_project("churn", base_path=base)
    assert first.project_name == again.project_name == "churn"
    assert first.workspace_path == base / "churn"
    assert again.workspace.id == first.workspace.id
    assert again.workspace.description == "Churn"
    assert MLOpsClient.from_project("churn", base_path=base, description="New").workspace.description == "New"
    assert create_client("churn", repo_root=base).workspace_path == base / "mlops" / "workspace" / "churn"


def test_inside_a_projects_folder_no_name_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "repo" / "projects" / "x"
    (folder / "src").mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "churn"\n')
    with monkeypatch.context() as patch:
        patch.chdir(folder / "src")
        client = MLOpsClient.from_project()
    assert client.project_name == "churn"
    assert client.workspace_path == tmp_path / "repo" / "mlops" / "workspace" / "churn"


def test_inside_mlops_run_the_environment_names_the_project(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLOPS_PROJECT", "churn")
        patch.setenv("MLOPS_BASE_PATH", str(base))
        assert MLOpsClient.from_project().workspace_path == base / "churn"


def test_without_a_name_anywhere_the_error_says_where_to_put_one() -> None:
    with pytest.raises(ConfigError, match="No project name was given") as caught:
        MLOpsClient.from_project()
    assert "[tool.mlops] project" in str(caught.value.hint)
    assert list(Path.cwd().iterdir()) == []


def test_exactly_the_directory_asked_for_is_used(tmp_path: Path) -> None:
    directory = tmp_path / "anywhere" / "Some Place"
    client = MLOpsClient("churn", workspace_path=directory)
    assert client.workspace_path == directory
    assert (directory / "workspace.yaml").exists()
    assert client.tracking.uri.endswith("/mlflow/mlflow.db")
    with client.start_run("only"):
        client.log_metric("m", 1.0)
    assert [run["run_name"] for run in MLOpsClient("churn", workspace_path=directory).list_runs()] == ["only"]
    assert [p.name for p in (tmp_path / "anywhere").iterdir()] == ["Some Place"]
    with pytest.raises(ConfigError, match="holds the project 'churn'"):
        MLOpsClient("fraud", workspace_path=directory)


def test_an_argument_wins_for_this_client_and_a_new_workspace_keeps_it(base: Path) -> None:
    remote = base.parent / "team-remote"
    created = MLOpsClient("churn", base_path=base, dvc_remote_path=str(remote))
    assert created.workspace.dvc_remote_path == str(remote)
    other = MLOpsClient("churn", base_path=base, dvc_remote_path="dvc/elsewhere")
    assert other.settings.dvc_remote_path == "dvc/elsewhere"
    assert MLOpsClient("churn", base_path=base).settings.dvc_remote_path == str(remote)


@pytest.mark.parametrize(
    ("name", "overrides", "error"),
    [
        ("../x", {}, InvalidProjectNameError),
        ("churn", {"nonsense": 1}, ConfigError),
        ("churn", {"mlflow_tracking_uri": "./mlruns"}, ConfigError),
        ("churn", {"lock_timeout": -1}, ConfigError),
        ("churn", {"mlflow_tracking_uri": "https://${NOT_SET}"}, ConfigError),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path, name: str, overrides: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        MLOpsClient.from_project(name, base_path=tmp_path / "base", **overrides)
    assert not (tmp_path / "base").exists()


def test_a_corrupt_workspace_is_never_created_over(base: Path) -> None:
    path = WorkspaceManager(base).create_workspace("churn").metadata_file
    path.write_text("torn: [")
    with pytest.raises(WorkspaceCorruptError):
        MLOpsClient.from_project("churn", base_path=base)
    assert path.read_text() == "torn: ["
    assert MLOpsClient.from_project("fraud", base_path=base).project_name == "fraud"


def test_a_configured_server_is_not_contacted(base: Path) -> None:
    # Nothing listens on the discard port; opening must not notice.
    client = MLOpsClient("churn", base_path=base, mlflow_tracking_uri="http://127.0.0.1:9")
    assert client.tracking.uri == "http://127.0.0.1:9"
    assert client.workspace.mlflow_experiment_id is None


def test_paths_inside_the_workspace(base: Path) -> None:
    client = MLOpsClient("churn", base_path=base)
    assert client.get_workspace_path() == base / "churn"
    assert client.get_workspace_path("outputs") == base / "churn" / "outputs"
    for outside in ("..", "../other", "/etc", "outputs/../.."):
        with pytest.raises(IsolationError):
            client.get_workspace_path(outside)


def test_a_moved_workspace_works_where_it_is_found(base: Path, tmp_path: Path) -> None:
    client = MLOpsClient("churn", base_path=base)
    with client.start_run("before"):
        client.log_text("kept", "note.txt")
    client.close()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(str(base / "churn"), moved / "churn")
    again = MLOpsClient("churn", base_path=moved)
    with again.start_run("after"):
        again.log_text("new", "note.txt")
    again.close()
    assert [run["run_name"] for run in again.list_runs()] == ["after", "before"]
    assert not (base / "churn").exists()
    files = {f["name"]: f for f in again.get_artifacts("file")}
    assert len(again.get_artifacts("file")) == 2
    assert files["note.txt"]["run_id"] in {run["run_id"] for run in again.list_runs()}
