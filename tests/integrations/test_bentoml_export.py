"""A Bento exported as a folder: complete, portable, and served where nothing of the project exists."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path

import bentoml
import mlflow
import pytest

from mlops.errors import (
    ConfirmationRequiredError,
    DataIntegrityError,
    IntegrationError,
    ModelNotFoundError,
)
from mlops.files import measure
from mlops.integrations.bentoml_serving import BentoServing
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

COLUMN = "petal length (cm)"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that doubles its first column, with the place it was logged to in its MLmodel."""
    path = tmp_path_factory.mktemp("saved") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn
        import pandas as pd
        from mlflow.models import infer_signature
        from sklearn.linear_model import LinearRegression

        frame = pd.DataFrame({COLUMN: [1.0, 2.0, 3.0, 4.0], "width": [0.0, 1.0, 0.0, 1.0]})
        model = LinearRegression().fit(frame, frame[COLUMN] * 2)
        signature = infer_signature(frame, model.predict(frame))
        mlflow.sklearn.save_model(model, path, pip_requirements=["scikit-learn==1.5.0"], signature=signature)
    with (path / "MLmodel").open("a") as stream:
        stream.write(f"artifact_path: {path.as_uri()}\n")
    return path


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> BentoServing:
    """A project with one Bento, which tests here only read."""
    base = tmp_path_factory.mktemp("project")
    (base / ".mlops").mkdir()
    workspace = ProjectWorkspace("churn", base / "churn")
    workspace.ensure_directories()
    workspace.save_metadata()
    adapter = BentoServing(ToolContext(workspace, resolve(environ={}).settings))
    artifact = workspace.mlflow_path / "artifacts" / "model"
    shutil.copytree(saved, artifact)
    adapter.deploy(artifact, model="iris", version="1", labels={"stage": "test"})
    return adapter


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, comments and continuations resolved as a builder does."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines())
        if word
    ]


def test_the_folder_is_a_build_context_that_needs_nothing_else(serving: BentoServing, tmp_path: Path) -> None:
    folder = serving.export_bento("iris", tmp_path / "out" / "iris", version=1)
    assert folder == tmp_path / "out" / "iris"
    assert [each.name for each in folder.parent.iterdir()] == ["iris"]
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    for path in files:
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1, f"{path} shares its content with the store"
        text = path.read_bytes()
        for foreign in (str(serving.workspace.root_path), str(tmp_path), sys.prefix, str(Path.home())):
            assert foreign.encode() not in text or len(foreign) < 6, f"{path} names {foreign}"
    inside = {str(path.relative_to(folder)) for path in files}
    assert inside > {
        "bento.yaml",
        "README.md",
        "apis/openapi.yaml",
        "env/docker/Dockerfile",
        "env/docker/entrypoint.sh",
        "env/python/requirements.txt",
        "env/python/version.txt",
        "models/churn.iris/1/model.yaml",
        "models/churn.iris/1/mlflow_model/MLmodel",
        "models/churn.iris/latest",
    }
    assert (folder / "env/python/version.txt").read_text().strip() == sys.version.split()[0]
    assert "scikit-learn" in (folder / "models/churn.iris/1/mlflow_model/conda.yaml").read_text()


def test_its_dockerfile_can_be_built_without_buildkit(serving: BentoServing, tmp_path: Path) -> None:
    folder = serving.export_bento("iris", tmp_path / "iris")
    steps = instructions(folder / "env/docker/Dockerfile")
    known = {"FROM", "ENV", "ARG", "RUN", "COPY", "WORKDIR", "EXPOSE", "USER", "ENTRYPOINT"}
    assert {word for word, _ in steps} <= known
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert steps[0] == ("FROM", f"python:{version}-slim AS base-container")
    assert "# syntax" not in (folder / "env/docker/Dockerfile").read_text()
    for word, rest in steps:
        assert not rest.startswith(("--mount", "--network", "--security", "<<"))
        if word == "COPY":
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                assert (folder / source).exists()
    assert ("COPY", "--chown=bentoml:bentoml . ./") in steps
    (entrypoint,) = [json.loads(rest) for word, rest in steps if word == "ENTRYPOINT"]
    (path,) = [rest.partition("=")[2] for word, rest in steps if rest.startswith("BENTO_PATH=/")]
    script = folder / Path(entrypoint[0]).relative_to(path)
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert [rest for word, rest in steps if word == "USER"] == ["bentoml"]


