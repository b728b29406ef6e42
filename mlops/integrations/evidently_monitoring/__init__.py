"""Evidently in one project: frozen reference data, drift and performance checks, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.lazy import exporter

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring.adapter import EvidentlyMonitoring as EvidentlyMonitoring
    from mlops.integrations.evidently_monitoring.alert_log import AlertRecord as AlertRecord
    from mlops.integrations.evidently_monitoring.results import Alert as Alert
    from mlops.integrations.evidently_monitoring.results import ColumnDrift as ColumnDrift
    from mlops.integrations.evidently_monitoring.results import Measured as Measured
    from mlops.integrations.evidently_monitoring.results import MonitoringResult as MonitoringResult
    from mlops.integrations.evidently_monitoring.schema import ColumnKind as ColumnKind
    from mlops.integrations.evidently_monitoring.schema import ColumnSchema as ColumnSchema
    from mlops.integrations.evidently_monitoring.schema import ReferenceData as ReferenceData
    from mlops.integrations.evidently_monitoring.schema import Task as Task
    from mlops.integrations.evidently_monitoring.thresholds import Thresholds as Thresholds

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

__getattr__ = exporter(
    __name__,
    {
        "mlops.integrations.evidently_monitoring.adapter": ("EvidentlyMonitoring",),
        "mlops.integrations.evidently_monitoring.alert_log": ("AlertRecord",),
        "mlops.integrations.evidently_monitoring.results": (
            "Alert",
            "ColumnDrift",
            "Measured",
            "MonitoringResult",
        ),
        "mlops.integrations.evidently_monitoring.schema": (
            "ColumnKind",
            "ColumnSchema",
            "ReferenceData",
            "Task",
        ),
        "mlops.integrations.evidently_monitoring.thresholds": ("Thresholds",),
    },
)
