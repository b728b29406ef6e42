"""Every number of a report equals what MLflow's, DVC's, BentoML's and Evidently's own APIs say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient, StatusReport
from mlops.integrations.mlflow_tracking import queries, store
from mlops.reporting.facts import ProjectReport
from tests.reporting.demo import build_demo
from tests.reporting.fleet import build_fleet, name_of

DEMO = ("churn", "forecast", "hostile")
FLEET = tuple(name_of(number) for number in range(3))
# In a process of its own: BentoML's stores keep state for the life of one.
BENTOML = """
import json, os, sys
from bentoml._internal.bento import BentoStore
from bentoml._internal.models import ModelStore
found = {}
for name, home in json.load(sys.stdin).items():
    models = ModelStore(os.path.join(home, "models")).list()
    bentos = BentoStore(os.path.join(home, "bentos")).list()
    bentos.sort(key=lambda bento: bento.info.creation_time, reverse=True)
    found[name] = [str(model.tag) for model in models], [str(bento.tag) for bento in bentos]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> dict[str, Path]:
    """Project to its base: the demo's, and a generated fleet's."""
    root = tmp_path_factory.mktemp("numbers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("BENTOML_DO_NOT_TRACK", "true")
        patch.chdir(root)
        demo = build_demo(root / "demo", cache=shared_cache)
        fleet = build_fleet(root / "fleet", len(FLEET))
    return dict.fromkeys(DEMO, demo) | dict.fromkeys(FLEET, fleet)


@pytest.fixture(scope="module")
def reports(bases: dict[str, Path]) -> dict[str, ProjectReport]:
    found = [StatusReport.collect(base, cache=False) for base in set(bases.values())]
    return {
        each.project_name: each for report in found for each in report.projects if each.project_name in bases
    }


@pytest.mark.parametrize("name", [*DEMO, *FLEET])
def test_runs_and_models_are_mlflows(
    bases: dict[str, Path], reports: dict[str, ProjectReport], name: str
) -> None:
    from mlflow import MlflowClient

    client = MLOpsClient.from_project(name, base_path=bases[name])
    uri = store.database_uri(client.workspace_path / "mlflow" / "mlflow.db")
    api = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiments = [each.experiment_id for each in api.search_experiments()]
    every = list(api.search_runs(experiments, max_results=1000))
    counted = [run for run in every if not run.data.tags.keys() & set(queries.PARTS)]
    said = reports[name].runs
    assert said.total == len(counted)
    assert said.by_status == Counter(run.info.status for run in counted)
    last = max(counted, key=lambda run: run.info.start_time)
    assert said.last is not None
    assert (said.last.run_id, said.last.run_name) == (last.info.run_id, last.info.run_name)
    assert said.last.started_at is not None
    assert round(said.last.started_at.timestamp() * 1000) == last.info.start_time
    by_day = Counter(day for day, counts in said.by_day.items() for _ in range(sum(counts.values())))
    assert by_day.total() + sum(said.earlier.values()) == len(counted)
    assert {best.metric for best in said.best} == {
        key for run in every if run.info.status == "FINISHED" for key in run.data.metrics
    } - _monitored(every)
    for best in said.best:
        found = client.best_run(best.metric, best.mode)
        assert (best.run_id, best.value) == (found["run_id"], found["metrics"][best.metric])
    models = reports[name].models
    registered = api.search_registered_models()
    versions = [
        version for model in registered for version in api.search_model_versions(f"name='{model.name}'")
    ]
    assert (models.models, models.versions) == (len(registered), len(versions))
    prefix = f"{name}."
    assert models.production == {
        model.name.removeprefix(prefix): str(api.get_model_version_by_alias(model.name, "production").version)
        for model in registered
        if "production" in api.get_registered_model(model.name).aliases
    }
    client.close()


def _monitored(runs: list[Any]) -> set[str]:
    """Return the metrics that only runs of checks have."""
    of_checks = {k for run in runs if queries.MONITORING_TAG in run.data.tags for k in run.data.metrics}
    return of_checks - {
        k for run in runs if queries.MONITORING_TAG not in run.data.tags for k in run.data.metrics
    }


@pytest.mark.parametrize("name", ["churn", "forecast", FLEET[1]])
def test_data_versions_are_dvcs(bases: dict[str, Path], reports: dict[str, ProjectReport], name: str) -> None:
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    vault = bases[name] / name / "dvc"
    hashes = {
        event["md5"]: event
        for event in map(json.loads, (vault / "ledger.jsonl").read_text().splitlines())
        if event["event"] == "added"
    }
    with Repo(str(vault)) as repo:
        outputs = list(repo.index.outs)
        remote = repo.cloud.get_remote_odb()
        missing = [md5 for md5 in hashes if not remote.exists(HashInfo("md5", md5).value)]
        said = reports[name].data
        assert (said.datasets, said.versions, said.unpushed) == (len(outputs), len(hashes), len(missing))
        assert said.size_bytes == sum(out.meta.size for out in outputs)
        assert {out.hash_info.value for out in outputs} <= hashes.keys()


def test_bento_models_and_bentos_are_bentomls(
    bases: dict[str, Path], reports: dict[str, ProjectReport]
) -> None:
    homes = {name: str(base / name / "models") for name, base in bases.items() if name != "hostile"}
    done = subprocess.run(
        [sys.executable, "-c", BENTOML],
        input=json.dumps(homes),
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, (models, bentos) in json.loads(done.stdout.splitlines()[-1]).items():
        said = reports[name].models
        assert (said.bento_models, [each.tag for each in said.deployments]) == (len(models), bentos)


@pytest.mark.parametrize("name", [*DEMO, FLEET[2]])
def test_checks_are_evidentlys(bases: dict[str, Path], reports: dict[str, ProjectReport], name: str) -> None:
    from evidently.core.report import Snapshot
    from evidently.ui.workspace import Workspace

    client = MLOpsClient.from_project(name, base_path=bases[name])
    workspace, project = Workspace(str(client.monitoring.path)), client.monitoring.project_id
    client.close()
    found = {}
    for run in workspace.list_runs(project):
        metrics = json.loads(Snapshot.load_model(workspace.get_run(project, run)).json())["metrics"]
        found[str(run)] = {metric["config"]["type"].rsplit(":", 1)[1]: metric["value"] for metric in metrics}
    said = reports[name].monitoring
    assert said.checks == len(found)
    # Evidently's own limit, which no project here changes.
    assert said.drifted == sum(values["DriftedColumnsCount"]["share"] >= 0.5 for values in found.values())
    assert said.last
    for check in said.last:
        values = found[check.snapshot_id]
        assert values["DriftedColumnsCount"] == {"count": check.n_drifted, "share": check.drift_share}
        assert values["RowCount"] == check.rows
        for metric, kind in (("accuracy", "Accuracy"), ("recall", "Recall")):
            assert check.performance.get(metric) == values.get(kind)
