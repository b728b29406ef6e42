"""Runs and models against bare MLflow: a run's start and end, a fresh process with a run, and log_model."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.measure import Ratio, interleaved, process

BARE = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run():
    mlflow.log_metric("m", 1.0)
"""
OURS = """
import sys
from mlops import MLOpsClient
client = MLOpsClient.from_project("ours", base_path=sys.argv[1])
with client.start_run():
    client.log_metric("m", 1.0)
"""


def run(scratch: Path) -> list[Ratio]:
    import mlflow
    import mlflow.sklearn
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from mlops import MLOpsClient

    ours = MLOpsClient.from_project("ours", base_path=scratch)
    bare = MLOpsClient.from_project("bare", base_path=scratch)
    ours.tracking.ensure()
    bare.tracking.ensure()
    uri = bare.tracking.uri
    features, target = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500).fit(features, target)

    def bare_run() -> None:
        with mlflow.start_run():
            mlflow.log_metric("m", 1.0)

    def our_run() -> None:
        with ours.start_run():
            ours.log_metric("m", 1.0)

    def bare_model() -> None:
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model, name="model", input_example=features.head(), registered_model_name="bare.model"
            )

    def our_model() -> None:
        with ours.start_run():
            ours.log_model(model, "model", input_example=features.head())

    mlflow.set_tracking_uri(uri)
    bare_run(), our_run(), our_model(), bare_model()
    ratios = [
        Ratio(
            "start and end of a run | mlflow.start_run", *interleaved(bare_run, our_run, repeats=41), 1 / 1.2
        ),
        Ratio("log_model | mlflow's default", *interleaved(bare_model, our_model, repeats=3), 5.0),
    ]
    cold = interleaved(process(BARE, uri), process(OURS, str(scratch)), repeats=5)
    ratios.append(Ratio("fresh process with one run | the same in mlflow", *cold, 1 / 1.1))
    return ratios
