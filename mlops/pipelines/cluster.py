"""A connection to a Dask cluster whose workers have what the steps of a project need."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IntegrationUnavailableError, MLOpsError, PipelineError
from mlops.pipelines import isolation, worker
from mlops.pipelines.local_cluster import local_cluster
from mlops.workspace.tools import DISTRIBUTION, require

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

TOOL: Final = "dask"
# Dask itself waits for 30 s; a scheduler that is there answers at once.
CONNECT_SECONDS: Final = 10.0
# How long a cluster may have no workers, as one that starts them on demand has at first.
WORKERS_SECONDS: Final = 60.0
# Loggers that the import of distributed puts handlers on and changes the level of.
_LOGGERS: Final = (
    "distributed",
    "distributed.client",
    "distributed.gc",
    "bokeh",
    "tornado",
    "tornado.application",
)
_IMPORT: Final = threading.Lock()


@contextlib.contextmanager
def connected(tracking: MLflowTracking, address: Any, *, workers: int) -> Iterator[tuple[Any, int]]:
    """Yield a Dask client, and how many calls its cluster works on at once.

    Args:
        tracking: The adapter of the project whose steps are to be called.
        address: The scheduler's address, a client, which stays open, or a cluster object; None to start a
            cluster on this machine, which is closed after the block.
        workers: Of a cluster that is started, the most workers; it has one for each processor.

    Raises:
        IntegrationNotInstalledError: Dask is not installed.
        IntegrationUnavailableError: The cluster cannot be reached or started, or has no workers.
        PipelineError: The address is wrong, or workers lack what they need.
    """
    distributed = _distributed(tracking.project)
    with contextlib.ExitStack() as stack:
        security = None
        if address is None:
            address, security = stack.enter_context(_started(tracking, workers))
        client = address
        if not isinstance(address, distributed.Client):
            client = stack.enter_context(_client(distributed, address, security, tracking.project))
        elif client.asynchronous:
            raise PipelineError(
                "The Dask client is asynchronous",
                operation="run",
                workspace=tracking.project,
                hint="pass one that was made with asynchronous=False, or the scheduler's address",
            )
        with translated(tracking.project):
            threads = _threads(client, tracking)
            _require_same_versions(client, tracking.project)
            _require_reach(client, tracking)
        yield client, threads


@contextlib.contextmanager
def translated(project: str, step: str | None = None) -> Iterator[None]:
    """Turn what goes wrong in a cluster, not in a step, into an error of this library.

    Args:
        project: The project, for the error.
        step: The step that was called, if one was.

    Raises:
        IntegrationUnavailableError: The connection was lost.
        PipelineError: Anything else, such as workers that died.
    """
    from distributed import CancelledError, KilledWorker

    what = "The Dask cluster" if step is None else f"The Dask cluster, while it called the step {step!r},"
    try:
        yield
    except MLOpsError:
        raise
    except KilledWorker as error:
        raise PipelineError(
            f"The workers that called the step {step!r} died, {error.allowed_failures + 1} in a row",
            operation="run",
            workspace=project,
            details={"last_worker": str(error.last_worker.address)},
            hint="look at the workers' logs; often memory ran out. A step with isolate=True dies alone",
        ) from error
    except (CancelledError, OSError, TimeoutError) as error:
        raise _unavailable(
            f"{what} was lost: {_said(error)}", "look at the scheduler's log", project
        ) from error
    except Exception as error:
        raise PipelineError(
            f"{what} failed: {_said(error)}",
            operation="run",
            workspace=project,
            hint="workers need the same packages as this process, and the project at the same path",
        ) from error


def ended(future: Any) -> threading.Event:
    """Return an event that is set when a call has ended, in whatever way.

    Dask's own waiting with a limit fails if the call ends just when the time does (distributed 2026.8).
    """
    event = threading.Event()
    future.add_done_callback(lambda _: event.set())
    return event


def no_workers(project: str) -> IntegrationUnavailableError:
    """Return the error for a cluster that nobody works in."""
    return _unavailable(
        f"The Dask cluster has had no workers for {WORKERS_SECONDS:g} s",
        "start some: dask worker ADDRESS",
        project,
    )


@contextlib.contextmanager
def _started(tracking: MLflowTracking, most: int) -> Iterator[tuple[str, Any]]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(isolation.staged(tracking.context.workspace, "dask"))
        try:
            workers = min(most, os.cpu_count() or 1)
            started = stack.enter_context(local_cluster(directory, workers=workers))
        except OSError as error:
            raise _unavailable(
                f"A local Dask cluster could not be started: {error}",
                "look at what it wrote to standard error",
                tracking.project,
            ) from error
        yield started


@contextlib.contextmanager
def _client(distributed: Any, address: Any, security: Any, project: str) -> Iterator[Any]:
    class Client(distributed.Client):  # type: ignore[misc]
        def start(self, **options: Any) -> None:
            """Connect, or end the loop's thread, which distributed leaves running.

            If the garbage collector ended a client that was left, and did so in the thread of the next one
            while that starts, the two would wait for each other.
            """
            try:
                super().start(**options)
            except BaseException:
                self.close()
                self._loop_runner.stop()
                raise

    try:
        client = Client(
            address, security=security, timeout=CONNECT_SECONDS, set_as_default=False, name="mlops"
        )
    except (OSError, TimeoutError) as error:
        raise _unavailable(
            f"The Dask scheduler {address} cannot be reached: {error}",
            "start one: dask scheduler; and workers: dask worker ADDRESS; or leave the address out",
            project,
        ) from error
    except (ValueError, TypeError) as error:
        raise PipelineError(
            f"{address!r} is no address of a Dask scheduler: {error}",
            operation="run",
            workspace=project,
            hint="pass one such as tcp://10.0.0.1:8786, or a distributed.Client",
        ) from error
    with client:
        yield client


def _threads(client: Any, tracking: MLflowTracking) -> int:
    """Return how many threads the workers have, once there are workers."""
    threads: dict[str, int] = client.nthreads()
    if not threads:
        # A call that waits makes an adaptive cluster start some.
        future = client.submit(worker.find_lack, tracking, pure=False)
        try:
            if not ended(future).wait(WORKERS_SECONDS):
                raise no_workers(tracking.project)
            future.result()
        finally:
            future.release()
        threads = client.nthreads()
    return sum(threads.values())


def _require_same_versions(client: Any, project: str) -> None:
    """Refuse workers with another version of Python, whose compiled code differs, or of this library."""
    versions = client.get_versions(packages=[DISTRIBUTION])
    own = _comparable(versions["client"])
    for address, found in versions["workers"].items():
        for what, wanted in own.items():
            if (there := _comparable(found)[what]) != wanted:
                raise PipelineError(
                    f"The Dask worker {address} has {what} {there}, and this process has {wanted}",
                    operation="run",
                    workspace=project,
                    hint="start the workers in an environment like this one",
                )


def _comparable(versions: Mapping[str, Any]) -> dict[str, str]:
    packages = versions["packages"]
    return {
        "Python": ".".join(str(packages["python"]).split(".")[:2]),
        DISTRIBUTION: packages.get(DISTRIBUTION) or "missing",
    }


def _require_reach(client: Any, tracking: MLflowTracking) -> None:
    for address, lack in client.run(worker.find_lack, tracking, on_error="return").items():
        if lack is not None:
            raise PipelineError(
                f"The Dask worker {address} cannot reach the project {tracking.project!r}: {lack}",
                operation="run",
                workspace=tracking.project,
                details={"path": str(tracking.context.workspace.root_path)},
                hint=worker.MUST_REACH.format(tracking.context.workspace.root_path.parent),
            )


def _distributed(project: str) -> Any:
    """Import ``distributed``, and undo what that does to the process's logging."""
    with _IMPORT:
        if "distributed" in sys.modules:
            return require("distributed", tool=TOOL, operation="run", workspace=project)
        before = [
            (each, each.level, each.propagate, list(each.handlers)) for each in map(getLogger, _LOGGERS)
        ]
        try:
            return require("distributed", tool=TOOL, operation="run", workspace=project)
        finally:
            for logger, level, propagate, handlers in before:
                logger.setLevel(level)
                logger.propagate = propagate
                logger.handlers[:] = handlers


def _said(error: BaseException) -> str:
    # Dask goes on with what to check, which the hint does too.
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _unavailable(message: str, hint: str, project: str) -> IntegrationUnavailableError:
    return IntegrationUnavailableError(message, tool=TOOL, operation="run", workspace=project, hint=hint)
