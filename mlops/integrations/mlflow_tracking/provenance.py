"""What is recorded when a run starts, so that it can be done again: code, command line and environment.

Tags of the run say it in short. Two texts are files: the installed packages, and what the code had that the
commit has not. Each is kept once per content beside the artifacts, named by its SHA-256, which a tag of the
run has, and is linked into the artifacts of every run, where MLflow's pages show it. Neither starts a process
or takes a millisecond once the first run of a process has begun.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlops.files import hash_file, write_atomic
from mlops.integrations.mlflow_tracking import code_state, packages
from mlops.integrations.mlflow_tracking.code_state import COMMIT_TAG, DIRTY_TAG
from mlops.integrations.mlflow_tracking.invocation import invocation

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

logger = logging.getLogger(__name__)

SCRIPT_TAG: Final = "mlops.script"
COMMAND_TAG: Final = "mlops.command"
DIRECTORY_TAG: Final = "mlops.directory"
PYTHON_TAG: Final = "mlops.python"
PLATFORM_TAG: Final = "mlops.platform"
ENVIRONMENT_TAG: Final = "mlops.environment"
DIFF_TAG: Final = "mlops.code_diff"
# On a run that does another one again: that run.
REPRODUCES_TAG: Final = "mlops.reproduces"
# The directory of a run's artifacts that is this library's, and what it has there, by the tag with its hash.
RECORDS: Final = "mlops"
ARTIFACTS: Final[Mapping[str, str]] = {
    ENVIRONMENT_TAG: f"{RECORDS}/environment.txt",
    DIFF_TAG: f"{RECORDS}/code.diff",
}
_KEPT: Final = "provenance"


def tags(started_by: str | None = None) -> dict[str, str]:
    """Return the tags of a run that starts now.

    Args:
        started_by: What ``Invocation.to_text`` gave for the command that this process is part of; by default
            the process's own command line counts.
    """
    environment = _digest(packages.freeze().encode())
    return {**_of_process(started_by, _here()), ENVIRONMENT_TAG: environment}


def keep(root: Path, of_run: Mapping[str, str]) -> None:
    """Store the texts that a run's tags name in a workspace, if it has not got them yet.

    Args:
        root: The workspace's artifact root.
        of_run: The run's tags, as ``tags`` of this process gave them.
    """
    for digest in (of_run[tag] for tag in ARTIFACTS if tag in of_run):
        path = kept(root, digest)
        if not path.exists() and (content := _content(digest)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)


def kept(root: Path, digest: str) -> Path:
    """Return where a workspace keeps a text."""
    return root / _KEPT / digest


def share(root: Path) -> None:
    """Make the texts that runs have in common one file again, which a copy of them has lost.

    Args:
        root: The artifact root of a store in which nobody works.
    """
    for name in ARTIFACTS.values():
        for path in root.glob(f"*/*/artifacts/{name}"):
            same = kept(root, hash_file(path))
            if same.is_file() and not same.samefile(path):
                path.unlink()
                _link(same, path)


def attach(run: Any, root: Path, *, client: Any = None) -> None:
    """Make the texts artifacts of a run, unless it has them.

    A run is not refused because its record is incomplete: trouble is logged, and the tags stay.

    Args:
        run: MLflow's run object.
        root: The artifact root of its project's workspace.
        client: An ``MlflowClient`` of its store, for a run whose artifacts go through a server. Nothing is
            sent to other storage, which a run that only logs numbers may not even reach.
    """
    from mlflow.exceptions import MlflowException

    of_run, uri = run.data.tags, urlsplit(str(run.info.artifact_uri))
    try:
        keep(root, of_run)
        texts = [(kept(root, of_run[tag]), name) for tag, name in ARTIFACTS.items() if tag in of_run]
        texts = [(path, name) for path, name in texts if path.is_file()]
        target = Path(url2pathname(uri.path))
        if uri.scheme == "file" and target.is_relative_to(root):
            for path, name in texts:
                _link(path, target / name)
        elif uri.scheme == "mlflow-artifacts" and client is not None:
            with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
                for path, name in texts:
                    copy = shutil.copyfile(path, Path(scratch) / Path(name).name)
                    client.log_artifact(run.info.run_id, str(copy), RECORDS)
    except (OSError, MlflowException) as error:
        logger.warning("The environment of the run %s could not be stored: %s", run.info.run_id, error)


def attach_to_group(tracking: MLflowTracking, run_ids: Iterable[str]) -> None:
    """Make the texts artifacts of runs that another process recorded on a server.

    Args:
        tracking: The project's adapter.
        run_ids: The runs.
    """
    client = tracking.client(operation="run")
    for run_id in run_ids:
        with tracking.translated("run"):
            run = client.get_run(run_id)
        attach(run, tracking.artifact_root, client=client)


def read(tracking: MLflowTracking, run: Mapping[str, Any], tag: str) -> bytes | None:
    """Return a text that was recorded with a run, or None if there was none or it is lost.

    Args:
        tracking: The project's adapter.
        run: The run, as ``get_run`` returns it.
        tag: ``ENVIRONMENT_TAG`` or ``DIFF_TAG``.
    """
    digest = run["tags"].get(tag)
    if digest is None:
        return None
    with contextlib.suppress(OSError):
        content = kept(tracking.artifact_root, digest).read_bytes()
        if _digest(content) == digest:
            return content
    from mlflow.exceptions import MlflowException

    client = tracking.client(operation="reproduce")
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        try:
            content = Path(client.download_artifacts(run["run_id"], ARTIFACTS[tag], scratch)).read_bytes()
        except (OSError, MlflowException):
            return None
    return content if _digest(content) == digest else None


@cache
def _of_process(started_by: str | None, directory: Path) -> dict[str, str]:
    state = code_state.own_state(directory)
    found = {PYTHON_TAG: packages.python_version(), PLATFORM_TAG: packages.platform_name()}
    root = None
    if state is not None:
        root = state.repository
        found |= {COMMIT_TAG: state.commit, DIRTY_TAG: "true" if state.dirty else "false"}
        if state.diff:
            found[DIFF_TAG] = _digest(state.diff)
        script = code_state.program()
        if script is not None and script.is_relative_to(root) and not code_state.is_installed(script):
            found[SCRIPT_TAG] = script.relative_to(root).as_posix()
    command = invocation(started_by)
    if command is not None:
        line, where = command.portable(root)
        if line:
            found[COMMAND_TAG] = line
            if root is not None:
                found[DIRECTORY_TAG] = where
    return found


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def _content(digest: str) -> bytes | None:
    """Return what this process has for a hash it gave itself."""
    environment, state = packages.freeze().encode(), code_state.own_state(_here())
    texts = (environment, state.diff if state is not None else None)
    return next((text for text in texts if text and _digest(text) == digest), None)


@cache
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        # No hard links here, or more of this file than the file system allows.
        shutil.copyfile(source, target)
