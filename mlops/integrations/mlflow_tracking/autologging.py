"""MLflow's autologging, kept apart per training call instead of once per process.

MLflow remembers in process globals which call is being logged, which fits run inside which, and whether
logging is off for the moment. With two threads at work one of them finds the other's call under way and is
silently not logged. Inside our runs these facts belong to the context that made the call. A worker thread of
a framework, such as those of a grid search, takes part in the call that is under way in its run; a thread of
the user's own does not.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, SupportsIndex

from mlops.integrations.mlflow_tracking import routing
from mlops.integrations.mlflow_tracking.flavors import FLAVORS

UTILS: Final = "mlflow.utils.autologging_utils"
SAFETY: Final = "mlflow.utils.autologging_utils.safety"

# What is below the first frame that says on whose behalf a thread works.
_THREADING: Final = frozenset({"threading", "concurrent", "multiprocessing", "joblib", "contextvars"})
_FRAMEWORKS: Final = frozenset(
    {package for flavor in FLAVORS.values() for package in flavor.packages} - {"mlflow"} | {"imblearn"}
)


@dataclass(eq=False, slots=True)
class Scope:
    """What MLflow would keep in globals during one call that it logs.

    Args:
        opening: The run of ours the call was made in.
        session: MLflow's autologging session.
        training: MLflow's stacks of nested fits, by the stack they stand in for.
        metrics: Whether metrics of the model count, as they do not while it is being fitted.
        muted: How many callers have switched autologging off for now.
        disabled: The flavours that are switched off for now.
    """

    opening: routing.Opening
    session: Any = None
    training: dict[int, list[Any]] = field(default_factory=dict)
    metrics: bool = True
    muted: int = 0
    disabled: frozenset[str] = frozenset()


_scope: ContextVar[Scope | None] = ContextVar("mlops_mlflow_autologging", default=None)


def current() -> Scope | None:
    """Return the call under way that the calling context takes part in, or None."""
    frame = routing.current()
    if frame is None:
        return None
    scope = _scope.get()
    if scope is not None and scope.opening is frame.opening:
        return scope
    under_way = frame.opening.scopes
    if frame.adopted and not frame.runs and under_way and _works_for_a_framework():
        found: Scope = under_way[-1]
        return found
    return None


@contextlib.contextmanager
def entered(opening: routing.Opening) -> Iterator[Scope]:
    """Yield the call under way, or begin one.

    Args:
        opening: The run of the calling context.
    """
    scope = current()
    if scope is not None:
        yield scope
        return
    scope = Scope(opening)
    before = _scope.get()
    _scope.set(scope)
    opening.scopes.append(scope)
    try:
        yield scope
    finally:
        opening.scopes.remove(scope)
        _scope.set(before)


def install() -> None:
    """Replace the names, which ``patches.install`` has checked; the switches are replaced on their own."""
    _replace_sessions()


def _works_for_a_framework() -> bool:
    """Say whether this thread was started by a framework, going by the outermost call on its stack."""
    frame = sys._getframe(1)
    names: list[str] = []
    while frame is not None:
        names.append(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        if frame.f_back is None:
            break
        frame = frame.f_back
    return next((name for name in reversed(names) if name not in _THREADING), "") in _FRAMEWORKS


def _replace_sessions() -> None:
    from mlops.integrations.mlflow_tracking.autolog_switches import switch_metrics

    safety = importlib.import_module(SAFETY)
    utils: Any = importlib.import_module(UTILS)
    manager = safety._AutologgingSessionManager
    start, astart = manager.start_session, manager.astart_session
    active, end = manager.active_session, manager._end_session

    @contextlib.contextmanager
    def start_session(integration: Any) -> Iterator[Any]:
        switch_metrics()
        frame = routing.current()
        if frame is None:
            with start(integration) as session:
                yield session
            return
        with entered(frame.opening) as scope:
            mine = scope.session is None
            if mine:
                scope.session = safety.AutologgingSession(integration, uuid.uuid4().hex)
            try:
                yield scope.session
            finally:
                if mine:
                    scope.session = None

    @contextlib.asynccontextmanager
    async def astart_session(integration: Any) -> AsyncIterator[Any]:
        if routing.current() is None:
            async with astart(integration) as session:
                yield session
        else:
            with start_session(integration) as session:
                yield session

    def active_session() -> Any:
        if routing.current() is None:
            return active()
        scope = current()
        return None if scope is None else scope.session

    def end_session() -> None:
        if routing.current() is None:
            end()
        elif (scope := current()) is not None:
            scope.session = None

    manager.start_session = staticmethod(start_session)
    manager.astart_session = staticmethod(astart_session)
    manager.active_session = staticmethod(active_session)
    manager._end_session = staticmethod(end_session)
    utils._training_sessions = _TrainingSessions(utils._training_sessions)


class _TrainingSessions(list[Any]):
    """MLflow's list of training session classes, one per flavour; each one's stack is replaced."""

    def __init__(self, classes: list[Any]) -> None:
        super().__init__()
        for training_session in classes:
            self.append(training_session)

    def append(self, item: Any) -> None:
        item._session_stack = _TrainingStack(item._session_stack)
        super().append(item)


class _TrainingStack(list[Any]):
    """The nested fits of one flavour: those of the call under way, outside our runs those of the process."""

    def __init__(self, plain: list[Any]) -> None:
        super().__init__()
        self._plain = plain

    def _items(self) -> list[Any]:
        if routing.current() is None:
            return self._plain
        scope = current()
        return [] if scope is None else scope.training.setdefault(id(self), [])

    def append(self, item: Any) -> None:
        self._items().append(item)

    def pop(self, index: SupportsIndex = -1) -> Any:
        return self._items().pop(index)

    def __len__(self) -> int:
        return len(self._items())

    def __bool__(self) -> bool:
        return bool(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __getitem__(self, index: Any) -> Any:
        return self._items()[index]
