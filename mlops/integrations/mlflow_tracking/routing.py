"""Where plain ``mlflow.*`` calls go: into the project whose run is open in the calling context.

MLflow keeps its tracking URI, experiment, stack of runs and autologging session in process globals, so two
threads cannot train in two projects. Inside a run of ours those look-ups are answered from a context
variable instead; no lock is held while the user's code runs, and outside our runs every call reaches MLflow's
own code.

A context is a thread or an asyncio task. A task or ``asyncio.to_thread`` inherits the run it was started in.
A plain thread inherits nothing, so it is adopted: if it began after a run was opened, its calls go to that
run's project. If runs of several projects were open then, the call is refused rather than sent to one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

from mlops.errors import IntegrationError


@dataclass(frozen=True, slots=True)
class Route:
    """Where the calls of one context go.

    Args:
        project: The project's name, for messages.
        uri: Its tracking and registry URI.
        experiment_id: Its experiment in that store.
    """

    project: str
    uri: str
    experiment_id: str


@dataclass(eq=False, slots=True)
class Opening:
    """One run of ours that is open, or was.

    Args:
        route: Where it sends calls.
        run: MLflow's run object.
        handle: Our handle of the run.
        outer: The openings around it in its context.
        threads: The threads alive when it was opened; a younger one may belong to it.
        base: The ids of the runs on the stack when it was opened, its own included.
        closed: Whether the run has ended.
        scopes: The calls under way in this run that MLflow logs by itself; see ``autologging``.
    """

    route: Route
    run: Any
    handle: Any
    outer: frozenset[Opening]
    threads: weakref.WeakSet[threading.Thread]
    base: frozenset[str] = frozenset()
    closed: bool = False
    scopes: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frame:
    """What one context sees: immutable, so that a task changes its own view only.

    Args:
        opening: The innermost run of ours.
        runs: MLflow's stack of active runs.
        outer: What the context saw before.
        adopted: Whether this is a thread that inherited nothing and was given a project.
        enclosing: The run that log calls reach when the stack is empty.
        last_run_id: Id of the run that ended last here.
        last_model_id: Id of the model that was logged last here.
    """

    opening: Opening
    runs: tuple[Any, ...] = ()
    outer: Frame | None = None
    adopted: bool = False
    enclosing: Any = None
    last_run_id: str | None = None
    last_model_id: str | None = None

    def live_runs(self) -> tuple[Any, ...]:
        """Return the stack without the runs that ended with their block, for a task that outlived it."""
        if not self.opening.closed:
            return self.runs
        return tuple(run for run in self.runs if run.info.run_id not in self.opening.base)


_frame: ContextVar[Frame | None] = ContextVar("mlops_mlflow_frame", default=None)
_starting: ContextVar[Route | None] = ContextVar("mlops_mlflow_starting", default=None)
_open: dict[int, Opening] = {}
_lock = threading.Lock()


def enter(route: Route, run: Any, handle: Any) -> Frame:
    """Send the calling context's MLflow calls to a run until ``leave``; ``install`` must have been called.

    Args:
        route: The project.
        run: MLflow's run object (``mlflow.ActiveRun``), the new top of the stack.
        handle: Our handle, for ``handles``.
    """
    before = _frame.get()
    around = () if before is None or before.opening.route != route else before.live_runs()
    outer = _ancestors(before)
    opening = Opening(
        route,
        run,
        handle,
        outer=frozenset(outer),
        threads=weakref.WeakSet(threading.enumerate()),
        base=frozenset({run.info.run_id, *(r.info.run_id for r in around)}),
    )
    frame = Frame(opening, (*around, run), outer=before, enclosing=run)
    with _lock:
        _open[id(opening)] = opening
    _frame.set(frame)
    return frame


def leave(frame: Frame) -> list[str]:
    """End what ``enter`` began, and return the runs that plain MLflow code left open on top of it.

    Returns:
        Run ids, innermost first. The run itself is among them unless the user's code ended it.
    """
    opening = frame.opening
    present = _frame.get()
    runs: Iterable[Any] = present.runs if present is not None and present.opening is opening else frame.runs
    inherited = opening.base - {opening.run.info.run_id}
    opening.closed = True
    with _lock:
        _open.pop(id(opening), None)
    # Not a token's reset: a generator may be closed in another context than it was started in.
    if present is None or present.opening is opening or opening in _ancestors(present):
        _frame.set(frame.outer)
    return [run.info.run_id for run in reversed(list(runs)) if run.info.run_id not in inherited]


def handles() -> Iterator[Any]:
    """Yield the handles of our runs that are open in this context, innermost first."""
    frame = _frame.get()
    while frame is not None:
        if not frame.opening.closed and not frame.adopted:
            yield frame.opening.handle
        frame = frame.outer


def top_run(route: Route) -> Any:
    """Return the innermost run open in this context in a store and experiment, or None."""
    frame = _frame.get()
    if frame is None or frame.opening.route != route:
        return None
    runs = frame.live_runs()
    return runs[-1] if runs else None


def current() -> Frame | None:
    """Return what routes the calling context, or None where MLflow is on its own.

    Raises:
        IntegrationError: A thread that inherited nothing, while runs of several projects are open.
    """
    frame = _frame.get()
    if frame is None:
        return _adopt() if _open else None
    if frame.adopted and not frame.runs:
        adopted = _adopt()
        return frame if adopted is not None and adopted.opening is frame.opening else adopted
    return frame


def current_route() -> Route | None:
    """Return the project that plain MLflow calls of this context go to, or None."""
    frame = current()
    return frame.opening.route if frame is not None else None


@contextlib.contextmanager
def starting(route: Route) -> Iterator[None]:
    """Note for ``route_of_new_run`` that a run of ours is being made, which is not open yet."""
    token = _starting.set(route)
    try:
        yield
    finally:
        _starting.reset(token)


def route_of_new_run() -> Route | None:
    """Return the project of the run that this context is about to start, or None where MLflow decides."""
    return _starting.get() or current_route()


def others() -> list[str]:
    """Return the projects of the runs that are open in this process outside the calling context."""
    mine = _ancestors(_frame.get())
    with _lock:
        return sorted({opening.route.project for opening in _open.values() if opening not in mine})


def change(**values: Any) -> None:
    """Replace fields of this context's frame."""
    frame = current()
    if frame is not None:
        _frame.set(replace(frame, **values))


