from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient, Pipeline, PipelineError, StepError, WorkspaceNotFoundError, step
from mlops.pipelines.progression import Progress
from mlops.pipelines.results import StepStatus


def load_data() -> list[int]:
    return [1, 2, 3]


def train_model(data: list[int], rate: float = 0.1) -> dict[str, float]:
    return {"score": sum(data) * rate}


def fail_first(times: int) -> Callable[..., Any]:
    """Return a function that fails so often."""
    left = [times]

    def flaky(data: list[int]) -> int:
        if left[0]:
            left[0] -= 1
            raise ConnectionError("the store is away")
        return len(data)

    return flaky


def steps_of(client: MLOpsClient, run_id: str) -> dict[str, dict[str, Any]]:
    runs = client.tracking.list_runs(limit=None)
    return {r["tags"]["mlops.step"]: r for r in runs if r["tags"].get("mlflow.parentRunId") == run_id}


def test_a_run_is_an_mlflow_run_with_one_nested_run_per_step(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("training", params={"rate": 0.5}, version="v2")
    run = pipeline.add_step(load_data).add_step(train_model).run()
    assert run.success
    assert dict(run.outputs) == {"load_data": [1, 2, 3], "train_model": {"score": 3.0}}
    (recorded,) = client.list_runs("training")
    assert (recorded["run_id"], recorded["status"], recorded["params"]) == (
        run.run_id,
        "FINISHED",
        {"rate": "0.5"},
    )
    assert recorded["tags"]["mlops.pipeline_version"] == "v2"
    children = steps_of(client, run.run_id)
    assert set(children) == {"load_data", "train_model"}
    assert children["train_model"]["params"] == {"rate": "0.5"}
    assert children["load_data"]["params"] == {}
    for name, child in children.items():
        assert child["status"] == "FINISHED"
        assert child["duration"] >= 0
        assert child["tags"]["mlops.step_attempts"] == "1"
        assert run.steps[name].run_id == child["run_id"]
    assert run.to_dict()["steps"][1]["name"] == "train_model"


def test_the_outputs_are_shown_with_their_runs_and_stored_once(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("training").add_step(load_data).add_step(train_model)
    first, second = pipeline.run(), pipeline.run()
    shown = []
    for run in (first, second):
        run_id = run.steps["train_model"].run_id
        assert run_id is not None
        listed = client.tracking.client().list_artifacts(run_id, "mlops/outputs")
        assert [item.path for item in listed] == ["mlops/outputs/train_model.json"]
        shown.append(client.tracking.artifact_root / "0" / run_id / "artifacts" / listed[0].path)
    assert shown[0].samefile(shown[1])
    from mlops.pipelines.artifacts import step_outputs

    found = [a for a in step_outputs(client.tracking) if a["name"] == "train_model"]
    assert [(a["type"], a["python_type"], a["step"]) for a in found] == [
        ("metrics", "dict", "train_model")
    ] * 2
    assert client.load_output(found[0]["uri"]) == second.outputs["train_model"]


def test_everything_a_step_logs_lands_in_its_own_run(client: MLOpsClient, base: Path) -> None:
    def train() -> None:
        import mlflow

        mlflow.log_metric("plain", 1.0)
        client.log_metric("ours", 2.0)
        MLOpsClient("churn", base_path=base).log_metric("another_client", 3.0)

    run = client.create_pipeline("p").add_step(train).run()
    child = steps_of(client, run.run_id)["train"]
    assert child["metrics"] == {"plain": 1.0, "ours": 2.0, "another_client": 3.0}
    assert client.get_run(run.run_id)["metrics"] == {}


def test_a_failing_step_is_recorded_and_raised_with_its_cause(client: MLOpsClient) -> None:
    error = KeyError("column")

    def train(data: list[int]) -> None:
        raise error

    def report(train: None) -> None:
        raise AssertionError("it must not be called")

    pipeline = client.create_pipeline("p").add_step(load_data).add_step(train).add_step(report)
    with pytest.raises(StepError, match="The step 'train' failed: KeyError") as caught:
        pipeline.run()
    assert caught.value.__cause__ is error
    assert (caught.value.step, caught.value.operation, caught.value.workspace) == ("train", "run", "churn")
    assert "resume=" in (caught.value.hint or "")
    (recorded,) = client.list_runs("p")
    assert recorded["status"] == "FAILED"
    children = steps_of(client, recorded["run_id"])
    assert {name: child["status"] for name, child in children.items()} == {
        "load_data": "FINISHED",
        "train": "FAILED",
    }
    assert "KeyError" in children["train"]["tags"]["mlops.step_reason"]
    run = pipeline.run(raise_on_failure=False)
    assert (run.success, run.status) == (False, "FAILED")
    assert [str(s.status) for s in run.steps.values()] == ["FINISHED", "FAILED", "NOT_RUN"]
    assert run.error is not None
    assert run.error.__cause__ is error


def test_retries_wait_longer_every_time(client: MLOpsClient) -> None:
    called: list[float] = []
    flaky = fail_first(3)

    def timed(data: list[int]) -> int:
        called.append(time.monotonic())
        return int(flaky(data))

    pipeline = client.create_pipeline("p").add_step(load_data)
    run = pipeline.add_step(step(timed, name="flaky", retry=3, backoff=0.05)).run()
    assert run.outputs["flaky"] == 3
    assert run.steps["flaky"].attempts == 4
    waited = [later - earlier for earlier, later in itertools.pairwise(called)]
    assert all(seconds >= least for seconds, least in zip(waited, (0.05, 0.1, 0.2), strict=True))
    assert steps_of(client, run.run_id)["flaky"]["tags"]["mlops.step_attempts"] == "4"
    again = client.create_pipeline("q").add_step(load_data)
    again.add_step(step(fail_first(2), retry=1, backoff=0))
    with pytest.raises(StepError, match="failed after 2 attempts: ConnectionError"):
        again.run()


def test_independent_steps_run_at_once_each_in_its_own_run(client: MLOpsClient) -> None:
    meeting = threading.Barrier(3, timeout=30)

    def make(name: str) -> Any:
        def work() -> str:
            meeting.wait()
            client.log_metric(name, 1.0)
            return name

        return step(work, name=name, inputs=[])

    def join(a: str, b: str, c: str) -> str:
        return a + b + c

    pipeline = client.create_pipeline("p")
    for name in "abc":
        pipeline.add_step(make(name))
    run = pipeline.add_step(join).run()
    assert run.outputs["join"] == "abc"
    children = steps_of(client, run.run_id)
    assert {name: set(children[name]["metrics"]) for name in "abc"} == {name: {name} for name in "abc"}


def test_a_failure_beside_others_lets_them_finish_and_starts_no_more(client: MLOpsClient) -> None:
    meeting = threading.Barrier(2, timeout=30)

    @step(inputs=[])
    def good() -> int:
        meeting.wait()
        return 1

    @step(inputs=[])
    def bad() -> int:
        meeting.wait()
        raise ValueError("no")

    def after(good: int) -> int:
        return good

    pipeline = client.create_pipeline("p").add_step(good).add_step(bad).add_step(after)
    run = pipeline.run(raise_on_failure=False)
    assert run.steps["good"].status == "FINISHED"
    assert run.steps["bad"].status == "FAILED"


def test_a_step_is_called_for_each_item_of_a_list(client: MLOpsClient) -> None:
    @step(map="shard", outputs=["total", "count"])
    def work(shard: list[int], scale: int) -> tuple[int, int]:
        client.log_metric(f"seen_{shard[0]}", 1.0)
        return sum(shard) * scale, len(shard)

    def shards() -> list[list[int]]:
        return [[1], [2, 3], [4]]

    pipeline = client.create_pipeline("p").add_step(shards).add_step(work)
    run = pipeline.run(params={"scale": 10})
    assert run.outputs["total"] == [10, 50, 40]
    assert run.outputs["count"] == [1, 2, 1]
    assert set(steps_of(client, run.run_id)["work"]["metrics"]) == {"seen_1", "seen_2", "seen_4"}
    empty = client.create_pipeline("q").add_step(work)
    assert dict(empty.run(params={"scale": 1, "shard": []}).outputs) == {"total": [], "count": []}
    with pytest.raises(StepError, match="maps over 'shard', which is no list but a int"):
        empty.run(params={"scale": 1, "shard": 3})


def test_a_condition_skips_a_step_and_what_needs_it(client: MLOpsClient) -> None:
    def score() -> float:
        return 0.5

    @step(when=lambda score, threshold: score > threshold)
    def deploy(score: float) -> str:
        return "deployed"

    def announce(deploy: str) -> str:
        return f"{deploy}!"

    def report(score: float, deploy: str = "nothing") -> str:
        return f"{score} {deploy}"

    pipeline = (
        client.create_pipeline("p").add_step(score).add_step(deploy).add_step(announce).add_step(report)
    )
    low = pipeline.run(params={"threshold": 0.9})
    assert {name: str(s.status) for name, s in low.steps.items()} == {
        "score": "FINISHED",
        "deploy": "SKIPPED",
        "announce": "SKIPPED",
        "report": "FINISHED",
    }
    assert low.success
    assert low.outputs["report"] == "0.5 nothing"
    assert "deploy" not in low.outputs
    children = steps_of(client, low.run_id)
    assert children["deploy"]["tags"]["mlops.step_reason"] == "its condition is not met"
    assert (
        children["announce"]["tags"]["mlops.step_reason"] == "it needs what deploy returns, which was skipped"
    )
    high = pipeline.run(params={"threshold": 0.1})
    assert (high.outputs["announce"], high.outputs["report"]) == ("deployed!", "0.5 deployed")
    with pytest.raises(StepError, match="its condition raised TypeError"):
        pipeline.run(params={"threshold": None})


@pytest.mark.parametrize("returned", [1, (1,), {"a": 1, "c": 2}, [1, 2, 3]])
def test_a_step_must_return_what_it_declares(client: MLOpsClient, returned: Any) -> None:
    pipeline = client.create_pipeline("p").add_step(step(lambda: returned, name="s", outputs=["a", "b"]))
    with pytest.raises(StepError, match="instead of its 2 outputs a, b"):
        pipeline.run()


def test_several_outputs_may_be_named(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("p").add_step(
        step(lambda: {"b": 2, "a": 1}, name="s", outputs=["a", "b"])
    )
    assert dict(pipeline.run().outputs) == {"a": 1, "b": 2}


def test_data_versions_added_in_a_step_belong_to_step_and_run(client: MLOpsClient, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("a,b\n1,2\n")

    def load() -> str:
        return client.dvc_add(source).md5

    run = client.create_pipeline("p", version="v1").add_step(load).run()
    step_run = run.steps["load"].run_id
    assert step_run is not None
    for run_id in (run.run_id, step_run):
        (use,) = client.tracking.datasets(run_id)
        assert use["digest"] == run.outputs["load"]
    chain = client.trace(source)
    assert {f"churn/run:{run.run_id}", f"churn/run:{step_run}"} <= {str(node.ref) for node in chain.nodes}
    # The tags of the runs say it too, so that the log of links can be lost.
    for _ in range(2):
        for run_id in (run.run_id, step_run):
            assert "churn/pipeline:p@v1" in {str(node.ref) for node in client.trace(run_id).nodes}
        (client.workspace_path / "links.jsonl").unlink(missing_ok=True)


def test_progress_is_told_step_by_step(client: MLOpsClient, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []
    pipeline = client.create_pipeline("p").add_step(load_data).add_step(train_model)
    pipeline.run(progress=told.append)
    assert [(p.step, p.status and str(p.status), p.done, p.total) for p in told] == [
        ("load_data", None, 0, 2),
        ("load_data", "FINISHED", 1, 2),
        ("train_model", None, 1, 2),
        ("train_model", "FINISHED", 2, 2),
    ]
    assert capfd.readouterr() == ("", "")
    pipeline.run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "load_data" in err
    assert "2/2" in err


def test_a_dry_run_calls_and_records_nothing(client: MLOpsClient) -> None:
    def explode() -> None:
        raise AssertionError

    planned = client.create_pipeline("p").add_step(explode).dry_run()
    assert [p.to_dict() for p in planned] == [
        {
            "name": "explode",
            "inputs": {},
            "outputs": ["explode"],
            "after": [],
            "stage": 1,
            "reused_from": None,
        }
    ]
    assert not client.tracking.database.exists()


def test_ctrl_c_leaves_killed_runs(client: MLOpsClient) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.create_pipeline("p").add_step(interrupted).run()
    assert {run["status"] for run in client.tracking.list_runs(limit=None)} == {"KILLED"}


def test_two_projects_in_two_threads_never_meet(base: Path) -> None:
    def work(name: str) -> tuple[MLOpsClient, str]:
        client = MLOpsClient(name, base_path=base)

        def train() -> str:
            import mlflow

            mlflow.log_metric(name, 1.0)
            return name

        pipeline = client.create_pipeline(f"of-{name}").add_step(train)
        for _ in range(3):
            run = pipeline.run()
        return client, run.run_id

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, ["one", "two"]))
    for (client, run_id), name in zip(found, ["one", "two"], strict=True):
        assert client.get_pipelines() == [f"of-{name}"]
        assert len(client.list_runs(f"of-{name}")) == 3
        assert set(steps_of(client, run_id)["train"]["metrics"]) == {name}


def test_a_pipeline_moves_to_another_project(client: MLOpsClient, base: Path) -> None:
    pipeline = (
        client.create_pipeline("training", params={"rate": 2.0}).add_step(load_data).add_step(train_model)
    )
    pipeline.run()
    other = MLOpsClient("other", base_path=base)
    run = pipeline.copy_to(other).run()
    assert run.outputs["train_model"] == {"score": 12.0}
    assert other.get_pipelines() == client.get_pipelines() == ["training"]
    assert [r["run_id"] for r in other.list_runs("training")] == [run.run_id]


def test_pipelines_are_listed_before_they_run(client: MLOpsClient) -> None:
    for name in ("reports", "etl", "etl"):
        client.create_pipeline(name)
    assert client.get_pipelines() == ["etl", "reports"]
    with pytest.raises(PipelineError, match="cannot be named"):
        client.create_pipeline("../evil")
    with pytest.raises(PipelineError, match="max_workers=0"):
        client.create_pipeline("p", max_workers=0)
    assert client.get_pipelines() == ["etl", "reports"]


def test_a_pipeline_needs_a_project_that_is_there(client: MLOpsClient) -> None:
    with pytest.raises(PipelineError, match="belongs to no project"):
        Pipeline("p").add_step(load_data).run()
    pipeline = client.create_pipeline("p").add_step(load_data)
    client.manager.delete_workspace("churn", force=True)
    with pytest.raises(WorkspaceNotFoundError):
        pipeline.run()
    assert not client.workspace_path.exists()


def test_a_pipeline_inside_a_run_or_a_step_is_its_child(client: MLOpsClient) -> None:
    inner = client.create_pipeline("inner").add_step(load_data)
    with client.start_run("outer") as outer:
        run = inner.run()
    assert client.get_run(run.run_id)["tags"]["mlflow.parentRunId"] == outer.run_id

    def bad(load_data: list[int]) -> None:
        raise ValueError("deep")

    inner.add_step(bad)

    def nested() -> None:
        inner.run()

    with pytest.raises(StepError, match="The step 'nested' failed") as caught:
        client.create_pipeline("outer").add_step(nested).run()
    assert isinstance(caught.value.__cause__, StepError)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)


def test_an_unknown_engine_is_refused_before_anything_is_recorded(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("p").add_step(load_data)
    with pytest.raises(PipelineError, match="has no engine 'airflow'"):
        pipeline.run(engine="airflow")
    assert not client.tracking.database.exists()


def test_the_definition_changes_with_the_steps() -> None:
    base = Pipeline("p").add_step(load_data)
    assert base.definition_hash() == Pipeline("p").add_step(load_data).definition_hash()
    for other in (
        Pipeline("p").add_step(step(load_data, retry=1)),
        Pipeline("p").add_step(step(lambda: [1, 2, 4], name="load_data")),
        Pipeline("p", params={"rate": 1}).add_step(load_data),
    ):
        assert other.definition_hash() != base.definition_hash()


def test_statuses_read_like_mlflows() -> None:
    assert [str(status) for status in StepStatus] == ["FINISHED", "FAILED", "SKIPPED", "NOT_RUN"]
