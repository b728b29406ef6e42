from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops import ConfigError, WorkspaceManager, settings


def toml(path: Path, text: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "pyproject.toml").write_text(text)
    return path


def test_the_first_layer_that_sets_a_value_wins_and_is_named(tmp_path: Path) -> None:
    folder = toml(tmp_path, '[tool.mlops]\ndvc-remote-path = "from-table"\nlock-timeout = 7\n')
    workspace = {"dvc_remote_path": "from-workspace", "mlflow_tracking_uri": None}
    environ = {"MLOPS_DVC_REMOTE_PATH": "from-env"}

    def remote(**layers: object) -> tuple[str | None, str]:
        resolved = settings.resolve(directory=folder, **layers)  # type: ignore[arg-type]
        return resolved.settings.dvc_remote_path, resolved.origins["dvc_remote_path"]

    table = (str(folder / "pyproject.toml"),)
    given = {"dvc_remote_path": "given"}
    assert remote(arguments=given, environ=environ, workspace=workspace) == ("given", "argument")
    assert remote(environ=environ, workspace=workspace) == ("from-env", "environment")
    assert remote(environ={}, workspace=workspace) == ("from-workspace", "workspace.yaml")
    assert remote(environ={}) == ("from-table", *table)
    resolved = settings.resolve(directory=folder, environ={})
    assert (resolved.settings.lock_timeout, resolved.origins["mlflow_tracking_uri"]) == (7, "default")


def test_the_tools_own_variables_do_not_redirect_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
        assert settings.resolve().settings.mlflow_tracking_uri is None


def test_references_are_expanded_on_read() -> None:
    workspace = {"mlflow_tracking_uri": "postgresql://u:${PW}@db/ml"}
    resolved = settings.resolve(workspace=workspace, environ={"PW": "secret"})
    assert resolved.settings.mlflow_tracking_uri == "postgresql://u:secret@db/ml"
    with pytest.raises(ConfigError, match=r"\$\{PW\}"):
        settings.resolve(workspace=workspace, environ={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tool.mlops]\nbase_pth = "x"\n', "base_pth"),
        ("[tool.mlops]\nlock-timeout = -1\n", "lock_timeout"),
        ("[tool.mlops\n", "cannot be read"),
    ],
)
def test_a_bad_table_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    folder = toml(tmp_path / "repo", text)
    with pytest.raises(ConfigError, match=message) as caught:
        settings.resolve(directory=folder, environ={})
    assert str(folder) in str(caught.value)


def test_a_bad_environment_value_is_named_with_its_layer() -> None:
    with pytest.raises(ConfigError, match=r"lock_timeout.*environment"):
        settings.resolve(environ={"MLOPS_LOCK_TIMEOUT": "soon"})


def test_the_base_is_the_same_from_every_subdirectory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "repo"
    (repo / ".git").mkdir(parents=True)
    deep = repo / "src" / "deep"
    deep.mkdir(parents=True)
    bases = set()
    for directory in (repo, repo / "src", deep):
        monkeypatch.chdir(directory)
        bases.add(WorkspaceManager().base_path)
    monkeypatch.chdir(tmp_path / "cwd")
    assert bases == {repo / "mlops" / "workspace"}
    assert not (repo / "mlops").exists()


def test_a_configured_base_is_found_past_a_sub_projects_own_pyproject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = toml(tmp_path / "repo", '[tool.mlops]\nbase-path = "var/ml"\n')
    sub = toml(repo / "projects" / "churn", '[project]\nname = "x"\n[tool.mlops]\nproject = "churn"\n')
    monkeypatch.chdir(sub)
    manager = WorkspaceManager()
    monkeypatch.chdir(tmp_path / "cwd")
    assert manager.base_path == repo / "var" / "ml"
    assert manager.location.root == repo


def test_an_existing_base_is_found_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WorkspaceManager(repo_root=tmp_path / "repo").create_workspace("churn")
    (tmp_path / "repo" / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo" / "a" / "b")
    found = [workspace.project_name for workspace in WorkspaceManager().list_workspaces()]
    monkeypatch.chdir(tmp_path / "cwd")
    assert found == ["churn"]


def test_a_package_folder_named_like_the_base_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo" / "mlops" / "workspace").mkdir(parents=True)
    (tmp_path / "repo" / "mlops" / "workspace" / "__init__.py").touch()
    inner = tmp_path / "repo" / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    path = WorkspaceManager().base_path
    monkeypatch.chdir(tmp_path / "cwd")
    assert tmp_path / "repo" / "mlops" / "workspace" != path


def test_the_order_of_what_names_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_BASE_PATH", str(tmp_path / "from-env"))
    assert WorkspaceManager(tmp_path / "given", repo_root=tmp_path).base_path == tmp_path / "given"
    assert WorkspaceManager(repo_root=tmp_path).base_path == tmp_path / "mlops" / "workspace"
    assert WorkspaceManager().base_path == tmp_path / "from-env"
    monkeypatch.delenv("MLOPS_BASE_PATH")
    assert WorkspaceManager().base_path == Path(os.getcwd()) / "mlops" / "workspace"


def test_the_project_is_named_by_the_nearest_pyproject(tmp_path: Path) -> None:
    both = toml(tmp_path / "both", '[project]\nname = "dist-name"\n[tool.mlops]\nproject = "churn"\n')
    plain = toml(tmp_path / "plain", '[project]\nname = "fraud"\n')
    none = toml(tmp_path / "none", "[tool.other]\n")
    (plain / "src").mkdir()
    assert settings.find_project_name(both) == "churn"
    assert settings.find_project_name(plain / "src") == "fraud"
    with pytest.raises(ConfigError, match="has none"):
        settings.find_project_name(none)
    with pytest.raises(ConfigError, match=r"no pyproject\.toml"):
        settings.find_project_name(tmp_path / "cwd")
