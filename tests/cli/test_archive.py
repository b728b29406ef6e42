from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from tests.cli.test_cli import mlops
from tests.workspace.populated import archive_of_everything


@pytest.fixture
def everything(shared_cache: Path, clean_environment: None) -> Path:
    return archive_of_everything(shared_cache)


def test_a_project_travels_by_command(everything: Path, base: Path, tmp_path: Path) -> None:
    at = ("--base-path", str(base))
    imported = mlops(*at, "import", str(everything))
    assert (imported.returncode, imported.stdout, imported.stderr) == (0, f"churn: {base / 'churn'}\n", "")

    exported = mlops(*at, "export", "churn", "-o", "copy.tar.zst")
    path = Path.cwd() / "copy.tar.zst"
    assert exported.returncode == 0, exported.stderr
    assert str(path) in exported.stdout
    facts = json.loads(mlops(*at, "export", "churn", "-o", str(path), "--without-data", "--json").stdout)
    assert facts["path"] == str(path)
    assert facts["bytes"] == path.stat().st_size
    assert facts["left_out"] == ["the content of data versions"]
    path.rename(tmp_path / "copy.tar.zst")

    again = mlops(*at, "import", str(tmp_path / "copy.tar.zst"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "already exists" in again.stderr
    assert "--as" in again.stderr
    named = mlops(*at, "import", str(tmp_path / "copy.tar.zst"), "--as", "second", "--json")
    values = json.loads(named.stdout)
    assert (values["project_name"], values["left_out"]) == ("second", ["the content of data versions"])
    replaced = mlops(*at, "import", str(tmp_path / "copy.tar.zst"), "--as", "second", "--force")
    assert "Not in the file: the content of data versions" in replaced.stderr

    assert "churn is now retention" in mlops(*at, "rename", "churn", "retention").stdout
    assert json.loads(mlops(*at, "rename", "retention", "churn", "--json").stdout)["project_name"] == "churn"
    assert mlops(*at, "clone", "churn", "third").stdout == f"third: {base / 'third'}\n"
    bare = json.loads(mlops(*at, "clone", "churn", "fourth", "--without-runs", "--json").stdout)
    assert bare["project_name"] == "fourth"
    runs = {name: json.loads(mlops(*at, "runs", name, "--json").stdout) for name in ("third", "fourth")}
    assert [len(found) for found in runs.values()] == [1, 0]
    listed = json.loads(mlops(*at, "list", "--json").stdout)
    assert [project["project_name"] for project in listed] == ["churn", "fourth", "second", "third"]


def test_mistakes_are_told_in_a_line(base: Path, tmp_path: Path) -> None:
    at = ("--base-path", str(base))
    WorkspaceManager(base).create_workspace("churn")
    other = tmp_path / "notes.txt"
    other.write_text("no archive")
    for command, message in (
        (("export", "nobody"), "does not exist"),
        (("export", "churn", "-o", str(tmp_path)), "is a directory"),
        (("import", str(other)), "is not an archive"),
        (("import", str(tmp_path / "missing")), "cannot be read"),
        (("rename", "nobody", "somebody"), "does not exist"),
        (("rename", "churn", "Bad Name"), "Invalid project name"),
        (("clone", "churn", "churn"), "already exists"),
    ):
        done = mlops(*at, *command)
        assert (done.returncode, done.stdout) == (1, ""), command
        assert done.stderr.startswith("Error: ")
        assert message in done.stderr
        assert "Hint: " in done.stderr
    assert mlops(*at, "import").returncode == 2
    assert [w.project_name for w in WorkspaceManager(base).list_workspaces()] == ["churn"]


def test_a_terminal_sees_the_progress_and_a_pipe_does_not(base: Path, tmp_path: Path) -> None:
    workspace = WorkspaceManager(base).create_workspace("churn")
    (workspace.outputs_path / "x").write_bytes(os.urandom(2_000_000))
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base)]
    command += ["export", "churn", "-o", str(tmp_path / "x.tar.zst")]
    outer, inner = pty.openpty()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=inner, env={**os.environ, "TERM": "xterm"})
    os.close(inner)
    shown = os.read(outer, 100_000).decode()
    os.close(outer)
    assert done.returncode == 0
    assert "Exporting churn" in shown
    assert done.stdout.decode().startswith("churn: ")
    assert subprocess.run(command, capture_output=True).stderr == b""
