from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import DataNotFoundError, IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking, artifacts, queries, store
from mlops.integrations.mlflow_tracking.api_queries import ApiReader
from mlops.integrations.mlflow_tracking.run_query import ATTRIBUTES, RunQuery
from mlops.workspace.tools import ToolContext
from tests.integrations.mlflow_server import mlflow_server

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def filled(context: ToolContext) -> MLflowTracking:
    """A project with runs of every status, a deleted run, datasets and registered models."""
    tracking = MLflowTracking(context)
    client = tracking.client()
    with tracking.start_run("one", params={"p": "1"}, tags={"mlops.pipeline": "train"}) as one:
        one.log_metrics({"a": 1.5, "nan": float("nan"), "inf": float("inf")}, step=3)
        one.log_metric("a", 0.5, step=1)
        one.log_dataset("d", digest="1" * 32, source={"x": 1}, tags={"rows": 3})
        one.log_dataset("c", digest="2" * 32, source={"x": 2}, context="validation")
    with pytest.raises(ZeroDivisionError), tracking.start_run("two", tags={"mlops.pipeline": 'it\'s "odd"'}):
        1 / 0  # noqa: B018
    client.set_tag(one.run_id, "mlops.git_commit", "0" * 40)
    client.set_tag(one.run_id, "mlops.git_dirty", "true")
    # As code that knows nothing of data versions is tagged: no dataset, only the tag.
    open_run = client.create_run("0", run_name="open", tags={"mlops.data.only-a-tag": "3" * 32})
    gone = client.create_run("0", run_name="gone")
    client.delete_run(gone.info.run_id)
    second = client.create_experiment("second")
    client.set_terminated(client.create_run(second, run_name="elsewhere").info.run_id, "KILLED")
    hidden = client.create_experiment("hidden")
    client.create_run(hidden, run_name="hidden")
    client.delete_experiment(hidden)
    for name in ("churn.clf", "churnXother", "plain"):
        client.create_registered_model(name)
        client.create_model_version(name, f"runs:/{one.run_id}/m", run_id=one.run_id)
    client.create_model_version("churn.clf", "file:///nowhere", run_id=None)
    client.set_model_version_tag("churn.clf", "1", "mlops.git_commit", "0" * 40)
    for alias in ("production", "candidate"):
        client.set_registered_model_alias("churn.clf", alias, "1")
    client.register_prompt("a-prompt", "Hello {{name}}")
    assert open_run.info.status == "RUNNING"
    return tracking


def readers(tracking: MLflowTracking) -> tuple[queries.Reader, queries.Reader]:
    return queries.SqliteReader(tracking.database), ApiReader(tracking.client(), experiment_id=None)


