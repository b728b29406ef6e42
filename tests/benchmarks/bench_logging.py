"""Logging metrics one call at a time, on the same kind of SQLite store."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks.measure import Ratio

CALLS = 10_000
BARE_CALLS = 2_000  # bare MLflow takes milliseconds per call; the ratio is per call


def run(scratch: Path) -> list[Ratio]:
    import mlflow
    from mlflow import MlflowClient

    from mlops import MLOpsClient

    client = MLOpsClient.from_project("ours", base_path=scratch)
    bare = MLOpsClient.from_project("bare", base_path=scratch)
    bare.tracking.ensure()

    mlflow.set_tracking_uri(bare.tracking.uri)
    with mlflow.start_run():
        mlflow.log_metric("warm", 0.0)
        start = time.perf_counter()
        for step in range(BARE_CALLS):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        bare_seconds = (time.perf_counter() - start) / BARE_CALLS

    with client.start_run() as first:
        client.log_metric("warm", 0.0)
        start = time.perf_counter()
        for step in range(CALLS):
            client.log_metric("loss", 1.0 / (step + 1), step=step)
        in_the_loop = (time.perf_counter() - start) / CALLS
    until_stored = (time.perf_counter() - start) / CALLS
    client.close()

    stored = MlflowClient(client.tracking.uri).get_metric_history(first.run_id, "loss")
    assert [point.step for point in stored] == list(range(CALLS)), "points were lost"
    return [
        Ratio(
            "log_metric, per call, until all are stored | mlflow.log_metric", bare_seconds, until_stored, 20.0
        ),
        Ratio(
            "log_metric, per call, in the training loop | mlflow.log_metric", bare_seconds, in_the_loop, 20.0
        ),
    ]
