from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pytest

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking, patches
from mlops.integrations.mlflow_tracking.store import database_uri
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def alpha(make_context: MakeContext) -> MLflowTracking:
    return MLflowTracking(make_context("alpha"))


@pytest.fixture
def beta(make_context: MakeContext) -> MLflowTracking:
    return MLflowTracking(make_context("beta"))


@pytest.fixture(autouse=True)
def nothing_leaks(clean_environment: None) -> Any:
    before = (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run())
    yield
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()) == before
    assert not any(Path.cwd().iterdir())


def by_name(tracking: MLflowTracking) -> dict[str, dict[str, Any]]:
    return {run["run_name"]: run for run in tracking.list_runs()}


def in_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_every_replaced_name_is_there() -> None:
    assert patches.incompatible() == []


@pytest.mark.parametrize(("module", "name", "_parameters"), patches.REPLACED)
def test_a_missing_name_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, _parameters: object
) -> None:
    import importlib

    with monkeypatch.context() as broken:
        broken.delattr(importlib.import_module(module), name)
        broken.setattr(patches, "_installed", False)
        broken.setattr(patches, "_original_stack", None)
        with pytest.raises(IntegrationError, match=name) as caught:
            patches.install(operation="start_run", workspace="alpha")
    assert mlflow.__version__ in str(caught.value)
    assert "mlflow==" in (caught.value.hint or "")


def test_plain_calls_inside_a_run_land_in_its_project(alpha: MLflowTracking, beta: MLflowTracking) -> None:
    outside = mlflow.get_tracking_uri()
    with alpha.start_run("a") as run:
        assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == alpha.uri
        assert mlflow.active_run().info.run_id == run.run_id
        mlflow.log_params({"p": 1})
        mlflow.log_metric("m", 1)
        alpha.log_metric("m", 2, step=1)
        mlflow.log_metric("m", 3, step=2)
        mlflow.set_tag("t", "v")
        mlflow.log_text("x", "x.txt")
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("m", 4)
        with beta.start_run("b"):
            mlflow.log_metric("m", 5)
            assert mlflow.active_run().info.run_name == "b"
        mlflow.log_metric("after", 6)
        assert set(mlflow.search_runs()["run_id"]) == {r["run_id"] for r in alpha.list_runs()}
    assert mlflow.get_tracking_uri() == outside
    runs = by_name(alpha)
    assert runs["a"]["metrics"] == {"m": 3.0, "after": 6.0}
    assert len(alpha.client().get_metric_history(run.run_id, "m")) == 3
    assert runs["child"]["tags"]["mlflow.parentRunId"] == run.run_id
    assert runs["child"]["status"] == "FINISHED"
    assert by_name(beta)["b"]["metrics"] == {"m": 5.0}
    assert set(by_name(beta)) == {"b"}


def test_our_nested_run_is_a_child_of_a_plain_one(alpha: MLflowTracking) -> None:
    with alpha.start_run("outer"), mlflow.start_run(run_name="plain", nested=True) as plain:
        with alpha.start_run("inner", nested=True):
            pass
        assert mlflow.active_run().info.run_id == plain.info.run_id
    assert by_name(alpha)["inner"]["tags"]["mlflow.parentRunId"] == plain.info.run_id


def test_plain_runs_left_open_end_with_the_block(alpha: MLflowTracking) -> None:
    with alpha.start_run("outer"):
        mlflow.start_run(run_name="forgotten", nested=True)
    with alpha.start_run("ended inside"):
        mlflow.end_run("KILLED")
        mlflow.log_metric("automatic", 1)
    runs = by_name(alpha)
    assert runs["forgotten"]["status"] == runs["outer"]["status"] == "FINISHED"
    assert runs["ended inside"]["status"] == "KILLED"
    assert {run["status"] for run in runs.values()} == {"FINISHED", "KILLED"}


