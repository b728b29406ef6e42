from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mlops import ConfigError, WorkspaceManager


@pytest.fixture
def monorepo(tmp_path: Path) -> Path:
    """Fourteen project folders: named by folder, by [project] and by [tool.mlops]; one is bad."""
    root = tmp_path / "repo"
    for n in range(11):
        (root / "projects" / f"tool-{n:02}").mkdir(parents=True)
    for folder, text in {
        "named": '[project]\nname = "by-project"\n',
        "table": '[project]\nname = "ignored"\n[tool.mlops]\nproject = "by-table"\n',
        "Bad Folder": "",
    }.items():
        (root / "projects" / folder).mkdir()
        (root / "projects" / folder / "pyproject.toml").write_text(text)
    (root / "projects" / "README.md").write_text("not a folder")
    (root / "projects" / ".cache").mkdir()
    return root


def test_fourteen_folders_in_one_call(monorepo: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = WorkspaceManager(repo_root=monorepo)
    with caplog.at_level(logging.WARNING, "mlops"):
        result = manager.bootstrap(discover="projects/*", metadata={"toolkit": "mlx"})
    expected = sorted(["by-project", "by-table", *(f"tool-{n:02}" for n in range(11))])
    assert [workspace.project_name for workspace in result] == expected
    assert all(workspace.metadata == {"toolkit": "mlx"} for workspace in result)
    (failure,) = result.failures
    assert failure.source.endswith("Bad Folder")
    assert "'bad-folder'" in str(failure.error)
    assert "Bad Folder" in caplog.text
    assert [workspace.project_name for workspace in manager.list_workspaces()] == expected

    ids = [workspace.id for workspace in result]
    assert [workspace.id for workspace in manager.bootstrap(discover="projects/*")] == ids


def test_names_work_too_and_one_bad_name_does_not_stop_the_rest(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    result = manager.bootstrap(["churn", "../x", "a_b", "a-b", "fraud"])
    assert [workspace.project_name for workspace in result] == ["a_b", "churn", "fraud"]
    assert [failure.source for failure in result.failures] == ["../x", "a-b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "cwd"]


def test_two_folders_with_one_name_are_not_merged(monorepo: Path) -> None:
    other = monorepo / "projects" / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "by-project"\n')
    result = WorkspaceManager(repo_root=monorepo).bootstrap(discover="projects/*")
    messages = [str(failure.error) for failure in result.failures]
    assert any("both named 'by-project'" in message for message in messages)


def test_a_broken_pyproject_is_reported_with_its_path(monorepo: Path) -> None:
    (monorepo / "projects" / "tool-03" / "pyproject.toml").write_text("[broken")
    result = WorkspaceManager(repo_root=monorepo).bootstrap(discover="projects/*")
    assert len(result) == 12
    assert any("tool-03" in str(failure.error) for failure in result.failures)


def test_a_corrupt_workspace_is_reported_and_kept(tmp_path: Path) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    path = manager.create_workspace("churn").metadata_file
    path.write_text("torn: [")
    result = manager.bootstrap(["churn", "fraud"])
    assert [workspace.project_name for workspace in result] == ["fraud"]
    assert path.read_text() == "torn: ["


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"projects": ["a"], "discover": "x/*"},
        {"discover": "nothing/*"},
        {"discover": "/abs/*"},
        {"projects": "ab"},
    ],
)
def test_a_call_that_cannot_mean_anything_is_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    manager = WorkspaceManager(tmp_path / "base")
    with pytest.raises(ConfigError):
        manager.bootstrap(**arguments)  # type: ignore[arg-type]
    assert not manager.base_path.exists()
