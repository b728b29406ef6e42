from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.errors import DataNotFoundError, IntegrationError, NoActiveRunError
from mlops.integrations.mlflow_tracking import MLflowTracking, Run, artifacts
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


def test_a_run_records_what_was_given(tracking: MLflowTracking, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"m")
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "a.txt").write_text("a")
    with tracking.start_run(
        "baseline", tags={"team": "growth", "n": 3}, description="first try", params={"lr": 0.1}
    ) as run:
        assert isinstance(run, Run)
        assert tracking.active_run is run
        assert (run.run_name, run.info.status) == ("baseline", "RUNNING")
        tracking.log_param("depth", 3)
        tracking.log_params({"a": None, "b": [1]})
        tracking.log_metrics({"auc": 0.5, "loss": 1}, step=1)
        tracking.log_metric("auc", 0.75, step=2)
        tracking.set_tag("k", "v")
        tracking.set_tags({"mlops.pipeline": "train"})
        tracking.log_artifact(tmp_path / "model.bin", "models")
        tracking.log_artifacts(tmp_path / "plots", "plots")
        run.log_text("hello", "notes/n.txt")
    assert tracking.active_run is None
    found = tracking.get_run(run.run_id)
    assert found["status"] == "FINISHED"
    assert found["params"] == {"lr": "0.1", "depth": "3", "a": "None", "b": "[1]"}
    assert found["metrics"] == {"auc": 0.75, "loss": 1.0}
    assert found["pipeline_name"] == "train"
    assert found["duration"] >= 0
    tags = found["tags"]
    assert tags.items() >= {"team": "growth", "n": "3", "mlops.project": "churn", "k": "v"}.items()
    assert tags["mlflow.note.content"] == "first try"
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= tags.keys()
    root = tracking.artifact_root / "0" / run.run_id / "artifacts"
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == ["mlops/environment.txt", "models/model.bin", "notes/n.txt", "plots/deep/a.txt"]
    assert not any(Path.cwd().iterdir())


def test_the_users_exception_passes_through_unchanged(tracking: MLflowTracking) -> None:
    class Odd(Exception):
        pass

    problem = Odd("mine")
    with pytest.raises(Odd) as caught, tracking.start_run() as run:
        run.log_metric("before", 1)
        raise problem
    assert caught.value is problem
    assert problem.__cause__ is None
    assert not hasattr(problem, "__notes__")
    found = tracking.get_run(run.run_id)
    assert (found["status"], found["metrics"]) == ("FAILED", {"before": 1.0})
    assert found["end_time"] is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "KILLED"),
        (SystemExit("text"), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (StopIteration(), "FAILED"),
    ],
)
def test_how_a_run_ends(tracking: MLflowTracking, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)) as caught, tracking.start_run() as run:
        raise error
    assert caught.value is error
    assert tracking.get_run(run.run_id)["status"] == status


def test_nested_runs_know_their_parent_and_the_outer_logs_again(tracking: MLflowTracking) -> None:
    with tracking.start_run("outer") as outer:
        with pytest.raises(IntegrationError, match="already open") as caught, tracking.start_run("second"):
            pass
        assert "nested=True" in (caught.value.hint or "")
        with tracking.start_run("inner", nested=True) as inner:
            assert tracking.active_run is inner
            tracking.log_metric("m", 1)
        assert tracking.active_run is outer
        tracking.log_metric("m", 2)
    runs = {run["run_name"]: run for run in tracking.list_runs()}
    assert set(runs) == {"outer", "inner"}
    assert runs["inner"]["tags"]["mlflow.parentRunId"] == outer.run_id
    assert (runs["inner"]["metrics"], runs["outer"]["metrics"]) == ({"m": 1.0}, {"m": 2.0})


def test_a_run_is_continued_by_its_id(tracking: MLflowTracking) -> None:
    with tracking.start_run("first", params={"a": 1}) as run:
        pass
    with tracking.start_run(run_id=run.run_id, tags={"again": True}, params={"b": 2}) as again:
        assert again.run_id == run.run_id
        assert tracking.get_run(run.run_id)["status"] == "RUNNING"
    found = tracking.get_run(run.run_id)
    assert found["params"] == {"a": "1", "b": "2"}
    assert (found["status"], found["run_name"], found["tags"]["again"]) == ("FINISHED", "first", "True")
    assert tracking.summary()["runs"] == 1


