from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import sklearn
from sklearn.linear_model import LinearRegression, LogisticRegression

import mlops
from mlops import MLOpsClient, WorkspaceManager
from mlops.errors import WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.integrations.evidently_monitoring import history
from mlops.integrations.mlflow_tracking import store
from mlops.reporting.registry import Registry, RegistryEntry, collect


def names(registry: Registry) -> list[tuple[str, str, str]]:
    return [(entry.project, entry.model, entry.version) for entry in registry.entries]


def entry(base: Path, project: str, model: str, version: str) -> RegistryEntry:
    (found,) = [
        each
        for each in collect(WorkspaceManager(base), project=project, model=model).entries
        if each.version == version
    ]
    return found


def test_every_model_of_every_project_newest_first(demo: Path) -> None:
    registry = collect(WorkspaceManager(demo))
    assert names(registry) == [
        ("forecast", "demand", "1"),
        ("churn", "classifier", "2"),
        ("churn", "classifier", "1"),
    ]
    assert {each.kind for each in registry.entries} == {"registered"}
    assert [(each.packaged, each.bento) for each in registry.entries] == [
        (True, None),
        (False, None),
        (True, "churn.classifier:1"),
    ]
    # What cannot be read is told, and hides nothing.
    assert registry.errors.keys() == {"broken", "torn"}
    assert "not valid YAML" in registry.errors["broken"]
    assert json.loads(json.dumps(registry.to_dict(), allow_nan=False))["errors"].keys() == {"broken", "torn"}


def test_a_version_is_told_as_the_tools_have_it(demo: Path) -> None:
    client = MLOpsClient("churn", base_path=demo)
    first = entry(demo, "churn", "classifier", "1")
    version = client.tracking.models.get("classifier", version=1)
    assert (first.framework, first.framework_version) == ("scikit-learn", sklearn.__version__)
    assert first.made_with == version.framework
    assert (first.flavor, first.size_bytes, first.aliases) == ("sklearn", version.size_bytes, ("production",))
    assert first.created_at == version.created_at
    assert first.run_id == version.run_id
    assert first.metrics == client.tracking.get_run(version.run_id)["metrics"]
    assert first.metrics["accuracy"] == pytest.approx(0.83)
    (use,) = client.tracking.datasets(version.run_id)
    assert list(first.data.values()) == [use["digest"]]
    assert first.signature is not None
    assert [str(field) for field in first.signature["inputs"]] == ["age double", "spend double"]
    assert [field.type for field in first.signature["outputs"]] == ["int64[-1]"]

    check = client.monitoring.history("classifier")[0]
    assert first.last_check is not None
    assert first.drifting is True
    assert first.last_check.snapshot_id == check["snapshot_id"]
    assert first.last_check.checked_at.isoformat() == check["checked_at"]
    assert first.last_check.drift_share == check["drift_share"]
    assert first.last_check.performance == check["performance"]
    assert entry(demo, "churn", "classifier", "2").last_check is None
    assert entry(demo, "forecast", "demand", "1").drifting is False


@pytest.mark.parametrize(
    ("wanted", "versions"),
    [
        ({"project": "churn"}, ["2", "1"]),
        ({"project": "quiet"}, []),
        ({"model": "churn.classifier", "alias": "production"}, ["1"]),
        ({"alias": "champion"}, []),
        ({"framework": "Scikit-Learn", "model": "classifier"}, ["2", "1"]),
        ({"framework": "sklearn", "model": "demand"}, ["1"]),
        ({"framework": f"scikit-learn=={sklearn.__version__}", "project": "forecast"}, ["1"]),
        ({"framework": "xgboost"}, []),
        ({"drifting": True}, ["1"]),
        ({"drifting": False, "project": "churn"}, []),
        ({"drifting": False, "project": "forecast"}, ["1"]),
        ({"tags": {"mlops.project": "churn", "mlops.model": "classifier"}}, ["2", "1"]),
        ({"tags": {"mlops.project": "churn", "team": "none"}}, []),
    ],
)
def test_the_registry_is_narrowed(demo: Path, wanted: dict, versions: list[str]) -> None:
    assert [each.version for each in collect(WorkspaceManager(demo), **wanted).entries] == versions


def test_a_project_asked_for_must_be_there_and_readable(demo: Path) -> None:
    manager = WorkspaceManager(demo)
    with pytest.raises(WorkspaceNotFoundError):
        collect(manager, project="nothing")
    with pytest.raises(WorkspaceCorruptError):
        collect(manager, project="broken")
    assert not (demo / "nothing").exists()


