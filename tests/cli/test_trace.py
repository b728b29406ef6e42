from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.workspace import links


def mlops(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> tuple[Path, str]:
    data = tmp_path / "train.csv"
    data.write_text("a\n1\n")
    for project in ("churn", "retail"):
        client = MLOpsClient.from_project(project, base_path=base)
        with client.start_run("night") as run:
            client.dvc_add(data)
        client.close()
    return data, run.run_id


def test_a_chain_is_printed_for_people_and_for_programs(base: Path, trained: tuple[Path, str]) -> None:
    _, run_id = trained
    shown = mlops(base, "trace", run_id[:10])
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0] == "retail:"
    assert "train.csv" in shown.stdout
    (chain,) = json.loads(mlops(base, "trace", run_id, "--json").stdout)
    assert chain["project"] == "retail"
    assert chain["root"] == f"run:{run_id}"
    assert mlops(base, "trace", run_id, "-f", "dot").stdout.startswith("retail:") is False
    assert "digraph" in mlops(base, "trace", run_id, "-f", "dot").stdout
    assert mlops(base, "trace", run_id, "--format", "mermaid").stdout.startswith("flowchart LR")


def test_data_that_two_projects_use_is_traced_in_both(base: Path, trained: tuple[Path, str]) -> None:
    data, _ = trained
    chains = json.loads(mlops(base, "trace", str(data), "--json").stdout)
    assert [chain["project"] for chain in chains] == ["churn", "retail"]
    one = json.loads(mlops(base, "trace", str(data), "--project", "churn", "--json").stdout)
    assert [chain["project"] for chain in one] == ["churn"]


def test_what_is_unknown_is_an_error_and_creates_nothing(base: Path, trained: tuple[Path, str]) -> None:
    unknown = mlops(base, "trace", "nonsense")
    assert unknown.returncode == 1
    assert "any of the 2 projects" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    missing = mlops(base, "trace", "nonsense", "--project", "absent")
    assert missing.returncode == 1
    assert "absent" in missing.stderr
    assert not (base / "absent").exists()
    assert mlops(base, "trace", "nonsense", "-f", "png").returncode == 2


def test_the_doctor_rebuilds_lost_and_damaged_link_logs(base: Path, trained: tuple[Path, str]) -> None:
    log = base / "churn" / links.FILE_NAME
    log.unlink()
    done = mlops(base, "doctor", "churn", "--rebuild-links")
    assert done.returncode == 0, done.stderr
    assert "rebuilt: churn: " in done.stdout
    assert "input-of" in log.read_text()
    log.write_text(log.read_text() + "nonsense\n")
    found = mlops(base, "doctor")
    assert found.returncode == 1
    assert "cannot be understood" in found.stdout
    assert "--rebuild-links" in found.stdout
    assert mlops(base, "doctor", "--fix").returncode == 0
    assert mlops(base, "doctor").returncode == 0
