from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlops import MLOpsClient
from mlops.cli import app


@pytest.fixture
def project(tmp_path: Path, base: Path) -> Path:
    """A folder of the user's, whose pyproject.toml names the project."""
    folder = Path.cwd()
    (folder / "pyproject.toml").write_text(f'[tool.mlops]\nproject = "churn"\nbase-path = "{base}"\n')
    MLOpsClient.from_project("churn", base_path=base)
    return folder


Run = Callable[..., Result]


@pytest.fixture
def run(project: Path) -> Run:
    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["data", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_the_life_of_a_dataset(run: Run, project: Path) -> None:
    source = project / "größe 1.csv"
    source.write_text("id,n\n1,1\n2,2\n")
    (first,) = parsed(run("add", source.name, "--json"))
    assert (first["size"], first["files"], first["pushed"]) == (13, 1, False)
    assert (project / "größe 1.csv.dvc").exists()
    source.write_text("id,n,new\n1,1,a\n3,3.5,b\n")
    (status,) = parsed(run("status", "--json"))
    assert status["state"] == "modified"
    assert "größe 1.csv" in run("add", source.name).stdout
    assert "4 objects" not in run("push").stdout
    assert parsed(run("push", "--json"))["objects"] == 0
    assert [version["pushed"] for version in parsed(run("history", source.name, "--json"))] == [True, True]

    short = first["md5"][:10]
    found = run("diff", short, source.name).stdout
    assert "changed: größe 1.csv" in found
    assert re.search(r"2 -> 2 +1 +1 +\+ new; n: int64 -> double", found)
    assert parsed(run("diff", short, short, "--json"))["same"] is True
    assert "all whole" in run("verify").stdout

    run("pull", "--version", short)
    assert source.read_text() == "id,n\n1,1\n2,2\n"
    run("pull", source.name, "--to", "copy.csv")
    assert "3.5" in (project / "copy.csv").read_text()


def test_gc_only_shows_unless_told_to_do_it(run: Run, project: Path) -> None:
    source = project / "a.csv"
    for content in ("1", "22", "333"):
        source.write_text(content)
        run("add", "a.csv")
    run("push")
    shown = run("gc", "--remote")
    assert "2 versions would be removed, 1 kept" in shown.stdout
    assert "--yes does it" in shown.stdout
    assert len(parsed(run("history", "--json"))) == 3
    done = parsed(run("gc", "--remote", "--yes", "--json"))
    assert (done["dry_run"], done["objects"], done["bytes"], done["remote_bytes"]) == (False, 2, 3, 3)
    assert len(parsed(run("history", "--json"))) == 1
    assert "0 versions would be removed" in run("gc").stdout


def test_verify_fails_the_gate_when_something_is_damaged(run: Run, project: Path, base: Path) -> None:
    (project / "a.csv").write_text("1")
    run("add", "a.csv")
    run("push")
    shutil.rmtree(base / "churn" / "dvc" / "remote" / "files")
    result = run("verify", code=3)
    assert "lost in the remote: " in result.stdout
    assert parsed(run("verify", "--json", code=3))["ok"] is False
    assert "1 object sent" in run("push", "--repair").stdout
    run("verify")


def test_a_run_brings_its_data_back(run: Run, project: Path, base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    paths = [project / "a.csv", project / "b.csv"]
    with client.start_run() as active:
        for path in paths:
            path.write_text(f"first {path.name}")
            client.dvc_add(path)
    for path in paths:
        path.write_text("second")
        client.dvc_add(path)
    client.close()
    (pulled,) = parsed(run("pull", "a.csv", "--run", active.run_id, "--json"))
    assert pulled["path"] == str(paths[0])
    assert [path.read_text() for path in paths] == ["first a.csv", "second"]
    run("pull", "--run", active.run_id)
    assert paths[1].read_text() == "first b.csv"
    assert "exclude each other" in run("pull", "--run", "x", "--version", "y", code=2).output


def test_empty_tables_say_what_to_do(run: Run) -> None:
    for command in ("status", "history"):
        assert "mlops data add PATH" in run(command).stdout
    assert parsed(run("status", "--json")) == []


def test_no_command_makes_a_project(base: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    commands = [
        ("add", str(tmp_path / "a.csv")),
        ("push",),
        ("pull",),
        ("status",),
        ("history",),
        ("diff", "aaaa", "bbbb"),
        ("verify",),
        ("gc", "--yes"),
    ]
    for command in commands:
        result = CliRunner().invoke(app, ["--base-path", str(base), "data", *command, "--project", "nothing"])
        assert "Workspace does not exist" in str(result.exception)
    assert [path.name for path in base.iterdir()] == [".mlops"]


def test_errors_and_usage(run: Run, project: Path) -> None:
    code = "from mlops.cli import main; main()"

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "data", *arguments], capture_output=True, text=True, check=False
        )

    failed = command("add", "nothing.csv")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "nothing.csv does not exist" in failed.stderr
    assert "Hint:" in failed.stderr
    assert command("bogus").returncode == 2
    help_text = command("--help").stdout
    for name in ("add", "push", "pull", "status", "history", "diff", "verify", "gc"):
        assert re.search(rf"\b{name}\b", help_text)
    assert "data" in CliRunner().invoke(app, ["--help"]).stdout


def test_a_bar_is_shown_to_people_only(project: Path) -> None:
    (project / "big.bin").write_bytes(os.urandom(3_000_000))
    code = "from mlops.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "add", "big.bin", "--json"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stderr == ""
    json.loads(piped.stdout)
    (project / "big.bin").write_bytes(os.urandom(3_000_000))
    ours, theirs = pty.openpty()
    environment = dict(os.environ, TERM="xterm", COLUMNS="100")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        assert process.stdout is not None
        json.loads(process.stdout.read())
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "add big.bin" in shown
