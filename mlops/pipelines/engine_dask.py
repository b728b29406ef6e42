"""Steps called by the workers of a Dask cluster.

Everything else stays in the process that runs the pipeline: which step comes next, its MLflow run, retries,
waiting times, the cache and the stored outputs. Calls and results travel as files of the project's staging
area, where no result is lost with its worker and nothing large passes the scheduler. So workers must have the
same library and version of Python, see the project's base directory at the same path, and reach its MLflow
server if it has one.

Dask calls a step again elsewhere when its worker dies, and gives up after some deaths in a row (its setting
``distributed.scheduler.allowed-failures``). It cannot stop a call that has begun; what has a timeout, or asks
for isolation, runs in a process of its own beside the worker, which can be stopped.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from mlops.pipelines import cluster, isolation, worker
from mlops.pipelines.engine import Engine
from mlops.pipelines.isolation import Call
from mlops.pipelines.step import Step

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

# How long a call goes on being waited for after an interruption, at most.
_POLL_SECONDS: Final = 1.0
# How often each waiting call asks whether there are workers at all.
_ASK_SECONDS: Final = 10.0


@contextlib.contextmanager
def opened(tracking: MLflowTracking, *, at_once: int, address: Any = None) -> Iterator[Engine]:
    """Connect to a cluster, or start one on this machine, and yield the engine.

    Args:
        tracking: The project's adapter.
        at_once: How many steps, or items of one, are at work at once; more if the workers have more threads.
        address: The scheduler's address, such as ``tcp://10.0.0.1:8786``, a ``distributed.Client``, which
            stays open, or a cluster object of Dask. Without one a local cluster is started.

    Raises:
        IntegrationNotInstalledError: Dask is not installed.
        IntegrationUnavailableError: The cluster cannot be reached or started, or has no workers.
        PipelineError: The address is wrong, or workers lack what they need.
    """
    stopped = threading.Event()
    with cluster.connected(tracking, address, workers=at_once) as (client, threads):

        def call(step: Step, task: Call) -> Any:
            return _call(client, step, task, stopped)

        yield Engine(call, max(at_once, threads), stopped, shows_progress=address is None)


def _call(client: Any, step: Step, task: Call, stopped: threading.Event) -> Any:
    project = task.project
    with isolation.posted(task, step=step.name) as directory:
        with cluster.translated(project, step.name):
            future = client.submit(
                worker.carry_out,
                str(directory),
                step.name,
                step.isolated,
                step.timeout,
                project,
                # Dask's own pages group calls by what is before the last dash.
                key=f"{step.name}-{uuid.uuid4().hex}",
                pure=False,
            )
            try:
                error = _outcome(client, future, stopped, project)
            finally:
                future.release()
        if error is None:
            return isolation.result(directory, step=step.name, project=project)
    raise error


def _outcome(client: Any, future: Any, stopped: threading.Event, project: str) -> Any:
    """Wait for a call that was submitted, as long as the cluster has workers."""
    ended = cluster.ended(future)
    asked = seen = time.monotonic()
    while not ended.wait(_POLL_SECONDS):
        if stopped.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - asked < _ASK_SECONDS:
            continue
        asked = now
        if client.nthreads():
            seen = now
        elif now - seen > cluster.WORKERS_SECONDS:
            raise cluster.no_workers(project)
    return future.result()