def test_a_run_of_another_project_cannot_be_continued(
    tracking: MLflowTracking, make_context: MakeContext
) -> None:
    other = MLflowTracking(make_context("other"))
    with other.start_run() as run:
        pass
    for bad in (run.run_id, "0" * 32, "nonsense"):
        with pytest.raises(DataNotFoundError, match="churn"), tracking.start_run(run_id=bad):
            pass
        with pytest.raises(DataNotFoundError):
            tracking.get_run(bad)
    assert tracking.summary()["runs"] == 0


def test_logging_outside_a_run_says_what_to_do(tracking: MLflowTracking) -> None:
    calls: list[Callable[[], object]] = [
        lambda: tracking.log_param("a", 1),
        lambda: tracking.log_params({"a": 1}),
        lambda: tracking.log_metric("a", 1),
        lambda: tracking.log_metrics({"a": 1}),
        lambda: tracking.log_artifact("a"),
        lambda: tracking.log_artifacts("a"),
        lambda: tracking.log_text("a", "a"),
        lambda: tracking.log_figure(None, "a.png"),
        lambda: tracking.set_tag("a", 1),
        lambda: tracking.set_tags({"a": 1}),
        lambda: tracking.log_dataset("a", digest="1", source={}),
    ]
    for call in calls:
        with pytest.raises(NoActiveRunError) as caught:
            call()
        assert "with client.start_run()" in (caught.value.hint or "")
        assert (caught.value.tool, caught.value.workspace) == ("mlflow", "churn")
        assert (caught.value.operation or "").startswith(("log_", "set_tag"))
    assert not tracking.database.exists()


@pytest.mark.parametrize("value", ["0.5", None, [1.0], {"a": 1}, 1 + 2j, np.array([1.0, 2.0]), 10**400, b"1"])
def test_a_metric_that_is_no_number_is_refused_at_the_call(tracking: MLflowTracking, value: Any) -> None:
    with tracking.start_run() as run:
        with pytest.raises(IntegrationError, match="'bad'") as caught:
            tracking.log_metrics({"good": 1, "bad": value})
        assert caught.value.operation == "log_metrics"
    assert tracking.get_run(run.run_id)["metrics"] == {}


@pytest.mark.parametrize("key", ["", "a$b", "../up", "a//b", "x" * 251, 3])
def test_a_bad_metric_name_is_refused_at_the_call(tracking: MLflowTracking, key: Any) -> None:
    with tracking.start_run() as run:
        with pytest.raises(IntegrationError, match="Invalid metric name"):
            tracking.log_metric(key, 1)
        with pytest.raises(IntegrationError, match="step"):
            tracking.log_metric("m", 1, step=1.5)  # type: ignore[arg-type]
        tracking.log_metric("fine", 1)
    assert tracking.get_run(run.run_id)["metrics"] == {"fine": 1.0}


def test_every_kind_of_number_survives(tracking: MLflowTracking) -> None:
    values = {
        "nan": float("nan"),
        "inf": math.inf,
        "minus": -math.inf,
        "int": 7,
        "bool": True,
        "f32": np.float32(0.5),
        "i64": np.int64(3),
        "zero-d": np.array(2.5),
        "decimal": Decimal("1.25"),
        "tiny": 5e-324,
    }
    with tracking.start_run() as run:
        tracking.log_metrics(values, step=np.int64(4))  # type: ignore[arg-type]
    metrics = tracking.get_run(run.run_id)["metrics"]
    assert math.isnan(metrics.pop("nan"))
    assert metrics == {key: float(value) for key, value in values.items() if key != "nan"}


