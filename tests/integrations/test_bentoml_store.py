from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import (
    ArchiveError,
    ConfigError,
    IntegrationError,
    IntegrationNotInstalledError,
    IntegrationUnavailableError,
    InvalidModelNameError,
    ModelNotFoundError,
    WorkspaceNotFoundError,
)
from mlops.files import measure
from mlops.integrations.bentoml_serving import BentoServing
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolAdapter, ToolContext, ToolState
from tests.integrations.serving_children import start


def save_model(path: Path, slope: float = 1.0) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
        import mlflow.sklearn
        import pandas as pd
        from mlflow.models import infer_signature
        from sklearn.linear_model import LinearRegression

        frame = pd.DataFrame({"petal length (cm)": [1.0, 2.0, 3.0, 4.0], "width": [0.0, 1.0, 0.0, 1.0]})
        model = LinearRegression().fit(frame, frame["petal length (cm)"] * slope)
        signature = infer_signature(frame, model.predict(frame))
        mlflow.sklearn.save_model(model, path, pip_requirements=["scikit-learn"], signature=signature)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as MLflow writes it; tests only read it."""
    return save_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same signature that predicts something else."""
    return save_model(tmp_path_factory.mktemp("other") / "model", slope=2.0)


@pytest.fixture
def serving(context: ToolContext) -> BentoServing:
    return BentoServing(context)


def store(adapter: BentoServing, source: Path, model: str = "iris", version: str = "1", **options: object):
    return adapter.deploy(source, model=model, version=version, build_bento=False, **options)


def test_it_is_a_tool_adapter_that_costs_nothing_to_construct(context: ToolContext) -> None:
    before = measure(context.workspace.root_path)
    adapter = BentoServing(context)
    assert isinstance(adapter, ToolAdapter)
    assert adapter.health().state is ToolState.NOT_CREATED
    assert adapter.summary() == {"models": 0, "bentos": 0, "deployments": [], "serving": [], "errors": []}
    assert adapter.usage().files == 0
    assert list(adapter.links()) == []
    assert measure(context.workspace.root_path) == before
    adapter.ensure()
    assert adapter.health().state is ToolState.READY


def test_reading_imports_neither_bentoml_nor_mlflow(context: ToolContext, saved: Path) -> None:
    store(BentoServing(context), saved)
    code = """
serving.health(), serving.summary(), serving.usage(), list(serving.links()), serving.get("iris", "1")
heavy = {"bentoml", "mlflow", "pandas", "numpy", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    process = start(code, context.workspace.root_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


def test_a_deployment_is_found_again_exactly(serving: BentoServing, saved: Path) -> None:
    made = store(serving, saved, version="1", labels={"stage": "test"}, metadata={"auc": 0.9, "tags": ["a"]})
    assert made.tag == made.model_tag == "churn.iris:1"
    assert made.bento_tag is None
    assert made.size == measure(saved).bytes
    assert made.labels == {"project": "churn", "model": "iris", "version": "1", "stage": "test"}
    assert made.metadata == {"auc": 0.9, "tags": ["a"]}
    assert made.created_at.tzinfo is not None
    assert json.dumps(made.to_dict())
    assert serving.get("iris", 1) == serving.get("churn.iris", "1") == made
    store(serving, saved, version="10")
    assert [d.version for d in serving.deployments()] == ["1", "10"]
    assert serving.get("iris", "10").version == "10"


def test_a_version_that_only_starts_the_same_is_not_found(serving: BentoServing, saved: Path) -> None:
    store(serving, saved, version="10")
    with pytest.raises(ModelNotFoundError, match=r"'iris:1'; it has: churn\.iris:10") as caught:
        serving.get("iris", "1")
    assert caught.value.tool == "bentoml"
    assert caught.value.operation == "get"
    assert caught.value.workspace == "churn"
    assert caught.value.details["existing"] == ["churn.iris:10"]
    with pytest.raises(ModelNotFoundError):
        serving.delete("iris", "1")
    assert serving.get("iris", "10")


def test_what_is_stored_is_what_bentoml_reads(context: ToolContext, saved: Path) -> None:
    adapter = BentoServing(context)
    made = store(adapter, saved, metadata={"auc": 0.9})
    code = """
