"""Projects as tenants: each on its own, counted exactly, listed whole, deleted on purpose only."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import (
    ConfigError,
    ConfirmationRequiredError,
    DataNotFoundError,
    InvalidModelNameError,
    InvalidProjectNameError,
    MLOpsClient,
    Project,
    ProjectManager,
    WorkspaceCorruptError,
    WorkspaceExistsError,
    WorkspaceManager,
    WorkspaceNotFoundError,
)
from mlops.integrations.mlflow_tracking.api_queries import ApiReader
from mlops.integrations.mlflow_tracking.run_query import RunQuery


def tree(path: Path) -> list[tuple[Path, int]]:
    return sorted((p, p.stat().st_mtime_ns) for p in path.rglob("*"))


@pytest.fixture
def project(base: Path) -> Project:
    return Project("churn", "Who leaves", projects_dir=base)


def test_a_project_is_the_workspace_of_that_name(project: Project, base: Path) -> None:
    assert (project.name, project.description) == ("churn", "Who leaves")
    workspace = WorkspaceManager(base).get_workspace("churn")
    assert workspace.description == "Who leaves"
    with MLOpsClient.from_project("churn", base_path=base).start_run("elsewhere"):
        pass
    assert [run["run_name"] for run in project.list_runs()] == ["elsewhere"]
    assert project.runs_dir == base / "churn" / "mlflow"
    assert project.metadata_store is project.client.tracking
    assert "churn" in repr(project)
    assert str(base) in repr(project)


def test_a_description_is_kept_until_another_is_given(project: Project, base: Path) -> None:
    assert Project("churn", projects_dir=base).description == "Who leaves"
    Project("churn", "Another", projects_dir=base)
    assert project.description == "Another"


def test_without_a_directory_the_base_is_found_from_here(project: Project) -> None:
    here = Path.cwd() / "mlops" / "workspace"
    found = Project("found")
    assert found.client.workspace_path == here / "found"
    assert ProjectManager().projects_dir == here
    assert [p["name"] for p in ProjectManager().list_projects()] == ["found"]


def test_tags_of_two_writers_are_both_kept(project: Project, base: Path) -> None:
    other = Project("churn", projects_dir=base)
    threads = [
        threading.Thread(target=lambda p=p, n=n: [p.add_tag(f"{n}-{i}", str(i)) for i in range(5)])
        for n, p in enumerate((project, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.get_tags() == {f"{n}-{i}": str(i) for n in range(2) for i in range(5)}
    project.add_tag("0-0", "changed")
    project.add_tag("0-1", None)
    assert other.get_tags()["0-0"] == "changed"
    assert "0-1" not in other.get_tags()
    with pytest.raises(ConfigError, match="rows"):
        project.add_tag("rows", 3)  # type: ignore[arg-type]


def test_statistics_artifacts_and_limits_are_exact(project: Project, tmp_path: Path) -> None:
    client = project.client
    data = tmp_path / "a.csv"
    data.write_text("a\n1\n")
    client.dvc_add(data)
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    for n in range(3):
        with client.start_run(f"run-{n}", tags={"mlops.pipeline": "train" if n else "etl"}):
            client.log_metric("loss", n)
            client.log_text("x", "notes.txt")
    with client.start_run("fit"):
        client.log_model(model, "clf", pip_requirements=["scikit-learn"])
    with pytest.raises(RuntimeError), client.start_run("broken"):
        raise RuntimeError
    frame = pd.DataFrame({"x": range(60)})
    client.set_reference_data(frame)
    client.monitor_predictions(frame)
    project.log_model_metrics("clf", {"accuracy": 0.9}, environment="production")

    stats = project.get_stats()
    assert datetime.fromisoformat(stats["created_at"]) <= datetime.now(UTC)
    assert (stats["total_runs"], stats["completed_runs"], stats["failed_runs"]) == (5, 4, 1)
    assert stats["total_models"] == 1
    kinds = {"model": 1, "data": 1, "metrics": 4, "report": 1, "file": 3}
    assert stats["artifacts_by_type"] == kinds
    assert stats["total_artifacts"] == len(project.get_artifacts(limit=None)) == 10
    for kind, count in kinds.items():
        found = project.get_artifacts(artifact_type=kind)
        assert len(found) == count
        assert {artifact["type"] for artifact in found} == {kind}
        assert len(project.get_artifacts(kind, limit=2)) == min(count, 2)

    everything = project.get_artifacts(limit=None)
    times = [artifact["created_at"] for artifact in everything]
    assert times == sorted(times, reverse=True)
    assert project.get_artifacts(limit=4) == everything[:4]
    assert project.get_artifacts(limit=0) == []
    assert project.get_artifacts("model")[0]["name"] == "clf:1"
    newest, *_, oldest = project.get_artifacts("metrics")
    assert (newest["name"], newest["metrics"]) == ("clf", {"accuracy": 0.9})
    assert (oldest["name"], oldest["metrics"]) == ("run-0", {"loss": 0.0})
    for limit in (-1, 1.5, True):
        with pytest.raises(ConfigError, match="limit"):
            project.get_artifacts(limit=limit)  # type: ignore[arg-type]

    assert [run["run_name"] for run in project.list_runs(pipeline_name="train")] == ["run-2", "run-1"]
    assert [run["run_name"] for run in project.list_runs("train", limit=1)] == ["run-2"]
    assert project.list_runs(pipeline_name="nothing") == []

    on_disk = sum(p.stat().st_size for p in client.workspace_path.rglob("*") if p.is_file())
    assert 0 < project.get_storage_usage() <= on_disk / 1e6
    assert project.get_storage_usage() == client.get_storage_usage()["total_bytes"] / 1e6


def test_a_run_of_a_pipeline_is_one_run_however_many_steps_it_has(project: Project) -> None:
    def load() -> list[int]:
        return [1, 2]

    def fit(load: list[int]) -> dict[str, float]:
        project.client.log_metric("seen", len(load))
        return {"accuracy": 0.5}

    pipeline = project.create_pipeline("train").add_step(load).add_step(fit)
    pipeline.run()
    with project.client.start_run("outer"), project.client.start_run("inner", nested=True):
        pass
    assert [run["run_name"] for run in project.list_runs()] == ["inner", "outer", "train"]
    assert [run["run_name"] for run in project.list_runs(limit=3)] == ["inner", "outer", "train"]
    assert len(project.client.list_runs(steps=True)) == 5
    assert [run["run_name"] for run in project.list_runs("train")] == ["train"]
    stats = project.get_stats()
    assert (stats["total_pipelines"], stats["total_runs"], stats["completed_runs"]) == (1, 3, 3)
    summary = project.client.get_status()["mlflow"]["summary"]
    assert (summary["runs"], summary["last_run"]["run_name"]) == (3, "inner")
    # What a step logged and what it returned are there, the steps' runs too.
    assert [(a["name"], a["type"]) for a in project.get_artifacts("dict")] == [("fit", "metrics")]
    assert len(project.get_artifacts("metrics")) == stats["artifacts_by_type"]["metrics"] == 2
    assert project.get_artifacts("DataFrame") == []
    with pytest.raises(ConfigError, match="modle"):
        project.get_artifacts("modle")

    public = ApiReader(project.client.tracking.client(), experiment_id=None)
    assert public.runs(RunQuery(steps=False)) == project.list_runs()
    assert public.runs(RunQuery(steps=False, limit=2)) == project.list_runs(limit=2)
    assert public.counts(steps=False) == stats["runs_by_status"] == {"FINISHED": 3}


def test_measured_values_of_models_are_kept_and_filtered(project: Project, base: Path) -> None:
    with project.client.start_run() as run:
        pass
    project.log_model_metrics("clf", {"accuracy": 0.9}, run_id=run.run_id, environment="staging")
    project.log_model_metrics("clf", {"accuracy": 0.8, "loss": math.nan}, environment="production")
    project.log_model_metrics("reg", {"rmse": math.inf}, environment="production", tags={"week": "7"})

    again = Project("churn", projects_dir=base)
    reg, second, first = again.list_model_metrics()
    assert (reg["model_name"], reg["metrics"], reg["tags"]) == ("reg", {"rmse": math.inf}, {"week": "7"})
    assert second["metrics"]["accuracy"] == 0.8
    assert math.isnan(second["metrics"]["loss"])
    assert (first["run_id"], first["environment"]) == (run.run_id, "staging")
    assert first["created_at"] <= second["created_at"] <= datetime.now(UTC)
    assert [r["environment"] for r in again.list_model_metrics("clf")] == ["production", "staging"]
    assert again.list_model_metrics("clf", "staging") == [first]
    assert again.list_model_metrics(environment="production", limit=1) == [reg]
    assert again.get_stats()["total_runs"] == 1


def test_wrong_model_metrics_are_refused_and_nothing_is_kept(project: Project) -> None:
    with pytest.raises(InvalidModelNameError, match=r"\.\./clf"):
        project.log_model_metrics("../clf", {"a": 1.0})
    with pytest.raises(ConfigError, match="no metrics"):
        project.log_model_metrics("clf", {})
    with pytest.raises(Exception, match="good"):
        project.log_model_metrics("clf", {"a": 1.0, "b": "good"})  # type: ignore[dict-item]
    with pytest.raises(DataNotFoundError, match="0000"):
        project.log_model_metrics("clf", {"a": 1.0}, run_id="0" * 32)
    with pytest.raises(ConfigError, match="week"):
        project.log_model_metrics("clf", {"a": 1.0}, tags={"week": 7})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="limit"):
        project.list_model_metrics(limit=-1)
    assert project.list_model_metrics() == []


def test_a_damaged_line_is_named_and_never_dropped(project: Project) -> None:
    project.log_model_metrics("clf", {"a": 1.0})
    file = project.client.workspace_path / "model_metrics.jsonl"
    file.write_text(file.read_text() + '{"model_name": "clf"}\n')
    with pytest.raises(WorkspaceCorruptError, match="Line 2"):
        project.list_model_metrics()


def test_two_projects_in_two_threads_never_meet(base: Path) -> None:
    manager = ProjectManager(base)
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            project = manager.create_project(name, description=f"of {name}")
            project.add_tag("owner", name)
            for n in range(3):
                with project.client.start_run(f"{name}-{n}"):
                    project.client.log_metric("n", n)
                project.log_model_metrics(name, {"n": n})
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("acme_corp", "tech_startup")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for name, other in (("acme_corp", "tech_startup"), ("tech_startup", "acme_corp")):
        project = manager.get_project(name)
        assert project is not None
        assert project.get_tags() == {"owner": name}
        assert {run["run_name"] for run in project.list_runs()} == {f"{name}-{n}" for n in range(3)}
        assert {record["model_name"] for record in project.list_model_metrics()} == {name}
        assert project.get_stats()["artifacts_by_type"]["metrics"] == 6
        project.client.close()
        contents = [p.read_bytes() for p in project.client.workspace_path.rglob("*") if p.is_file()]
        assert not any(other.encode() in content for content in contents)


def test_a_project_that_was_moved_never_touches_the_original(base: Path, tmp_path: Path) -> None:
    import shutil

    original = Project("churn", projects_dir=base)
    with original.client.start_run("before"):
        original.client.log_metric("a", 1.0)
    original.log_model_metrics("clf", {"a": 1.0})
    original.client.close()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(base, elsewhere)
    copied = Project("churn", projects_dir=elsewhere)
    with copied.client.start_run("after"):
        pass
    copied.log_model_metrics("clf", {"a": 2.0})
    copied.add_tag("copy", "yes")
    assert copied.get_stats()["total_runs"] == 2
    assert original.get_stats()["total_runs"] == 1
    assert len(original.list_model_metrics()) == 1
    assert original.get_tags() == {}


def test_measured_values_travel_with_the_project(project: Project, base: Path, tmp_path: Path) -> None:
    project.log_model_metrics("clf", {"a": 1.0})
    expected = project.list_model_metrics()
    project.client.close()
    manager = WorkspaceManager(base)
    archive = manager.export_workspace("churn", tmp_path / "churn.mlops")
    manager.rename_workspace("churn", "churn2")
    assert Project("churn2", projects_dir=base).list_model_metrics() == expected
    manager.import_workspace(archive, project_name="again")
    assert Project("again", projects_dir=base).list_model_metrics() == expected
    # The project that was renamed leaves nothing in its old place.
    with pytest.raises(WorkspaceNotFoundError):
        project.log_model_metrics("clf", {"a": 2.0})
    assert not (base / "churn").exists()


def test_a_pipeline_can_be_copied_to_another_project(project: Project, base: Path) -> None:
    def load() -> list[int]:
        return [1]

    project.create_pipeline("train", params={"depth": 3}).add_step(load).run()
    other = Project("other", projects_dir=base)
    pipeline = project.create_pipeline("train").add_step(load).copy_to(other)
    assert (other.get_pipelines(), other.get_stats()["total_runs"]) == (["train"], 0)
    pipeline.run()
    assert [len(p.list_runs("train")) for p in (project, other)] == [1, 1]


def test_the_manager_creates_gets_lists_and_deletes(base: Path) -> None:
    manager = ProjectManager(base)
    assert manager.list_projects() == []
    created = manager.create_project("ml_platform", description="Main platform")
    assert isinstance(created, Project)
    with pytest.raises(WorkspaceExistsError, match="ml_platform") as exists:
        manager.create_project("ml_platform", description="Not this")
    assert exists.value.operation == "create_project"
    found = manager.get_project("ml_platform")
    assert found is not None
    assert found.description == "Main platform"

    with pytest.raises(ConfirmationRequiredError, match="confirm=True") as unconfirmed:
        manager.delete_project("ml_platform")
    assert unconfirmed.value.operation == "delete_project"
    assert manager.get_project("ml_platform") is not None
    manager.delete_project("ml_platform", confirm=True)
    assert manager.get_project("ml_platform") is None
    with pytest.raises(WorkspaceNotFoundError):
        manager.delete_project("ml_platform", confirm=True)
    with pytest.raises(WorkspaceNotFoundError):
        found.add_tag("a", "b")
    with pytest.raises(WorkspaceNotFoundError):
        found.log_model_metrics("clf", {"a": 1.0})
    assert not (base / "ml_platform").exists()


def test_reading_creates_nothing(base: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert ProjectManager(nowhere).list_projects() == []
    assert ProjectManager(nowhere).get_project("churn") is None
    assert not nowhere.exists()
    (base / "stray").mkdir()
    assert ProjectManager(base).get_project("stray") is None
    with pytest.raises(InvalidProjectNameError):
        ProjectManager(base).get_project("../churn")
    Project("churn", projects_dir=base)
    before = tree(base)
    project = ProjectManager(base).get_project("churn")
    assert project is not None
    project.get_stats()
    project.get_artifacts()
    project.list_runs()
    project.get_storage_usage()
    project.list_model_metrics()
    project.get_tags()
    ProjectManager(base).list_projects()
    project.export_metadata(tmp_path / "out.json")
    assert tree(base) == before


def test_a_corrupt_project_is_listed_and_hides_no_other(base: Path) -> None:
    manager = ProjectManager(base)
    for name in ("broken", "sound"):
        manager.create_project(name, description=f"the {name} one")
    (base / "broken" / "workspace.yaml").write_text("{ not yaml")
    broken, sound = manager.list_projects()
    assert (broken["name"], broken["state"], broken["created_at"]) == ("broken", "corrupt", None)
    assert "workspace.yaml" in broken["error"]
    assert (sound["name"], sound["description"], sound["state"]) == ("sound", "the sound one", "ready")
    assert datetime.fromisoformat(sound["created_at"]).tzinfo is not None
    with pytest.raises(WorkspaceCorruptError):
        manager.get_project("broken")
    with pytest.raises(WorkspaceCorruptError):
        Project("broken", projects_dir=base)
    assert (base / "broken" / "workspace.yaml").read_text() == "{ not yaml"
