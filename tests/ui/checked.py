from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlops import WorkspaceManager
from mlops.client import MLOpsClient
from mlops.integrations.evidently_monitoring import MonitoringResult


def batch(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    usage = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows) + 10 * shift,
            "usage": usage,
            "city": rng.choice(["Bern", "Rome", "Oslo"], rows),
            "churned": (usage + rng.normal(0, 0.5, rows) > 0).astype(int),
            "prediction": (usage > 0).astype(int),
        }
    )


def check(manager: WorkspaceManager, project: str, *, shifts: tuple[float, ...]) -> list[MonitoringResult]:
    """Make one check per shift of the column ``age``; the reference is set with the first ever."""
    client = MLOpsClient(project, workspace_manager=manager, description=f"All about {project}")
    if not client.monitoring.reference_hashes():
        client.set_reference_data(batch(800, 0), target_column="churned", prediction_column="prediction")
    return [
        client.monitor_predictions(batch(300, seed, shift), latency_ms=[10.0, 20.0 + seed], memory_mb=256.0)
        for seed, shift in enumerate(shifts, 1)
    ]


def series(*metrics: tuple[str, dict[str, str]]) -> dict[str, Any]:
    """Return what the dashboard asks the server for its panels."""
    filters = [
        {"tags": [], "metadata": {}, "metric": f"evidently:metric_v2:{kind}", "metric_labels": labels}
        for kind, labels in metrics
    ]
    return {"series_filter": filters}
