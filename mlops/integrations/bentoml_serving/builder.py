"""Building a Bento in a child process, so that nothing of BentoML's global state is touched in this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.bentoml_serving.entries import BENTO_FILE, StoreEntry
from mlops.integrations.bentoml_serving.environment import child_environment
from mlops.integrations.bentoml_serving.model_card import ModelCard
from mlops.integrations.bentoml_serving.service_source import SERVICE_CLASS, SERVICE_FILES, copy_service
from mlops.integrations.bentoml_serving.store import BentoStore

# A build copies a few small files and imports BentoML: seconds, even on a loaded machine.
BUILD_TIMEOUT_SECONDS: Final = 300.0
# -P keeps the working directory out of the module path: a user's file there must not shadow a package.
_CHILD: Final = """
import json, os, sys, threading, time

owner = int(sys.argv[1])

def end_with_owner():
    while os.getppid() == owner:
        time.sleep(0.1)
    os._exit(1)

threading.Thread(target=end_with_owner, daemon=True).start()
import bentoml

bentoml.bentos.build(**json.load(sys.stdin))
"""


def build(store: BentoStore, model: StoreEntry, card: ModelCard, *, operation: str) -> None:
    """Build the Bento of a stored model, under the model's own tag, into the project's store.

    Whoever else builds the same Bento at the same time, one of them is stored.

    Args:
        store: The project's store.
        model: The stored Bento model.
        card: What the MLflow model says about itself.
        operation: The calling method, for the error.

    Raises:
        IntegrationError: The build failed; the message has the end of its output.
    """
    name = model.path.parent.name
    with store.scratch("build", operation) as (staging, claim):
        home, build_context, temporary = (staging / part for part in ("home", "context", "tmp"))
        for directory in (home, build_context, temporary):
            directory.mkdir()
        (home / "models").symlink_to(store.root("model").resolve(), target_is_directory=True)
        copy_service(build_context)
        options = {
            "service": SERVICE_CLASS,
            "name": name,
            "version": model.version,
            "labels": dict(model.labels),
            "build_ctx": str(build_context),
            "include": list(SERVICE_FILES),
            # Locking would call a package index; the lines are MLflow's, which are pinned already.
            "python": {"packages": _packages(card), "lock_packages": False},
            "args": {
                "model": model.tag,
                "version": model.version,
                "inputs": card.inputs,
                "from_type_hint": card.from_type_hint,
            },
        }
        environment = child_environment(home, TMPDIR=str(temporary))
        output = _run(options, cwd=build_context, env=environment, claim=claim)
        built = home / "bentos" / name / model.version
        if not (built / BENTO_FILE).is_file():
            raise IntegrationError(
                f"The Bento {model.tag} could not be built: {_last_line(output)}",
                tool="bentoml",
                operation=operation,
                workspace=store.workspace.project_name,
                details={"output": output[-4000:]},
                hint="see details['output'] for the whole error, then deploy again; the model is stored",
            )
        store.publish(built, kind="bento", name=name, version=model.version, operation=operation)


def _packages(card: ModelCard) -> list[str]:
    packages = list(card.requirements)
    if not any(line.lower().startswith("mlflow") for line in packages):
        packages.append("mlflow")
    return packages


def _run(options: Mapping[str, Any], *, cwd: Path, env: Mapping[str, str], claim: int) -> str:
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-P", "-c", _CHILD, str(os.getpid())],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        # While the child lives, nobody clears the directory it works in away.
        pass_fds=(claim,),
    )
    try:
        output, _ = process.communicate(json.dumps(options), timeout=BUILD_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        output = f"it took more than {BUILD_TIMEOUT_SECONDS:g} s"
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return output


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "the build process wrote nothing"
