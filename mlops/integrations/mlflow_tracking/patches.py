"""The names of MLflow that are replaced so that its look-ups follow the context.

All but a few are private. Each is checked before anything is replaced, so an MLflow that has moved one of
them is refused with its name instead of logging to the wrong place.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, SupportsIndex

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import routing
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow

logger = logging.getLogger(__name__)

_SERVICE: Final = "mlflow.tracking._tracking_service.utils"
_REGISTRY: Final = "mlflow.tracking._model_registry.utils"
_FLUENT: Final = "mlflow.tracking.fluent"
_AUTOLOG: Final = "mlflow.utils.autologging_utils"
_SAFETY: Final = "mlflow.utils.autologging_utils.safety"
_TRACING: Final = "mlflow.tracing.provider"

# module, name, and for a function its parameters
REPLACED: Final[tuple[tuple[str, str, tuple[str, ...] | None], ...]] = (
    (_SERVICE, "get_tracking_uri", ()),
    (_SERVICE, "set_tracking_uri", ("uri",)),
    (_REGISTRY, "_get_registry_uri_from_context", ()),
    (_REGISTRY, "set_registry_uri", ("uri",)),
    (_FLUENT, "_get_experiment_id", ()),
    (_FLUENT, "set_experiment", ("experiment_name", "experiment_id", "trace_location")),
    (_FLUENT, "_get_or_start_run", ()),
    (_FLUENT, "_active_run_stack", None),
    (_FLUENT, "_last_active_run_id", None),
    (_FLUENT, "_last_logged_model_id", None),
    (_AUTOLOG, "_training_sessions", None),
    (_SAFETY, "_AutologgingSessionManager", None),
    (_TRACING, "_get_mlflow_span_processor", ("tracking_uri",)),
)
# Read, not replaced.
NEEDED: Final = (
    (_SERVICE, "_tracking_uri"),
    (_SERVICE, "_tracking_store_registry"),
    (_SERVICE, "_artifact_repos_cache"),
    (_REGISTRY, "_model_registry_store_registry"),
    (_SAFETY, "AutologgingSession"),
    (_TRACING, "provider"),
    (_TRACING, "is_tracing_enabled"),
)
_VARIABLE_METHODS: Final = ("get", "set", "get_all_thread_values", "reset")
_SESSION_METHODS: Final = ("start_session", "astart_session", "active_session", "_end_session")

_installing = threading.RLock()
_installed = False
_original_stack: Any = None


def install(*, operation: str, workspace: str) -> None:
    """Make MLflow's look-ups follow the context; done once per process, and harmless outside our runs.

    Args:
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        IntegrationNotInstalledError: MLflow is not installed.
        IntegrationError: This MLflow lacks a name that has to be replaced.
    """
    global _installed
    if _installed:
        return
    mlflow = import_mlflow(operation=operation, workspace=workspace)
    with _installing:
        if _original_stack is not None:
            return
        if missing := incompatible():
            raise IntegrationError(
                f"MLflow {mlflow.__version__} cannot be used for runs of several projects in one process: "
                + "; ".join(missing),
                tool="mlflow",
                operation=operation,
                workspace=workspace,
                details={"missing": missing},
                hint='install a version that works: pip install "mlflow==3.17.2"',
            )
        fluent = importlib.import_module(_FLUENT)
        _replace_uris()
        _replace_fluent(fluent)
        _replace_autologging()
        _replace_tracing()
        _installed = True


def incompatible() -> list[str]:
    """Return what this MLflow lacks of the names relied upon, as readable lines; empty is good."""
    problems: list[str] = []
    for module_name, name, parameters in REPLACED:
        value = _look_up(module_name, name)
        if value is None:
            problems.append(f"{module_name}.{name} is missing")
        elif parameters is not None and tuple(inspect.signature(value).parameters) != parameters:
            problems.append(f"{module_name}.{name} has other parameters")
    problems += [
        f"{module_name}.{name} is missing"
        for module_name, name in NEEDED
        if not hasattr(_module(module_name), name)
    ]
    for name in ("_active_run_stack", "_last_active_run_id", "_last_logged_model_id"):
        variable = _look_up(_FLUENT, name)
        problems += [f"{_FLUENT}.{name} has no {m}" for m in _VARIABLE_METHODS if not hasattr(variable, m)]
    manager = _look_up(_SAFETY, "_AutologgingSessionManager")
    problems += [f"{_SAFETY}: no {m}" for m in _SESSION_METHODS if not hasattr(manager, m)]
    if not isinstance(_look_up(_AUTOLOG, "_training_sessions"), list):
        problems.append(f"{_AUTOLOG}._training_sessions is not a list")
    return problems


def own_stack() -> bool:
    """Say whether this thread has a run that plain MLflow code started outside our runs."""
    return _original_stack is not None and bool(_original_stack.get())


def mlflow_is_configured() -> bool:
    """Say whether the user has told MLflow itself where to log."""
    service = sys.modules.get(_SERVICE)
    return service is not None and bool(service.is_tracking_uri_set())


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _look_up(module_name: str, name: str) -> Any:
    return getattr(_module(module_name), name, None)


def _rebind(module_name: str, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace a function in its module and in every module of MLflow that has imported it by name."""
    original = getattr(importlib.import_module(module_name), name)
    replacement = functools.wraps(original)(make(original))
    for loaded_name, module in list(sys.modules.items()):
        if loaded_name.partition(".")[0] == "mlflow" and vars(module).get(name) is original:
            setattr(module, name, replacement)


