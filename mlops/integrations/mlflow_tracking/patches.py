"""The names of MLflow that are replaced so that its look-ups follow the context.

All but a few are private. Each is checked before anything is replaced, so an MLflow that has moved one of
them is refused with its name instead of logging to the wrong place.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import autolog_switches, autologging, dataset_races, routing
from mlops.integrations.mlflow_tracking.autologging import SAFETY, UTILS
from mlops.integrations.mlflow_tracking.rebinding import rebind
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow

logger = logging.getLogger(__name__)

_SERVICE: Final = "mlflow.tracking._tracking_service.utils"
_REGISTRY: Final = "mlflow.tracking._model_registry.utils"
_FLUENT: Final = "mlflow.tracking.fluent"
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
    (UTILS, "_training_sessions", None),
    (UTILS, "autologging_is_disabled", ("integration_name",)),
    (UTILS, "disable_autologging", ()),
    (UTILS, "disable_discrete_autologging", ("flavors_to_disable",)),
    (UTILS, "get_autologging_config", ("flavor_name", "config_key", "default_value")),
    (SAFETY, "revert_patches", ("autologging_integration",)),
    (SAFETY, "_AutologgingSessionManager", None),
    (_TRACING, "_get_mlflow_span_processor", ("tracking_uri",)),
)
# Read, not replaced.
NEEDED: Final = (
    (_SERVICE, "_tracking_uri"),
    (_SERVICE, "_tracking_store_registry"),
    (_SERVICE, "_artifact_repos_cache"),
    (_REGISTRY, "_model_registry_store_registry"),
    (SAFETY, "AutologgingSession"),
    (SAFETY, "_AUTOLOGGING_PATCHES"),
    (UTILS, "AUTOLOGGING_INTEGRATIONS"),
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
        autologging.install()
        autolog_switches.install()
        dataset_races.install()
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
    manager = _look_up(SAFETY, "_AutologgingSessionManager")
    problems += [f"{SAFETY}: no {m}" for m in _SESSION_METHODS if not hasattr(manager, m)]
    if not isinstance(_look_up(UTILS, "_training_sessions"), list):
        problems.append(f"{UTILS}._training_sessions is not a list")
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

    rebind(_SERVICE, "get_tracking_uri", tracking)
    rebind(_REGISTRY, "_get_registry_uri_from_context", registry)
    rebind(_SERVICE, "set_tracking_uri", setter)
    rebind(_REGISTRY, "set_registry_uri", setter)


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

    rebind(_FLUENT, "_get_experiment_id", experiment_id)
    rebind(_FLUENT, "set_experiment", experiment)
    rebind(_FLUENT, "_get_or_start_run", run)
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


def _replace_tracing() -> None:
    from mlops.integrations.mlflow_tracking import tracing

    provider = importlib.import_module(_TRACING)
    rebind(_TRACING, "_get_mlflow_span_processor", tracing.per_store)
    # A tracer set up before sends everything to the store that was configured then; the next trace makes a
    # new one, as after mlflow.set_tracking_uri.
    if provider.provider.once._done and provider.is_tracing_enabled():
        provider.provider.reset()