import bentoml, json
(model,) = bentoml.models.list()
latest = bentoml.models.get("churn.iris:latest")
print(json.dumps([str(model.tag), str(latest.tag), model.info.labels, model.info.metadata["auc"]]))
"""
    environment = dict(os.environ) | {"BENTOML_HOME": str(context.workspace.models_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == [made.tag, made.tag, dict(made.labels), 0.9]


def test_the_same_content_again_gives_the_same_deployment(
    serving: BentoServing, saved: Path, tmp_path: Path
) -> None:
    first = store(serving, saved)
    again = tmp_path / "again"
    shutil.copytree(saved, again)
    card = again / "MLmodel"
    # Another run that saved the same model.
    card.write_text(card.read_text().replace("model_uuid: ", "model_uuid: f00") + "run_id: 0123\n")
    (again / "registered_model_meta").write_text("model_name: x\n")
    assert store(serving, again, labels={"other": "label"}) == first
    assert len(serving.models()) == 1


def test_another_content_under_the_same_tag_is_refused(
    serving: BentoServing, saved: Path, other: Path
) -> None:
    first = store(serving, saved)
    before = measure(serving.workspace.models_path)
    with pytest.raises(IntegrationError, match=r"churn\.iris:1 exists already") as caught:
        store(serving, other)
    assert caught.value.operation == "deploy"
    assert serving.get("iris", "1") == first
    assert measure(serving.workspace.models_path) == before


def test_two_projects_with_the_same_model_do_not_meet(
    make_context: Callable[..., ToolContext], saved: Path, other: Path
) -> None:
    one, two = BentoServing(make_context("churn")), BentoServing(make_context("fraud"))
    store(one, saved)
    assert two.models() == []
    with pytest.raises(ModelNotFoundError):
        two.get("churn.iris", "1")
    store(two, other)
    assert one.summary()["deployments"] == ["churn.iris:1"]
    assert two.summary()["deployments"] == ["fraud.iris:1"]
    two.delete("iris", "1")
    assert one.get("iris", "1")
    assert two.summary()["models"] == 0


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("../iris", "1"),
        ("Iris", "1"),
        ("a/b", "1"),
        ("iris\n", "1"),
        ("", "1"),
        ("x" * 60, "1"),
        ("iris", "latest"),
        ("iris", "../1"),
        ("iris", ""),
        ("iris", "v1\n"),
    ],
)
def test_a_bad_name_is_refused_before_anything_is_written(
    serving: BentoServing, saved: Path, model: str, version: str
) -> None:
    before = measure(serving.workspace.root_path)
    for call in (lambda: store(serving, saved, model, version), lambda: serving.get(model, version)):
        with pytest.raises(InvalidModelNameError):
            call()
    assert measure(serving.workspace.root_path) == before


def test_a_tag_prefix_of_ones_own(make_context: Callable[..., ToolContext], saved: Path) -> None:
    adapter = BentoServing(make_context("churn", bentoml_tag_prefix="team--"))
    assert store(adapter, saved).tag == "team--iris:1"
    assert adapter.get("iris", "1") == adapter.get("team--iris", "1")
    with pytest.raises(ConfigError, match="'team:'"):
        store(BentoServing(make_context("fraud", bentoml_tag_prefix="team:")), saved)


def test_what_is_no_model_directory_is_named(serving: BentoServing, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nowhere is not an MLflow model.*does not exist"):
        store(serving, tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelNotFoundError, match=r"empty is not an MLflow model.*has no MLmodel"):
        store(serving, empty)
    (empty / "MLmodel").write_text("flavors: [")
    with pytest.raises(IntegrationError, match="MLmodel cannot be read"):
        store(serving, empty)
    (empty / "MLmodel").write_text("flavors: {custom: {}}")
    with pytest.raises(IntegrationError, match="python_function"):
        serving.deploy(empty, model="iris", version="1")
    assert measure(serving.workspace.models_path).files == 0
    assert store(serving, empty).bento_tag is None


def test_values_that_bentoml_cannot_store_are_refused_by_name(serving: BentoServing, saved: Path) -> None:
    with pytest.raises(IntegrationError, match=r"metadata\.scores\[1\]"):
        store(serving, saved, metadata={"scores": [1, None]})
    with pytest.raises(IntegrationError, match="'project' is written by mlops"):
        store(serving, saved, labels={"project": "x"})
    with pytest.raises(IntegrationError, match="'stage': None"):
        store(serving, saved, labels={"stage": None})
    for text in ("delete\x7f", "next\x85line", "half\ud800", "\uffff"):
        for bad in ({"note": text}, {text: "note"}):
            with pytest.raises(IntegrationError, match="control character"):
                store(serving, saved, labels=bad)
            with pytest.raises(IntegrationError, match="cannot store"):
                store(serving, saved, metadata=bad)
    assert serving.models() == []
    odd = {"note": "two\nlines, \t 'quotes\" \x1b[0m ünïcode \U0001f600", "empty": "", "long": "x" * 10_000}
    assert store(serving, saved, labels=odd, metadata={"odd": odd}).labels.items() >= odd.items()
    assert serving.get("iris", "1").metadata == {"odd": odd}


def test_a_file_that_cannot_be_read_leaves_nothing(
    serving: BentoServing, saved: Path, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    shutil.copytree(saved, source)
    (source / "weights.bin").symlink_to(tmp_path / "gone")
    with pytest.raises(IntegrationError, match=r"could not be stored as churn\.iris:1.*gone"):
        store(serving, source)
    assert serving.models() == []
    assert measure(serving.workspace.models_path).files == 0


def test_an_artifact_of_the_workspace_is_linked_and_a_file_of_the_users_is_copied(
    serving: BentoServing, saved: Path, tmp_path: Path
) -> None:
    artifact = serving.workspace.mlflow_path / "artifacts" / "model"
    shutil.copytree(saved, artifact)
    linked = store(serving, artifact, version="1").path / "mlflow_model"
    names = {file.name for file in artifact.iterdir()}
    shared = {name for name in names if (linked / name).samefile(artifact / name)}
    # Only what MLflow itself rewrites in place costs its few bytes twice.
    assert names - shared == {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert {(artifact / name).stat().st_nlink for name in shared} == {2}
    assert measure(serving.workspace.root_path).bytes < 1.5 * measure(saved).bytes + 10_000
    again = store(serving, artifact, version="1b").path / "mlflow_model"
    assert {(again / name).stat().st_nlink for name in shared} == {3}

    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(saved, checkpoint)
    copied = store(serving, checkpoint, version="2")
    kept = (copied.path / "mlflow_model" / "model.skops").read_bytes()
    # The next training writes over the checkpoint in place.
    (checkpoint / "model.skops").write_bytes(b"new")
    assert (copied.path / "mlflow_model" / "model.skops").read_bytes() == kept


def test_changing_or_removing_one_of_two_linked_models_leaves_the_other(
    serving: BentoServing, saved: Path
) -> None:
    artifact = serving.workspace.mlflow_path / "artifacts" / "model"
    shutil.copytree(saved, artifact)
    deployed = store(serving, artifact).path / "mlflow_model"
    before = {file.name: file.read_bytes() for file in deployed.iterdir()}
    # As mlflow.models.set_signature does it: in place.
    with (artifact / "MLmodel").open("r+b") as stream:
        stream.write(b"# changed\n")
    # Who writes to the weights is stopped: both names are one file.
    assert not (artifact / "model.skops").stat().st_mode & 0o222
    assert {file.name: file.read_bytes() for file in deployed.iterdir()} == before
    shutil.rmtree(artifact)
    assert {file.name: file.read_bytes() for file in deployed.iterdir()} == before

    shutil.copytree(saved, artifact)
    store(serving, artifact, version="2")
    serving.delete("iris", "2")
    assert {f.name: f.read_bytes() for f in artifact.iterdir()} == {
        f.name: f.read_bytes() for f in saved.iterdir()
    }


def test_where_a_model_was_logged_is_not_stored(serving: BentoServing, saved: Path, tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(saved, source)
    with (source / "MLmodel").open("a") as stream:
        stream.write(f"artifact_path: {tmp_path.as_uri()}/model\n")
    stored = store(serving, source)
    mlmodel = (stored.path / "mlflow_model" / "MLmodel").read_text()
    assert str(tmp_path) not in mlmodel
    assert "python_function" in mlmodel
    assert store(serving, source) == stored


def test_damaged_entries_are_reported_and_can_be_removed(serving: BentoServing, saved: Path) -> None:
    store(serving, saved, version="1")
    models = serving.workspace.models_path / "models"
    (models / "churn.iris" / "2").mkdir()
    shutil.copytree(models / "churn.iris" / "1", models / "churn.iris" / "3")
    (models / "churn.lost" / "1").mkdir(parents=True)
    (models / "churn.lost" / "1" / "model.yaml").write_text("{")
    (models / "lost+found").mkdir()
    (models / "stray").write_text("")
    errors = {entry.tag: entry.error for entry in serving.models()}
    assert errors["churn.iris:1"] is None
    assert "incomplete" in str(errors["churn.iris:2"])
    assert "describes churn.iris:1" in str(errors["churn.iris:3"])
    assert str(models / "churn.lost" / "1" / "model.yaml") in str(errors["churn.lost:1"])
    summary = serving.summary()
    assert (summary["models"], summary["deployments"]) == (1, ["churn.iris:1"])
    assert len(summary["errors"]) == 3
    assert [d.tag for d in serving.deployments()] == ["churn.iris:1"]
    for call in (lambda: serving.get("iris", "2"), lambda: store(serving, saved, version="2")):
        with pytest.raises(IntegrationError, match=r"churn\.iris:2 cannot be read"):
            call()
    serving.delete("iris", "2")
    assert store(serving, saved, version="2").tag == "churn.iris:2"


def test_deleting_frees_the_space_and_moves_latest(serving: BentoServing, saved: Path) -> None:
    store(serving, saved, version="1")
    store(serving, saved, version="2")
    folder = serving.workspace.models_path / "models" / "churn.iris"
    assert (folder / "latest").read_text() == "2"
    serving.delete("iris", "2")
    assert (folder / "latest").read_text() == "1"
    serving.delete("churn.iris", "1")
    assert not folder.exists()
    assert serving.usage().files == 0


def test_a_moved_or_copied_workspace_keeps_its_models_and_leaves_the_original_alone(
    make_context: Callable[..., ToolContext], base: Path, saved: Path
) -> None:
    context = make_context("churn")
    store(BentoServing(context), saved)
    shutil.copytree(base / "churn", base / "churn-two")
    copy = BentoServing(ToolContext(ProjectWorkspace("churn-two", base / "churn-two"), context.settings))
    found = copy.get("iris", "1")
    assert found.tag == "churn.iris:1"
    assert base / "churn-two" in found.path.parents
    assert copy.get("churn.iris", "1") == found
    # Deploying the same again does not make a second one under the new name.
    assert store(copy, saved).tag == "churn.iris:1"
    copy.delete("iris", "1")
    assert BentoServing(context).get("iris", "1")


def test_export_and_restore(
    make_context: Callable[..., ToolContext], saved: Path, other: Path, tmp_path: Path
) -> None:
    one = BentoServing(make_context("churn"))
    artifact = one.workspace.mlflow_path / "model"
    shutil.copytree(saved, artifact)
    store(one, artifact, version="1")
    store(one, artifact, version="2")
    exported = tmp_path / "exported"
    exported.mkdir()
    one.export(exported)
    # Shared by the two versions before, and so afterwards.
    assert measure(exported).bytes < 2 * measure(artifact).bytes
    two = BentoServing(make_context("fraud"))
    store(two, other, model="old")
    two.restore(exported)
    assert two.summary()["deployments"] == ["churn.iris:1", "churn.iris:2"]
    shutil.rmtree(exported)
    one.delete("iris", "1")
    assert two.get("iris", "1").size == measure(artifact).bytes
    with pytest.raises(ArchiveError, match="no exported BentoML store"):
        two.restore(tmp_path)
    assert two.summary()["models"] == 2


def test_an_interrupted_restore_is_undone(serving: BentoServing, saved: Path) -> None:
    store(serving, saved)
    home = serving.workspace.models_path
    # As a kill between the two halves of the exchange leaves it.
    (home / ".replaced").mkdir()
    (home / "models").rename(home / ".replaced" / "models")
    (home / "models").mkdir()
    store(serving, saved, version="2")
    assert serving.summary()["deployments"] == ["churn.iris:1", "churn.iris:2"]
    assert not (home / ".replaced").exists()


def test_racing_deploys_of_different_content_have_one_winner(
    context: ToolContext, saved: Path, other: Path
) -> None:
    code = """
