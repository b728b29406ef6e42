"""Scripts that have never heard of this package, run in real child processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient, WorkspaceManager

Result = subprocess.CompletedProcess[str]

TRAIN = """
import json
import mlflow, pandas
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

frame = pandas.read_csv("data/train.csv")
mlflow.sklearn.autolog(log_models=False, log_datasets=False)
with mlflow.start_run(run_name="outer"):
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(frame[["x"]], frame["y"])
    mlflow.log_text("hello", "notes/hello.txt")
    mlflow.sklearn.log_model(search.best_estimator_, name="model", registered_model_name="clf",
                             pip_requirements=["scikit-learn"])
loaded = mlflow.sklearn.load_model("models:/clf/1")
mlflow.set_experiment("own")
with mlflow.start_run(run_name="elsewhere") as run:
    mlflow.log_text("there", "there.txt")
print(json.dumps({"uri": mlflow.get_tracking_uri(), "predicted": loaded.predict(frame[["x"]]).tolist(),
                  "own": MlflowClient().get_run(run.info.run_id).info.artifact_uri}))
"""


@dataclass(frozen=True)
class Trained:
    repository: Path
    client: MLOpsClient
    printed: dict[str, Any]
    stderr: str
    commit: str


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, shell: Callable[..., Result], mlops: Callable[..., Result]
) -> Trained:
    """A repository whose train.py ran once, with one of its two datasets named."""
    root = tmp_path_factory.mktemp("training")
    repository, base = root / "repo", root / "base"
    (repository / "data").mkdir(parents=True)
    (repository / "train.py").write_text(TRAIN)
    (repository / "data" / "train.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    (repository / "data" / "other.csv").write_text("z\n1\n")
    shell("git", "init", "-q", cwd=repository)
    shell("git", "add", ".", cwd=repository)
    shell("git", "commit", "-qm", "first", cwd=repository)
    client = MLOpsClient("churn", base_path=base)
    client.dvc_add(repository / "data" / "other.csv")
    done = mlops(base, "run", "churn", "--data", "data/train.csv", "--", "python", "train.py", cwd=repository)
    return Trained(
        repository,
        client,
        json.loads(done.stdout.splitlines()[-1]),
        done.stderr,
        shell("git", "rev-parse", "HEAD", cwd=repository).stdout.strip(),
    )


def test_runs_autologging_and_models_land_in_the_project(trained: Trained) -> None:
    runs = {run["run_name"]: run for run in trained.client.list_runs()}
    assert len(runs) == 4  # the outer one, two of the grid search, one in an experiment of its own
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    assert runs["outer"]["params"]["best_C"] in ("0.1", "1.0")
    assert trained.client.tracking.models.find("clf").run_id == runs["outer"]["run_id"]
    assert len(trained.printed["predicted"]) == 20
    assert "mlops: 4 runs in churn (4 FINISHED)" in trained.stderr


def test_an_experiment_that_the_script_makes_is_in_the_workspace(trained: Trained) -> None:
    assert trained.client.tracking.summary()["experiments"] == 2
    artifacts = trained.client.workspace.mlflow_path.resolve() / "artifacts"
    assert trained.printed["own"].startswith(f"{artifacts.as_uri()}/1/")
    assert [path.name for path in artifacts.rglob("there.txt")] == ["there.txt"]


def test_nothing_is_left_where_the_script_ran(trained: Trained) -> None:
    assert sorted(path.name for path in trained.repository.iterdir()) == [".git", "data", "train.py"]
    assert sorted(path.name for path in (trained.repository / "data").iterdir()) == [
        "other.csv",
        "other.csv.dvc",
        "train.csv",
        "train.csv.dvc",
    ]


def test_every_run_says_whose_it_is_and_what_code_and_data_it_had(trained: Trained) -> None:
    (version,) = (v for v in trained.client.data.datasets() if v.path.name == "train.csv")
    tags = [run["tags"] for run in trained.client.list_runs()]
    assert {t["mlops.project"] for t in tags} == {"churn"}
    assert len({t["mlops.run_group"] for t in tags}) == 1
    assert {(t["mlops.git_commit"], t["mlops.git_dirty"]) for t in tags} == {(trained.commit, "false")}
    data = {key: value for key, value in tags[0].items() if key.startswith("mlops.data.")}
    assert list(data.values()) == [version.md5], "only the named dataset was read"
    assert all(data.items() <= t.items() for t in tags)


def test_named_data_can_be_brought_back_from_a_run(trained: Trained, tmp_path: Path) -> None:
    (run,) = (r for r in trained.client.list_runs() if r["run_name"] == "outer")
    trained.client.dvc_pull(run_id=run["run_id"], destination=tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (trained.repository / "data/train.csv").read_bytes()


BOTH = """
import json, sys
{imports}
from mlflow import MlflowClient

name, partner = sys.argv[1:]
with mlflow.start_run(run_name="plain") as plain:
    mlflow.log_param("who", name)
client = mlops.MLOpsClient.from_project(name)
with client.start_run("ours"):
    with mlflow.start_run(run_name="inside", nested=True):
        mlflow.log_metric("m", 1)
with mlops.MLOpsClient.from_project(partner).start_run("guest"):
    with mlflow.start_run(run_name="guest inside", nested=True):
        pass
