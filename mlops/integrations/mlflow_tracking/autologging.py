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
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, SupportsIndex

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import routing
from mlops.integrations.mlflow_tracking.flavors import FLAVORS
from mlops.integrations.mlflow_tracking.rebinding import rebind

UTILS: Final = "mlflow.utils.autologging_utils"
SAFETY: Final = "mlflow.utils.autologging_utils.safety"

# What is below the first frame that says on whose behalf a thread works.
_THREADING: Final = frozenset({"threading", "concurrent", "multiprocessing", "joblib", "contextvars"})
_FRAMEWORKS: Final = frozenset(
    {package for flavor in FLAVORS.values() for package in flavor.packages} - {"mlflow"} | {"imblearn"}
)
# Modules that switch off the logging of metrics while a model is being fitted.
_METRICS_MODULES: Final = ("mlflow.sklearn", "mlflow.pyspark.ml")
_METRICS_SWITCH: Final = "_log_post_training_metrics_enabled"


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
_patching = threading.Lock()


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
    """Replace the names; ``patches.install`` has checked that they are there."""
    _replace_sessions()
    _replace_switches()
    _replace_enabling()


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
    safety = importlib.import_module(SAFETY)
    utils: Any = importlib.import_module(UTILS)
    manager = safety._AutologgingSessionManager
    start, astart = manager.start_session, manager.astart_session
    active, end = manager.active_session, manager._end_session

    @contextlib.contextmanager
    def start_session(integration: Any) -> Iterator[Any]:
        _replace_metrics_switches()
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


def _replace_switches() -> None:
    def is_disabled(original: Any) -> Callable[[Any], Any]:
        def autologging_is_disabled(integration_name: Any) -> Any:
            scope = current()
            if scope is not None and (scope.muted or integration_name in scope.disabled):
                return True
            return original(integration_name)

        return autologging_is_disabled

    def disable(original: Any) -> Callable[..., Any]:
        @contextlib.contextmanager
        def disable_autologging() -> Iterator[None]:
            frame = routing.current()
            if frame is None:
                with original():
                    yield
                return
            with entered(frame.opening) as scope:
                scope.muted += 1
                try:
                    yield
                finally:
                    scope.muted -= 1

        return disable_autologging

    def disable_some(original: Any) -> Callable[..., Any]:
        @contextlib.contextmanager
        def disable_discrete_autologging(flavors_to_disable: Sequence[str]) -> Iterator[None]:
            frame = routing.current()
            if frame is None:
                with original(flavors_to_disable):
                    yield
                return
            with entered(frame.opening) as scope:
                before = scope.disabled
                scope.disabled = before.union(flavors_to_disable)
                try:
                    yield
                finally:
                    scope.disabled = before

        return disable_discrete_autologging

    rebind(UTILS, "autologging_is_disabled", is_disabled)
    rebind(UTILS, "disable_autologging", disable)
    rebind(UTILS, "disable_discrete_autologging", disable_some)


def _replace_enabling() -> None:
    """Keep ``autolog()`` from taking its patches off, for seconds, while others train.

    MLflow removes a flavour's patches and applies them anew at every call, and what another thread fits
    meanwhile is not logged. So a call that changes nothing does nothing, and one that would change what
    others rely on is refused.
    """
    utils: Any = importlib.import_module(UTILS)
    safety: Any = importlib.import_module(SAFETY)
    in_force: dict[str, Any] = dict(utils.AUTOLOGGING_INTEGRATIONS)
    unchanged = threading.local()

    def revert(original: Any) -> Callable[[Any], None]:
        def revert_patches(autologging_integration: Any) -> None:
            name = autologging_integration
            asked, present = utils.AUTOLOGGING_INTEGRATIONS.get(name), in_force.get(name)
            # Every autolog() stores a new dictionary before it comes here; nobody else does.
            if asked is present or not safety._AUTOLOGGING_PATCHES.get(name):
                original(name)
            elif asked == present:
                unchanged.name = name
            elif others := routing.others():
                utils.AUTOLOGGING_INTEGRATIONS[name] = present
                route = routing.current_route()
                raise IntegrationError(
                    f"mlflow.{name}.autolog() was called with other settings than are in force, while "
                    f"runs of {', '.join(others)} are open in other threads: the settings are those of the "
                    "whole process, and what is fitted there would be lost",
                    tool="mlflow",
                    operation="autolog",
                    workspace=None if route is None else route.project,
                    hint="call autolog() before the threads start, or with the same arguments everywhere",
                )
            else:
                original(name)
            in_force[name] = asked

        return revert_patches

    def configured(original: Any) -> Callable[..., Any]:
        def get_autologging_config(flavor_name: Any, config_key: Any, default_value: Any = None) -> Any:
            if config_key == "disable" and getattr(unchanged, "name", None) == flavor_name:
                # Asked by autolog() itself, right after the patches would have been removed: applied already.
                unchanged.name = None
                return True
            return original(flavor_name, config_key, default_value)

        return get_autologging_config

    rebind(SAFETY, "revert_patches", revert)
    rebind(UTILS, "get_autologging_config", configured)


def _replace_metrics_switches() -> None:
    """Make a flavour's switch for metrics belong to the call; its module may be imported at any time."""
    for name in _METRICS_MODULES:
        module = sys.modules.get(name)
        kind = getattr(module, "_AutologgingMetricsManager", None)
        manager = getattr(module, "_AUTOLOGGING_METRICS_MANAGER", None)
        if kind is None or manager is None or hasattr(kind, _METRICS_SWITCH):
            continue
        with _patching:
            if not hasattr(kind, _METRICS_SWITCH):
                setattr(kind, _METRICS_SWITCH, _switch(vars(manager).get(_METRICS_SWITCH, True)))
                _forget_with_the_model(manager)


def _switch(plain: bool) -> property:
    """Return the switch as an attribute that belongs to the call, or outside our runs to the process."""
    process = [plain]

    def get(_manager: Any) -> bool:
        scope = current()
        if scope is not None:
            return scope.metrics
        return routing.current() is not None or process[0]

    def put(_manager: Any, value: bool) -> None:
        scope = current()
        if scope is not None:
            scope.metrics = value
        elif routing.current() is None:
            process[0] = value

    return property(get, put)


def _forget_with_the_model(manager: Any) -> None:
    # MLflow remembers logged models by the id() of the object, which the next object may have.
    known = getattr(manager, "_model_id_mapping", None)
    record = getattr(manager, "record_model_id", None)
    if known is None or record is None:
        return

    def record_model_id(model: Any, model_id: Any) -> None:
        record(model, model_id)
        with contextlib.suppress(TypeError):  # an object without weak references
            weakref.finalize(model, known.pop, id(model), None).atexit = False

    manager.record_model_id = record_model_id


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
