"""The switches of MLflow's autologging, which are one for the whole process, made to follow the context.

A cross-validation switches autologging off while it runs, a fit switches metrics off, and ``autolog()``
takes its patches off and puts them on again. None of that may stop what other threads are logging.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import autologging, routing
from mlops.integrations.mlflow_tracking.autologging import SAFETY, UTILS
from mlops.integrations.mlflow_tracking.rebinding import rebind

logger = logging.getLogger(__name__)

# Modules that switch off the logging of metrics while a model is being fitted.
_METRICS_MODULES: Final = ("mlflow.sklearn", "mlflow.pyspark.ml")
_METRICS_SWITCH: Final = "_log_post_training_metrics_enabled"

_patching = threading.Lock()
_switched: set[str] = set()


def install() -> None:
    """Replace the names, which ``patches.install`` has checked."""
    _replace_disabling()
    _replace_enabling()


def _replace_disabling() -> None:
    def is_disabled(original: Any) -> Callable[[Any], Any]:
        def autologging_is_disabled(integration_name: Any) -> Any:
            scope = autologging.current()
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
            with autologging.entered(frame.opening) as scope:
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
            with autologging.entered(frame.opening) as scope:
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


def switch_metrics() -> None:
    """Make a flavour's switch for metrics belong to the call; its module may be imported at any time."""
    for name in _METRICS_MODULES:
        module = sys.modules.get(name)
        if module is None or name in _switched:
            continue
        with _patching:
            if name in _switched:
                continue
            kind = getattr(module, "_AutologgingMetricsManager", None)
            manager = getattr(module, "_AUTOLOGGING_METRICS_MANAGER", None)
            if kind is None or not hasattr(manager, _METRICS_SWITCH):
                logger.warning(
                    "This MLflow switches the metrics of %s in a way that is not known here: "
                    "while one thread fits a model, metrics that another computes may not be logged",
                    name,
                )
            else:
                setattr(kind, _METRICS_SWITCH, _switch(getattr(manager, _METRICS_SWITCH)))
                _forget_with_the_model(manager)
            _switched.add(name)


def _switch(plain: bool) -> property:
    """Return the switch as an attribute that belongs to the call, or outside our runs to the process."""
    process = [plain]

    def get(_manager: Any) -> bool:
        scope = autologging.current()
        if scope is not None:
            return scope.metrics
        return routing.current() is not None or process[0]

    def put(_manager: Any, value: bool) -> None:
        scope = autologging.current()
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
