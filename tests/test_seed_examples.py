"""The examples of the projects and workspace documents, as a user would type them; imports from ``mlops``."""

# ruff: noqa: T201 - the documents print

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import (
    ConfirmationRequiredError,
    MetadataExport,
    PipelineScheduler,
    Project,
    ProjectManager,
    VersionedPipeline,
)
from mlops.client import MLOpsClient
from mlops.pipelines.results import PipelineRun
from mlops.workspace import WorkspaceManager


def load_data() -> pd.DataFrame:
    return pd.DataFrame({"age": [20, 30, 40, 50], "bought": [0, 0, 1, 1]})


def train_model(load_data: pd.DataFrame) -> LogisticRegression:
    return LogisticRegression().fit(load_data[["age"]], load_data["bought"])


def extract_data() -> list[int]:
    return [1, 2, 3]


# The documents name no directory, so everything lands below the working directory.


def test_quick_start(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project("recommendation_system")

    pipeline = project.create_pipeline("training_v1")
    pipeline.add_step(load_data)
    pipeline.add_step(train_model)
    result = pipeline.run()

    stats = project.get_stats()
    print(f"Total runs: {stats['total_runs']}")
    print(f"Total artifacts: {stats['total_artifacts']}")
    assert capsys.readouterr().out.splitlines()[-2:] == ["Total runs: 1", "Total artifacts: 2"]
    assert result.success
    assert result.outputs["train_model"].predict(pd.DataFrame({"age": [60]})) == [1]
    assert [path.name for path in Path.cwd().iterdir()] == ["mlops"]


def test_creating_listing_and_getting_projects(capsys: pytest.CaptureFixture[str]) -> None:
    manager = ProjectManager()
    project = manager.create_project(
        "ml_platform", description="Main ML platform for product recommendations"
    )
    projects = manager.list_projects()
    for proj in projects:
        print(f"- {proj['name']}: {proj['description']}")
    assert capsys.readouterr().out == "- ml_platform: Main ML platform for product recommendations\n"

    found = manager.get_project("ml_platform")
    assert found is not None
    assert found.client.workspace.id == project.client.workspace.id


def test_several_pipelines_and_queries(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project("analytics")
    etl_pipeline = project.create_pipeline("daily_etl")
    project.create_pipeline("weekly_reports")
    ml_pipeline = project.create_pipeline("model_training")
    etl_pipeline.add_step(extract_data)
    etl_pipeline.run()
    ml_pipeline.add_step(load_data).add_step(train_model)
    for _ in range(2):
        ml_pipeline.run()

    for run in project.list_runs():
        print(f"{run['pipeline_name']}: {run['status']}")
    assert capsys.readouterr().out.splitlines()[-3:] == [
        *["model_training: FINISHED"] * 2,
        "daily_etl: FINISHED",
    ]
    training_runs = project.list_runs(pipeline_name="model_training")
    assert len(training_runs) == 2
    assert len(project.list_runs(pipeline_name="model_training", limit=1)) == 1

    for artifact in project.get_artifacts():
        print(f"{artifact['name']}: {artifact['type']}")
    assert set(capsys.readouterr().out.splitlines()) == {
        "extract_data: file",
        "load_data: data",
        "train_model: model",
    }
    models = project.get_artifacts(artifact_type="model")
    assert [model["name"] for model in models] == ["train_model", "train_model"]
    assert project.get_artifacts(artifact_type="LogisticRegression") == models
    assert [data["name"] for data in project.get_artifacts("pandas.DataFrame")] == ["load_data"] * 2
    assert [data["name"] for data in project.get_artifacts("list")] == ["extract_data"]
    assert project.get_artifacts("Tensor") == []

    stats = project.get_stats()
    print(f"""
Project: {project.name}
Created: {stats["created_at"]}
Pipelines: {stats["total_pipelines"]}
Runs: {stats["total_runs"]}
Artifacts: {stats["total_artifacts"]}
""")
    printed = dict(line.split(": ") for line in capsys.readouterr().out.strip().splitlines())
    assert datetime.fromisoformat(printed.pop("Created")).tzinfo is not None
    assert printed == {"Project": "analytics", "Pipelines": "3", "Runs": "3", "Artifacts": "5"}


def test_each_client_gets_a_project_and_a_usage_report(capsys: pytest.CaptureFixture[str]) -> None:
    manager = ProjectManager()
    clients = ["acme_corp", "tech_startup", "enterprise_inc"]

    def loader(client: str) -> Callable[[], pd.DataFrame]:
        def load_client_data() -> pd.DataFrame:
            return load_data().assign(client=client)

        return load_client_data

    def train_model(load_client_data: pd.DataFrame) -> LogisticRegression:
        return LogisticRegression().fit(load_client_data[["age"]], load_client_data["bought"])

    for client in clients:
        project = manager.create_project(client, description=f"ML pipelines for {client}")
        pipeline = project.create_pipeline("recommendation_engine")
        pipeline.add_step(loader(client))  # client-specific data
        pipeline.add_step(train_model)
        assert pipeline.run().success

    def get_client_usage(client_name: str) -> dict[str, object]:
        project = manager.get_project(client_name)
        assert project is not None
        stats = project.get_stats()
        return {
            "client": client_name,
            "pipelines": stats["total_pipelines"],
            "runs": stats["total_runs"],
            "artifacts": stats["total_artifacts"],
            "storage_usage_mb": project.get_storage_usage(),
        }

    for client in clients:
        usage = get_client_usage(client)
        print(f"{client}: {usage['runs']} runs, {usage['storage_usage_mb']}MB")
        assert (usage["pipelines"], usage["runs"], usage["artifacts"]) == (1, 1, 2)
    lines = capsys.readouterr().out.splitlines()[-3:]
    for client, line in zip(clients, lines, strict=True):
        assert line.startswith(f"{client}: 1 runs, ")
        assert 0.1 < float(line.removesuffix("MB").rpartition(" ")[2]) < 10
        found = manager.get_project(client)
        assert found is not None
        (data,) = found.get_artifacts("data")
        assert set(found.client.load_output(data["uri"])["client"]) == {client}


def test_a_versioned_pipeline_in_a_project() -> None:
    def train() -> dict[str, float]:
        return {"accuracy": 0.9}

    project = Project("ml_prod")

    # Create versioned pipeline within project
    pipeline = project.create_pipeline("training")
    versioned = VersionedPipeline("training")
    versioned.version = "v1.0.0"

    # Use project's storage
    versioned.runs_dir = project.runs_dir
    versioned.metadata_store = project.metadata_store

    versioned.add_step(train)
    versioned.save_version()
    versioned.run()

    (run,) = project.list_runs("training")
    assert (run["status"], run["tags"]["mlops.pipeline_version"]) == ("FINISHED", "v1.0.0")
    assert [version.version for version in pipeline.list_versions()] == ["v1.0.0"]
    assert pipeline.checkout("v1.0.0").run().outputs["train"] == {"accuracy": 0.9}
    assert project.get_stats()["total_pipelines"] == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["mlops"]


def test_scheduling_a_pipeline() -> None:
    project = Project("automated_ml")
    scheduler = PipelineScheduler()

    def run_project_pipeline() -> PipelineRun:
        pipeline = project.create_pipeline("daily_training")
        pipeline.add_step(load_data)
        pipeline.add_step(train_model)
        return pipeline.run()

    scheduler.schedule_daily(
        name=f"{project.name}_daily_run",
        pipeline_func=run_project_pipeline,
        hour=2,
    )
    (schedule,) = scheduler.list()
    assert (schedule.name, schedule.cron, schedule.persistent) == (
        "automated_ml_daily_run",
        "0 2 * * *",
        False,
    )
    with scheduler:
        assert scheduler.running
    run = scheduler.run("automated_ml_daily_run")
    assert run is not None
    assert run.status == "FINISHED"
    assert run.run_id == project.list_runs("daily_training")[0]["run_id"]


def test_names_groups_export_and_cleaning_up() -> None:
    Project("company_product_ml")
    Project("data_team_recommendations")
    project = Project("sales_analytics")
    for name in ("etl_daily", "etl_weekly", "reporting_dashboard", "forecasting_model"):
        project.create_pipeline(name)
    path = project.export_metadata("backup.json")
    assert path == Path.cwd() / "backup.json"
    assert json.loads(path.read_text())["project_name"] == "sales_analytics"
    pipelines = project.get_pipelines()
    assert pipelines == ["etl_daily", "etl_weekly", "forecasting_model", "reporting_dashboard"]
    assert [pipeline["name"] for pipeline in MetadataExport("backup.json").pipelines()] == pipelines

    manager = ProjectManager()
    with pytest.raises(ConfirmationRequiredError):
        manager.delete_project("sales_analytics")
    manager.delete_project("sales_analytics", confirm=True)
    assert [p["name"] for p in manager.list_projects()] == ["company_product_ml", "data_team_recommendations"]


def test_basic_use_of_workspaces() -> None:
    mgr = WorkspaceManager()
    workspace = mgr.create_workspace("lora-finetuning-mlx")
    assert workspace.mlflow_path == Path.cwd() / "mlops" / "workspace" / "lora-finetuning-mlx" / "mlflow"
    assert workspace.mlflow_experiment_id == "0"
    for path in (
        workspace.mlflow_path,
        workspace.dvc_path,
        workspace.monitoring_path,
        workspace.models_path,
        workspace.outputs_path,
    ):
        assert path.is_dir()
    assert workspace.metadata_file.is_file()


def test_a_client_brings_its_workspace() -> None:
    client = MLOpsClient.from_project("lora-finetuning-mlx")
    status = client.get_status()
    assert status["workspace"]["project_name"] == "lora-finetuning-mlx"
    assert Path(status["workspace"]["root_path"]) == client.workspace_path
    with client.start_run("first"):
        client.log_metric("loss", 0.5)
    assert client.get_status()["mlflow"]["summary"]["runs"] == 1


def test_analytics_over_all_projects(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("lora-finetuning-mlx", "model-compression-mlx", "coreml-style-transfer"):
        MLOpsClient.from_project(name)
    with MLOpsClient.from_project("model-compression-mlx").start_run():
        pass

    mgr = WorkspaceManager()
    workspaces = mgr.list_workspaces()
    for ws in workspaces:
        status = mgr.get_workspace_status(ws.project_name)
        print(f"{ws.project_name}: {status['directory_stats']}")
        assert status["directory_stats"]["mlflow_exists"]
        assert (status["directory_stats"]["mlflow_files"] > 0) == (ws.project_name == "model-compression-mlx")
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "coreml-style-transfer",
        "lora-finetuning-mlx",
        "model-compression-mlx",
    ]
    assert len(mgr.get_all_workspaces_status()) == 3


def test_the_rest_of_the_workspace_interface() -> None:
    mgr = WorkspaceManager()
    created = mgr.get_or_create_workspace("sparse", description="One")
    assert mgr.get_or_create_workspace("sparse").id == mgr.get_workspace("sparse").id == created.id
    mgr.update_workspace_metadata("sparse", metadata={"team": "vision"})
    assert WorkspaceManager().get_workspace("sparse").metadata == {"team": "vision"}
    assert type(created).load_metadata(created.root_path).to_dict()["description"] == "One"
    with pytest.raises(ConfirmationRequiredError):
        mgr.delete_workspace("sparse")
    mgr.delete_workspace("sparse", force=True)
    assert mgr.list_workspaces() == []