def test_settings_of_mlflow_inside_a_run_change_nothing(
    alpha: MLflowTracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = dict(os.environ)
    elsewhere = database_uri(tmp_path / "elsewhere.db")
    with alpha.start_run("a") as run:
        mlflow.set_tracking_uri(elsewhere)
        mlflow.set_registry_uri(elsewhere)
        experiment = mlflow.set_experiment("something else")
        assert experiment.name == "alpha"
        mlflow.log_metric("m", 1)
        with mlflow.start_run(nested=True, run_name="child"):
            pass
    assert "alpha" in caplog.text
    assert "set_tracking_uri" in caplog.text
    assert set(by_name(alpha)) == {"a", "child"}
    assert alpha.get_run(run.run_id)["metrics"] == {"m": 1.0}
    assert not (tmp_path / "elsewhere.db").exists()
    # Polars sets it, which MLflow imports where it is installed.
    assert {k: v for k, v in os.environ.items() if k != "_RJEM_MALLOC_CONF"} == {
        k: v for k, v in environment.items() if k != "_RJEM_MALLOC_CONF"
    }


def test_outside_our_runs_mlflow_is_the_users(
    alpha: MLflowTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own store, configured the way MLflow documents, before, beside and after a run of ours."""
    own = database_uri(tmp_path / "own.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    client = mlflow.MlflowClient()
    client.create_experiment("mine", artifact_location=(tmp_path / "artifacts").as_uri())
    experiment = client.get_experiment_by_name("mine").experiment_id
    with mlflow.start_run(experiment_id=experiment, run_name="mine"):
        mlflow.log_metric("m", 1)
        with alpha.start_run("ours"):
            mlflow.log_metric("m", 2)
        mlflow.log_metric("m", 3, step=1)
    assert mlflow.get_tracking_uri() == own
    assert [run.data.metrics for run in client.search_runs([experiment])] == [{"m": 3.0}]
    assert by_name(alpha)["ours"]["metrics"] == {"m": 2.0}
    assert "mlflow.parentRunId" not in by_name(alpha)["ours"]["tags"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_an_explicit_client_inside_a_run_keeps_its_own_store(
    alpha: MLflowTracking, beta: MLflowTracking
) -> None:
    beta.ensure()
    with alpha.start_run():
        client = mlflow.MlflowClient(beta.uri)
        client.create_registered_model("beta.clf")
        client.create_run("0", run_name="explicit")
    assert beta.summary()["models"] == 1
    assert alpha.summary()["models"] == 0
    assert set(by_name(beta)) == {"explicit"}


def test_a_new_experiment_of_user_code_keeps_its_artifacts_in_the_workspace(alpha: MLflowTracking) -> None:
    with alpha.start_run():
        experiment = mlflow.create_experiment("sweep")
        with mlflow.start_run(experiment_id=experiment, nested=True, run_name="swept"):
            mlflow.log_text("x", "x.txt")
    assert len(list((alpha.artifact_root / experiment).rglob("x.txt"))) == 1
    assert "swept" in by_name(alpha)


def test_a_thread_started_in_a_run_logs_to_it(alpha: MLflowTracking) -> None:
    with alpha.start_run("a") as run:
        in_thread(lambda: mlflow.log_metric("from_thread", 1))

        def own() -> None:
            with mlflow.start_run(run_name="of the thread"):
                mlflow.log_metric("m", 2)

        in_thread(own)
        in_thread(lambda: mlflow.set_tag("t", "1"))
    runs = by_name(alpha)
    assert runs["a"]["metrics"] == {"from_thread": 1.0}
    assert runs["a"]["tags"]["t"] == "1"
    assert (runs["of the thread"]["metrics"], runs["of the thread"]["status"]) == ({"m": 2.0}, "FINISHED")
    assert set(runs) == {"a", "of the thread"}
    assert alpha.get_run(run.run_id)["status"] == "FINISHED"


def test_a_pool_older_than_the_run_logs_to_its_project(alpha: MLflowTracking, beta: MLflowTracking) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with alpha.start_run("a"):
            pool.submit(lambda: mlflow.log_metric("m", 1)).result()
        with beta.start_run("b"):
            pool.submit(lambda: mlflow.log_metric("m", 2)).result()
    assert by_name(alpha)["a"]["metrics"] == {"m": 1.0}
    assert by_name(beta)["b"]["metrics"] == {"m": 2.0}


def test_a_thread_that_could_belong_to_two_projects_is_refused(
    alpha: MLflowTracking, beta: MLflowTracking
) -> None:
    with alpha.start_run("a"), beta.start_run("b"):
        with pytest.raises(IntegrationError, match="alpha, beta") as caught:
            in_thread(lambda: mlflow.log_metric("m", 1))
        assert "copy_context" in (caught.value.hint or "")
        context = contextvars.copy_context()
        in_thread(lambda: context.run(mlflow.log_metric, "m", 2))
    assert by_name(alpha)["a"]["metrics"] == {}
    assert by_name(beta)["b"]["metrics"] == {"m": 2.0}


def test_a_thread_with_a_plain_run_of_its_own_is_left_alone(
    alpha: MLflowTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database_uri(tmp_path / "own.db"))
    inside, go = threading.Event(), threading.Event()

    def user() -> str:
        with mlflow.start_run() as run:
            inside.set()
            go.wait(60)
            mlflow.log_metric("m", 1)
        return str(run.info.run_id)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(user)
        inside.wait(60)
        with alpha.start_run("a"):
            go.set()
            run_id = future.result()
    assert mlflow.MlflowClient().get_run(run_id).data.metrics == {"m": 1.0}
    assert by_name(alpha)["a"]["metrics"] == {}
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_tasks_keep_their_projects_and_stacks(alpha: MLflowTracking, beta: MLflowTracking) -> None:
    async def train(tracking: MLflowTracking, number: int) -> None:
        with tracking.start_run(f"run-{number}"):
            for step in range(3):
                mlflow.log_metric("m", number, step=step)
                await asyncio.sleep(0.01)
                with mlflow.start_run(run_name=f"child-{number}-{step}", nested=True):
                    await asyncio.sleep(0.01)
                    mlflow.log_param("n", number)
            await asyncio.to_thread(mlflow.log_metric, "thread", number)

    async def everything() -> None:
        await asyncio.gather(*(train(t, n) for n in range(3) for t in (alpha, beta)))

    asyncio.run(everything())
    for tracking in (alpha, beta):
        runs = by_name(tracking)
        assert len(runs) == 12
        for number in range(3):
            run = runs[f"run-{number}"]
            assert run["metrics"] == {"m": number, "thread": number}
            for step in range(3):
                child = runs[f"child-{number}-{step}"]
                assert child["tags"]["mlflow.parentRunId"] == run["run_id"]
                assert child["params"] == {"n": str(number)}


def test_tasks_inside_one_run_have_their_own_stack(alpha: MLflowTracking) -> None:
    async def child(number: int) -> None:
        with mlflow.start_run(run_name=f"child-{number}", nested=True):
            await asyncio.sleep(0.02)
            mlflow.log_metric("m", number)

    async def outlives() -> None:
        await asyncio.sleep(0.3)
        mlflow.log_metric("late", 1)

    async def everything() -> None:
        with alpha.start_run("outer"):
            late = asyncio.create_task(outlives())
            await asyncio.gather(*(child(number) for number in range(4)))
            mlflow.log_metric("outer", 1)
        await late

    asyncio.run(everything())
    runs = by_name(alpha)
    assert runs["outer"]["metrics"] == {"outer": 1.0, "late": 1.0}
    for number in range(4):
        assert runs[f"child-{number}"]["metrics"] == {"m": float(number)}
        assert runs[f"child-{number}"]["tags"]["mlflow.parentRunId"] == runs["outer"]["run_id"]
    assert len(runs) == 5


def test_autolog_in_two_projects_at_once_is_complete(alpha: MLflowTracking, beta: MLflowTracking) -> None:
    from sklearn.linear_model import LogisticRegression

    features, target = [[0.0], [1.0], [2.0], [3.0]] * 5, [0, 0, 1, 1] * 5
    barrier = threading.Barrier(2)
    rounds = 5

    def train(tracking: MLflowTracking, penalty: float) -> None:
        barrier.wait(60)
        for number in range(rounds):
            with tracking.start_run(f"fit-{number}"):
                LogisticRegression(C=penalty + number).fit(features, target)
        with tracking.start_run("registered"):
            model = LogisticRegression(C=penalty).fit(features, target)
            mlflow.sklearn.log_model(
                model, name="clf", registered_model_name=f"{tracking.project}.clf", pip_requirements=[]
            )
            loaded = mlflow.sklearn.load_model(f"models:/{tracking.project}.clf/1")
            assert (type(loaded), loaded.C) == (LogisticRegression, penalty)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.autolog(silent=True, log_models=False, log_datasets=False)
        try:
            with ThreadPoolExecutor(2) as pool:
                jobs = [pool.submit(train, alpha, 1.0), pool.submit(train, beta, 101.0)]
                for job in jobs:
                    job.result()
        finally:
            mlflow.sklearn.autolog(disable=True, silent=True)
    for tracking, penalty in ((alpha, 1.0), (beta, 101.0)):
        runs = by_name(tracking)
        assert len(runs) == rounds + 1
        for number in range(rounds):
            run = runs[f"fit-{number}"]
            assert float(run["params"]["C"]) == penalty + number
            assert "training_score" in run["metrics"]
            assert (run["status"], run["tags"]["estimator_name"]) == ("FINISHED", "LogisticRegression")
        assert tracking.summary()["models"] == tracking.summary()["model_versions"] == 1
        assert tracking.summary()["artifacts"]["files"] > 0


def test_traces_go_to_the_project_they_began_in(alpha: MLflowTracking, beta: MLflowTracking) -> None:
    @mlflow.trace
    def answer(question: str) -> str:
        return question

    for tracking in (alpha, beta, alpha):
        with tracking.start_run() as run:
            answer(tracking.project)
        mlflow.flush_trace_async_logging()
        newest = tracking.client().search_traces(["0"])[0]
        assert newest.info.trace_metadata["mlflow.sourceRun"] == run.run_id
        assert tracking.project in newest.info.request_preview
    assert len(alpha.client().search_traces(["0"])) == 2
    assert len(beta.client().search_traces(["0"])) == 1
