"""Packaging a model while something goes wrong: no half is ever seen, and the next attempt succeeds."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mlops import WorkspaceManager
from mlops.errors import DataIntegrityError, IntegrationError, MLOpsError, WorkspaceNotFoundError
from mlops.files import measure
from mlops.integrations.bentoml_serving import BentoServing, Deployment, bento_model
from mlops.workspace.tools import ToolContext
from tests.integrations.serving_children import start


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as MLflow writes it; tests only read it."""
    path = tmp_path_factory.mktemp("saved") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
        import mlflow.sklearn
        from sklearn.linear_model import LinearRegression

        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
        mlflow.sklearn.save_model(model, path, pip_requirements=["scikit-learn"])
    return path


@pytest.fixture
def serving(context: ToolContext) -> BentoServing:
    return BentoServing(context)


def clean(serving: BentoServing) -> bool:
    """Whether the store holds only whole entries and nothing is left of any attempt."""
    staging = serving.workspace.models_path / "staging"
    return not serving.summary()["errors"] and not (staging.is_dir() and list(staging.iterdir()))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_kill_during_a_build_leaves_the_model_and_no_bento(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    process = start("deploy()", context.workspace.root_path, saved)
    staging = context.workspace.models_path / "staging"
    until(lambda: bool(list(staging.glob("build-*/home/tmp/*"))) or process.poll() is not None)
    assert process.poll() is None
    builders = psutil.Process(process.pid).children(recursive=True)
    kill(process)
    assert [deployment.bento_tag for deployment in serving.deployments()] == [None]
    assert serving.bentos() == []
    assert serving.summary()["errors"] == []
    # The build's own process notices that nobody waits for it, and then lets go of its directory.
    until(lambda: not any(b.is_running() and b.status() != psutil.STATUS_ZOMBIE for b in builders))
    assert serving.deploy(saved, model="iris", version="1").bento_tag == "churn.iris:1"
    assert clean(serving)


def test_a_kill_right_after_publication_leaves_a_whole_entry(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    code = """
def stop(self, *arguments):
    print("published", flush=True)
    time.sleep(60)
# Nothing else stops between the two steps.
store.BentoStore._point_latest = stop
deploy(build_bento=False)
"""
    process = start(code, context.workspace.root_path, saved)
    assert process.stdout is not None
    assert process.stdout.readline() == "published\n"
    kill(process)
    (found,) = serving.deployments()
    latest = found.path.parent / "latest"
    assert not latest.exists()
    assert serving.deploy(saved, model="iris", version="1", build_bento=False) == found
    assert latest.read_text() == "1"
    assert clean(serving)


def test_kills_at_any_moment_never_show_a_part(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    """As many versions as fit are stored in a loop, and the loop is killed somewhere."""
    code = """
print("ready", flush=True)
number = int(sys.argv[3])
while True:
    deploy(f"v{number}", build_bento=False)
    number += 1
    print("stored", flush=True)
"""
    number = 0
    for attempt in range(6):
        process = start(code, context.workspace.root_path, saved, number)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # On a slow machine too, each has stored some when it is killed.
        assert [process.stdout.readline() for _ in range(2)] == ["stored\n"] * 2
        time.sleep(0.037 * attempt)
        kill(process)
        models = serving.models()
        assert [entry.error for entry in models if entry.error] == []
        for entry in models[number:]:
            stored = {path.name: path.read_bytes() for path in (entry.path / "mlflow_model").iterdir()}
            assert stored == {path.name: path.read_bytes() for path in saved.iterdir()}
        number = len(models)
    assert number > 6
    serving.deploy(saved, model="iris", version="last", build_bento=False)
    assert clean(serving)


def test_a_full_disk_while_a_model_is_staged(
    serving: BentoServing, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = serving.deploy(saved, model="iris", version="0", build_bento=False)
    before = measure(serving.workspace.models_path)
    place, placed = bento_model.place, []

    def full(source: Path, target: Path, *, link: bool) -> None:
        if len(placed) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        placed.append(target)
        place(source, target, link=link)

    with monkeypatch.context() as patched:
        patched.setattr(bento_model, "place", full)
        with pytest.raises(IntegrationError, match=r"churn\.iris:1: .*No space left on device") as caught:
            serving.deploy(saved, model="iris", version="1", build_bento=False)
    assert (caught.value.operation, caught.value.workspace) == ("deploy", "churn")
    assert "free space" in str(caught.value.hint)
    assert measure(serving.workspace.models_path) == before
    assert serving.deployments() == [kept]
    assert serving.deploy(saved, model="iris", version="1", build_bento=False)
    assert clean(serving)


def test_a_build_that_cannot_write_says_why_and_can_be_repeated(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    # No file may grow beyond the limit, and this makes one that the build's own process writes do so.
    labels = {"note": "x" * 50_000}
    serving.deploy(saved, model="iris", version="1", build_bento=False, labels=labels)
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from mlops.errors import IntegrationError
try:
    deploy()
except IntegrationError as error:
    print(error)
"""
    process = start(code, context.workspace.root_path, saved)
    output, _ = process.communicate(timeout=120)
    assert "The Bento churn.iris:1 could not be built" in output
    assert "File too large" in output
    assert serving.bentos() == []
    assert clean(serving)
    assert serving.deploy(saved, model="iris", version="1").bento_tag == "churn.iris:1"


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_model_without_its_weights_is_refused_by_name(
    serving: BentoServing, saved: Path, tmp_path: Path, damage: str
) -> None:
    source = tmp_path / "model"
    shutil.copytree(saved, source)
    weights = source / "model.skops"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"")
    with pytest.raises(DataIntegrityError, match=r"'model\.skops' is missing or empty") as caught:
        serving.deploy(source, model="iris", version="1")
    assert caught.value.details["path"] == str(weights)
    assert serving.models() == []
    shutil.copyfile(saved / "model.skops", weights)
    assert serving.deploy(source, model="iris", version="1", build_bento=False)


def test_a_workspace_deleted_while_a_model_is_stored_does_not_come_back(
    base: Path, context: ToolContext, serving: BentoServing, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, root = WorkspaceManager(base), context.workspace.root_path
    place = bento_model.place

    def deleting(source: Path, target: Path, *, link: bool) -> None:
        if root.exists():
            manager.delete_workspace("churn", force=True)
        place(source, target, link=link)

    with monkeypatch.context() as patched:
        patched.setattr(bento_model, "place", deleting)
        with pytest.raises(WorkspaceNotFoundError, match="Workspace does not exist") as caught:
            serving.deploy(saved, model="iris", version="1")
    assert caught.value.operation == "deploy"
    assert not root.exists()
    manager.restore_workspace("churn")
    assert serving.deploy(saved, model="iris", version="1", build_bento=False)
    assert clean(serving)


def test_a_workspace_deleted_while_a_bento_is_built_does_not_come_back(
    base: Path, context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    results: list[Deployment | MLOpsError] = []

    def deploy() -> None:
        try:
            results.append(serving.deploy(saved, model="iris", version="1"))
        except MLOpsError as error:
            results.append(error)

    thread = threading.Thread(target=deploy)
    thread.start()
    staging = context.workspace.models_path / "staging"
    until(lambda: bool(list(staging.glob("build-*/home/tmp"))))
    WorkspaceManager(base).delete_workspace("churn", force=True)
    thread.join(60)
    (error,) = results
    assert isinstance(error, WorkspaceNotFoundError)
    assert not context.workspace.root_path.exists()


def test_a_model_deleted_while_its_bento_is_built_leaves_no_bento_behind(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    code = """
from mlops.errors import IntegrationError
try:
    deploy()
except IntegrationError as error:
    print(error)
"""
    process = start(code, context.workspace.root_path, saved)
    staging = context.workspace.models_path / "staging"
    until(lambda: bool(list(staging.glob("build-*/home"))) or process.poll() is not None)
    serving.delete("iris", "1")
    output, _ = process.communicate(timeout=120)
    assert "churn.iris:1" in output
    assert serving.models() == []
    assert serving.bentos() == []
    assert clean(serving)


def test_threads_and_processes_that_package_one_version_make_one_bento(
    context: ToolContext, serving: BentoServing, saved: Path
) -> None:
    artifact = context.workspace.mlflow_path / "artifacts" / "model"
    shutil.copytree(saved, artifact)
    other = start("print(deploy().created_at.isoformat())", context.workspace.root_path, artifact)
    made: list[Deployment] = []

    def deploy() -> None:
        made.append(serving.deploy(artifact, model="iris", version="1"))

    threads = [threading.Thread(target=deploy) for _ in range(2)]
    for thread in threads:
        thread.start()
    output, _ = other.communicate(timeout=120)
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert output.strip() == made[0].created_at.isoformat()
    assert made[0].bento_tag == "churn.iris:1"
    (bento,) = serving.bentos()
    assert bento.labels == made[0].labels
    weights = artifact / "model.skops"
    assert weights.stat().st_nlink == 2
    assert weights.samefile(made[0].path / "mlflow_model" / "model.skops")
    assert [p.name for p in bento.path.rglob("*.skops")] == []
    assert clean(serving)