def comparable(value: Any) -> str:
    # NaN is not equal to itself; its text is.
    def stable(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {key: stable(entry[key]) for key in sorted(entry)}
        return [stable(item) for item in entry] if isinstance(entry, (list, tuple)) else entry

    return repr(stable(value))


def every_query(pipeline: str | None, limit: int | None) -> Iterator[RunQuery]:
    keys = {"metrics": ("a", "nan", "inf", "none"), "params": ("p", "none")}
    for field in (*ATTRIBUTES, *keys):
        for key in keys.get(field, (None,)):
            for descending in (True, False):
                for status in (None, "FAILED"):
                    yield RunQuery(pipeline, status, field, key, descending, limit)


def test_both_ways_of_reading_agree(filled: MLflowTracking) -> None:
    fast, public = readers(filled)
    for pipeline in (None, "train", 'it\'s "odd"', "none"):
        for limit in (None, 0, 1, 2, 100):
            for query in every_query(pipeline, limit):
                assert comparable(fast.runs(query)) == comparable(public.runs(query)), query
    for run in fast.runs(RunQuery()):
        assert comparable(fast.run(run["run_id"])) == comparable(public.run(run["run_id"]))
        assert fast.datasets(run["run_id"]) == public.datasets(run["run_id"])
    assert fast.run("nonsense") is public.run("nonsense") is None
    assert fast.counts() == public.counts() == {"RUNNING": 1, "FINISHED": 1, "FAILED": 1, "KILLED": 1}
    assert fast.datasets(None) == public.datasets(None)
    wanted = ("mlops.data.", "mlops.git_commit")
    assert fast.tags(*wanted) == public.tags(*wanted)
    assert {key for _, key, _ in fast.tags(*wanted)} == {
        *("mlops.data.c", "mlops.data.d", "mlops.data.only-a-tag"),
        "mlops.git_commit",
    }
    assert fast.experiments() == public.experiments() == 2
    assert fast.models() == public.models() == ["churn.clf", "churnXother", "plain"]
    assert fast.versions() == public.versions()
    assert len(fast.versions()) == 4
    first = fast.versions()[0]
    assert (first.name, first.version, first.aliases) == ("churn.clf", "1", ("candidate", "production"))
    assert first.tags == {"mlops.git_commit": "0" * 40}
    assert first.created_at is not None


def test_both_ways_agree_on_one_experiment_and_prefix(filled: MLflowTracking) -> None:
    fast = queries.SqliteReader(filled.database, experiment="churn", prefix="churn.")
    public = ApiReader(filled.client(), experiment_id="0", prefix="churn.")
    assert comparable(fast.runs(RunQuery())) == comparable(public.runs(RunQuery()))
    assert fast.counts() == public.counts() == {"RUNNING": 1, "FINISHED": 1, "FAILED": 1}
    elsewhere = next(r for r in filled.list_runs() if r["run_name"] == "elsewhere")
    assert fast.run(elsewhere["run_id"]) is public.run(elsewhere["run_id"]) is None
    assert fast.models() == public.models() == ["churn.clf"]
    assert fast.versions() == public.versions()
    assert fast.experiments() == public.experiments() == 1


def test_runs_come_newest_first_with_plain_values(filled: MLflowTracking) -> None:
    runs = filled.list_runs()
    assert [run["run_name"] for run in runs] == ["elsewhere", "open", "two", "one"]
    one, still = runs[3], runs[1]
    assert set(one) == {
        "run_id",
        "run_name",
        "pipeline_name",
        "status",
        "start_time",
        "end_time",
        "duration",
        "params",
        "metrics",
        "tags",
    }
    assert one["start_time"].tzinfo is UTC
    assert one["duration"] == pytest.approx((one["end_time"] - one["start_time"]).total_seconds())
    assert (still["end_time"], still["duration"], still["pipeline_name"]) == (None, None, None)
    assert one["metrics"]["a"] == 1.5  # the largest step, whatever was written last
    assert [run["run_name"] for run in filled.list_runs(pipeline_name="train")] == ["one"]
    assert [run["run_name"] for run in filled.list_runs(limit=2)] == ["elsewhere", "open"]
    assert filled.count_runs() == {"RUNNING": 1, "FINISHED": 1, "FAILED": 1, "KILLED": 1}


@pytest.mark.parametrize("limit", [-1, 1.5, "3"])
def test_a_bad_limit_is_refused(context: ToolContext, limit: Any) -> None:
    with pytest.raises(IntegrationError, match="limit"):
        MLflowTracking(context).list_runs(limit=limit)


def test_counts_are_never_capped(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    with sqlite3.connect(tracking.database) as connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, artifact_uri,"
            " experiment_id, source_type, user_id)"
            " VALUES (?, ?, 'FINISHED', ?, ?, 'active', '', 0, 'LOCAL', 'u')",
            [(f"{n:032x}", f"run-{n}", 1000 + n, 2000 + n) for n in range(2500)],
        )
        connection.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES ('n', ?, ?)",
            [(str(n), f"{n:032x}") for n in range(2500)],
        )
    connection.close()
    assert tracking.summary()["runs"] == 2500
    runs = tracking.list_runs(limit=1200)
    assert [run["params"]["n"] for run in runs] == [str(n) for n in range(2499, 1299, -1)]
    public = ApiReader(tracking.client(), experiment_id=None)
    assert public.counts() == {"FINISHED": 2500}
    assert comparable(public.runs(RunQuery(limit=1200))) == comparable(runs)


def test_the_summary_is_plain_and_complete(filled: MLflowTracking) -> None:
    import json

    summary = filled.summary()
    json.dumps(summary)
    assert summary["runs"] == 4
    assert summary["experiments"] == 2
    assert (summary["models"], summary["model_versions"]) == (3, 4)
    assert summary["last_run"]["run_name"] == "elsewhere"
    assert filled.usage().bytes > 100_000


