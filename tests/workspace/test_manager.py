from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mlops import (
    ConfigError,
    ConfirmationRequiredError,
    InvalidProjectNameError,
    IsolationError,
    ProjectWorkspace,
    WorkspaceError,
    WorkspaceExistsError,
    WorkspaceLockedError,
    WorkspaceManager,
    WorkspaceNotFoundError,
)


@pytest.fixture
def manager(tmp_path: Path) -> WorkspaceManager:
    return WorkspaceManager(tmp_path / "base")


def tree(path: Path) -> list[str]:
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def test_the_documented_import_paths_are_one_and_the_same() -> None:
    from mlops import workspace
    from mlops.workspace import manager

    assert workspace.WorkspaceManager is manager.WorkspaceManager is WorkspaceManager
    assert workspace.ProjectWorkspace is manager.ProjectWorkspace is ProjectWorkspace
    assert workspace.WorkspaceError is manager.WorkspaceError is WorkspaceError


def test_create_makes_the_directories_and_the_file(manager: WorkspaceManager) -> None:
    workspace = manager.create_workspace("churn", description="Churn", metadata={"owner": "ann"})
    assert workspace.root_path == manager.base_path / "churn"
    assert all(
        (workspace.root_path / name).is_dir() for name in ("mlflow", "dvc", "monitoring", "models", "outputs")
    )
    assert manager.get_workspace("churn") == workspace
    assert manager.workspaces["churn"] == workspace


def test_create_twice_is_refused(manager: WorkspaceManager) -> None:
    manager.create_workspace("churn", description="first")
    with pytest.raises(WorkspaceExistsError, match=r"^Workspace already exists") as caught:
        manager.create_workspace("churn", description="second")
    assert caught.value.operation == "create_workspace"
    assert manager.get_workspace("churn").description == "first"


def test_force_resets_the_configuration_and_keeps_the_rest(manager: WorkspaceManager) -> None:
    first = manager.create_workspace("churn", description="first", metadata={"a": 1})
    (first.outputs_path / "kept.txt").write_text("data")
    second = manager.create_workspace("churn", description="second", force=True)
    assert (second.id, second.created_at) == (first.id, first.created_at)
    assert (second.description, second.metadata) == ("second", {})
    assert (first.outputs_path / "kept.txt").read_text() == "data"


def test_names_that_differ_only_in_dash_and_underscore_collide(manager: WorkspaceManager) -> None:
    manager.create_workspace("a_b")
    before = tree(manager.base_path)
    with pytest.raises(InvalidProjectNameError, match="collides with the existing project 'a_b'"):
        manager.create_workspace("a-b")
    assert tree(manager.base_path) == before


def test_a_name_that_is_the_beginning_of_another_is_no_problem(manager: WorkspaceManager) -> None:
    manager.create_workspace("my_project")
    manager.create_workspace("my_project_sec", description="longer")
    assert manager.get_workspace("my_project").description == ""
    manager.delete_workspace("my_project", force=True)
    assert [w.project_name for w in manager.list_workspaces()] == ["my_project_sec"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mlflow_tracking_uri": "./mlruns"}, "mlflow_tracking_uri"),
        ({"mlflow_tracking_uri": "file:///tmp/mlflow"}, "mlflow_tracking_uri"),
        ({"mlflow_tracking_uri": 5}, "must be a str"),
        ({"dvc_remote_path": "../other/remote"}, "leads out"),
        ({"dvc_remote_path": ""}, "leads out"),
        ({"bentoml_tag_prefix": "churn:"}, "cannot start a Bento tag"),
        ({"metadata": ["a"]}, "must be a dict"),
    ],
)
def test_bad_configuration_is_refused_before_anything_is_written(
    manager: WorkspaceManager, config: dict[str, Any], message: str
) -> None:
    for operation in (manager.create_workspace, manager.get_or_create_workspace):
        with pytest.raises(ConfigError, match=message):
            operation("churn", **config)
    assert not manager.base_path.exists()


def test_get_of_a_missing_workspace_suggests_and_creates_nothing(manager: WorkspaceManager) -> None:
    with pytest.raises(WorkspaceNotFoundError, match=r"^Workspace does not exist"):
        manager.get_workspace("churn")
    assert not manager.base_path.exists()
    manager.create_workspace("churn")
    before = tree(manager.base_path)
    with pytest.raises(LookupError, match="did you mean 'churn'"):
        manager.get_workspace("chrun")
    for operation in ("update_workspace_metadata", "get_workspace_status", "restore_workspace"):
        with pytest.raises(WorkspaceNotFoundError) as caught:
            getattr(manager, operation)("chrun")
        assert caught.value.operation == operation
    assert tree(manager.base_path) == before