def test_ten_thousand_metrics_cost_little_and_are_all_there(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        started = time.perf_counter()
        for step in range(10_000):
            tracking.log_metric("loss", 1 / (step + 1), step=step)
        spent = time.perf_counter() - started
    history = tracking.client().get_metric_history(run.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(10_000)]
    assert spent < 3


def test_equal_values_at_one_step_are_all_kept(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        for value in [0.5] * 100 + [0.25]:
            tracking.log_metric("m", value)
    assert len(tracking.client().get_metric_history(run.run_id, "m")) == 101
    assert tracking.get_run(run.run_id)["metrics"] == {"m": 0.25}


def test_metrics_are_written_while_the_run_goes_on(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        tracking.log_metric("m", 1)
        client = tracking.client()
        deadline = time.monotonic() + 10
        while not client.get_run(run.run_id).data.metrics and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.get_run(run.run_id).data.metrics == {"m": 1.0}


def test_reading_sees_what_was_just_logged_by_any_adapter(
    tracking: MLflowTracking, context: ToolContext
) -> None:
    with tracking.start_run() as run:
        tracking.log_metric("m", 1)
        assert tracking.list_runs()[0]["metrics"] == {"m": 1.0}
        run.log_metric("m", 2, step=1)
        assert MLflowTracking(context).get_run(run.run_id)["metrics"] == {"m": 2.0}


def test_metrics_that_cannot_be_written_are_an_error_and_not_lost(tracking: MLflowTracking) -> None:
    with pytest.raises(IntegrationError, match="active"), tracking.start_run() as run:
        tracking.client().delete_run(run.run_id)
        run.log_metric("m", 1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.2)
            run.log_metric("m", 2)
    tracking.client().restore_run(run.run_id)


def test_a_failing_last_write_is_raised_by_the_block(tracking: MLflowTracking) -> None:
    with pytest.raises(IntegrationError, match="active") as caught, tracking.start_run() as run:
        run.log_metric("m", 1)
        tracking.client().delete_run(run.run_id)
    assert any("1 metrics" in note for note in caught.value.__notes__)

    with pytest.raises(ZeroDivisionError) as user, tracking.start_run() as second:
        second.log_metric("m", 1)
        tracking.client().delete_run(second.run_id)
        1 / 0  # noqa: B018
    assert any(second.run_id in note for note in user.value.__notes__)


def test_metrics_outlive_an_exit_inside_the_block(context: ToolContext) -> None:
    code = """
import sys, threading
from pathlib import Path
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
tracking = MLflowTracking(ToolContext(ProjectWorkspace.load_metadata(Path(sys.argv[1])), resolve().settings))
block = tracking.start_run("left open")
block.__enter__().log_metric("m", 4)
with tracking.start_run("exits", nested=True) as run:
    run.log_metric("m", 5)
    sys.exit(2)
"""
    done = subprocess.run([sys.executable, "-c", code, str(context.workspace.root_path)], timeout=120)
    assert done.returncode == 2
    runs = {run["run_name"]: run for run in MLflowTracking(context).list_runs()}
    assert (runs["exits"]["metrics"], runs["exits"]["status"]) == ({"m": 5.0}, "KILLED")
    assert runs["left open"]["metrics"] == {"m": 4.0}


def _in_child(tracking: MLflowTracking, queue: Any) -> None:
    run = tracking.active_run
    assert run is not None
    run.log_metric("child", 1)
    tracking.flush()
    queue.put(os.getpid())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_repeats_nor_ends_its_parents_run(tracking: MLflowTracking) -> None:
    methods = multiprocessing.get_context("fork")
    queue = methods.SimpleQueue()
    with tracking.start_run() as run:
        run.log_metric("parent", 1)
        child = methods.Process(target=_in_child, args=(tracking, queue))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        child.join(60)
        assert child.exitcode == 0
        assert tracking.get_run(run.run_id)["status"] == "RUNNING"
        run.log_metric("parent", 2, step=1)
    found = tracking.get_run(run.run_id)
    assert found["metrics"] == {"parent": 2.0, "child": 1.0}
    assert len(tracking.client().get_metric_history(run.run_id, "parent")) == 2
    assert found["status"] == "FINISHED"


def test_threads_and_tasks_do_not_see_each_others_runs(tracking: MLflowTracking) -> None:
    seen: list[object] = []
    with tracking.start_run("main") as run:
        thread = threading.Thread(target=lambda: seen.append(tracking.active_run))
        thread.start()
        thread.join()
        handle_thread = threading.Thread(target=lambda: run.log_metric("from_thread", 1))
        handle_thread.start()
        handle_thread.join()
    assert seen == [None]
    assert tracking.get_run(run.run_id)["metrics"] == {"from_thread": 1.0}

    async def train(number: int) -> tuple[str, Run]:
        with tracking.start_run(f"task-{number}") as mine:
            for step in range(5):
                tracking.log_metric("m", number, step=step)
                await asyncio.sleep(0.01)
                assert tracking.active_run is mine
            return f"task-{number}", mine

    async def everything() -> list[tuple[str, Run]]:
        return await asyncio.gather(*(train(number) for number in range(4)))

    for number, (name, mine) in enumerate(asyncio.run(everything())):
        found = tracking.get_run(mine.run_id)
        assert (found["run_name"], found["metrics"]) == (name, {"m": float(number)})
        assert "mlflow.parentRunId" not in found["tags"]


def test_a_cancelled_task_kills_its_run(tracking: MLflowTracking) -> None:
    async def train() -> None:
        with tracking.start_run("cancelled"):
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(train())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert tracking.list_runs()[0]["status"] == "KILLED"


def test_two_clients_interleave(tracking: MLflowTracking, make_context: MakeContext) -> None:
    other = MLflowTracking(make_context("other"))
    with tracking.start_run("a") as a:
        with other.start_run("b"):
            tracking.log_metric("m", 1)
            other.log_metric("m", 2)
            assert tracking.active_run is a
            with tracking.start_run("a2", nested=True):
                tracking.log_metric("m", 3)
                other.log_metric("m", 4, step=1)
        assert other.active_run is None
    mine = {run["run_name"]: run for run in tracking.list_runs()}
    assert {name: run["metrics"]["m"] for name, run in mine.items()} == {"a": 1.0, "a2": 3.0}
    assert mine["a2"]["tags"]["mlflow.parentRunId"] == a.run_id
    assert [(r["run_name"], r["metrics"]["m"]) for r in other.list_runs()] == [("b", 4.0)]


def test_a_dataset_is_recorded_without_loading_it(tracking: MLflowTracking) -> None:
    digest = "0123456789abcdef" * 2
    with tracking.start_run() as run:
        run.log_dataset("customers", digest=digest, source={"path": "data/c.csv"}, tags={"rows": 10})
        with pytest.raises(IntegrationError, match="customers"):
            run.log_dataset("customers", digest="f" * 64, source={})
        with pytest.raises(IntegrationError, match="JSON"):
            run.log_dataset("customers", digest="1", source={"path": object()})
    assert tracking.datasets(run.run_id) == [
        {
            "name": "customers",
            "digest": digest,
            "source": {"path": "data/c.csv"},
            "source_type": "dvc",
            "context": "training",
            "tags": {"rows": "10"},
        }
    ]
    assert tracking.get_run(run.run_id)["tags"]["mlops.data.customers"] == digest
    (link,) = tracking.links()
    assert (link.source, link.target, link.relation) == (f"data:{digest}", f"run:{run.run_id}", "input-of")


def test_artifacts_stay_inside_the_run(tracking: MLflowTracking, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    with tracking.start_run() as run:
        for escape in ("../../out", "/abs", "a/../../out"):
            with pytest.raises(IntegrationError):
                run.log_artifact(tmp_path / "f", escape)
            with pytest.raises(IntegrationError):
                run.log_text("x", f"{escape}/f.txt")
        with pytest.raises(DataNotFoundError, match="missing"):
            run.log_artifact(tmp_path / "missing")
        with pytest.raises(IntegrationError, match="str"):
            run.log_figure("no figure", "f.png")
    assert not list(artifacts.files(tracking))


def test_a_changed_parameter_is_an_error(tracking: MLflowTracking) -> None:
    with tracking.start_run() as run:
        run.log_param("a", 1)
        with pytest.raises(IntegrationError, match="a"):
            run.log_param("a", 2)
    assert tracking.get_run(run.run_id)["status"] == "FINISHED"
