"""Three projects on real data: versioned, trained, packaged, served, monitored, and seen side by side.

Run it with ``python example.py``. A second run finds what the first one made: unchanged data is not versioned
again, and a model trained on the same data with the same parameters is not trained again. The data sets come
with scikit-learn; nothing is downloaded, and nothing is left running.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from sklearn import datasets
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops import MLOpsClient, StatusReport
from mlops.reporting.status import render

console = Console(highlight=False)


@dataclass(frozen=True)
class Story:
    """One project: its data, its model, and what later goes wrong with the data."""

    project: str
    description: str
    load: Callable[..., Any]
    model: Any
    metric: tuple[str, Callable[[Any, Any], float]]
    accident: str
    shift: Callable[[pd.DataFrame], pd.DataFrame]


STORIES = [
    Story(
        project="tumour-screening",
        description="Benign or malignant, from 30 measurements of cell nuclei",
        load=datasets.load_breast_cancer,
        model=RandomForestClassifier(n_estimators=100, random_state=0),
        metric=("accuracy", accuracy_score),
        accident="the microscope was replaced: lengths read 30 % high",
        shift=lambda x: x.assign(**{c: x[c] * 1.3 for c in x if "radius" in c or "perimeter" in c}),
    ),
    Story(
        project="wine-grading",
        description="One of three growers, from 13 chemical measurements",
        load=datasets.load_wine,
        model=make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        metric=("accuracy", accuracy_score),
        accident="a warm year: more alcohol, less malic acid",
        shift=lambda x: x.assign(alcohol=x["alcohol"] + 1.2, malic_acid=x["malic_acid"] * 0.5),
    ),
    Story(
        project="diabetes-progress",
        description="Progress of the disease after a year, from 10 measurements",
        load=datasets.load_diabetes,
        model=GradientBoostingRegressor(random_state=0),
        metric=("r2", r2_score),
        accident="another clinic: older patients with a higher body mass",
        shift=lambda x: x.assign(age=x["age"] + 0.06, bmi=x["bmi"] + 0.05),
    ),
]


def write_data(client: MLOpsClient, story: Story) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Write the training data as the CSV file that will be versioned; return it with both halves."""
    frame = story.load(as_frame=True).frame
    train, later = train_test_split(frame, test_size=0.5, random_state=0)
    path = client.get_workspace_path("outputs") / "train.csv"
    if not path.exists():
        train.to_csv(path, index=False)
    return path, train.reset_index(drop=True), later.reset_index(drop=True)


def train(client: MLOpsClient, story: Story) -> str:
    """Version the data, train, log and register; return the registered version."""
    path, train, later = write_data(client, story)
    features, target = train.drop(columns="target"), train["target"]
    known = client.dvc_add(path)
    done = [run for run in client.list_runs(limit=None) if run["tags"].get("data") == known.md5]
    if any(run["status"] == "FINISHED" for run in done):
        version = client.tracking.models.get("model").version
        console.print(f"  trained before on data {known.md5[:8]}: model version {version}")
        return version

    name, measure = story.metric
    with client.start_run("baseline", params=story.model.get_params(deep=False), tags={"data": known.md5}):
        client.dvc_add(path)  # inside a run: the run records which data it read
        model = story.model.fit(features, target)
        score = measure(later["target"], model.predict(later.drop(columns="target")))
        client.log_metrics({f"train_{name}": measure(target, model.predict(features)), name: score})
        registered = client.log_model(model, "model", input_example=features.head())
    client.dvc_push()
    console.print(
        f"  trained on data {known.md5[:8]} ({len(train)} rows): {name} {score:.3f}, "
        f"registered as {registered.full_name} version {registered.version}"
    )
    return registered.version


def predicted(client: MLOpsClient, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a batch as production would log it: features, the model's answer, and the truth."""
    model = client.tracking.models.load("model")
    return frame.assign(prediction=model.predict(frame.drop(columns="target")))


def monitor(client: MLOpsClient, story: Story, version: str) -> None:
    """Freeze the reference, then check a normal batch and one after the accident."""
    _, _, later = write_data(client, story)
    before, after = train_test_split(later, test_size=0.5, random_state=4)
    columns = {"target_column": "target", "prediction_column": "prediction"}
    client.set_reference_data(predicted(client, before), model=f"model:{version}", **columns)
    shifted = story.shift(after.drop(columns="target")).assign(target=after["target"])
    for label, batch in (("a normal batch", after), (story.accident, shifted)):
        result = client.monitor_predictions(predicted(client, batch), model=f"model:{version}", **columns)
        drifted = [name for name, column in result.columns.items() if column.drifted]
        verdict = f"[red]drift in {len(drifted)}[/red]" if drifted else "[green]no drift in any[/green]"
        named = f": {', '.join(drifted[:4])}{', ...' if len(drifted) > 4 else ''}" if drifted else ""
        console.print(f"  {label}: {verdict} of {len(result.columns)} columns{named}")
        for alert in result.alerts:
            console.print(f"    [red]alert[/red]: {alert.message}")


def main() -> None:
    """Tell the story of every project, serve one model, and print the table."""
    began = time.perf_counter()
    clients = []
    for story in STORIES:
        console.print(f"\n[bold]{story.project}[/bold]: {story.description}")
        client = MLOpsClient.from_project(story.project, description=story.description)
        clients.append(client)
        version = train(client, story)
        deployment = client.deploy_model("model", version=version)
        console.print(f"  packaged as Bento {deployment.tag}")
        monitor(client, story, version)

    client, story = clients[0], STORIES[0]
    _, _, later = write_data(client, story)
    rows = later.drop(columns="target").head(3)
    console.print(f"\n[bold]Serving {story.project}[/bold]")
    with client.serve("model") as server:
        answers = server.predict(rows)
        console.print(
            f"  {server.url} answers {answers} for three patients (truth: {list(later['target'][:3])})"
        )
    console.print("  stopped")

    console.print("\n[bold]What its model came from, and what it led to[/bold]")
    console.print(str(client.trace("model")), markup=False, soft_wrap=True)

    console.print(f"\n[bold]All projects[/bold], in {clients[0].manager.base_path}")
    console.print(render(StatusReport.collect(manager=clients[0].manager)))
    for client in clients:
        client.close()
    console.print(
        f"Took {time.perf_counter() - began:.0f} s. Look closer with: .venv/bin/mlops status --json"
    )


if __name__ == "__main__":
    main()
