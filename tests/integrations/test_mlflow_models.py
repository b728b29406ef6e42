from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops.errors import (
    DataIntegrityError,
    IntegrationError,
    InvalidModelNameError,
    IsolationError,
    ModelNotFoundError,
    NoActiveRunError,
)
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.integrations.mlflow_tracking.models import Models
from mlops.integrations.mlflow_tracking.versions import ModelVersion
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
from tests.integrations.mlflow_server import mlflow_server

ROWS = pd.DataFrame({"tenure": [1, 2, 3, 4, 5, 6], "charge": [9.0, 8.0, 7.0, 3.0, 2.0, 1.0]})
TARGET = [0, 0, 0, 1, 1, 1]


def fitted(strength: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=strength).fit(ROWS, TARGET)


def log(tracking: MLflowTracking, name: str = "clf", **options: Any) -> ModelVersion:
    with tracking.start_run():
        return tracking.models.log(options.pop("model", None) or fitted(), name, **options)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


class TestLog:
    def test_a_model_is_registered_under_the_project_with_its_origin(self, tracking: MLflowTracking) -> None:
        from mlflow.entities import Dataset, DatasetInput

        with tracking.start_run(tags={"mlflow.source.git.commit": "abc123"}) as run:
            tracking.client().log_inputs(
                run.run_id, [DatasetInput(Dataset("customers:v1", "d41d8cd98f00", "dvc", "{}"))]
            )
            version = tracking.models.log(fitted(), "clf", input_example=ROWS, tags={"team": "growth"})

        assert (version.name, version.full_name, version.version) == ("clf", "churn.clf", "1")
        assert version.uri == "models:/churn.clf/1"
        assert version.run_id == run.run_id
        assert version.flavor == "sklearn"
        assert version.framework.startswith("scikit-learn==")
        assert abs(datetime.now(UTC) - version.created_at) < timedelta(minutes=5)
        assert version.tags["team"] == "growth"
        assert version.tags["mlops.project"] == "churn"
        assert version.tags["mlops.data.customers_v1"] == "d41d8cd98f00"
        assert version.tags["mlops.git_commit"] == "abc123"
        assert [column["type"] for column in (version.signature or {})["inputs"]] == ["long", "double"]
        stored = sum(path.stat().st_size for path in tracking.models.download(version).iterdir())
        assert version.size_bytes is not None
        assert abs(version.size_bytes - stored) < 500
        assert tracking.models.get("clf") == version
        assert json.loads(json.dumps(version.to_dict()))["version"] == "1"
        outputs = tracking.client().get_run(run.run_id).outputs.model_outputs
        assert [output.model_id for output in outputs] == [version.model_id]

    def test_outside_a_run_nothing_is_logged(self, tracking: MLflowTracking) -> None:
        with pytest.raises(NoActiveRunError, match="'clf' outside a run"):
            tracking.models.log(fitted(), "clf")

        assert not tracking.database.exists()

    def test_an_unregistered_model_belongs_to_its_run_only(self, tracking: MLflowTracking) -> None:
        version = log(tracking, registered=False, input_example=ROWS)

        assert version.version == ""
        assert version.uri == f"models:/{version.model_id}"
        assert version.signature is not None
        assert tracking.models.list() == []
        assert tracking.models.load(version).predict(ROWS).tolist() == TARGET
        assert tracking.models.load(version.run_id).predict(ROWS).tolist() == TARGET

    @pytest.mark.parametrize("name", ["Clf", "my model", "a/b", "..", "", "x" * 60, 7])
    def test_bad_names_are_refused_before_anything_is_written(
        self, tracking: MLflowTracking, name: Any
    ) -> None:
        with tracking.start_run():
            before = files(tracking.context.workspace.root_path.parent)
            with pytest.raises(InvalidModelNameError):
                tracking.models.log(fitted(), name)
            assert files(tracking.context.workspace.root_path.parent) == before

    def test_the_full_name_is_the_same_model(self, tracking: MLflowTracking) -> None:
        assert log(tracking, "churn.clf").full_name == "churn.clf"

    def test_reserved_tags_are_refused(self, tracking: MLflowTracking) -> None:
        with tracking.start_run(), pytest.raises(IntegrationError, match=r"mlops\.project"):
            tracking.models.log(fitted(), "clf", tags={"mlops.project": "other"})

    def test_a_configured_prefix_names_the_model(self, make_context: Callable[..., ToolContext]) -> None:
        tracking = MLflowTracking(make_context("churn", bentoml_tag_prefix="growth-"))

        assert log(tracking).full_name == "growth-clf"
        assert tracking.models.get("clf").name == "clf"
        assert tracking.models.get("growth-clf").name == "clf"

    def test_the_second_log_of_a_small_model_takes_well_under_a_second(
        self, tracking: MLflowTracking
    ) -> None:
        with tracking.start_run():
            tracking.models.log(fitted(), "clf", input_example=ROWS)
            durations = []
            for _ in range(5):
                start = time.perf_counter()
                tracking.models.log(fitted(), "clf", input_example=ROWS)
                durations.append(time.perf_counter() - start)

        assert min(durations) < 0.7


