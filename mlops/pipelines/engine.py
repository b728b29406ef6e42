"""Where the functions of steps are called. All the rest of a run is the same wherever that is."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mlops.errors import PipelineError
from mlops.pipelines.isolation import Call
from mlops.pipelines.step import Step

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

# Engine: the module whose ``opened(tracking, at_once=..., **options)`` yields it.
ENGINES: Final = {"local": "mlops.pipelines.engine_local", "dask": "mlops.pipelines.engine_dask"}
# How long Ctrl-C may go unnoticed.
_POLL_SECONDS: Final = 0.5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, open for one run.

    Args:
        call: Calls a step's function so that what it logs reaches the step's run, and returns what it
            returns; it raises what the function raises, and KeyboardInterrupt soon after ``stopped``.
        at_once: How many steps, or items of one, are at work at once.
        stopped: Set when the run was interrupted.
        shows_progress: Whether the steps are shown on standard error unless the user says otherwise.
    """

    call: Callable[[Step, Call], Any]
    at_once: int
    stopped: threading.Event = field(default_factory=threading.Event)
    shows_progress: bool = False

    @contextlib.contextmanager
    def pool(self, size: int, name: str) -> Iterator[ThreadPoolExecutor]:
        """Yield threads to wait for calls; when the block raises, no more are begun.

        Those under way are waited for, after an interruption only as long as it takes to stop them.

        Args:
            size: How many threads.
            name: What they are called.
        """
        with ThreadPoolExecutor(size, thread_name_prefix=name) as pool:
            try:
                yield pool
            except BaseException as error:
                if not isinstance(error, Exception):
                    self.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def opened(
    name: str, tracking: MLflowTracking, *, at_once: int, options: Mapping[str, Any], pipeline: str
) -> AbstractContextManager[Engine]:
    """Return what opens an engine for one run, in a ``with`` statement.

    Args:
        name: The engine.
        tracking: The project's adapter.
        at_once: How many steps, or items of one, are at work at once.
        options: What the engine takes.
        pipeline: The pipeline, for errors.

    Raises:
        PipelineError: There is no such engine, or it takes no such option.
    """
    if name not in ENGINES:
        raise _refused(f"has no engine {name!r}", f"engines are: {', '.join(ENGINES)}", pipeline, tracking)
    module = importlib.import_module(ENGINES[name])
    taken = list(inspect.signature(module.opened).parameters)[2:]
    if unknown := [option for option in options if option not in taken]:
        raise _refused(
            f"cannot be run with {unknown[0]!r}",
            f"the engine {name!r} takes {', '.join(taken) or 'no options'}; parameters go into params=",
            pipeline,
            tracking,
        )
    context: AbstractContextManager[Engine] = module.opened(tracking, at_once=at_once, **options)
    return context


def settled(futures: Collection[Future[_T]]) -> set[Future[_T]]:
    """Wait until one of several calls has ended, and return those that have.

    Polars, which MLflow imports where it is installed, handles SIGINT in a way that does not end a wait
    without a limit.

    Args:
        futures: The calls.
    """
    while not (done := wait(futures, _POLL_SECONDS, FIRST_COMPLETED).done):
        pass
    return done


def _refused(problem: str, hint: str, pipeline: str, tracking: MLflowTracking) -> PipelineError:
    return PipelineError(
        f"The pipeline {pipeline!r} {problem}", operation="run", workspace=tracking.project, hint=hint
    )
