"""Evidently in one project: frozen reference data, drift and performance checks, and their history."""

from __future__ import annotations

from mlops.integrations.evidently_monitoring.adapter import EvidentlyMonitoring
from mlops.integrations.evidently_monitoring.results import Alert, ColumnDrift, Measured, MonitoringResult
from mlops.integrations.evidently_monitoring.schema import ColumnKind, ColumnSchema, ReferenceData, Task

__all__ = [
    "Alert",
    "ColumnDrift",
    "ColumnKind",
    "ColumnSchema",
    "EvidentlyMonitoring",
    "Measured",
    "MonitoringResult",
    "ReferenceData",
    "Task",
]