def test_reading_creates_nothing(manager: WorkspaceManager) -> None:
    assert manager.list_workspaces() == []
    assert manager.get_all_workspaces_status() == []
    assert not manager.base_path.exists()
    manager.base_path.mkdir(parents=True)
    (manager.base_path / "stray").mkdir()
    assert manager.list_workspaces() == []
    assert tree(manager.base_path) == ["stray"]


def test_get_or_create_is_idempotent_and_refuses_contradicting_wiring(manager: WorkspaceManager) -> None:
    first = manager.get_or_create_workspace(
        "churn", description="a", mlflow_tracking_uri="https://one.example"
    )
    same = manager.get_or_create_workspace("churn", mlflow_tracking_uri="https://one.example")
    assert (same.id, same.updated_at) == (first.id, first.updated_at)
    with pytest.raises(ConfigError, match=r"one\.example.*two\.example"):
        manager.get_or_create_workspace("churn", mlflow_tracking_uri="https://two.example")
    assert manager.get_or_create_workspace("churn", description="b").description == "b"
    assert manager.get_or_create_workspace("churn", metadata={"k": 1}).metadata == {"k": 1}


def test_update_merges_metadata_unsets_with_none_and_names_unknown_keys(manager: WorkspaceManager) -> None:
    manager.create_workspace("churn", mlflow_tracking_uri="https://one.example", metadata={"a": 1, "b": 2})
    updated = manager.update_workspace_metadata(
        "churn", metadata={"b": 3, "a": None, "c": 4}, tags={"t": "x"}
    )
    assert updated.metadata == {"b": 3, "c": 4}
    assert manager.update_workspace_metadata("churn", mlflow_tracking_uri=None).mlflow_tracking_uri is None
    for key in ("root_path", "id", "created_at", "nonsense"):
        with pytest.raises(ConfigError, match=key):
            manager.update_workspace_metadata("churn", **{key: "x"})
    assert manager.get_workspace("churn").tags == {"t": "x"}


def test_an_experiment_id_does_not_follow_to_another_store(manager: WorkspaceManager) -> None:
    assert manager.create_workspace("churn").mlflow_experiment_id == "0"
    moved = manager.update_workspace_metadata("churn", mlflow_tracking_uri="https://one.example")
    assert moved.mlflow_experiment_id is None


def test_two_managers_see_each_others_updates(manager: WorkspaceManager) -> None:
    other = WorkspaceManager(manager.base_path)
    manager.create_workspace("churn")
    other.get_workspace("churn")
    manager.update_workspace_metadata("churn", metadata={"a": 1})
    other.update_workspace_metadata("churn", metadata={"b": 2})
    assert manager.get_workspace("churn").metadata == {"a": 1, "b": 2}