class TestFailure:
    def assert_nothing_remains(self, tracking: MLflowTracking) -> None:
        client = tracking.client()
        ready = [m for m in client.search_logged_models(["0"]) if str(m.status) == "READY"]
        assert ready == []
        assert client.search_model_versions("") == []
        assert not any(p.name == "MLmodel" for p in tracking.context.workspace.root_path.parent.rglob("*"))

    def test_a_model_that_cannot_be_pickled_names_its_flavour_and_leaves_nothing(
        self, tracking: MLflowTracking
    ) -> None:
        model = fitted()
        model.lock_ = threading.Lock()
        with (
            tracking.start_run(),
            pytest.raises(
                IntegrationError, match=r"'clf' \(LogisticRegression\).*flavour 'sklearn'"
            ) as caught,
        ):
            tracking.models.log(model, "clf")

        assert "locks" in (caught.value.hint or "")
        assert caught.value.__cause__ is not None
        self.assert_nothing_remains(tracking)

    def test_an_example_the_model_cannot_predict_on_is_refused(self, tracking: MLflowTracking) -> None:
        with (
            tracking.start_run(),
            pytest.raises(IntegrationError, match=r"'clf'.*cannot predict on its input_example") as caught,
        ):
            tracking.models.log(fitted(), "clf", input_example=ROWS.rename(columns={"tenure": "age"}))

        assert "signature=" in (caught.value.hint or "")
        self.assert_nothing_remains(tracking)

    def test_a_registration_that_fails_leaves_a_failed_model_and_no_files(
        self, tracking: MLflowTracking
    ) -> None:
        # MLflow keeps prompts in the same table, and refuses a model of a prompt's name.
        tracking.client().register_prompt("churn.clf", "a template")
        with tracking.start_run() as run:
            with pytest.raises(IntegrationError, match="prompt") as caught:
                tracking.models.log(fitted(), "clf")
            outputs = tracking.client().get_run(run.run_id).outputs.model_outputs

        assert (caught.value.operation, caught.value.workspace) == ("log_model", "churn")
        statuses = {str(tracking.client().get_logged_model(o.model_id).status) for o in outputs}
        assert statuses == {"FAILED"}
        assert not list(tracking.artifact_root.rglob("MLmodel"))
        with pytest.raises(ModelNotFoundError):
            tracking.models.download(run.run_id)

    def test_staging_is_empty_after_success_and_failure(self, tracking: MLflowTracking) -> None:
        log(tracking)
        with tracking.start_run(), pytest.raises(IntegrationError):
            tracking.models.log(lambda rows: rows.missing, "bad", input_example=ROWS)

        assert not list((tracking.context.workspace.state_path / "staging").glob("model-*"))

    def test_what_a_killed_process_left_is_removed_a_day_later(self, tracking: MLflowTracking) -> None:
        staging = tracking.context.workspace.state_path / "staging"
        old, recent = staging / "model-old", staging / "model-recent"
        for path in (old, recent):
            (path / "model").mkdir(parents=True)
        os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
        log(tracking)

        assert not old.exists()
        assert recent.exists()


