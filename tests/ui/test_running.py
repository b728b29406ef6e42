"""Pages that run are found by others, and those that ended are not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from mlops import WorkspaceManager
from mlops.ui.addresses import Addresses
from mlops.ui.process import UIProcess
from mlops.ui.running import announce, find

ROOT = Path(__file__).parents[2]


class Answering(UIProcess):
    """Pages of MLflow that answer at once, and nothing else."""

    tool: ClassVar[str] = "mlflow"
    title: ClassVar[str] = "MLflow UI"
    module: ClassVar[str] = "tests.ui.answering"
    health_path: ClassVar[str] = "/"

    @property
    def page(self) -> str:
        return self.url

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def own_cache(clean_environment: None, tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield tmp_path / "cache"


def test_pages_are_found_while_they_run(base: Path, tmp_path: Path) -> None:
    manager = WorkspaceManager(base)
    assert Addresses(manager).mlflow() is None
    with Answering(manager) as pages:
        assert find("mlflow", base) == pages.url
        assert Addresses(manager).mlflow() == f"{pages.url}/#/"
        assert find("evidently", base) is None
        assert find("mlflow", tmp_path / "other") is None
    assert find("mlflow", base) is None


def test_pages_of_one_project_show_no_other(base: Path) -> None:
    announce(tool="mlflow", url="http://127.0.0.1:1", base=base, project="churn")
    assert find("mlflow", base, "churn") == "http://127.0.0.1:1"
    assert find("mlflow", base, "fraud") is None
    assert find("mlflow", base) is None
    announce(tool="mlflow", url="http://127.0.0.1:2", base=base, project=None)
    assert find("mlflow", base, "churn") == "http://127.0.0.1:2"


def test_what_a_killed_process_left_is_neither_found_nor_kept(base: Path, own_cache: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from mlops.ui.running import announce;"
        "announce(tool='mlflow', url='http://127.0.0.1:1', base=Path(sys.argv[1]), project=None);"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(base)], check=False).returncode == -9
    (left,) = own_cache.rglob("*.json")
    assert find("mlflow", base) is None
    (left.parent / "damaged.json").write_text("[")
    announce(tool="mlflow", url="http://127.0.0.1:2", base=base, project=None)
    assert not left.exists()
    assert find("mlflow", base) == "http://127.0.0.1:2"


def test_pages_run_where_nothing_can_be_noted(base: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the directory should be")
    with Answering(WorkspaceManager(base)) as pages:
        assert pages.running()
    assert find("mlflow", base) is None


def test_addresses_lead_to_a_project_and_a_run(base: Path) -> None:
    manager = WorkspaceManager(base)
    workspace = manager.create_workspace("churn_model")
    to = Addresses(manager, mlflow="http://127.0.0.1:1/", evidently="http://127.0.0.1:2")
    assert to.mlflow("churn_model") == "http://127.0.0.1:1/#/experiments?workspace=churn-model"
    run = to.mlflow("churn_model", run_id="0a1b")
    assert run == "http://127.0.0.1:1/#/experiments/0/runs/0a1b?workspace=churn-model"
    assert to.evidently() == "http://127.0.0.1:2/"
    page = to.evidently("churn_model")
    assert page is not None
    assert page.startswith("http://127.0.0.1:2/projects/")
    workspace.metadata_file.write_text("[")
    assert to.evidently("churn_model") == "http://127.0.0.1:2/"
