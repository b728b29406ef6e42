from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

# Nothing a test does may read or write the caches and settings of the person who runs it.
_FOREIGN = ("MLOPS_", "MLFLOW_", "_MLFLOW_", "DVC_", "BENTOML_", "EVIDENTLY_", "AWS_")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One user cache for the whole test run, so that MLflow's migrations run once per worker at most."""
    root = tmp_path_factory.getbasetemp()
    cache = (root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root) / "user-cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C reach the programs that tests start, also where the tests were started in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "true")
    work = tmp_path / "cwd"
    work.mkdir()
    monkeypatch.chdir(work)
    before = dict(os.environ)
    yield
    assert Path.cwd() == work, "the working directory was changed"
    changed = {key for key in before | dict(os.environ) if before.get(key) != os.environ.get(key)}
    # pytest rewrites the first between phases; scikit-learn and Polars set the others when they are imported.
    changed -= {"PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "_RJEM_MALLOC_CONF"}
    assert not changed, f"os.environ was changed: {sorted(changed)}"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path; its ``.mlops`` marks it as one."""
    path = tmp_path / "base"
    (path / ".mlops").mkdir(parents=True)
    return path


@pytest.fixture
def make_context(base: Path) -> Callable[..., ToolContext]:
    """Create a workspace on disk and return what an adapter is built from."""

    def make(project: str = "churn", **settings: object) -> ToolContext:
        workspace = ProjectWorkspace(project, base / project)
        workspace.ensure_directories()
        workspace.save_metadata()
        return ToolContext(workspace, resolve(arguments=settings).settings)

    return make


@pytest.fixture
def context(make_context: Callable[..., ToolContext]) -> ToolContext:
    return make_context()