class TestDirectories:
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        path = tmp_path / "adapter"
        (path / "sub").mkdir(parents=True)
        (path / "adapter_config.json").write_text('{"r": 8}')
        (path / "sub" / "weights.bin").write_bytes(b"\x00\x01")
        return path

    def test_any_directory_is_stored_with_its_files(self, tracking: MLflowTracking, adapter: Path) -> None:
        version = log(tracking, "adapter", model=adapter)

        assert (version.flavor, version.framework) == ("directory", "peft")
        loaded = tracking.models.load("adapter")
        assert files(loaded) == {"adapter_config.json", "sub/weights.bin"}
        assert (loaded / "sub" / "weights.bin").read_bytes() == b"\x00\x01"
        assert (tracking.models.download("adapter") / "MLmodel").is_file()

    def test_it_loads_in_mlflow_and_says_that_it_cannot_predict(
        self, tracking: MLflowTracking, adapter: Path
    ) -> None:
        log(tracking, "adapter", model=str(adapter))

        with pytest.raises(IntegrationError, match="directory of files and cannot predict"):
            tracking.models.load("adapter", as_pyfunc=True).predict(ROWS)

    def test_a_single_file_is_a_directory_of_one(self, tracking: MLflowTracking, tmp_path: Path) -> None:
        path = tmp_path / "weights.gguf"
        path.write_bytes(b"GGUF")
        log(tracking, "weights", model=path)

        assert files(tracking.models.load("weights")) == {"weights.gguf"}

    def test_an_mlflow_directory_is_stored_as_it_is(self, tracking: MLflowTracking, tmp_path: Path) -> None:
        first = log(tracking, "first", input_example=ROWS)
        source = tracking.models.download(first, tmp_path / "exported")
        second = log(tracking, "second", model=source)

        assert (second.flavor, second.framework) == (first.flavor, first.framework)
        assert second.signature == first.signature
        stored = tracking.models.download(second)
        assert {p.name: p.read_bytes() for p in stored.iterdir()} == {
            p.name: p.read_bytes() for p in source.iterdir()
        }
        assert tracking.models.load("second").predict(ROWS).tolist() == TARGET

    def test_a_link_out_of_the_directory_is_refused(self, tracking: MLflowTracking, adapter: Path) -> None:
        secret = adapter.parent / "secret.txt"
        secret.write_text("password")
        (adapter / "sub" / "leak").symlink_to(secret)
        with tracking.start_run(), pytest.raises(IntegrationError, match="sub/leak is a link that leads out"):
            tracking.models.log(adapter, "adapter")

        assert tracking.models.list() == []

    def test_a_link_inside_the_directory_is_followed(self, tracking: MLflowTracking, adapter: Path) -> None:
        (adapter / "latest.bin").symlink_to(adapter / "sub" / "weights.bin")
        log(tracking, "adapter", model=adapter)

        copy = tracking.models.load("adapter") / "latest.bin"
        assert copy.read_bytes() == b"\x00\x01"
        assert not copy.is_symlink()

    def test_pipes_and_empty_and_missing_directories_are_refused(
        self, tracking: MLflowTracking, adapter: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        os.mkfifo(adapter / "pipe")
        with tracking.start_run():
            with pytest.raises(IntegrationError, match=r"pipe in the model directory .* is not a plain file"):
                tracking.models.log(adapter, "adapter")
            with pytest.raises(IntegrationError, match="empty is empty"):
                tracking.models.log(tmp_path / "empty", "adapter")
            with pytest.raises(IntegrationError, match="no file or directory 'bert-base'"):
                tracking.models.log("bert-base", "adapter")

    def test_a_directory_with_a_broken_mlmodel_is_refused(
        self, tracking: MLflowTracking, tmp_path: Path
    ) -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "MLmodel").write_text("flavors: [unclosed")
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "MLmodel").write_text("run_id: x")
        with tracking.start_run():
            with pytest.raises(IntegrationError, match="not valid YAML"):
                tracking.models.log(tmp_path / "broken", "clf")
            with pytest.raises(IntegrationError, match="names no flavour"):
                tracking.models.log(tmp_path / "bare", "clf")
        assert tracking.models.list() == []