def test_reading_imports_no_tool_and_writes_nothing(demo: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = {}
        for folder, _, files in os.walk(demo):
            for file in files:
                status = Path(folder, file).stat()
                found[os.path.join(folder, file)] = (status.st_size, status.st_mtime_ns)
        return found

    code = """
import sys
from mlops import WorkspaceManager
from mlops.reporting.registry import collect
assert len(collect(WorkspaceManager(sys.argv[1])).entries) == 3
heavy = {"mlflow", "bentoml", "evidently", "dvc", "pandas", "numpy", "pyarrow", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    before = state()
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert state() == before


def test_many_projects_cost_little_each_and_leave_nothing_open(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, count = tmp_path / "fleet", 40
    (base / ".mlops").mkdir(parents=True)
    configuration = (demo / "churn" / "workspace.yaml").read_text()
    for number in range(count):
        root = base / f"p{number:02d}"
        subprocess.run(["cp", "-a", str(demo / "churn"), str(root)], check=True)
        text = configuration.replace("project_name: churn", f"project_name: {root.name}")
        (root / "workspace.yaml").write_text(text)
    opened: list[Path] = []
    open_ = store._open
    monkeypatch.setattr(store, "_open", lambda path: (opened.append(path), open_(path))[1])
    started = time.process_time()
    registry = collect(WorkspaceManager(base))
    spent = time.process_time() - started
    assert registry.errors == {}
    assert {each.project for each in registry.entries} == {f"p{number:02d}" for number in range(count)}
    # Several times what it takes, so that a busy machine does not matter.
    assert spent / count < 0.05
    assert len(opened) == len(set(opened)) == count
    assert not [file for file in psutil.Process().open_files() if Path(file.path).is_relative_to(base)]


def test_the_base_is_found_as_everywhere_else(demo: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_BASE_PATH", str(demo))
        assert names(mlops.Registry.collect(project="forecast")) == [("forecast", "demand", "1")]


@pytest.fixture(scope="module")
def mixed(demo: Path, tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Path]:
    """Models that this library did not register: by plain MLflow, and packaged from a directory."""
    base = tmp_path_factory.mktemp("mixed") / "base"
    (base / ".mlops").mkdir(parents=True)
    frame = pd.DataFrame({"age": [20.0, 40.0, 60.0], "spend": [1.0, 2.0, 3.0]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        with MLOpsClient.from_project("mixed", base_path=base) as client:
            import mlflow

            with client.start_run("plain"):
                client.log_metric("mse", 0.25)
                mlflow.sklearn.log_model(
                    LinearRegression().fit(frame[["age"]], frame["spend"]),
                    name="line",
                    registered_model_name="line",
                    signature=mlflow.models.infer_signature(frame[["age"]]),
                    # Else MLflow loads the model in another process to find out.
                    pip_requirements=["scikit-learn"],
                )
            with client.start_run("doomed") as doomed:
                client.log_model(LogisticRegression().fit(frame[["age"]], [0, 1, 1]), "orphan")
            client.tracking.client().delete_run(doomed.run_id)
            folder = client.tracking.models.download("orphan")
            for version in ("1", "2"):
                client.deploy_model(folder, name="packed", version=version, build_bento=False)
            # As a check of a name alone leaves it.
            check = history.read(demo / "forecast" / "monitoring" / history.HISTORY_FILE)[0]
            path = client.workspace.monitoring_path / history.HISTORY_FILE
            history.append(path, [check | {"model": "packed", "model_version": None}])
        yield base


def test_what_plain_mlflow_registered_is_told_by_its_files(mixed: Path) -> None:
    line = entry(mixed, "mixed", "line", "1")
    assert (line.kind, line.framework, line.flavor) == ("registered", "scikit-learn", "sklearn")
    assert line.framework_version == sklearn.__version__
    assert line.size_bytes and line.size_bytes > 500
    assert line.signature is not None
    assert [str(field) for field in line.signature["inputs"]] == ["age double"]
    assert line.metrics == {"mse": 0.25}
    assert line.last_check is None


def test_a_model_outlives_its_run(mixed: Path) -> None:
    orphan = entry(mixed, "mixed", "orphan", "1")
    assert orphan.run_id
    assert orphan.metrics == {}
    assert collect(WorkspaceManager(mixed)).errors == {}


def test_what_is_only_packaged_is_there_too_and_a_check_of_the_name_is_about_the_newest(mixed: Path) -> None:
    first, second = (entry(mixed, "mixed", "packed", version) for version in ("1", "2"))
    assert (first.kind, first.packaged, first.bento) == ("packaged", True, None)
    assert (second.framework, second.flavor) == ("scikit-learn", "sklearn")
    assert first.last_check is None
    assert second.last_check is not None
    assert second.last_check.model_version is None
    assert names(collect(WorkspaceManager(mixed), drifting=False)) == [("mixed", "packed", "2")]


def test_a_copied_base_is_told_from_its_own_files(mixed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mixed, copy)
    here, there = entry(copy, "mixed", "line", "1"), entry(mixed, "mixed", "line", "1")
    assert here == there
    for card in copy.rglob("MLmodel"):
        card.unlink()
    assert entry(copy, "mixed", "line", "1").signature is None
    assert entry(mixed, "mixed", "line", "1").signature is not None


def test_damage_in_one_place_hides_no_other(mixed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mixed, copy)
    home = copy / "mixed"
    (home / "models" / "models" / "mixed.packed" / "1" / "model.yaml").write_text("torn: [")
    with (home / "monitoring" / "history.jsonl").open("ab") as torn:
        torn.write(b'{"snapshot_id":"x","model":"packed","check')
    for card in (home / "mlflow").rglob("MLmodel"):
        card.write_text("flavors: [")
    registry = collect(WorkspaceManager(copy))
    assert sorted(names(registry)) == [
        ("mixed", "line", "1"),
        ("mixed", "orphan", "1"),
        ("mixed", "packed", "2"),
    ]
    assert "model.yaml" in registry.errors["mixed"]
    assert "MLmodel cannot be read" in registry.errors["mixed"]
    (home / "mlflow" / "mlflow.db").write_bytes(b"no database")
    registry = collect(WorkspaceManager(copy))
    assert names(registry) == [("mixed", "packed", "2")]
    assert registry.entries[0].drifting is False
    assert "mlflow.db" in registry.errors["mixed"]