from mlops.errors import IntegrationError
source, at, rounds = Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
won = []
while time.time() < at:
    time.sleep(0.001)
for number in range(rounds):
    try:
        serving.deploy(source, model="iris", version=f"v{number}", build_bento=False)
        won.append(number)
    except IntegrationError as error:
        assert "exists already" in str(error), error
print(won)
"""
    rounds, at = 20, time.time() + 2.5
    processes = [start(code, context.workspace.root_path, source, at, rounds) for source in (saved, other)]
    results = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    won = [json.loads(result) for result in results]
    assert sorted(won[0] + won[1]) == list(range(rounds))
    serving = BentoServing(context)
    for source, numbers in zip((saved, other), won, strict=True):
        for number in numbers:
            stored = serving.get("iris", f"v{number}").path / "mlflow_model"
            for file in source.iterdir():
                assert (stored / file.name).read_bytes() == file.read_bytes()
    assert list((context.workspace.models_path / "staging").iterdir()) == []


def test_a_kill_while_a_model_is_stored_leaves_a_clean_store(context: ToolContext, saved: Path) -> None:
    serving = BentoServing(context)
    store(serving, saved, version="1")
    code = """
from mlops.integrations.bentoml_serving import bento_model
# Nothing else stops at a known place in the middle of a copy.
place = bento_model.place
def slow(source, target, *, link):
    place(source, target, link=link)
    print("copied", flush=True)
    time.sleep(60)