class TestRegistry:
    def test_versions_are_listed_newest_first_with_their_aliases(self, tracking: MLflowTracking) -> None:
        with tracking.start_run():
            for name in ("clf", "clf", "other"):
                tracking.models.log(fitted(), name)
        tracking.models.promote("clf", "production", version=1)

        listed = tracking.models.list()
        assert [(v.name, v.version) for v in listed] == [("other", "1"), ("clf", "2"), ("clf", "1")]
        assert listed[2].aliases == ("production",)
        assert [v.version for v in tracking.models.list("clf")] == ["2", "1"]

    def test_reading_creates_nothing(self, tracking: MLflowTracking) -> None:
        before = files(tracking.context.workspace.root_path)

        assert tracking.models.list() == []
        with pytest.raises(ModelNotFoundError, match="has no model 'clf'; its models: none"):
            tracking.models.get("clf")
        with pytest.raises(ModelNotFoundError):
            tracking.models.download("a" * 32)
        assert files(tracking.context.workspace.root_path) == before

    def test_promotion_remembers_what_was_there_before(self, tracking: MLflowTracking) -> None:
        with tracking.start_run():
            for _ in range(3):
                tracking.models.log(fitted(), "clf")
        models = tracking.models

        assert models.promote("clf", "production", version="1").aliases == ("production",)
        assert models.promote("clf", "production").version == "3"
        assert models.promote("clf", "production", version=1).version == "1"
        assert models.promote("clf", "production", version=1).version == "1"
        assert models.promote("clf", "staging", version=2).aliases == ("staging",)

        assert models.aliases("clf") == {"production": "1", "staging": "2"}
        assert [(e["version"], e["previous"]) for e in models.history("clf", "production")] == [
            ("1", "3"),
            ("3", "1"),
            ("1", None),
        ]
        assert models.get("clf", alias="production").version == "1"
        assert models.load("clf@production").predict(ROWS).tolist() == TARGET

    @pytest.mark.parametrize("alias", ["latest", "v2", "not an alias", ""])
    def test_aliases_that_mlflow_reserves_are_refused(self, tracking: MLflowTracking, alias: str) -> None:
        log(tracking)

        with pytest.raises(IntegrationError):
            tracking.models.promote("clf", alias)
        assert tracking.models.aliases("clf") == {}
        assert tracking.models.history("clf", alias) == []

    def test_what_is_missing_is_named_with_what_there_is(self, tracking: MLflowTracking) -> None:
        log(tracking)
        tracking.models.promote("clf", "production")

        with pytest.raises(ModelNotFoundError, match="has no model 'nope'; its models: clf"):
            tracking.models.get("nope")
        with pytest.raises(ModelNotFoundError, match="has no version '7'; its versions: 1"):
            tracking.models.get("clf", version=7)
        with pytest.raises(ModelNotFoundError, match="has no version '01'"):
            tracking.models.get("clf", version="01")
        with pytest.raises(ModelNotFoundError, match="has no alias 'prod'; its aliases: production"):
            tracking.models.get("clf", alias="prod")
        with pytest.raises(IntegrationError, match="Both version '1' and alias 'production'"):
            tracking.models.get("clf", version=1, alias="production")

    def test_tags_are_set_and_the_librarys_own_are_refused(self, tracking: MLflowTracking) -> None:
        log(tracking)

        assert tracking.models.set_tags("clf", 1, {"approved": True}).tags["approved"] == "True"
        with pytest.raises(IntegrationError, match="do not start with"):
            tracking.models.set_tags("clf", 1, {"mlops.flavor": "x"})

    def test_models_registered_by_plain_mlflow_code_belong_to_the_project(
        self, tracking: MLflowTracking
    ) -> None:
        import mlflow.sklearn

        with tracking.start_run():
            mlflow.sklearn.log_model(
                fitted(), name="model", registered_model_name="plain", pip_requirements=["scikit-learn"]
            )

        (version,) = tracking.models.list()
        assert (version.name, version.full_name, version.flavor) == ("plain", "plain", "sklearn")
        assert version.framework.startswith("scikit-learn==")
        assert (version.size_bytes or 0) > 0
        assert tracking.models.load("plain").predict(ROWS).tolist() == TARGET


