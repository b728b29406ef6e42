from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.reporting.gates import Gate
from tests.reporting.conftest import demo as demo


def report(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base), "report"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_a_report_is_printed_for_people_and_for_programs(demo: Path) -> None:
    shown = report(demo)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Projects (6)" in shown.stdout
    values = json.loads(report(demo, "churn", "forecast", "--json").stdout)
    assert [each["project_name"] for each in values["projects"]] == ["churn", "forecast"]
    assert values["schema_version"] == 1
    again = json.loads(report(demo, "churn", "forecast", "--format", "json").stdout)
    assert {key for key in values if values[key] != again[key]} <= {"generated_at", "rankings"}
    missing = report(demo, "chrun")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "Workspace does not exist" in missing.stderr


def test_a_gate_fails_after_the_file_is_written(demo: Path, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    failed = report(demo, "-o", str(file), "--fail-on", "drift,unpushed-data", "--fail-on", "corrupt")
    assert failed.returncode == 3
    assert failed.stdout == f"Written: {file}\n"
    assert file.read_text().startswith("# Status report")
    found = [line.split(": ")[:2] for line in failed.stderr.splitlines()]
    assert ["churn", "drift"] in found
    assert ["churn", "unpushed-data"] in found
    assert ["broken", "corrupt"] in found
    assert ["torn", "corrupt"] in found
    assert not [line for line in found if line[0] in ("forecast", "quiet")]
    passed = report(demo, "forecast", "quiet", "--format", "md", "--fail-on", ",".join(Gate))
    assert (passed.returncode, passed.stderr) == (0, "")


def test_a_page_in_a_pipe_is_whole_whatever_the_encoding(base: Path) -> None:
    WorkspaceManager(base).create_workspace("churn", description="Wer kündigt?")
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base), "report"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    page = subprocess.run(
        [*command, "--format", "html"], capture_output=True, check=True, env=environment, timeout=120
    ).stdout.decode()
    assert "Wer kündigt?" in page
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert [each for each in hashes if f"sha256-{each}" not in page] == []
    assert len(hashes) == 3


def test_no_projects_are_nothing_that_was_checked(base: Path) -> None:
    nothing = report(base, "--fail-on", "drift")
    assert nothing.returncode == 0
    assert nothing.stderr == f"Nothing was checked: there are no projects in {base}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fail-on", "drift,bogus"), "'bogus'"),
        (("--fail-on", ""), "no gate named"),
        (("--format", "pdf"), "'pdf'"),
        (("--format", "json", "-o", "a.html"), "a.html"),
        (("-o", "a.pdf"), "cannot be told"),
        (("-o", "."), "directory"),
        (("--json", "--format", "md"), "--json"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(base: Path, arguments: tuple[str, ...], message: str) -> None:
    refused = report(base, *arguments)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr
    assert list(Path.cwd().iterdir()) == []


def test_the_help_says_what_each_gate_means(base: Path) -> None:
    shown = " ".join(report(base, "--help").stdout.split())
    for gate in Gate:
        assert f"{gate}: " in shown
    assert "has not passed" in shown


def test_a_file_in_no_directory_is_refused_before_anything_is_read(base: Path) -> None:
    WorkspaceManager(base).create_workspace("churn")
    refused = report(base, "-o", "none/a.md")
    assert refused.returncode == 1
    assert "its directory does not exist" in refused.stderr
    assert "mkdir -p" in refused.stderr