"""


def test_two_projects_at_once_whichever_of_mlops_and_mlflow_is_imported_first(
    base: Path, tmp_path: Path, inherited: dict[str, str]
) -> None:
    manager = WorkspaceManager(base)
    for name in ("churn", "fraud", "partner"):
        manager.create_workspace(name)
    churn = MLOpsClient("churn", workspace_manager=manager)
    data = {name: tmp_path / f"{name}.csv" for name in ("kept", "changed")}
    for path in data.values():
        path.write_text("a\n1\n")
    kept = churn.dvc_add(data["kept"])
    churn.dvc_add(data["changed"])
    data["changed"].write_text("a\n1\n2\n")
    children = []
    for name, imports in (("churn", "import mlops, mlflow"), ("fraud", "import mlflow, mlops")):
        (tmp_path / f"{name}.py").write_text(BOTH.format(imports=imports))
        command = ["mlops", "--base-path", str(base), "run", name, "--"]
        children.append(
            subprocess.Popen(
                [*command, "python", f"{name}.py", name, "partner"],
                cwd=tmp_path,
                env=inherited,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for child in children:
        _, errors = child.communicate()
        assert child.returncode == 0, errors
        assert "circular import" not in errors
    for name in ("churn", "fraud"):
        runs = {r["run_name"]: r for r in MLOpsClient(name, workspace_manager=manager).list_runs()}
        assert set(runs) == {"plain", "ours", "inside"}
        assert runs["plain"]["params"] == {"who": name}
        assert {r["tags"]["mlops.project"] for r in runs.values()} == {name}
        assert runs["inside"]["tags"]["mlflow.parentRunId"] == runs["ours"]["run_id"]
        found = {k: v for r in runs.values() for k, v in r["tags"].items() if k.startswith("mlops.data.")}
        # Data that was changed and not versioned again has no tag: no version says what it was.
        assert list(found.values()) == ([kept.md5] if name == "churn" else [])
        assert all(("mlops.run_group" in r["tags"]) for r in runs.values())
    guests = MLOpsClient("partner", workspace_manager=manager).list_runs()
    assert len(guests) == 4
    for run in guests:
        assert run["tags"]["mlops.project"] == "partner"
        assert not [t for t in run["tags"] if t.startswith(("mlops.data.", "mlops.run_group"))]


LEFT = """
import os, mlflow
try:
    with mlflow.start_run(run_name="raised"):
        raise ValueError("no")
except ValueError:
    pass
with mlflow.start_run(run_name="good"):
    pass
mlflow.start_run(run_name="left")
os._exit(3)
"""


def test_a_script_that_dies_keeps_its_exit_code_and_leaves_no_run_open(
    base: Path, tmp_path: Path, mlops: Callable[..., Result]
) -> None:
    (tmp_path / "left.py").write_text(LEFT)
    done = mlops(base, "run", "churn", "--create", "--", "python", "left.py", cwd=tmp_path, check=False)
    assert done.returncode == 3
    runs = {run["run_name"]: run for run in MLOpsClient("churn", base_path=base).list_runs()}
    assert {name: run["status"] for name, run in runs.items()} == {
        "raised": "FAILED",
        "good": "FINISHED",
        "left": "FAILED",
    }
    assert runs["left"]["end_time"] is not None
    assert "3 runs in churn (2 FAILED, 1 FINISHED)" in done.stderr
    assert f"run {runs['left']['run_id']} was cut off and is FAILED now" in done.stderr


BENTO = """
import bentoml
from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit([[0], [1]], [0, 1])
saved = bentoml.sklearn.save_model("scorer", model)
assert bentoml.sklearn.load_model("scorer:latest").predict([[1]]) == [1]
print(bentoml.models.get(saved.tag).path)
"""


def test_plain_bentoml_saves_into_the_project(
    base: Path, tmp_path: Path, mlops: Callable[..., Result]
) -> None:
    (tmp_path / "pack.py").write_text(BENTO)
    done = mlops(base, "run", "churn", "--create", "-q", "--", "python", "pack.py", cwd=tmp_path)
    client = MLOpsClient("churn", base_path=base)
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(client.workspace.models_path)
    assert [entry.tag.partition(":")[0] for entry in client.serving.models()] == ["scorer"]
    assert "mlops:" not in done.stderr


def test_plain_dvc_pushes_to_the_project(
    base: Path, tmp_path: Path, shell: Callable[..., Result], mlops: Callable[..., Result]
) -> None:
    repository = tmp_path / "repo"
    repository.mkdir()
    manager = WorkspaceManager(base)
    workspaces = [manager.create_workspace(name) for name in ("churn", "fraud")]
    shell("git", "init", "-q", cwd=repository)
    (repository / "named.csv").write_text("a\n1\n")
    script = "dvc init -q && dvc add -q named.csv && dvc push -q -r project && dvc remote list"
    done = mlops(base, "run", "churn", "-q", "--", "sh", "-c", script, cwd=repository)
    assert "project" in done.stdout
    objects = [
        {path.parent.name + path.name for path in (w.dvc_path / "remote").rglob("*") if path.is_file()}
        for w in workspaces
    ]
    pointer = (repository / "named.csv.dvc").read_text()
    assert [md5 in pointer for md5 in objects[0]] == [True]
    assert objects[1] == set()
    # The repository itself knows nothing of the project, and its cache is its own.
    assert "remote" not in (repository / ".dvc" / "config").read_text()
    assert len([p for p in (repository / ".dvc" / "cache").rglob("*") if p.is_file()]) == 1


PLAIN = """
import json, mlflow
from mlflow import MlflowClient
with mlflow.start_run() as run:
    pass
run = MlflowClient().get_run(run.info.run_id)
print(json.dumps([run.info.experiment_id, sorted(run.data.tags), mlflow.get_tracking_uri()]))
"""


def test_without_the_variables_mlflow_is_as_if_this_package_were_not_there(
    tmp_path: Path, shell: Callable[..., Result]
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    done = shell("python", "plain.py", cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "0",
        ["mlflow.runName", "mlflow.source.name", "mlflow.source.type", "mlflow.user"],
        f"sqlite:///{tmp_path}/mlflow.db",
    ]
    assert "mlops" not in done.stderr