class TestReferences:
    def test_everything_that_names_a_model_finds_its_files(
        self, tracking: MLflowTracking, tmp_path: Path
    ) -> None:
        first = log(tracking)
        second = log(tracking)
        tracking.models.promote("clf", "production", version=1)
        models = tracking.models
        old, new = models.download(first), models.download(second)

        assert old != new
        for ref in ("clf:1", "clf/1", "clf@production", "churn.clf:1", "models:/churn.clf/1"):
            assert models.download(ref) == old, ref
        for ref in ("models:/churn.clf@production", first.run_id, first.model_id, first.uri):
            assert models.download(ref) == old, ref
        for ref in ("clf", "churn.clf", "models:/clf/latest", f"runs:/{second.run_id}/clf", second):
            assert models.download(ref) == new, ref
        assert models.download("clf", version="1") == old
        assert models.download("clf", alias="production") == old
        assert models.find(first.run_id) == models.get("clf", version=1)
        assert models.find(f"models:/{second.model_id}") == second
        assert (old / "MLmodel").is_file()
        assert old.is_relative_to(tracking.context.workspace.root_path.resolve())

    def test_a_copy_goes_to_a_new_directory_only(self, tracking: MLflowTracking, tmp_path: Path) -> None:
        log(tracking)
        copied = tracking.models.download("clf", tmp_path / "out" / "model")

        assert files(copied) == files(tracking.models.download("clf"))
        with pytest.raises(IntegrationError, match="exists and is not an empty directory"):
            tracking.models.download("clf", copied)
        (tmp_path / "ready").mkdir()
        assert tracking.models.download("clf", str(tmp_path / "ready")) == tmp_path / "ready"

    def test_a_run_with_several_models_asks_which(self, tracking: MLflowTracking) -> None:
        with tracking.start_run() as run:
            tracking.models.log(fitted(), "first")
            tracking.models.log(fitted(), "second")

        with pytest.raises(IntegrationError, match="several models: first, second"):
            tracking.models.download(run.run_id)
        assert tracking.models.find(f"runs:/{run.run_id}/second").name == "second"
        with pytest.raises(ModelNotFoundError, match="logged no model 'third'"):
            tracking.models.download(f"runs:/{run.run_id}/third")

    def test_files_that_are_gone_are_reported(self, tracking: MLflowTracking) -> None:
        log(tracking)
        (tracking.models.download("clf") / "MLmodel").unlink()

        with pytest.raises(DataIntegrityError, match=r"'clf:1' are missing: no MLmodel in /"):
            tracking.models.load("clf")

    def test_a_damaged_model_says_what_to_install(self, tracking: MLflowTracking) -> None:
        log(tracking)
        (tracking.models.download("clf") / "model.skops").write_bytes(b"not a zip file")

        with pytest.raises(IntegrationError, match="'clf:1' cannot be loaded") as caught:
            tracking.models.load("clf")
        assert "pip install -r" in (caught.value.hint or "")

    def test_another_flavour_can_be_asked_for(self, tracking: MLflowTracking) -> None:
        log(tracking, input_example=ROWS)

        wrapped = tracking.models.load("clf", as_pyfunc=True)
        assert wrapped.predict(ROWS).tolist() == TARGET
        assert wrapped.metadata.get_input_schema().input_names() == ["tenure", "charge"]
        assert tracking.models.load("clf", flavor="pyfunc").predict(ROWS).tolist() == TARGET
        with pytest.raises(IntegrationError, match="cannot be loaded as 'xgboost'; it was stored as"):
            tracking.models.load("clf", flavor="xgboost")


