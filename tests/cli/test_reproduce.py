"""``mlops reproduce``: which run is meant, what is told, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager

TRAIN = """
import mlflow
with mlflow.start_run(run_name="train"):
    mlflow.log_metrics({"auc": 0.9, "loss": 0.25})
"""


def mlops(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base)]
    return subprocess.run([*start, *arguments], capture_output=True, text=True, check=False)


def record(client: MLOpsClient, *, auc: float, **tags: str) -> str:
    with client.start_run("train", tags={f"mlops.{name}": value for name, value in tags.items()}) as run:
        run.log_metrics({"auc": auc, "loss": 0.25})
    client.close()
    return run.run_id


def test_a_run_is_found_by_the_start_of_its_id_in_any_project(base: Path) -> None:
    churn, fraud = (MLOpsClient(name, base_path=base) for name in ("churn", "fraud"))
    run_id, _ = record(churn, auc=0.5), record(fraud, auc=0.5)
    WorkspaceManager(base).create_workspace("empty")
    done = mlops(base, "reproduce", run_id[:10], "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["project"], told["run_id"], told["ok"], told["rerun"]) == ("churn", run_id, True, None)
    assert Path(told["directory"]) == churn.workspace.outputs_path / "reproduce" / run_id
    again = mlops(base, "reproduce", run_id[:10], "--project", "churn", "--into", "here")
    assert again.returncode == 0, again.stderr
    assert "To go on by hand:" in again.stdout
    assert Path("here/params.json").is_file()
    for arguments, message in (
        (("reproduce", "0" * 32), "There is no run"),
        (("reproduce", run_id, "--project", "fraud"), "There is no run"),
        (("reproduce", run_id, "--project", "nobody"), "Workspace does not exist"),
        (("reproduce", run_id, "--into", "here"), "is not empty"),
    ):
        refused = mlops(base, *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert message in refused.stderr
        assert "Hint: " in refused.stderr
    assert not (base / "nobody").exists()


@pytest.mark.parametrize(
    ("command", "auc", "code", "message"),
    [
        ("python train.py", 0.5, 3, "Not reproduced: auc"),
        ("sh -c 'echo no such luck; exit 5'", 0.5, 1, "exit code 5"),
        ("no-such-program", 0.5, 1, "exit code 127"),
    ],
)
def test_the_exit_code_says_whether_the_metrics_came_out_the_same(
    base: Path, tmp_path: Path, command: str, auc: float, code: int, message: str
) -> None:
    repository = tmp_path / "cwd"
    (repository / "train.py").write_text(TRAIN)
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for arguments in (("init", "-q"), ("add", "train.py"), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    client = MLOpsClient("churn", base_path=base)
    run_id = record(client, auc=auc, command=command, directory=".", git_commit=commit.stdout.strip())
    done = mlops(base, "reproduce", run_id, "--rerun")
    assert done.returncode == code, done.stderr
    assert message in done.stdout
    assert "output.log" in done.stderr
    if code == 3:
        rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
        assert rows["auc"] == ["0.5", "0.9", "DIFFERS"]
        assert rows["loss"] == ["0.25", "0.25", "same"]
        again = mlops(base, "reproduce", run_id, "--rerun", "--force", "--tolerance", "0.5")
        assert again.returncode == 0, again.stdout
        assert "Reproduced" in again.stdout
