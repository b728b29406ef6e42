"""``mlops usage`` and ``mlops quota``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlops import MLOpsClient, QuotaExceededError, WorkspaceManager
from mlops.cli import app

Run = Callable[..., Result]


@pytest.fixture
def manager(base: Path) -> WorkspaceManager:
    manager = WorkspaceManager(base)
    for name in "churn", "fraud":
        manager.create_workspace(name)
    (manager.get_workspace("churn").outputs_path / "notes").write_bytes(bytes(5000))
    return manager


@pytest.fixture
def run(manager: WorkspaceManager) -> Run:
    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["--base-path", str(manager.base_path), *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_limits_are_set_shown_changed_and_cleared(run: Run, manager: WorkspaceManager) -> None:
    assert "churn has no limits and holds" in run("quota", "churn").stdout
    run("quota", "churn", "--soft", "8GB", "--hard", "10GB")
    run("quota", "churn", "--tool", "bentoml", "--hard", "500 MiB")
    assert manager.get_workspace("churn").quota == {
        "soft": "8GB",
        "hard": "10GB",
        "tools": {"bentoml": {"hard": "500 MiB"}},
    }
    # The same limit by its other name; what is not named stays.
    run("quota", "churn", "--tool", "models", "--soft", "1kB")
    run("quota", "churn", "--hard", "9GB")
    total, models = parsed(run("quota", "churn", "--json"))["quota"]
    assert (total["soft_bytes"], total["hard_bytes"]) == (8 * 10**9, 9 * 10**9)
    assert (models["scope"], models["soft_bytes"], models["hard_bytes"]) == ("models", 1000, 500 * 2**20)
    run("quota", "churn", "--tool", "bentoml", "--clear")
    assert manager.get_workspace("churn").quota == {"soft": "8GB", "hard": "9GB"}
    assert "8.0 GB" in run("quota", "churn").stdout
    assert "has no limits" in run("quota", "churn", "--clear").stdout
    assert manager.get_workspace("churn").quota == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hard", "lots"], "quota.hard: it must be a number of bytes"),
        (["--tool", "git", "--hard", "5GB"], "quota.tools.git: it must be one of mlflow"),
        (["--soft", "2GB", "--hard", "1GB"], "soft must be at most hard"),
    ],
)
def test_a_wrong_limit_changes_nothing(
    run: Run, manager: WorkspaceManager, arguments: list[str], message: str
) -> None:
    run("quota", "churn", "--hard", "10GB")
    result = run("quota", "churn", *arguments, code=1)
    assert message in str(result.exception)
    assert manager.get_workspace("churn").quota == {"hard": "10GB"}


def test_options_that_contradict_each_other_are_wrong_usage(run: Run) -> None:
    assert "exclude each other" in run("quota", "churn", "--clear", "--hard", "1GB", code=2).output
    assert "needs --soft, --hard or --clear" in run("quota", "churn", "--tool", "dvc", code=2).output


def test_a_limit_from_the_command_line_stops_a_write_and_raising_it_lets_it_through(
    run: Run, manager: WorkspaceManager, tmp_path: Path
) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 100)
    client = MLOpsClient("churn", workspace_manager=manager)
    run("quota", "churn", "--tool", "dvc", "--hard", "20kB")
    with pytest.raises(QuotaExceededError, match=r"no room for 25\.6 kB more in dvc"):
        client.dvc_add(tmp_path / "data.bin")
    shown = run("data", "add", str(tmp_path / "data.bin"), "--project", "churn", code=1)
    assert isinstance(shown.exception, QuotaExceededError)
    run("quota", "churn", "--tool", "dvc", "--hard", "30kB")
    run("data", "add", str(tmp_path / "data.bin"), "--project", "churn")
    assert "dvc: 8" in run("usage", "churn").stdout


def test_a_command_that_exceeds_a_soft_limit_says_so_and_succeeds(
    run: Run, manager: WorkspaceManager, tmp_path: Path
) -> None:
    run("quota", "churn", "--soft", "10kB")
    (tmp_path / "data.bin").write_bytes(bytes(9000))
    program = [sys.executable, "-c", "from mlops.cli import main; main()"]
    added = subprocess.run(
        [
            *program,
            "--base-path",
            manager.base_path,
            "data",
            "add",
            "data.bin",
            "--project",
            "churn",
            "--json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(added.stdout)[0]["size"] == 9000
    assert re.fullmatch(
        r"the project 'churn' holds 1\d\.\d kB, which is over its soft limit of 10\.0 kB\n", added.stderr
    )


def test_a_quota_that_is_mistyped_in_the_file_is_reported_and_can_be_cleared(
    run: Run, manager: WorkspaceManager
) -> None:
    file = manager.get_workspace("churn").metadata_file
    file.write_text(file.read_text().replace("quota: {}", "quota: 10GB"))
    assert "The quota section of 'churn' is wrong" in run("quota", "churn", code=1).output
    assert "is wrong" in str(run("quota", "churn", "--hard", "1GB", code=1).exception)
    assert "is wrong" in parsed(run("quota", "churn", "--json"))["quota_error"]
    assert "is wrong" in run("usage").stdout
    assert "has no limits" in run("quota", "churn", "--clear").stdout


def test_usage_is_told_by_project_and_directory_and_creates_nothing(
    run: Run, manager: WorkspaceManager
) -> None:
    manager.update_workspace_metadata("churn", quota={"soft": "1kB", "hard": "1MB"})
    (manager.base_path / "torn").mkdir()
    (manager.base_path / "torn" / "workspace.yaml").write_text("id: [")
    before = sorted(manager.base_path.rglob("*"))
    text = run("usage").stdout
    assert "total: 1% of 1.0 MB, over the soft limit" in text
    assert "Failed to load workspace metadata" in text
    report = parsed(run("usage", "--json"))
    churn, fraud, torn = report["projects"]
    assert (churn["outputs_bytes"], churn["quota"][0]["state"]) == (5000, "soft")
    assert (fraud["outputs_bytes"], "quota" in fraud) == (0, False)
    assert torn["total_bytes"] == 5
    assert report["total_bytes"] == sum(each["total_bytes"] for each in report["projects"])
    assert [each["project_name"] for each in parsed(run("usage", "fraud", "--json"))["projects"]] == ["fraud"]
    assert "does not exist" in str(run("usage", "nobody", code=1).exception)
    assert sorted(manager.base_path.rglob("*")) == before


def test_what_killed_processes_left_is_told_with_what_clears_it(run: Run, manager: WorkspaceManager) -> None:
    staging = manager.base_path / ".mlops" / "staging"
    models = manager.get_workspace("churn").models_path / "staging"
    old = [staging / "model-1", staging / "workspaces" / "import-2", models / "build-3"]
    kept = [staging / "model-4", staging / "churn.mlflow-previous"]
    for path in *old, *kept:
        path.mkdir(parents=True)
        (path / "part").write_bytes(bytes(100))
    for path in *old, staging / "churn.mlflow-previous":
        for each in path / "part", path:
            os.utime(each, (1_700_000_000, 1_700_000_000))
    (left,) = parsed(run("usage", "--gc", "--json"))["beside"]
    assert (left["count"], left["bytes"], left["how"]) == (3, 300, "mlops doctor --fix")
    run("doctor", "--fix")
    assert [path.exists() for path in (*old, *kept)] == [False, False, False, True, True]
    assert parsed(run("usage", "--gc", "--json"))["beside"] == []


def test_what_could_go_is_listed_largest_first_and_stays(
    run: Run, manager: WorkspaceManager, tmp_path: Path
) -> None:
    assert "Nothing can be freed." in run("usage", "--gc").stdout
    client = MLOpsClient("churn", workspace_manager=manager)
    source = tmp_path / "data.bin"
    for content in b"a" * 3000, b"b":
        source.write_bytes(content)
        client.dvc_add(source)
    (manager.get_workspace("fraud").outputs_path / "large").write_bytes(bytes(70_000))
    manager.delete_workspace("fraud", force=True)
    before = sorted(manager.base_path.rglob("*"))
    text = run("usage", "--gc").stdout
    assert text.index("mlops purge fraud --force") < text.index("mlops data gc --project churn --yes")
    assert "in all; nothing was changed" in text
    report = parsed(run("usage", "--gc", "--json"))
    assert report["projects"][0]["reclaimable"]["bytes"] == 3000
    assert report["beside"][0]["bytes"] > 70_000
    # Of one project only what is its own.
    assert "purge" not in run("usage", "churn", "--gc").stdout
    assert sorted(manager.base_path.rglob("*")) == before
    run("purge", "fraud", "--force")
    run("data", "gc", "--project", "churn", "--yes")
    assert "Nothing can be freed." in run("usage", "--gc").stdout
