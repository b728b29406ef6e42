"""A base with a handful of real projects, for whatever reports on many: made once per test run, then copied.

- ``churn``: runs of every outcome, two data versions (one not pushed), a model with two versions, the first
  in production and packaged, a quiet check, then one with drift and alerts; a pipeline with a version;
  schedules
- ``forecast``: a regression without alerts or failures, its model packaged without a Bento
- ``hostile``: names and values that would be markup or code if they were not escaped
- ``quiet``: created and never used
- ``torn``: its tracking database is no database; its data is whole
- ``broken``: its ``workspace.yaml`` cannot be read
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mlops import MLOpsClient
from mlops.files import locked
from mlops.scheduling import stored
from mlops.scheduling.history import JobHistory, JobStatus
from mlops.scheduling.schedule import Schedule
from mlops.workspace.catalog import WorkspaceCatalog

PROJECTS: Final = ("broken", "churn", "forecast", "hostile", "quiet", "torn")
READY: Final = tuple(name for name in PROJECTS if name != "broken")
# What none of its characters may do in a terminal, a table, a page or a script.
HOSTILE: Final = "</script><script>alert('x')</script> & \"quotes\" | [red]pipe[/red] `tick` \u202eevil\u202c"


def build_demo(base: Path, *, cache: Path) -> Path:
    """Put a copy of the demo base in place and return it.

    Args:
        base: The directory to make; its parent must exist.
        cache: A directory that every worker of the test run shares, where the original is made once.
    """
    original = cache / "demo" / "base"
    with locked(cache / "demo.lock", timeout=280):
        if not original.exists():
            making = cache / "demo-making"
            shutil.rmtree(making, ignore_errors=True)
            (making / "base" / ".mlops").mkdir(parents=True)
            # Outside a git repository, whoever asks first.
            with contextlib.chdir(making):
                _make(making / "base", making)
            making.rename(cache / "demo")
    # Hard links between MLflow's artifacts and Bento models stay hard links.
    subprocess.run(["cp", "-a", str(original), str(base)], check=True)
    for name in ("churn", "forecast", "hostile"):
        # A store that was copied is made the copy's own now, so that nobody who reads it writes to it.
        MLOpsClient.from_project(name, base_path=base).tracking.ensure()
    return base


def _make(base: Path, work: Path) -> None:
    _churn(MLOpsClient.from_project("churn", base_path=base, description="Who leaves next month"), work)
    _forecast(MLOpsClient.from_project("forecast", base_path=base, description="Demand per week"), work)
    _hostile(MLOpsClient.from_project("hostile", base_path=base, description=HOSTILE), work)
    MLOpsClient.from_project("quiet", base_path=base, description="Not begun").close()
    torn = MLOpsClient.from_project("torn", base_path=base, description="Its database is damaged")
    torn.dvc_add(_file(work / "torn.csv", 3))
    torn.close()
    (torn.workspace.mlflow_path / "mlflow.db").write_bytes(b"this is not a database\n" * 100)
    MLOpsClient.from_project("broken", base_path=base).close()
    (base / "broken" / "workspace.yaml").write_text("project_name: broken\ntags: [unclosed\n")


def _churn(client: MLOpsClient, work: Path) -> None:
    catalog = client.manager
    catalog.update_workspace_metadata("churn", tags={"team": "growth", "tier": "gold"})
    frame = _frame(400)
    data = _file(work / "train.csv", 40)
    past_run(client, "baseline", days=40, metrics={"accuracy": 0.71, "loss": 0.9})
    past_run(client, "wider", days=9, metrics={"accuracy": 0.79, "loss": 0.6}, params={"depth": "4"})
    past_run(client, "unstable", days=5, status="FAILED", metrics={"accuracy": 0.99, "loss": 0.01})
    past_run(client, "stopped", days=3, status="KILLED")
    for version, depth in (("1", 3), ("2", 5)):
        with client.start_run(f"train {version}", params={"depth": depth, "solver": "lbfgs"}):
            client.dvc_add(data)
            client.log_metrics({"accuracy": 0.8 + depth / 100, "loss": 1 / depth})
            for step in range(5):
                client.log_metric("epoch_loss", 1 / (step + 1), step=step)
            client.log_text(f"depth {depth}\n", "notes/summary.txt")
            client.log_model(_classifier(frame), "classifier", input_example=frame[["age", "spend"]].head())
        if version == "1":
            client.dvc_push()
            client.promote("classifier", "production", version="1")
            client.deploy_model("classifier", version="1")
            _file(data, 50)
    columns = {"target_column": "churned", "prediction_column": "prediction"}
    client.set_reference_data(frame, model="classifier:1", **columns)
    client.monitor_predictions(_frame(300, seed=1), model="classifier:1", **columns)
    shifted = _frame(300, seed=2)
    client.monitor_predictions(
        shifted.assign(age=shifted["age"] + 25, spend=shifted["spend"] * 4), model="classifier:1", **columns
    )
    pipeline = client.create_pipeline("retrain", description="Every night")
    pipeline.add_step(load).add_step(count)
    pipeline.save_version("v1.0.0")
    pipeline.run()
    _schedules(client)
    client.close()


def _forecast(client: MLOpsClient, work: Path) -> None:
    from sklearn.linear_model import LinearRegression

    client.manager.update_workspace_metadata("forecast", tags={"team": "supply"})
    frame = _frame(200, seed=3)
    rows = frame[["age"]]
    past_run(client, "last month", days=20, metrics={"rmse": 2.5, "r2": 0.4})
    with client.start_run("linear", params={"fit_intercept": True}):
        client.dvc_add(_file(work / "weeks.csv", 20))
        client.log_metrics({"rmse": 1.25, "r2": 0.8})
        client.log_model(LinearRegression().fit(rows, frame["spend"]), "demand", input_example=rows.head())
    client.dvc_push()
    client.deploy_model("demand", build_bento=False)
    client.set_reference_data(frame[["age", "spend"]], model="demand:1", target_column="spend")
    client.monitor_predictions(_frame(200, seed=4)[["age", "spend"]], model="demand:1")
    client.close()


def _hostile(client: MLOpsClient, work: Path) -> None:
    client.manager.update_workspace_metadata("hostile", tags={"owner": HOSTILE, "<b>key</b>": "plain"})
    with client.start_run(HOSTILE, params={"choice": HOSTILE}, tags={"note": HOSTILE}, description=HOSTILE):
        client.dvc_add(_file(work / "<img src=x onerror=alert(1)>.csv", 5))
        client.log_metric("accuracy", 0.5)
        client.log_text(HOSTILE, "notes.txt")
    frame = _frame(100, seed=5)
    client.set_reference_data(frame[["age"]].rename(columns={"age": HOSTILE}))
    client.monitor_predictions((frame[["age"]] + 90).rename(columns={"age": HOSTILE}))
    client.close()


def past_run(
    client: MLOpsClient,
    name: str,
    *,
    days: float,
    status: str = "FINISHED",
    metrics: dict[str, float] | None = None,
    params: dict[str, str] | None = None,
) -> str:
    """Record a run that began so many days ago and took ten minutes; return its id."""
    began = datetime.now(UTC) - timedelta(days=days)
    api = client.tracking.client()
    run = api.create_run(client.tracking.experiment_id, start_time=_milliseconds(began), run_name=name)
    for key, value in (metrics or {}).items():
        api.log_metric(run.info.run_id, key, value)
    for key, text in (params or {}).items():
        api.log_param(run.info.run_id, key, text)
    api.set_terminated(run.info.run_id, status, end_time=_milliseconds(began + timedelta(minutes=10)))
    return str(run.info.run_id)


def load() -> list[int]:
    """Return the rows that the demo's pipeline counts."""
    return [1, 2, 3]


