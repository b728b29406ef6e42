from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import WorkspaceManager


def mlops(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", "from mlops.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_the_life_of_a_project(base: Path) -> None:
    at = ("--base-path", str(base))
    created = mlops(*at, "init", "churn", "fraud", "--description", "demo")
    assert created.returncode == 0, created.stderr
    assert f"churn: {base / 'churn'}" in created.stdout

    listed = json.loads(mlops(*at, "list", "--json").stdout)
    assert [(p["project_name"], p["description"]) for p in listed] == [("churn", "demo"), ("fraud", "demo")]
    assert "churn" in mlops(*at, "list").stdout

    shown = json.loads(mlops(*at, "show", "churn", "--json").stdout)
    assert shown["directory_stats"]["mlflow_exists"] is True
    assert "churn." in mlops(*at, "show", "churn").stdout

    refused = mlops(*at, "delete", "churn")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "requires force=True" in refused.stderr
    assert mlops(*at, "delete", "churn", "--force").returncode == 0
    assert mlops(*at, "restore", "churn").returncode == 0
    assert mlops(*at, "delete", "churn", "--force").returncode == 0
    assert "1 removed for good" in mlops(*at, "purge", "churn", "--force").stdout
    assert [w.project_name for w in WorkspaceManager(base).list_workspaces()] == ["fraud"]


def test_a_new_project_is_shown_with_nothing_in_it(base: Path) -> None:
    mlops("--base-path", str(base), "init", "churn")
    (row,) = json.loads(mlops("--base-path", str(base), "status", "--json").stdout)["projects"]
    assert row["project_name"] == "churn"
    assert row["tools"] == dict.fromkeys(("bentoml", "dvc", "evidently", "mlflow"), "not-created")
    assert mlops("--base-path", str(base), "runs", "churn", "--json").stdout.strip() == "[]"


def test_a_corrupt_project_is_a_row_and_hides_no_other(base: Path) -> None:
    manager = WorkspaceManager(base)
    manager.create_workspace("bad").metadata_file.write_text("torn: [")
    manager.create_workspace("good")
    for command in ("list", "status"):
        done = mlops("--base-path", str(base), command)
        assert done.returncode == 0, done.stderr
        assert "good" in done.stdout
        assert "not valid YAML" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("init", "../x"), 1, "nearest valid name is 'x'"),
        (("show", "nothing"), 1, "Workspace does not exist"),
        (("runs", "nothing"), 1, "Workspace does not exist"),
        (("init",), 1, "No project name was given"),
        (("bogus",), 2, "No such command"),
        (("list", "--bogus"), 2, "No such option"),
    ],
)
def test_errors_are_one_line_with_a_hint_and_a_stable_code(
    base: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = mlops("--base-path", str(base), *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        error, hint = done.stderr.strip().splitlines()
        assert error.startswith("Error: ")
        assert hint.startswith("Hint: ")
        assert (
            "Traceback" in mlops("--base-path", str(base), "--debug", *arguments).stderr
            or arguments[0] == "init"
        )


def test_config_shows_each_value_with_its_layer_and_no_secret(base: Path) -> None:
    WorkspaceManager(base).create_workspace("churn", mlflow_tracking_uri="https://u:${ML_TOKEN}@ml.example")
    done = mlops(
        *("--base-path", str(base), "config", "show", "churn", "--json"),
        MLOPS_LOCK_TIMEOUT="9",
        ML_TOKEN="s3cret",
    )
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout
    rows = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows["base_path"] == (str(base), "argument")
    assert rows["mlflow_tracking_uri"] == ("https://u:${ML_TOKEN}@ml.example", "workspace.yaml")
    assert rows["lock_timeout"] == ("9.0", "environment")
    assert rows["dvc_remote_path"] == (None, "default")


def test_pipes_get_no_colour_and_long_names_are_not_cut(base: Path) -> None:
    name = "x" * 40
    WorkspaceManager(base).create_workspace(name, description="d" * 60)
    text = mlops("--base-path", str(base), "list").stdout
    assert name in text
    assert "d" * 60 in text
    assert "\x1b" not in text


def test_version_names_the_four_tools() -> None:
    versions = json.loads(mlops("version", "--json").stdout)
    assert versions.keys() == {"mlops", "python", "bentoml", "dvc", "evidently", "mlflow"}
    assert "not installed" not in versions.values()


def test_the_console_command_is_installed() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mlops")), "--help"], capture_output=True, text=True, check=True
    )
    assert "status" in done.stdout