def test_no_update_of_concurrent_processes_is_lost(manager: WorkspaceManager) -> None:
    manager.create_workspace("churn")
    script = (
        "import sys; from mlops import WorkspaceManager\n"
        "manager = WorkspaceManager(sys.argv[1])\n"
        "for i in range(5):\n"
        "    manager.update_workspace_metadata('churn', metadata={f'{sys.argv[2]}-{i}': i})\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(manager.base_path), str(n)]) for n in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    expected = {f"{n}-{i}": i for n in range(4) for i in range(5)}
    assert manager.get_workspace("churn").metadata == expected


def test_one_of_many_creators_wins_and_all_get_the_same_workspace(manager: WorkspaceManager) -> None:
    ids: list[str] = []
    barrier = threading.Barrier(8)

    def create() -> None:
        barrier.wait()
        ids.append(WorkspaceManager(manager.base_path).get_or_create_workspace("churn").id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_racing_collisions_have_one_winner(manager: WorkspaceManager) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def create(name: str) -> None:
        barrier.wait()
        try:
            outcomes.append(WorkspaceManager(manager.base_path).create_workspace(name).project_name)
        except InvalidProjectNameError:
            outcomes.append("refused")

    threads = [threading.Thread(target=create, args=(name,)) for name in ("a-b", "a_b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 1
    assert len(manager.list_workspaces()) == 1


def test_a_held_lock_ends_in_a_clear_error(
    manager: WorkspaceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = manager.create_workspace("churn")
    with monkeypatch.context() as patch:
        patch.setenv("MLOPS_LOCK_TIMEOUT", "0.2")
        with workspace.lock(), pytest.raises(WorkspaceLockedError, match="held") as caught:
            manager.update_workspace_metadata("churn", description="x")
    assert caught.value.workspace == "churn"


def test_delete_needs_force_goes_to_the_trash_and_comes_back(manager: WorkspaceManager) -> None:
    workspace = manager.create_workspace("churn", description="kept")
    (workspace.outputs_path / "file.txt").write_text("data")
    with pytest.raises(ConfirmationRequiredError, match="requires force=True"):
        manager.delete_workspace("churn")
    assert workspace.metadata_file.exists()

    manager.delete_workspace("churn", force=True)
    assert manager.list_workspaces() == []
    assert manager.workspaces == {}
    with pytest.raises(WorkspaceNotFoundError):
        manager.delete_workspace("churn", force=True)

    restored = manager.restore_workspace("churn")
    assert (restored.id, restored.description) == (workspace.id, "kept")
    assert (restored.outputs_path / "file.txt").read_text() == "data"


def test_restore_brings_the_newest_and_never_covers_a_living_project(manager: WorkspaceManager) -> None:
    for description in ("old", "new"):
        manager.create_workspace("churn", description=description)
        manager.delete_workspace("churn", force=True)
    manager.create_workspace("churn", description="living")
    with pytest.raises(WorkspaceExistsError):
        manager.restore_workspace("churn")
    manager.delete_workspace("churn", force=True, purge=True)
    assert manager.restore_workspace("churn").description == "new"
    manager.delete_workspace("churn", force=True)
    with pytest.raises(ConfirmationRequiredError):
        manager.purge_workspace("churn")
    assert manager.purge_workspace("churn", force=True) == 2
    with pytest.raises(WorkspaceNotFoundError):
        manager.restore_workspace("churn")


def test_a_corrupt_workspace_can_be_deleted_and_restored_as_it_was(manager: WorkspaceManager) -> None:
    path = manager.create_workspace("churn").metadata_file
    path.write_text("torn: [")
    manager.delete_workspace("churn", force=True)
    assert manager.list_workspaces() == []
    with pytest.raises(WorkspaceError, match="not valid YAML"):
        manager.restore_workspace("churn")
    assert path.read_text() == "torn: ["


def test_a_link_out_of_the_base_is_never_followed(manager: WorkspaceManager, tmp_path: Path) -> None:
    victim = WorkspaceManager(tmp_path / "other").create_workspace("victim").root_path
    manager.create_workspace("churn")
    (manager.base_path / "victim").symlink_to(victim)
    for operation in (
        lambda: manager.delete_workspace("victim", force=True),
        lambda: manager.get_workspace("victim"),
        lambda: manager.create_workspace("victim", force=True),
    ):
        with pytest.raises(IsolationError, match="outside"):
            operation()
    assert (victim / "workspace.yaml").exists()


def test_status_counts_files_and_bytes(manager: WorkspaceManager) -> None:
    workspace = manager.create_workspace("churn")
    (workspace.models_path / "model.bin").write_bytes(b"x" * 5000)
    status = manager.get_workspace_status("churn")
    statistics = status["directory_stats"]
    assert (statistics["models_exists"], statistics["models_files"], statistics["models_bytes"]) == (
        True,
        1,
        5000,
    )
    assert (statistics["dvc_exists"], statistics["dvc_files"]) == (True, 0)
    assert status["total_bytes"] >= 5000 + workspace.metadata_file.stat().st_size
    assert status["project_name"] == "churn"


def test_git_sees_the_configuration_and_nothing_else(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    manager = WorkspaceManager(repo_root=tmp_path)
    workspace = manager.create_workspace("churn")
    (workspace.models_path / "model.bin").write_bytes(b"x")
    (workspace.mlflow_path / "workspace.yaml").write_text("not the project's")
    listed = git("ls-files", "--others", "--exclude-standard").split()
    assert [name for name in listed if not name.startswith("cwd")] == [
        "mlops/workspace/.gitignore",
        "mlops/workspace/churn/workspace.yaml",
    ]


def test_a_workspace_from_a_git_clone_gets_its_directories_back(
    manager: WorkspaceManager, tmp_path: Path
) -> None:
    workspace = manager.create_workspace("churn")
    clone = tmp_path / "clone"
    (clone / "churn").mkdir(parents=True)
    (clone / "churn" / "workspace.yaml").write_bytes(workspace.metadata_file.read_bytes())
    opened = WorkspaceManager(clone).get_or_create_workspace("churn")
    assert opened.id == workspace.id
    assert opened.mlflow_path.is_dir()
    assert (clone / ".mlops").is_dir()