def count(load: list[int]) -> int:
    """Return how many rows there are."""
    return len(load)


def _schedules(client: MLOpsClient) -> None:
    workspace = WorkspaceCatalog(client.manager.base_path).get_workspace(client.project_name)
    night = Schedule(name="night", target="tests.reporting.demo:load", cron="30 2 * * *", project="churn")
    hourly = Schedule(name="hourly", target="tests.reporting.demo:load", every_seconds=3600, project="churn")
    for schedule in (night, hourly.changed(paused=True)):
        stored.put(workspace, schedule, operation="demo")
    history = JobHistory.of(workspace)
    with history.firing("night", datetime.now(UTC) - timedelta(hours=1)) as fired:
        if fired is None:
            raise AssertionError("nobody else can have it")
        history.end(replace(fired, status=JobStatus.FINISHED, ended_at=datetime.now(UTC), attempts=1))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _file(path: Path, rows: int) -> Path:
    path.write_text("a,b\n" + "".join(f"{row},{row % 7}\n" for row in range(rows)))
    return path


def _frame(rows: int, *, seed: int = 0) -> Any:
    import numpy
    import pandas

    generator = numpy.random.default_rng(seed)
    age = generator.normal(40, 10, rows)
    frame = pandas.DataFrame({"age": age, "spend": generator.normal(size=rows)})
    frame["churned"] = (age + generator.normal(size=rows) > 40).astype(int)
    frame["prediction"] = (age > 40).astype(int)
    return frame


def _classifier(frame: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(frame[["age", "spend"]], frame["churned"])
