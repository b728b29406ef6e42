"""One small real thing per tool, and how to damage each store: what the contract suite runs over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.workspace.tools import ToolContext


@dataclass(frozen=True)
class Case:
    """How the contract suite exercises one tool.

    ``populate`` stores one thing; ``count`` is the key of the summary that then is 1; ``damage`` breaks the
    store so that it cannot be used; ``verb`` is a call that needs the tool's package.
    """

    tool: str
    count: str
    populate: Callable[[Any, Path], None]
    damage: Callable[[ToolContext], None]
    verb: str


def _run(adapter: Any, work: Path) -> None:
    file = work / "note.txt"
    file.write_text("kept")
    with adapter.start_run("first", params={"depth": 3}):
        adapter.log_metric("accuracy", 0.5)
        adapter.log_artifact(file)


def _data(adapter: Any, work: Path) -> None:
    file = work / "train.csv"
    file.write_text("a,b\n1,2\n")
    adapter.add(file)


def _model(adapter: Any, work: Path) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    mlflow.sklearn.save_model(model, work / "model", pip_requirements=["scikit-learn"])
    adapter.deploy(work / "model", model="classifier", version=len(adapter.models()) + 1, build_bento=False)


def _check(adapter: Any, work: Path) -> None:
    import numpy
    import pandas

    generator = numpy.random.default_rng(0)
    frame = pandas.DataFrame({"a": generator.normal(size=200), "b": generator.normal(size=200)})
    adapter.set_reference_data(frame)
    adapter.monitor(frame.assign(a=frame.a + 3))


def _break_database(context: ToolContext) -> None:
    (context.workspace.mlflow_path / "mlflow.db").write_bytes(b"this is not a database" * 100)


def _break_vault(context: ToolContext) -> None:
    (context.workspace.dvc_path / ".dvc" / "config").write_text("[core\nbroken")


def _break_models(context: ToolContext) -> None:
    store = context.workspace.models_path / "models"
    store.rmdir()
    store.write_text("a file where the store should be")


def _break_monitoring(context: ToolContext) -> None:
    (metadata,) = context.workspace.monitoring_path.glob("*/metadata.json")
    metadata.write_text('{"id": "torn')


CASES = {
    case.tool: case
    for case in (
        Case("mlflow", "runs", _run, _break_database, "adapter.start_run().__enter__()"),
        Case("dvc", "versions", _data, _break_vault, "adapter.add(work / 'train.csv')"),
        Case(
            "bentoml",
            "models",
            _model,
            _break_models,
            "adapter.deploy(work / 'model', model='m', version='1')",
        ),
        Case(
            "evidently",
            "checks",
            _check,
            _break_monitoring,
            "adapter.set_reference_data([{'a': 1.0}] * 50); adapter.monitor([{'a': 1.0}] * 50)",
        ),
    )
}


def populate_everything(client: Any, work: Path) -> None:
    """Give a project something of every kind, each referring to the one before."""
    import numpy
    import pandas
    from sklearn.linear_model import LogisticRegression

    data = work / "train.csv"
    data.write_text("a,b\n1,2\n")
    rows = pandas.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
    model = LogisticRegression().fit(rows, [0, 0, 1, 1])
    with client.start_run("first", params={"depth": 3}):
        client.dvc_add(data)
        client.log_metric("accuracy", 0.5)
        client.log_text("kept", "note.txt")
        client.log_model(model, "classifier", input_example=rows)
    client.dvc_push()
    client.tracking.models.promote("classifier", "production")
    client.deploy_model("classifier")
    generator = numpy.random.default_rng(0)
    frame = pandas.DataFrame({"a": generator.normal(size=200), "b": generator.normal(size=200)})
    client.set_reference_data(frame, model="classifier")
    client.monitor_predictions(frame.assign(a=frame.a + 3), model="classifier:1")
    (client.workspace.outputs_path / "notes.md").write_text("of the user")
    client.close()
