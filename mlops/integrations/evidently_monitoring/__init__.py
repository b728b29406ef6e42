"""Evidently in one project: frozen reference data, drift and performance checks, and their history."""

from __future__ import annotations

from mlops.integrations.evidently_monitoring.adapter import EvidentlyMonitoring
from mlops.integrations.evidently_monitoring.alert_log import AlertRecord
from mlops.integrations.evidently_monitoring.results import Alert, ColumnDrift, Measured, MonitoringResult
from mlops.integrations.evidently_monitoring.schema import ColumnKind, ColumnSchema, ReferenceData, Task
from mlops.integrations.evidently_monitoring.thresholds import Thresholds

__all__ = [
    "Alert",
    "AlertRecord",
    "ColumnDrift",
    "ColumnKind",
    "ColumnSchema",
    "EvidentlyMonitoring",
    "Measured",
    "MonitoringResult",
    "ReferenceData",
    "Task",
    "Thresholds",
]
