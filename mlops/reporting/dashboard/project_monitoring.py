"""What checks found over time, model by model: the share of drifted columns, each column, and performance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from mlops.reporting.dashboard import figures

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring import AlertRecord, EvidentlyMonitoring

# As many checks as a chart can show apart.
SHOWN_CHECKS: Final = 300
SHOWN_ALERTS: Final = 20

# What every check says; a line that somebody wrote by hand may lack something.
_NEEDED: Final = frozenset(
    {
        "model",
        "checked_at",
        "rows",
        "drift_share",
        "drift_threshold",
        "columns",
        "alerts",
        "skipped",
        "warnings",
    }
    | {
        "performance",
        "performance_change",
        "reference_performance",
        "missing_share",
        "n_drifted",
        "n_compared",
    }
)

Check = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelChecks:
    """The latest checks of one model.

    Args:
        model: The model, or None for the checks of no model.
        checks: Its checks, newest first.
    """

    model: str | None
    checks: tuple[Check, ...]

    @property
    def last(self) -> Check:
        """The latest check."""
        return self.checks[0]

    @property
    def columns(self) -> list[Mapping[str, Any]]:
        """The comparison of each column in the latest check, drifted ones first."""
        columns: Mapping[str, Any] = self.last["columns"]
        return sorted(columns.values(), key=lambda each: (not each["drifted"], each["column"]))

    @property
    def metrics(self) -> list[tuple[str, float | None, float | None, float | None]]:
        """Each metric with its value in the latest check that has any, in the reference, and the change."""
        measured = self.measured
        if measured is None:
            return []
        before, change = measured["reference_performance"], measured["performance_change"]
        return [
            (name, value, before.get(name), change.get(name))
            for name, value in measured["performance"].items()
        ]

    @property
    def measured(self) -> Check | None:
        """The latest check whose batch had targets, or None."""
        return next((check for check in self.checks if check["performance"]), None)

    @property
    def performance(self) -> figures.Figure | None:
        """How performance changed against the reference over time, or None if it was never measured."""
        measured = [check for check in reversed(self.checks) if check["performance_change"]]
        metrics = dict.fromkeys(name for check in measured for name in check["performance_change"])
        times = [check["checked_at"] for check in measured]
        lines = [
            figures.line(name, times, [check["performance_change"].get(name) for check in measured])
            for name in metrics
        ]
        return figures.figure(lines, y="change") if lines else None


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What monitoring shows.

    Args:
        models: The checks by model, the one checked last first.
        alerts: The latest alerts, newest first.
        shown: How many checks that is, of those that were made.
    """

    models: tuple[ModelChecks, ...]
    alerts: tuple[AlertRecord, ...]
    shown: int

    @property
    def drift(self) -> figures.Figure:
        """The share of drifted columns over time, with the share from which a batch has drifted."""
        lines = []
        for each in self.models:
            times = [check["checked_at"] for check in reversed(each.checks)]
            lines.append(
                figures.line(
                    each.model or "no model", times, [c["drift_share"] for c in reversed(each.checks)]
                )
            )
        for threshold, span in self._thresholds().items():
            lines.append(
                figures.line(f"counts as drift from {threshold:g}", span, [threshold] * len(span), limit=True)
            )
        return figures.figure(lines, y="share of drifted columns", yaxis={"range": [0, 1.05]})

    def _thresholds(self) -> dict[float, Sequence[str]]:
        times = sorted(check["checked_at"] for each in self.models for check in each.checks)
        limits = dict.fromkeys(each.last["drift_threshold"] for each in self.models)
        return dict.fromkeys(limits, [times[0], times[-1]] if times else [])


def monitoring(adapter: EvidentlyMonitoring) -> Monitoring:
    """Return what monitoring shows of a project.

    Args:
        adapter: The project's adapter.
    """
    whole = (check for check in adapter.each_check() if check.keys() >= _NEEDED)
    checks = list(islice(whole, SHOWN_CHECKS))
    by_model: dict[str | None, list[Check]] = {}
    for check in checks:
        by_model.setdefault(check["model"], []).append(check)
    models = tuple(ModelChecks(model, tuple(of)) for model, of in by_model.items())
    return Monitoring(models, tuple(adapter.alerts(limit=SHOWN_ALERTS)), len(checks))