def _replace_uris() -> None:
    def tracking(original: Any) -> Callable[[], Any]:
        def get_tracking_uri() -> Any:
            route = routing.current_route()
            return route.uri if route else original()

        return get_tracking_uri

    def registry(original: Any) -> Callable[[], Any]:
        def from_context() -> Any:
            # None makes MLflow use the tracking URI, an explicit one or the routed one.
            return None if routing.current_route() else original()

        return from_context

    def setter(original: Any) -> Callable[[Any], None]:
        def set_uri(uri: Any) -> None:
            route = routing.current_route()
            if route is None:
                original(uri)
            else:
                _ignored(original.__name__, route)

        return set_uri

    _rebind(_SERVICE, "get_tracking_uri", tracking)
    _rebind(_REGISTRY, "_get_registry_uri_from_context", registry)
    _rebind(_SERVICE, "set_tracking_uri", setter)
    _rebind(_REGISTRY, "set_registry_uri", setter)


def _ignored(name: str, route: routing.Route) -> None:
    # Obeying would change the process for every other thread and for the time after the run.
    logger.warning(
        "mlflow.%s() has no effect inside a run of the project %s: the run stays in the project",
        name,
        route.project,
    )


def _replace_fluent(fluent: Any) -> None:
    def experiment_id(original: Any) -> Callable[[], Any]:
        def get_experiment_id() -> Any:
            route = routing.current_route()
            return route.experiment_id if route else original()

        return get_experiment_id

    def experiment(original: Any) -> Callable[..., Any]:
        def set_experiment(*args: Any, **kwargs: Any) -> Any:
            route = routing.current_route()
            if route is None:
                return original(*args, **kwargs)
            _ignored("set_experiment", route)
            return fluent.MlflowClient().get_experiment(route.experiment_id)

        return set_experiment

    def run(original: Any) -> Callable[[], Any]:
        def get_or_start_run() -> Any:
            frame = routing.current()
            if frame is None or frame.enclosing is None or frame.live_runs():
                return original()
            if not frame.adopted and not frame.opening.closed:
                return original()
            # A worker thread, or a task that outlived its block: the run it was started in.
            return frame.enclosing

        return get_or_start_run

    _rebind(_FLUENT, "_get_experiment_id", experiment_id)
    _rebind(_FLUENT, "set_experiment", experiment)
    _rebind(_FLUENT, "_get_or_start_run", run)
    global _original_stack
    _original_stack = fluent._active_run_stack
    fluent._active_run_stack = _StackVariable(_original_stack)
    fluent._last_active_run_id = _IdVariable(fluent._last_active_run_id, "last_run_id")
    fluent._last_logged_model_id = _IdVariable(fluent._last_logged_model_id, "last_model_id")


class _Variable:
    """Stands in for one of MLflow's thread-local variables."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _StackVariable(_Variable):
    def get(self) -> Any:
        return routing.RunStack() if routing.current() is not None else self._original.get()

    def set(self, value: Any) -> None:
        if routing.current() is None:
            self._original.set(value)
        else:
            routing.change(runs=tuple(value))

    def get_all_thread_values(self) -> dict[int, Any]:
        frame = routing.current()
        if frame is None:
            values: dict[int, Any] = self._original.get_all_thread_values()
            return values
        return routing.open_runs(frame.opening.route) | {0: list(frame.live_runs())}


class _IdVariable(_Variable):
    def __init__(self, original: Any, field: str) -> None:
        super().__init__(original)
        self._field = field

    def get(self) -> Any:
        frame = routing.current()
        return self._original.get() if frame is None else getattr(frame, self._field)

    def set(self, value: Any) -> None:
        if routing.current() is None:
            self._original.set(value)
        else:
            routing.change(**{self._field: value})


def _replace_autologging() -> None:
    """Give each of our runs its own autologging session; MLflow has one for the whole process."""
    safety = importlib.import_module(_SAFETY)
    autolog: Any = importlib.import_module(_AUTOLOG)
    manager = safety._AutologgingSessionManager
    start, astart = manager.start_session, manager.astart_session
    active, end = manager.active_session, manager._end_session

    @contextlib.contextmanager
    def start_session(integration: Any) -> Iterator[Any]:
        frame = routing.current()
        if frame is None:
            with start(integration) as session:
                yield session
            return
        opening = frame.opening
        mine = opening.session is None
        if mine:
            opening.session = safety.AutologgingSession(integration, uuid.uuid4().hex)
        try:
            yield opening.session
        finally:
            if mine:
                opening.session = None

    @contextlib.asynccontextmanager
    async def astart_session(integration: Any) -> AsyncIterator[Any]:
        if routing.current() is None:
            async with astart(integration) as session:
                yield session
        else:
            with start_session(integration) as session:
                yield session

    def active_session() -> Any:
        frame = routing.current()
        return active() if frame is None else frame.opening.session

    def end_session() -> None:
        frame = routing.current()
        if frame is None:
            end()
        else:
            frame.opening.session = None

    manager.start_session = staticmethod(start_session)
    manager.astart_session = staticmethod(astart_session)
    manager.active_session = staticmethod(active_session)
    manager._end_session = staticmethod(end_session)
    autolog._training_sessions = _TrainingSessions(autolog._training_sessions)


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
    """The nested fits of one flavour: within a run of ours those of that run, else those of the process."""

    def _items(self) -> list[Any]:
        frame = routing.current()
        return self._plain if frame is None else frame.opening.training.setdefault(id(self), [])

    def __init__(self, plain: list[Any]) -> None:
        super().__init__()
        self._plain = plain

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


def _replace_tracing() -> None:
    from mlops.integrations.mlflow_tracking import tracing

    provider = importlib.import_module(_TRACING)
    _rebind(_TRACING, "_get_mlflow_span_processor", tracing.per_store)
    # A tracer set up before sends everything to the store that was configured then; the next trace makes a
    # new one, as after mlflow.set_tracking_uri.
    if provider.provider.once._done and provider.is_tracing_enabled():
        provider.provider.reset()
