"""Building a Bento in a child process, so that nothing of BentoML's global state is touched in this one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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
# The distribution itself, with extras or a version; mlflow-skinny cannot load a model.
_MLFLOW: Final = re.compile(r"mlflow\s*(?:[\[=<>!~@;,(]|$)", re.IGNORECASE)
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
    options: dict[str, Any] = {
        "service": SERVICE_CLASS,
        "labels": dict(model.labels),
        "include": list(SERVICE_FILES),
        "python": {"packages": packages(card)},
        "description": _readme(model),
        "args": {
            "model": model.tag,
            "version": model.version,
            "inputs": card.inputs,
            "from_type_hint": card.from_type_hint,
        },
    }
    if card.python_version:
        # A pickle needs the Python it was written with, which need not be the one that packages it.
        options["docker"] = {"python_version": ".".join(card.python_version.split(".")[:2])}
    with built(
        store, copy_service, options, name=name, version=model.version, operation=operation
    ) as directory:
        if card.python_version:
            version_file = directory / "env" / "python" / "version.txt"
            version_file.write_text(f"{card.python_version}\n", encoding="utf-8")
        published = store.publish(
            directory, kind="bento", name=name, version=model.version, operation=operation, model=model
        )
    if not published and store.twin(model) is None:
        raise IntegrationError(
            f"The model {model.tag} was deleted while its Bento was built",
            tool="bentoml",
            operation=operation,
            workspace=store.workspace.project_name,
            hint="deploy it again",
        )


@contextlib.contextmanager
def built(
    store: BentoStore,
    prepare: Callable[[Path], None],
    options: Mapping[str, Any],
    *,
    name: str,
    version: str,
    operation: str,
) -> Iterator[Path]:
    """Give a Bento built in a scratch directory, on the store's own file system.

    Args:
        store: The project's store, where the Bento's models are.
        prepare: Puts the source into the directory it is given.
        options: What BentoML's build takes, but for the tag and the place.
        name: The name part of the tag.
        version: The version part of the tag.
        operation: The calling method, for the error.

    Yields:
        The Bento's directory, to be moved away.

    Raises:
        IntegrationError: The build failed; the message has the end of its output.
    """
    with store.scratch("build", operation) as (staging, claim):
        home, build_context, temporary = (staging / part for part in ("home", "context", "tmp"))
        for directory in (home, build_context, temporary):
            directory.mkdir()
        (home / "models").symlink_to(store.root("model").resolve(), target_is_directory=True)
        prepare(build_context)
        all_options = {
            **options,
            "name": name,
            "version": version,
            "build_ctx": str(build_context),
            # Locking would call a package index.
            "python": {**options["python"], "lock_packages": False},
        }
        environment = child_environment(home, TMPDIR=str(temporary))
        output = _run(all_options, cwd=build_context, env=environment, claim=claim)
        made = home / "bentos" / name / version
        if not (made / BENTO_FILE).is_file():
            # The most likely reason, if it is so, and not what the output says.
            store.workspace.require_present(operation=operation)
            raise IntegrationError(
                f"The Bento {name}:{version} could not be built: {_last_line(output)}",
                tool="bentoml",
                operation=operation,
                workspace=store.workspace.project_name,
                details={"output": output[-4000:]},
                hint="see details['output'] for the whole error, then deploy again; what is stored is whole",
            )
        yield made


def packages(card: ModelCard) -> list[str]:
    """Return the model's own requirements, and MLflow in the version that saved it."""
    if any(_MLFLOW.match(line) for line in card.requirements):
        return list(card.requirements)
    return [*card.requirements, f"mlflow=={card.mlflow_version}" if card.mlflow_version else "mlflow"]


def _readme(model: StoreEntry) -> str:
    """Return what the Bento's README says: what it is, and how to run it where it was exported to."""
    lines = [f"- {key}: `{value}`" for key, value in sorted(model.labels.items())]
    return "\n".join(
        [
            f"# {model.tag}",
            "",
            'An MLflow model behind an HTTP interface: `POST /predict` takes `{"rows": [...]}`.',
            "",
            *lines,
            "",
            "In this folder, after `pip install -r env/python/requirements.txt`:",
            "",
            "    bentoml serve . --host 127.0.0.1 --port 3000",
            "",
            "or as an image, with any builder of container images:",
            "",
            f"    docker build -t {model.path.parent.name}:{model.version} -f env/docker/Dockerfile .",
            f"    docker run --rm -p 127.0.0.1:3000:3000 {model.path.parent.name}:{model.version}",
            "",
        ]
    )


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