class TestIsolation:
    def test_another_projects_models_are_out_of_reach(
        self, tracking: MLflowTracking, make_context: Callable[..., ToolContext]
    ) -> None:
        other = MLflowTracking(make_context("other"))
        theirs = log(other)

        for ref in ("other.clf", "models:/other.clf/1", "other.clf:1", theirs):
            with pytest.raises(IsolationError, match="'other"):
                tracking.models.download(ref)
        for ref in (theirs.run_id, theirs.model_id):
            with pytest.raises(ModelNotFoundError):
                tracking.models.download(ref)
        with pytest.raises(IsolationError):
            tracking.models.get("other.clf")
        with tracking.start_run(), pytest.raises(IsolationError):
            tracking.models.log(fitted(), "other.clf")
        assert tracking.models.list() == []

    def test_a_dot_in_ones_own_model_names_is_fine(self, tracking: MLflowTracking) -> None:
        log(tracking, "clf.small")

        version = tracking.models.get("clf.small")
        assert version.full_name == "churn.clf.small"
        assert tracking.models.find(f"runs:/{version.run_id}/clf.small") == version
        with pytest.raises(ModelNotFoundError):
            tracking.models.get("clf.large")

    def test_two_projects_log_and_load_in_two_threads(
        self, tracking: MLflowTracking, make_context: Callable[..., ToolContext]
    ) -> None:
        projects = {"churn": tracking, "pricing": MLflowTracking(make_context("pricing"))}
        errors: list[BaseException] = []
        barrier = threading.Barrier(2)

        def work(project: str, strength: float) -> None:
            try:
                barrier.wait(60)
                for _ in range(4):
                    log(projects[project], model=fitted(strength))
                    loaded = projects[project].models.load("clf")
                    assert strength == loaded.C
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)

        threads = [threading.Thread(target=work, args=item) for item in (("churn", 0.5), ("pricing", 2.0))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

        assert errors == []
        for project, adapter in projects.items():
            listed = adapter.models.list()
            assert [v.version for v in listed] == ["4", "3", "2", "1"]
            root = adapter.context.workspace.root_path.resolve()
            assert all(v.full_name == f"{project}.clf" for v in listed)
            assert all(adapter.models.download(v).is_relative_to(root) for v in listed)

    def test_mlflows_globals_do_not_matter(self, tracking: MLflowTracking, tmp_path: Path) -> None:
        import mlflow
        from mlflow.tracking._tracking_service import utils

        saved, environment = utils._tracking_uri, os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/elsewhere.db")
        try:
            version = log(tracking, input_example=ROWS)
            assert tracking.models.load(version).predict(ROWS).tolist() == TARGET
            assert tracking.models.load("clf", as_pyfunc=True).predict(ROWS).tolist() == TARGET
            tracking.models.promote("clf", "production")
            assert mlflow.get_tracking_uri().endswith("elsewhere.db")
        finally:
            utils._tracking_uri = saved
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            if environment is not None:
                os.environ["MLFLOW_TRACKING_URI"] = environment
        assert not (tmp_path / "elsewhere.db").exists()
        assert not (tmp_path / "cwd" / "mlruns").exists()

    def test_a_copied_workspace_works_and_leaves_the_original_alone(
        self, tracking: MLflowTracking, base: Path
    ) -> None:
        log(tracking, model=fitted(0.5))
        original = tracking.context.workspace.root_path
        before = files(original)
        shutil.copytree(original, base / "copy")
        shutil.rmtree(base / "copy" / ".mlops", ignore_errors=True)
        workspace = ProjectWorkspace.load_metadata(base / "copy", project_name="copy")
        copied = MLflowTracking(ToolContext(workspace, tracking.context.settings))

        path = copied.models.download("churn.clf")
        assert path.is_relative_to((base / "copy").resolve())
        assert copied.models.load("churn.clf").C == 0.5
        log(copied, "fresh")
        assert files(original) == before
        assert [v.name for v in tracking.models.list()] == ["clf"]

    def test_a_version_that_points_out_of_the_workspace_is_refused(
        self, tracking: MLflowTracking, tmp_path: Path
    ) -> None:
        version = log(tracking)
        outside = tracking.models.download(version, tmp_path / "outside")
        tracking.client().create_model_version("churn.clf", source=outside.as_uri())

        with pytest.raises(IsolationError, match="outside the project's"):
            tracking.models.load("clf", version=2)

    def test_projects_that_share_one_database_see_their_own(
        self, make_context: Callable[..., ToolContext], tmp_path: Path
    ) -> None:
        uri = f"sqlite:///{tmp_path}/shared.db"
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=uri).search_experiments()
        first = MLflowTracking(make_context("team_a", mlflow_tracking_uri=uri))
        second = MLflowTracking(make_context("teamxa", mlflow_tracking_uri=uri))
        ours, theirs = log(first, model=fitted(0.5)), log(second, model=fitted(2.0))

        assert [v.full_name for v in first.models.list()] == ["team_a.clf"]
        assert first.models.load("clf").C == 0.5
        assert second.models.load("clf").C == 2.0
        for ref in (theirs.model_id, theirs.run_id):
            with pytest.raises((IsolationError, ModelNotFoundError)):
                first.models.download(ref)
        with pytest.raises(IsolationError):
            first.models.get("teamxa.clf")
        assert ours.run_id != theirs.run_id


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server with a database and artifacts of its own."""
    with mlflow_server(tmp_path / "server") as uri:
        yield uri


def test_projects_on_one_server_log_download_and_load_their_own(
    server: str, make_context: Callable[..., ToolContext], tmp_path: Path
) -> None:
    alpha = MLflowTracking(make_context("alpha", mlflow_tracking_uri=server))
    beta = MLflowTracking(make_context("beta", mlflow_tracking_uri=server))
    ours, theirs = log(alpha, model=fitted(0.5), input_example=ROWS), log(beta, model=fitted(2.0))

    assert alpha.models.list() == [ours]
    assert alpha.models.find(ours.run_id) == ours
    assert alpha.models.promote("clf", "production").aliases == ("production",)
    path = alpha.models.download("clf@production")
    assert (path / "MLmodel").is_file()
    assert alpha.models.download(ours) == path
    assert files(alpha.models.download("clf", tmp_path / "copy")) == files(path)
    assert (alpha.models.load("clf").C, beta.models.load("clf").C) == (0.5, 2.0)
    for ref in (theirs, theirs.model_id, theirs.run_id, f"runs:/{theirs.run_id}/clf", "beta.clf"):
        with pytest.raises(IsolationError):
            alpha.models.download(ref)


def test_constructing_it_needs_no_store(tracking: MLflowTracking) -> None:
    assert isinstance(tracking.models, Models)
    assert not tracking.database.exists()


def test_a_version_is_plain_data() -> None:
    version = ModelVersion(
        project="p",
        name="m",
        full_name="p.m",
        version="1",
        run_id="r",
        model_id="m-1",
        uri="models:/p.m/1",
        source="s",
        flavor="sklearn",
        framework="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert version.to_dict()["created_at"] == "2026-01-01T00:00:00+00:00"
    with pytest.raises(AttributeError):
        version.name = "other"  # type: ignore[misc]
    assert np.isfinite(len(repr(version)))
