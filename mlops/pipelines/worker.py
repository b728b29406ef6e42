"""What the workers of a Dask cluster do for a run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.errors import MLOpsError, PipelineError
from mlops.integrations.mlflow_tracking import server
from mlops.pipelines import isolated, isolation
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

MUST_REACH: Final = (
    "workers must see {} at this same path, by a shared file system, and be allowed to write there;"
    " they must reach the MLflow server too, if the project has one"
)


def carry_out(
    directory: str, step: str, own_process: bool, timeout: float | None, project: str
) -> Exception | None:
    """Carry out a call that was posted; the result is in its directory.

    Args:
        directory: The call.
        step: The step, for errors.
        own_process: Whether it runs in a process of its own.
        timeout: Seconds it may take there.
        project: The project, for errors.

    Returns:
        What became of the process, to be raised by the caller, or None.

    Raises:
        PipelineError: This worker, which came later than the others, does not see the project.
    """
    path = Path(directory)
    if not path.is_dir():
        raise PipelineError(
            f"A Dask worker on {socket.gethostname()} does not see {path.parent}",
            operation="run",
            workspace=project,
            hint=MUST_REACH.format(path.parent),
        )
    if (path / isolation.RESULT_FILE).exists():
        return None  # a worker that died had done it
    if not own_process:
        isolated.carry_out(path, project=project)
        return None
    try:
        isolation.carry_out(
            path, step=step, timeout=timeout, project=project, stopped=lambda: not path.exists()
        )
    except (TimeoutError, PipelineError) as error:
        return error
    return None


def find_lack(tracking: MLflowTracking) -> str | None:
    """Say what a worker cannot reach of a project, or None.

    Args:
        tracking: The project's adapter, as it arrived there.
    """
    workspace = tracking.context.workspace
    try:
        found = ProjectWorkspace.load_metadata(workspace.root_path)
        if found.id != workspace.id:
            return f"another project is at {workspace.root_path}"
        with isolation.staged(workspace, "probe"):
            pass
        if not tracking.embedded:
            server.require_reachable(tracking.uri, operation="run", workspace=tracking.project)
    except (OSError, MLOpsError) as error:
        return str(error)
    return None
