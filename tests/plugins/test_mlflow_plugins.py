"""The stores and providers that MLflow loads from this package's entry points."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops import ConfigError, MLOpsClient, WorkspaceManager, WorkspaceNotFoundError
from mlops.integrations.mlflow_tracking import MLflowTracking, groups
from mlops.plugins import variables
from mlops.workspace.tools import ToolContext

Membership = Callable[..., Any]


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Membership:
    """Make this process a member of a project for a while, with variables changed or left out."""

    @contextmanager
    def enter(client: MLOpsClient, **changed: str | None) -> Iterator[None]:
        with monkeypatch.context() as patch:
            for name, value in (client.environment(inherit=False) | changed).items():
                if value is not None:
                    patch.setenv(name, value)
            yield

    return enter


def test_the_entry_points_load_without_mlflow() -> None:
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        "found = [p for g in ('tracking_store', 'model_registry_store', 'default_experiment_provider',"
        " 'run_context_provider') for p in entry_points(group='mlflow.' + g)"
        " if p.value.startswith('mlops.plugins')]\n"
        "[p.load() for p in found]; print(len(found), 'mlflow' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "False", "False"]


@pytest.mark.parametrize("name", ["plain", "sp ace", "ü", "per%41cent", "ha#sh", "que?stion", "a&b+c"])
def test_a_workspace_opens_at_any_path(tmp_path: Path, name: str) -> None:
    from mlflow import MlflowClient

    workspace = WorkspaceManager(tmp_path / name).create_workspace("churn")
    uri = variables.workspace_uri(workspace.root_path)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = client.create_run(client.create_experiment("own"))
    client.log_text(run.info.run_id, "there", "a.txt")
    assert client.get_experiment("0").name == "churn"
    artifacts = (workspace.mlflow_path / "artifacts").resolve()
    assert [p.read_text() for p in artifacts.glob("1/*/artifacts/a.txt")] == ["there"]
    client.create_registered_model("clf")
    assert MLOpsClient("churn", base_path=tmp_path / name).tracking.summary()["models"] == 1


def test_a_missing_workspace_is_refused_and_not_created(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = variables.workspace_uri(tmp_path / "none")
    with pytest.raises(WorkspaceNotFoundError, match="Workspace does not exist") as caught:
        MlflowClient(tracking_uri=uri)
    assert "mlops init" in str(caught.value.hint)
    assert caught.value.operation == "tracking_store"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("uri", ["mlops://host/churn", "mlops:churn", "mlops:///", "mlops:///churn?x=1"])
def test_what_is_no_workspace_uri_is_refused(uri: str) -> None:
    from mlflow import MlflowClient

    with pytest.raises((ConfigError, WorkspaceNotFoundError)):
        MlflowClient(tracking_uri=uri)


def test_a_copied_workspace_is_a_project_of_its_own(base: Path) -> None:
    from mlflow import MlflowClient

    original = MLOpsClient("churn", base_path=base)
    with original.start_run() as first:
        original.log_text("first", "a.txt")
    original.close()
    shutil.copytree(base / "churn", base / "fraud")
    uri = variables.workspace_uri(base / "fraud")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert client.get_experiment("0").name == "fraud"
    run = client.create_run("0")
    client.log_text(run.info.run_id, "copy", "a.txt")
    assert run.info.artifact_uri.startswith((base / "fraud").resolve().as_uri())
    assert [r["run_id"] for r in original.list_runs()] == [first.run_id]


def test_code_that_names_no_experiment_is_in_the_project(base: Path, member: Membership) -> None:
    import mlflow

    client = MLOpsClient("churn", base_path=base)
    with member(client, MLOPS_RUN_GROUP="g1"), mlflow.start_run() as run:
        mlflow.log_param("a", 1)
    (found,) = client.list_runs()
    assert found["run_id"] == run.info.run_id
    assert (found["tags"]["mlops.project"], found["tags"]["mlops.run_group"]) == ("churn", "g1")


def test_without_its_store_no_run_of_the_project_can_start(
    base: Path, tmp_path: Path, member: Membership
) -> None:
    from mlflow.tracking.context.registry import resolve_tags
    from mlflow.tracking.default_experiment.registry import get_experiment_id

    client = MLOpsClient("churn", base_path=base)
    # The variables that name the store got lost: the run would be in ./mlflow.db.
    with member(client, MLFLOW_TRACKING_URI=None, MLFLOW_REGISTRY_URI=None):
        assert get_experiment_id() == "-1"
    # The code, or the user, chose another store: that is not the project's, and nothing is said about it.
    with member(client, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/other.db"):
        assert get_experiment_id() == "0"
        assert not [tag for tag in resolve_tags() if tag.startswith("mlops.")]


def test_on_a_server_a_lost_experiment_name_stops_the_run(base: Path, member: Membership) -> None:
    from mlflow.tracking.context.registry import resolve_tags
    from mlflow.tracking.default_experiment.registry import get_experiment_id

    client = MLOpsClient("churn", base_path=base, mlflow_tracking_uri="https://u:secret@ml.example")
    assert "secret" not in client.environment()["MLOPS_TRACKING_STORE"]
    with member(client, MLFLOW_EXPERIMENT_NAME=None):
        assert get_experiment_id() == "-1"
        assert resolve_tags()["mlops.project"] == "churn"


def test_a_plain_nested_run_inside_a_run_of_ours_says_whose_it_is(base: Path) -> None:
    import mlflow

    client = MLOpsClient("churn", base_path=base)
    with client.start_run("ours"), mlflow.start_run(run_name="plain", nested=True):
        pass
    tags = {run["run_name"]: run["tags"] for run in client.list_runs()}
    assert tags["plain"]["mlops.project"] == tags["ours"]["mlops.project"] == "churn"
    assert "mlops.run_group" not in tags["plain"]


def test_trouble_with_the_data_costs_a_run_its_data_tags_only(
    base: Path, member: Membership, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.tracking.context.registry import resolve_tags

    client = MLOpsClient("churn", base_path=base)
    Path("a.csv").write_text("1\n")
    version = client.dvc_add("a.csv")
    with member(client):
        assert version.md5 in resolve_tags().values()
    (client.workspace.dvc_path / "ledger.jsonl").write_text("torn\n")
    with member(client, MLOPS_RUN_GROUP="another"):  # what was looked up for one command is not kept
        tags = resolve_tags()
    assert tags["mlops.project"] == "churn"
    assert not [tag for tag in tags if tag.startswith("mlops.data.")]


def test_named_data_wins_over_what_is_in_place(base: Path, member: Membership) -> None:
    from mlflow.tracking.context.registry import resolve_tags

    client = MLOpsClient("churn", base_path=base)
    Path("a.csv").write_text("1\n")
    client.dvc_add("a.csv")
    with member(client, MLOPS_DATA=json.dumps({"data/b.csv": "abc"})):
        tags = resolve_tags()
    assert {k: v for k, v in tags.items() if k.startswith("mlops.data")} == {"mlops.data.data/b.csv": "abc"}


@pytest.mark.parametrize("own_store", [True, False])
def test_the_runs_of_a_command_are_found_and_finished(
    make_context: Callable[..., ToolContext], tmp_path: Path, own_store: bool
) -> None:
    uri = None if own_store else f"sqlite:///{tmp_path}/shared.db"
    tracking = MLflowTracking(make_context(mlflow_tracking_uri=uri))
    client = tracking.client()
    made = [
        client.create_run(tracking.experiment_id, tags={groups.GROUP_TAG: group}).info.run_id
        for group in ("mine", "mine", "mine", "other")
    ]
    client.set_terminated(made[0], "FINISHED", end_time=1_000)
    client.set_terminated(made[1], "FAILED", end_time=9_000)
    members = {member.run_id: member for member in groups.members(tracking, "mine")}
    assert set(members) == set(made[:3])
    assert members[made[1]].ended_at == 9_000

    changed = groups.finish(tracking, members.values(), stopped=True, signalled_at=5_000)
    assert changed == {made[1]: "KILLED", made[2]: "KILLED"}
    statuses = [client.get_run(run_id).info.status for run_id in made]
    assert statuses == ["FINISHED", "KILLED", "KILLED", "RUNNING"]
    assert client.get_run(made[1]).info.end_time == 9_000
    again = groups.members(tracking, "mine")
    assert groups.finish(tracking, again, stopped=False, signalled_at=None) == {}

    for _ in range(2):
        use = {"name": "a.csv", "digest": "d" * 32, "source": {"md5": "d" * 32}}
        groups.record_inputs(tracking, again, [use])
    assert [item["digest"] for item in tracking.datasets(made[0])] == ["d" * 32]
    assert tracking.datasets(made[3]) == []