def test_it_requires_what_the_model_was_made_with(serving: BentoServing, tmp_path: Path) -> None:
    folder = serving.export_bento("iris", tmp_path / "iris")
    lines = (folder / "env/python/requirements.txt").read_text().splitlines()
    assert lines == [
        f"mlflow=={mlflow.__version__}",
        "scikit-learn==1.5.0",
        f"bentoml=={bentoml.__version__}",
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def served(python: Path, folder: Path, home: Path) -> Iterator[str]:
    """Serve a folder as an image's entry point does, with an environment of its own."""
    port = free_port()
    log = home / "log"
    command = [*(str(python), "-m", "bentoml", "serve", str(folder)), "--host", "127.0.0.1"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=home,
            env={
                "PATH": f"{python.parent}:/usr/bin:/bin",
                "HOME": str(home),
                "BENTOML_HOME": str(home / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "true",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310
                break
            time.sleep(0.2)
        yield url
    finally:
        # To the whole session: a worker leads no session of its own.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_it_predicts_where_neither_the_library_nor_the_workspace_exists(
    serving: BentoServing, tmp_path: Path
) -> None:
    folder = serving.export_bento("churn.iris:1", tmp_path / "iris")
    home = tmp_path / "elsewhere"
    (home / "bentoml").mkdir(parents=True)
    venv.create(home / "venv", with_pip=False)
    python = home / "venv" / "bin" / "python"
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    # A .pth file inside the directory named here, such as an editable install's, is not followed.
    (packages,) = [each for each in sys.path if each.endswith("site-packages")][:1]
    (site / "tools.pth").write_text(f"{packages}\n")
    absent = subprocess.run(
        [python, "-c", "import mlops"], cwd=home, env={}, capture_output=True, check=False
    )
    assert b"No module named 'mlops'" in absent.stderr
    root = serving.workspace.root_path
    away = root.with_name("renamed")
    root.rename(away)
    try:
        with served(python, folder, home) as url:
            body = json.dumps({"rows": [{COLUMN: 1.5, "width": 0.0}, {COLUMN: 4, "width": 1.0}]}).encode()
            request = urllib.request.Request(  # noqa: S310
                f"{url}/predict", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                predictions = json.loads(answer.read())["predictions"]
    finally:
        away.rename(root)
    assert predictions == pytest.approx([3.0, 8.0])
    assert not list((home / "bentoml" / "models").iterdir()), "the model did not come from the folder"


def test_only_an_earlier_export_is_replaced_and_only_when_asked(
    serving: BentoServing, tmp_path: Path
) -> None:
    folder = tmp_path / "iris"
    folder.mkdir()
    assert serving.export_bento("iris", folder) == folder
    (folder / "note.txt").write_text("mine")
    with pytest.raises(ConfirmationRequiredError, match="requires force=True") as caught:
        serving.export_bento("iris", folder)
    assert (caught.value.operation, caught.value.workspace) == ("export_bento", "churn")
    assert (folder / "note.txt").exists()
    serving.export_bento("iris", folder, force=True)
    assert not (folder / "note.txt").exists()
    assert (folder / "bento.yaml").exists()

    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(other)
    file = tmp_path / "file"
    file.write_text("")
    for target in (other, link, file):
        with pytest.raises(IntegrationError, match="not an earlier export"):
            serving.export_bento("iris", target, force=True)
    assert (other / "thesis.tex").read_text() == "years of work"
    with pytest.raises(IntegrationError, match="inside the project's own store"):
        serving.export_bento("iris", serving.store.home / "bentos" / "copy")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cwd", "file", "iris", "link", "thesis"]


def test_what_cannot_be_exported_is_named_and_leaves_nothing(
    serving: BentoServing, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no deployed model 'nope'") as caught:
        serving.export_bento("nope", tmp_path / "out")
    assert "client.deploy_model('nope')" in str(caught.value.hint)
    serving.deploy(saved, model="plain", version="1", build_bento=False)
    with pytest.raises(ModelNotFoundError, match=r"churn\.plain:1 was stored without a Bento") as caught:
        serving.export_bento("plain", tmp_path / "out")
    assert "client.deploy_model('plain', version='1')" in str(caught.value.hint)
    serving.delete("plain", "1")

    requirements = serving.store.root("bento") / "churn.iris" / "1" / "env" / "python" / "requirements.txt"
    text = requirements.read_text()
    for line in ("mine @ file:///home/me/mine", "./wheels/mine-1.0.whl", "/home/me/mine"):
        requirements.write_text(f"{text}{line}\n")
        with pytest.raises(IntegrationError, match=re.escape(repr(line))) as refused:
            serving.export_bento("iris", tmp_path / "out")
        assert "pip_requirements=" in str(refused.value.hint)
    requirements.write_text(text)
    weights = serving.get("iris", "1").path / "mlflow_model" / "model.skops"
    content = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(content[:-1] + b"X")
    with pytest.raises(DataIntegrityError, match=r"churn\.iris:1 in the store are not what was deployed"):
        serving.export_bento("iris", tmp_path / "out")
    weights.write_bytes(content)
    assert [each.name for each in tmp_path.iterdir()] == ["cwd"]


def test_exporting_again_after_a_kill_clears_what_it_left(serving: BentoServing, tmp_path: Path) -> None:
    # As a killed export leaves it: nobody holds the directory.
    left = tmp_path / ".iris.export-0123456789ab"
    (left / "bento").mkdir(parents=True)
    other = tmp_path / ".iris.export"
    other.mkdir()
    folder = serving.export_bento("iris", tmp_path / "iris")
    assert not left.exists()
    assert other.exists()
    assert measure(folder).files > 10
