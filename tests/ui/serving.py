from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops import WorkspaceManager
from mlops.client import MLOpsClient

FOREIGN = ("MLOPS_", "MLFLOW_", "_MLFLOW_")


@contextmanager
def quiet_environment(cache: Path) -> Iterator[pytest.MonkeyPatch]:
    """What every test's environment is, for fixtures that live longer than one test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN):
                patch.delenv(name)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("DO_NOT_TRACK", "true")
        yield patch


def ask(
    url: str, path: str, *, workspace: str | None = None, body: Any = None, method: str | None = None
) -> tuple[int, Any]:
    """Return the status and the content of an answer: JSON, else text."""
    headers = {"Content-Type": "application/json"}
    if workspace is not None:
        headers["X-MLFLOW-WORKSPACE"] = workspace
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, headers=headers, method=method)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def until(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def populate(manager: WorkspaceManager, project: str, *, best: float) -> tuple[str, str]:
    """Train once; return the ids of the run and of the logged model."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    client = MLOpsClient(project, workspace_manager=manager, description=f"All about {project}")
    with client.start_run(f"training-{project}") as run:
        client.log_param("owner", project)
        for step in range(10):
            client.log_metric("loss", best + 1 / (step + 1), step=step)
        client.log_text(f"notes of {project}\n", "notes.txt")
        model = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
        client.log_model(model, "clf", pip_requirements=["scikit-learn"])
    (logged,) = client.tracking.client().search_logged_models(["0"])
    client.tracking.close()
    return run.run_id, logged.model_id


@contextmanager
def ui_command(
    tool: str, base: Path, temporary: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``mlops ui`` for a tool and yield it with the page it prints."""
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from mlops.cli import main; main()"),
            *("--base-path", str(base), "ui", tool, "--no-browser", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, (line, process.stderr.read() if process.stderr else "")
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.kill()