def _adopt() -> Frame | None:
    """Find the project of a thread that inherited nothing."""
    from mlops.integrations.mlflow_tracking.patches import mlflow_is_configured, own_stack

    if own_stack():
        return None
    thread = threading.current_thread()
    with _lock:
        openings = list(_open.values())
    candidates = [opening for opening in openings if thread not in opening.threads]
    # A worker of a pool that is older than the run. Without any store configured its calls would make a
    # database in the working directory, which nobody who uses projects means.
    if not candidates and thread is not threading.main_thread() and not mlflow_is_configured():
        candidates = openings
    if not candidates:
        return None
    projects = sorted({opening.route.project for opening in candidates})
    innermost = candidates[-1]
    if len({opening.route for opening in candidates}) > 1:
        raise IntegrationError(
            f"MLflow was called in the thread {thread.name!r}, which belongs to no run,"
            f" while runs of several projects are open: {', '.join(projects)}",
            tool="mlflow",
            operation="route",
            hint="start the thread's function with contextvars.copy_context().run, "
            "or log through the run handle: run.log_metric(...)",
        )
    nested = all(opening is innermost or opening in innermost.outer for opening in candidates)
    return Frame(innermost, adopted=True, enclosing=innermost.run if nested else None)


def _ancestors(frame: Frame | None) -> set[Opening]:
    found: set[Opening] = set()
    while frame is not None:
        found.add(frame.opening)
        frame = frame.outer
    return found


def _after_fork() -> None:
    # What is open stays open for the child too: its own threads belong to the run they were forked in, and
    # without it their calls would make a database in the working directory.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


class RunStack(list[Any]):
    """MLflow's stack of active runs as one context sees it."""

    def _items(self) -> tuple[Any, ...]:
        frame = current()
        return frame.live_runs() if frame is not None else ()

    def append(self, item: Any) -> None:
        """Push a run."""
        change(runs=(*self._items(), item))

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Remove and return a run."""
        items = list(self._items())
        item = items.pop(index)
        change(runs=tuple(items))
        return item

    def __len__(self) -> int:
        return len(self._items())

    def __bool__(self) -> bool:
        return bool(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __reversed__(self) -> Iterator[Any]:
        yield from reversed(self._items())

    def __getitem__(self, index: Any) -> Any:
        return self._items()[index]


def open_runs(route: Route) -> dict[int, list[Any]]:
    """Return every run of one project that is open in this process, whatever its context."""
    with _lock:
        return {key: [opening.run] for key, opening in _open.items() if opening.route == route}
