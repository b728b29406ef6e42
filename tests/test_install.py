from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import entry_points, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_the_four_tools_import_together() -> None:
    code = "import mlflow, dvc.repo, bentoml, evidently, pandas; print(pandas.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tuple(map(int, done.stdout.split(".")[:2])) < (3, 1)


def test_the_ranges_keep_out_what_does_not_work() -> None:
    ranges = {(r := Requirement(line)).name: r.specifier for line in requires("mlops-workspaces") or ()}
    assert not ranges["pandas"].contains("3.1.0")
    assert ranges["pandas"].contains("3.0.6")
    for tool, tested, next_series in [
        ("mlflow", "3.17.2", "4.0"),
        ("dvc", "3.67.1", "3.68.0"),
        ("bentoml", "1.4.39", "1.5.0"),
        ("evidently", "0.7.23", "0.8.0"),
    ]:
        assert ranges[tool].contains(tested)
        assert not ranges[tool].contains(next_series)


def test_the_tested_set_is_exact_and_names_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [
        line for line in lines if not re.match(r"^[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^ ]+( ; .+)?$", line)
    ] == []
    assert "://" not in text
    pins = dict(line.split(" ")[0].split("==") for line in lines)
    assert pins["mlflow"] == "3.17.2"
    assert pins["pandas"] == "3.0.6"


def test_every_adapter_is_registered() -> None:
    assert {point.name for point in entry_points(group="mlops.integrations")} == {
        "mlflow",
        "dvc",
        "bentoml",
        "evidently",
    }


def test_a_workspace_folder_named_like_the_package_does_not_hide_it(tmp_path: Path) -> None:
    """The default base makes a folder mlops/ in the user's repository."""
    (tmp_path / ".git").mkdir()
    script = "from mlops import MLOpsClient; print(MLOpsClient.from_project('churn').workspace_path)"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(tmp_path / "mlops" / "workspace" / "churn")


def test_this_repository_keeps_its_workspaces_out_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlops import WorkspaceManager

    with monkeypatch.context() as patch:
        patch.chdir(ROOT / "tests")
        assert WorkspaceManager().base_path == ROOT / ".workspaces"


def test_everything_imported_is_declared() -> None:
    """A package that only comes along with another one is missing as soon as that one drops it."""
    declared = {canonicalize_name(Requirement(line).name) for line in requires("mlops-workspaces") or ()}
    providers = packages_distributions()
    undeclared: dict[str, set[str]] = {}
    for path in (ROOT / "mlops").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                top = module.partition(".")[0]
                names = {canonicalize_name(name) for name in providers.get(top, [top])}
                if top != "mlops" and top not in sys.stdlib_module_names and not names & declared:
                    undeclared.setdefault(top, set()).add(path.name)
    assert undeclared == {}
