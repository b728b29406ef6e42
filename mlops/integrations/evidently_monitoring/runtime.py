"""Evidently, imported when it is needed, kept from changing the process it runs in.

Evidently's import brings others that add warning filters and environment variables (OpenMP's, from
scikit-learn), and warns about its dependencies; its runs warn about every division by zero. All of that is
undone or kept quiet; what stays is one tuple of NumPy's that Evidently extends for its own comparisons.

Python keeps its filters per process, and Evidently fills its registries without locks, so everything that
touches it here holds one lock. The lock costs little: the work is Python code under the GIL.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final, cast

from mlops.integrations.evidently_monitoring import embeddings
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.noise import jensenshannon_noise, wasserstein_noise
from mlops.workspace.tools import require

NUMERICAL_METHOD: Final = "wasserstein_beyond_noise"
CATEGORICAL_METHOD: Final = "jensenshannon_beyond_noise"
EMBEDDING_METHOD: Final = "mmd_beyond_noise"
# Evidently's default for both distances (evidently/legacy/calculations/stattests).
SCORE_THRESHOLD: Final = 0.1

# For the parts of a check: only the merged snapshot's time counts, and Evidently's own default is naive.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_lock = threading.RLock()
# Evidently hands a drift method two samples and a threshold, and nothing else.
_chance: ContextVar[Mapping[str, float]] = ContextVar("chance", default=MappingProxyType({}))
_loaded: SimpleNamespace | None = None
# Warnings are attributed to the module that caused them; a file compiled for the first time, to its path.
_NOISY: Final = r"(?:.*[/\\])?(?:evidently|litestar|sklearn|scipy|numpy|pandas|plotly)(?:[./\\]|\Z)"


def load(*, operation: str, workspace: str) -> SimpleNamespace:
    """Import Evidently and return the names this package uses of it.

    Args:
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        IntegrationNotInstalledError: Evidently is not installed.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            filters, environment = list(warnings.filters), set(os.environ)
            try:
                with _silenced():
                    require("evidently", tool=TOOL, operation=operation, workspace=workspace)
                    # Evidently's first figure would import it, and add a filter in the middle of a run.
                    require("plotly.tools", tool=TOOL, operation=operation, workspace=workspace)
                    _loaded = _collect()
            finally:
                _forget(filters, environment)
        return _loaded


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Keep other projects and threads out of Evidently, and its warnings from the user."""
    import numpy as np

    with _lock, _silenced(), np.errstate(all="ignore"):
        yield


@contextlib.contextmanager
def explained_by_chance(discrepancies: Mapping[str, float]) -> Iterator[None]:
    """Tell the drift method of embeddings how large a score of each column may be by chance.

    Args:
        discrepancies: Column to the largest maximum mean discrepancy that chance explains.
    """
    token = _chance.set(discrepancies)
    try:
        yield
    finally:
        _chance.reset(token)


def numbers(snapshot: Any) -> dict[str, Any]:
    """Return a snapshot's metrics and tests as plain JSON values; its ``dict`` leaks NumPy types."""
    values: dict[str, Any] = json.loads(snapshot.json())
    return values


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    # Not catch_warnings: it swaps the process's whole list of filters, and two threads that overlap in it
    # leave one's filters behind. One entry is added and the same entry is taken out again.
    warnings.filterwarnings("ignore", category=Warning, module=_NOISY)
    held = cast("list[Any]", warnings.filters)
    entry = ("ignore", None, Warning, re.compile(_NOISY), 0)
    try:
        yield
    finally:
        for filters in (held, cast("list[Any]", warnings.filters)):
            with contextlib.suppress(ValueError):
                filters.remove(entry)


def _forget(filters: list[Any], environment: set[str]) -> None:
    """Remove the filters and environment variables that are not among those given."""
    current = cast("list[Any]", warnings.filters)
    current[:] = [entry for entry in current if entry in filters]
    for name in set(os.environ) - environment:
        # Only what the imports add: a name another thread sets meanwhile is none of these.
        if name.startswith("KMP_"):
            os.environ.pop(name, None)


def _collect() -> SimpleNamespace:
    import math

    import evidently.metrics as metrics
    from evidently import (
        BinaryClassification,
        DataDefinition,
        Dataset,
        MulticlassClassification,
        Regression,
        Report,
    )
    from evidently._pydantic_compat import PrivateAttr
    from evidently.core.datasets import Recsys
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.core.report import Snapshot

    class ExternalValue(SingleValueMetric):  # type: ignore[misc]
        """A number measured outside of the data, such as a latency, as one dashboard series per name."""

        name: str
        # A private attribute, because fields are part of a series' identity in the dashboard.
        _value: float = PrivateAttr(default=math.nan)

        def __init__(self, name: str, value: float = math.nan) -> None:
            super().__init__(name=name)
            object.__setattr__(self, "_value", float(value))

    class ExternalValueCalculation(SingleValueCalculation[ExternalValue]):  # type: ignore[misc]
        """Hands the measured number over."""

        def calculate(self, context: Any, current_data: Any, reference_data: Any) -> Any:
            return self.result(self.metric._value)

        def display_name(self) -> str:
            return str(self.metric.name)

    _register_methods()
    return SimpleNamespace(
        metrics=metrics,
        BinaryClassification=BinaryClassification,
        DataDefinition=DataDefinition,
        Dataset=Dataset,
        ExternalValue=ExternalValue,
        MulticlassClassification=MulticlassClassification,
        Recsys=Recsys,
        Regression=Regression,
        Report=Report,
        Snapshot=Snapshot,
    )


def _register_methods() -> None:
    """Add Evidently's two distances under names whose drift decision allows for sampling noise.

    A threshold passed per run would do the same, but it is part of a series' identity in the dashboard: each
    batch size would draw a line of its own.
    """
    from evidently.legacy.calculations.stattests.jensenshannon import jensenshannon_stat_test
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.calculations.stattests.wasserstein_distance_norm import wasserstein_stat_test

    def wasserstein(reference: Any, current: Any, feature_type: Any, threshold: float) -> tuple[float, bool]:
        score, drifted = wasserstein_stat_test.func(reference, current, feature_type, threshold)
        return score, bool(drifted and score >= wasserstein_noise(reference, len(current)))

    def jensenshannon(
        reference: Any, current: Any, feature_type: Any, threshold: float
    ) -> tuple[float, bool]:
        score, drifted = jensenshannon_stat_test.func(reference, current, feature_type, threshold)
        categories = len({*reference.unique(), *current.unique()})
        return score, bool(drifted and score >= jensenshannon_noise(categories, len(reference), len(current)))

    def mmd(reference: Any, current: Any, feature_type: Any, threshold: float) -> tuple[float, bool]:
        score = embeddings.discrepancy(reference, current)
        return score, score >= max(threshold, _chance.get().get(reference.name, 0.0))

    distances = (wasserstein_stat_test, jensenshannon_stat_test)
    numerical, categorical = (test.allowed_feature_types for test in distances)
    for name, display, types, threshold, function in (
        (NUMERICAL_METHOD, distances[0].display_name, numerical, SCORE_THRESHOLD, wasserstein),
        (CATEGORICAL_METHOD, distances[1].display_name, categorical, SCORE_THRESHOLD, jensenshannon),
        (EMBEDDING_METHOD, "Maximum mean discrepancy", numerical, embeddings.THRESHOLD, mmd),
    ):
        register_stattest(
            StatTest(
                name=name,
                display_name=f"{display}, beyond sampling noise",
                allowed_feature_types=types,
                default_threshold=threshold,
            ),
            function,
        )