def test_links_lead_from_data_to_run_to_model(filled: MLflowTracking) -> None:
    one = filled.list_runs(pipeline_name="train")[0]["run_id"]
    found = list(filled.links())
    links = {(link.source, link.relation, link.target): link.attributes for link in found}
    assert len(links) == len(found), "a link is there twice"
    assert links["commit:" + "0" * 40, "code-of", f"run:{one}"] == {"dirty": True}
    other = next(run["run_id"] for run in filled.list_runs() if run["run_name"] == "open")
    assert (f"data:{'3' * 32}", "input-of", f"run:{other}") in links
    assert set(links) >= {
        (f"data:{'1' * 32}", "input-of", f"run:{one}"),
        (f"data:{'2' * 32}", "input-of", f"run:{one}"),
        (f"run:{one}", "produced", "model:churn.clf:1"),
    }


def test_an_unknown_schema_is_read_through_the_public_api(
    filled: MLflowTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = comparable([filled.list_runs(), filled.summary()])
    monkeypatch.setattr(queries, "KNOWN_SCHEMAS", frozenset({"another"}))
    assert comparable([filled.list_runs(), filled.summary()]) == direct


def test_the_installed_mlflow_makes_a_schema_that_is_read_directly(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    tracking.ensure()
    assert queries.known_schema(tracking.database)


def test_a_shared_sqlite_store_keeps_projects_apart(make_context: MakeContext, tmp_path: Path) -> None:
    uri = store.database_uri(tmp_path / "shared.db")
    first = MLflowTracking(make_context("first", mlflow_tracking_uri=uri))
    second = MLflowTracking(make_context("second", mlflow_tracking_uri=uri))
    assert first.summary()["runs"] == 0
    assert not (tmp_path / "shared.db").exists()
    for tracking in (first, second):
        with tracking.start_run(f"of {tracking.project}") as run:
            import mlflow

            mlflow.log_param("plain", 1)
            run.log_text("x", "x.txt")
        tracking.client().create_registered_model(f"{tracking.project}.clf")
    for tracking in (first, second):
        assert [run["run_name"] for run in tracking.list_runs()] == [f"of {tracking.project}"]
        assert (tracking.summary()["models"], tracking.summary()["experiments"]) == (1, 1)
        assert [file["name"] for file in artifacts.files(tracking)] == ["x.txt"]
    assert first.experiment_id != second.experiment_id
    assert first.client().get_experiment(first.experiment_id).tags["mlops.project"] == "first"
    third = MLflowTracking(make_context("third", mlflow_tracking_uri=uri, mlflow_experiment_name="first"))
    with pytest.raises(IntegrationError, match="belongs to the project 'first'"):
        third.ensure()
    assert not any(Path.cwd().iterdir())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server; the address has credentials in it, which this one does not ask for."""
    with mlflow_server(tmp_path / "server") as uri:
        yield uri.replace("127.0.0.1", "ann:s3cret@127.0.0.1")


def test_a_server_keeps_projects_apart(
    server: str, make_context: MakeContext, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = MLflowTracking(make_context("first", mlflow_tracking_uri=server))
    second = MLflowTracking(make_context("second", mlflow_tracking_uri=server))
    assert (first.health().state, first.summary()["experiments"]) == ("ready", 0)
    ids = {}
    with ThreadPoolExecutor(2) as pool:

        def work(tracking: MLflowTracking) -> str:
            import mlflow

            with tracking.start_run(f"of {tracking.project}", params={"mine": tracking.project}) as run:
                for step in range(1500):
                    tracking.log_metric("m", step, step=step)
                tracking.log_metrics({"nan": float("nan"), "inf": float("-inf")})
                mlflow.log_param("plain", tracking.project)
                run.log_text("x", "x.txt")
                run.log_dataset("d", digest="1" * 32, source={"a": 1})
            return run.run_id

        for tracking, run_id in zip((first, second), pool.map(work, (first, second)), strict=True):
            ids[tracking.project] = run_id
    for tracking, other in ((first, "second"), (second, "first")):
        (run,) = tracking.list_runs()
        assert run["params"] == {"mine": tracking.project, "plain": tracking.project}
        assert (run["metrics"]["m"], run["metrics"]["inf"]) == (1499.0, float("-inf"))
        assert len(tracking.client().get_metric_history(run["run_id"], "m")) == 1500
        assert tracking.datasets(run["run_id"])[0]["source"] == {"a": 1}
        for call in (tracking.get_run, lambda run_id, t=tracking: t.start_run(run_id=run_id).__enter__()):
            with pytest.raises(DataNotFoundError):
                call(ids[other])
    copy = tmp_path / "copy"
    copy.mkdir()
    first.export(copy)
    assert ids["first"] in (copy / "tracking.json").read_text()
    assert "s3cret" not in (copy / "tracking.json").read_text()
    shown = capfd.readouterr()
    assert "s3cret" not in shown.out + shown.err
    assert not any(Path.cwd().iterdir())


def scored(tracking: MLflowTracking, **losses: float) -> dict[str, str]:
    """Log a finished run per loss and return the run ids by name."""
    ids = {}
    for depth, (name, loss) in enumerate(losses.items()):
        with tracking.start_run(name, params={"depth": depth, "seed": 1}) as run:
            run.log_metric("loss", loss)
        ids[name] = run.run_id
    return ids


def names(runs: list[dict[str, Any]]) -> list[str]:
    return [run["run_name"] for run in runs]


def test_runs_are_listed_in_the_order_asked_for(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    scored(tracking, a=0.5, b=0.1, c=float("nan"), d=0.9)
    with tracking.start_run("e"):
        pass
    assert names(tracking.list_runs()) == ["e", "d", "c", "b", "a"]
    assert names(tracking.list_runs(order_by="metrics.loss")) == ["b", "a", "d", "e", "c"]
    assert names(tracking.list_runs(order_by="metrics.loss DESC", limit=2)) == ["d", "a"]
    assert names(tracking.list_runs(order_by="start_time")) == ["a", "b", "c", "d", "e"]
    assert names(tracking.list_runs(order_by="params.depth desc")) == ["d", "c", "b", "a", "e"]
    assert names(tracking.list_runs(order_by="run_name", status="finished")) == ["a", "b", "c", "d", "e"]
    assert tracking.list_runs(status="FAILED") == []


@pytest.mark.parametrize(
    "arguments",
    [{"order_by": "accuracy"}, {"order_by": "metrics."}, {"order_by": ""}, {"status": "done"}, {"limit": -1}],
)
def test_a_question_that_means_nothing_is_refused(context: ToolContext, arguments: dict[str, Any]) -> None:
    with pytest.raises(IntegrationError) as caught:
        MLflowTracking(context).list_runs(**arguments)
    assert caught.value.operation == "list_runs"
    assert caught.value.hint


def test_the_best_run_is_the_best_finished_one(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    scored(tracking, a=0.5, b=0.1, c=float("nan"))
    with pytest.raises(RuntimeError), tracking.start_run("failed") as run:
        run.log_metric("loss", -5.0)
        raise RuntimeError
    assert tracking.best_run("loss", "min")["run_name"] == "b"
    assert tracking.best_run("loss")["run_name"] == "a"
    with pytest.raises(DataNotFoundError, match="accuracy") as caught:
        tracking.best_run("accuracy")
    assert "loss" in str(caught.value.hint)
    with pytest.raises(IntegrationError, match="mode"):
        tracking.best_run("loss", "best")


def test_runs_side_by_side(context: ToolContext) -> None:
    tracking = MLflowTracking(context)
    ids = scored(tracking, a=0.5, b=0.5)
    with tracking.start_run(run_id=ids["b"]) as run:
        run.log_dataset("train.csv", digest="1" * 32, source={"md5": "1" * 32})
    comparison = tracking.compare_runs(ids["a"], ids["b"])
    assert comparison.params == {"depth": ("0", "1"), "seed": ("1", "1")}
    assert comparison.metrics == {"loss": (0.5, 0.5)}
    assert comparison.changed == {"params.depth": ("0", "1"), "datasets.train.csv": (None, "1" * 32)}
    frame = comparison.to_frame()
    assert list(frame.columns) == [ids["a"], ids["b"]]
    assert frame.loc["params.depth", ids["b"]] == "1"
    with pytest.raises(DataNotFoundError, match="nonsense"):
        tracking.compare_runs(ids["a"], "nonsense")
    with pytest.raises(IntegrationError, match="at least two"):
        tracking.compare_runs(ids["a"])


def test_runs_as_a_data_frame(base: Path) -> None:
    from mlops import MLOpsClient

    client = MLOpsClient("churn", base_path=base)
    assert len(client.runs_frame()) == 0
    scored(client.tracking, a=0.5, b=0.1)
    frame = client.runs_frame(order_by="metrics.loss")
    assert list(frame["run_name"]) == ["b", "a"]
    assert list(frame["metrics.loss"]) == [0.1, 0.5]
    assert list(frame["params.depth"]) == ["1", "0"]
    assert str(frame["start_time"].dtype).endswith("UTC]")