bento_model.place = slow
serving.deploy(Path(sys.argv[2]), model="iris", version="2", build_bento=False)
"""
    process = start(code, context.workspace.root_path, saved)
    assert process.stdout is not None
    assert process.stdout.readline() == "copied\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert serving.summary()["deployments"] == ["churn.iris:1"]
    assert serving.summary()["errors"] == []
    assert store(serving, saved, version="2").version == "2"
    assert list((context.workspace.models_path / "staging").iterdir()) == []


def test_without_bentoml_it_says_what_to_install(
    serving: BentoServing, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("adapter", "serving_verbs"):
        name = f"mlops.integrations.bentoml_serving.{module}.installed_version"
        monkeypatch.setattr(name, lambda _tool: None)
    assert serving.health().state is ToolState.NOT_INSTALLED
    with pytest.raises(IntegrationNotInstalledError) as caught:
        store(serving, saved)
    assert "mlops-workspaces[bentoml]" in str(caught.value.hint)
    assert measure(serving.workspace.models_path).files == 0


def test_a_store_that_is_no_directory_is_reported_and_not_replaced(
    serving: BentoServing, saved: Path
) -> None:
    home = serving.workspace.models_path
    home.rmdir()
    home.write_text("mine")
    health = serving.health()
    assert health.state is ToolState.UNAVAILABLE
    assert str(home) in str(health.error)
    assert serving.summary()["models"] == 0
    with pytest.raises(IntegrationUnavailableError, match="is not a directory"):
        store(serving, saved)
    assert home.read_text() == "mine"


def test_a_deleted_workspace_is_not_brought_back(serving: BentoServing, saved: Path) -> None:
    root = serving.workspace.root_path
    shutil.rmtree(root)
    for call in (serving.ensure, lambda: store(serving, saved)):
        with pytest.raises(WorkspaceNotFoundError, match="Workspace does not exist"):
            call()
    assert not root.exists()
