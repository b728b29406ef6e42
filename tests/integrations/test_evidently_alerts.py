"""Alerts over time: thresholds, what is the same alert, what clears it, who is told, and the history."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.errors import ConfigError, DataNotFoundError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, Thresholds, notify, runtime
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


def frame(rows: int = 200, *, seed: int = 0, shift: float = 0.0, wrong: float = 0.0) -> pd.DataFrame:
    """A batch with two features, of which ``age`` may be shifted, and a share of wrong predictions."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "age": rng.normal(40 + shift * 10, 10, rows),
            "income": rng.normal(size=rows),
            "churned": label,
            "prediction": np.where(np.arange(rows) < wrong * rows, 1 - label, label),
        }
    )


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


def prepared(context: ToolContext) -> EvidentlyMonitoring:
    monitoring = EvidentlyMonitoring(context)
    monitoring.set_reference_data(frame(1000), target_column="churned", prediction_column="prediction")
    return monitoring


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return prepared(context)


def configure(monitoring: EvidentlyMonitoring, **section: Any) -> None:
    root = monitoring.workspace.root_path
    WorkspaceManager(root.parent).update_workspace_metadata(root.name, monitoring=section)


@dataclass
class Receiver:
    """A server that answers with the next status it is given, and with 200 when there is none."""

    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""
    delay: float = 0.0
    location: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(state.delay)
            state.received.append((self.path, json.loads(body)))
            self.send_response(state.statuses.pop(0) if state.statuses else 200)
            self.send_header("Content-Length", "0")
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def metrics(alerts: Any) -> set[tuple[str, str | None]]:
    return {(alert.metric, alert.column) for alert in alerts}


def test_an_alert_is_one_until_it_was_clear_in_between(monitoring: EvidentlyMonitoring) -> None:
    limits = {"columns": {"age": 0.3}}
    first = monitoring.monitor(frame(seed=1, shift=1.0), thresholds=limits)
    again = monitoring.monitor(frame(seed=2, shift=1.5), thresholds=limits)
    (raised,), (seen,) = first.alerts, again.alerts
    assert metrics(first.alerts) == {("drift.score", "age")}
    assert (seen.id, seen.count) == (raised.id, 2)
    assert (first.new_alerts, again.new_alerts) == ((raised,), ())

    (kept,) = monitoring.alerts()
    assert (kept.id, kept.status, kept.count, kept.snapshot_id) == (raised.id, "open", 2, first.snapshot_id)
    assert kept.value == again.columns["age"].score
    assert (kept.first_seen, kept.last_seen) == (first.checked_at, again.checked_at)

    clear = monitoring.monitor(frame(seed=3), thresholds=limits)
    (kept,) = monitoring.alerts()
    assert (clear.alerts, kept.status, kept.cleared_at) == ((), "cleared", clear.checked_at)
    (anew,) = monitoring.monitor(frame(seed=4, shift=1.0), thresholds=limits).new_alerts
    assert anew.id != raised.id
    assert [alert.status for alert in monitoring.alerts()] == ["open", "cleared"]
    assert monitoring.alerts(open_only=True)[0].id == anew.id
    assert (monitoring.summary()["alerts"], monitoring.summary()["open_alerts"]) == (2, 1)


def test_what_a_check_cannot_judge_stays_open(monitoring: EvidentlyMonitoring) -> None:
    wrong = monitoring.monitor(frame(seed=1, wrong=0.4))
    assert {alert.kind for alert in wrong.alerts} == {"performance"}
    # Without true values, nothing is known about the performance.
    monitoring.monitor(frame(seed=2).drop(columns="churned"))
    assert len(monitoring.alerts(open_only=True)) == len(wrong.alerts)
    monitoring.monitor(frame(seed=2).iloc[:0])
    assert len(monitoring.alerts(open_only=True)) == len(wrong.alerts)
    monitoring.monitor(frame(seed=3))
    assert monitoring.alerts(open_only=True) == []


def test_an_acknowledged_alert_is_no_news_until_it_was_clear(monitoring: EvidentlyMonitoring) -> None:
    calls: list[Any] = []
    limits: Any = {"thresholds": {"columns": {"age": 0.3}}, "on_alert": calls.append}
    (alert,) = monitoring.monitor(frame(seed=1, shift=1.0), **limits).alerts
    acknowledged = monitoring.ack(alert.id[:5], by="ada", note="new market")
    assert (acknowledged.status, acknowledged.acknowledged_by) == ("acknowledged", "ada")
    monitoring.monitor(frame(seed=2, shift=1.0), **limits)
    (kept,) = monitoring.alerts()
    assert (kept.status, kept.count, kept.note) == ("acknowledged", 2, "new market")
    assert monitoring.alerts(open_only=True) == []
    assert [[each.id for each in call] for call in calls] == [[alert.id]]
    monitoring.monitor(frame(seed=3), **limits)
    (anew,) = monitoring.monitor(frame(seed=4, shift=1.0), **limits).alerts
    assert monitoring.alerts(open_only=True)[0].id == anew.id
    assert len(calls) == 2
    with pytest.raises(DataNotFoundError, match="no alert 'nothing'"):
        monitoring.ack("nothing")
    with pytest.raises(DataNotFoundError, match="no alert ''"):
        monitoring.ack("")


def test_every_threshold_raises_its_alert(monitoring: EvidentlyMonitoring) -> None:
    batch = frame(seed=1, shift=1.0, wrong=0.2)
    batch.loc[:99, "income"] = np.nan
    none = monitoring.monitor(batch, latency_ms=[10, 500], thresholds={"performance_drop": 0.9})
    assert none.alerts == ()
    found = monitoring.monitor(
        batch,
        latency_ms=[10, 500],
        thresholds={
            "drift_share": 0.25,
            "columns": {"age": 0.5, "income": 5},
            "performance_drop": 0.1,
            "latency_ms": 400,
            "missing_share": 0.1,
        },
    )
    assert metrics(found.alerts) >= {
        ("drift.share", None),
        ("drift.score", "age"),
        ("accuracy", None),
        ("latency_ms.p95", None),
        ("missing.share", None),
    }
    assert ("drift.score", "income") not in metrics(found.alerts)
    by_metric = {alert.metric: alert for alert in found.alerts}
    assert by_metric["latency_ms.p95"].value == pytest.approx(475.5)
    assert by_metric["missing.share"].value == pytest.approx(100 / 800)


def test_code_wins_over_the_model_and_the_model_over_the_project(monitoring: EvidentlyMonitoring) -> None:
    configure(
        monitoring,
        thresholds={"drift_share": 0.3, "latency_ms": 100, "columns": {"age": 0.2, "of_another": 1}},
        models={"clf": {"drift_share": 0.4, "columns": {"age": 0.9}}},
    )
    assert monitoring.thresholds() == Thresholds(
        drift_share=0.3, latency_ms=100, columns={"age": 0.2, "of_another": 1}
    )
    assert monitoring.thresholds("clf").columns["age"] == 0.9
    given = monitoring.thresholds("clf", {"drift_share": 1, "silence_hours": 2})
    assert (given.drift_share, given.latency_ms, given.silence_hours) == (1, 100, 2)

    shifted = frame(seed=1, shift=0.5)
    assert metrics(monitoring.monitor(shifted).alerts) == {("drift.score", "age")}
    assert monitoring.monitor(shifted, model="clf").alerts == ()
    assert metrics(monitoring.monitor(shifted, model="clf", drift_share=0.2).alerts) == {
        ("drift.share", None)
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"drift_share": 0}, "drift_share: Input should be greater than 0, not 0"),
        ({"drift_share": 1.5}, "less than or equal to 1, not 1.5"),
        ({"missing_share": 1}, "missing_share"),
        ({"latency_ms": "fast"}, "latency_ms: Input should be a valid number, not 'fast'"),
        ({"latency_ms": True}, "latency_ms"),
        ({"performance_drop": float("nan")}, "performance_drop"),
        ({"drift": 0.5}, "drift is no key that is known"),
        ({"columns": {"agee": 0.5}}, "column 'agee', which the reference does not have"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(
    monitoring: EvidentlyMonitoring, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        monitoring.monitor(frame(50), thresholds=given)
    assert says in str(caught.value)
    assert (caught.value.operation, caught.value.workspace) == ("monitor", "churn")
    assert monitoring.history() == []


def test_nonsense_in_the_file_is_named_and_does_not_close_the_project(
    monitoring: EvidentlyMonitoring,
) -> None:
    with pytest.raises(ConfigError, match=r"monitoring\.thresholds\.drift_share: .* not 7"):
        configure(monitoring, thresholds={"drift_share": 7})
    with pytest.raises(ConfigError, match=r"monitoring\.webhooks\.0: it must be an http"):
        configure(monitoring, webhooks=["mailto:ada@example.org"])
    path = monitoring.workspace.metadata_file
    path.write_text(path.read_text().replace("monitoring: {}", "monitoring: {threshold: {}, models: null}"))
    with pytest.raises(ConfigError, match=r"monitoring\.threshold is no key that is known"):
        monitoring.monitor(frame(50))
    with MLOpsClient("churn", base_path=path.parents[1]) as client:
        assert client.monitoring.history() == []


def test_a_webhook_is_told_once_of_each_new_alert(
    monitoring: EvidentlyMonitoring, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monitoring, thresholds={"columns": {"age": 0.3}}, webhooks=[receiver.url + "/${HOOK_SECRET}"])
    with monkeypatch.context() as patch:
        patch.setenv("HOOK_SECRET", "s3cret")
        (alert,) = monitoring.monitor(frame(seed=1, shift=1.0), model="clf").alerts
        monitoring.monitor(frame(seed=2, shift=1.0), model="clf")
    ((path, payload),) = receiver.received
    assert path == "/s3cret"
    assert payload["project"] == "churn"
    assert payload["text"].startswith("churn/clf: age drifted by")
    assert [(each["id"], each["kind"], each["model"]) for each in payload["alerts"]] == [
        (alert.id, "drift", "clf")
    ]
    assert monitoring.alerts()[0].undelivered == {}
    stored = (monitoring.path / "alerts.jsonl").read_text() + monitoring.workspace.metadata_file.read_text()
    assert "s3cret" not in stored


def test_what_a_webhook_refused_is_told_with_the_next_check(
    monitoring: EvidentlyMonitoring, receiver: Receiver
) -> None:
    configure(monitoring, thresholds={"columns": {"age": 0.3}}, webhooks=[receiver.url])
    receiver.statuses = [503, 200]
    monitoring.monitor(frame(seed=1, shift=1.0))
    # A server in trouble is asked again at once, one that refuses with the next check.
    assert (len(receiver.received), monitoring.alerts()[0].undelivered) == (2, {})
    monitoring.monitor(frame(seed=2))
    receiver.statuses = [404]
    monitoring.monitor(frame(seed=3, shift=1.0))
    assert monitoring.alerts()[0].undelivered == {receiver.url: "HTTP 404"}
    assert len(receiver.received) == 3
    monitoring.monitor(frame(seed=4))
    assert (len(receiver.received), monitoring.alerts()[0].undelivered) == (4, {})
    assert monitoring.alerts()[0].status == "cleared"


def test_what_a_webhook_is_told_goes_nowhere_else(
    monitoring: EvidentlyMonitoring, receiver: Receiver
) -> None:
    configure(monitoring, thresholds={"columns": {"age": 0.3}}, webhooks=[receiver.url + "/hook"])
    receiver.statuses, receiver.location = [307], receiver.url + "/elsewhere"
    monitoring.monitor(frame(seed=1, shift=1.0))
    assert [path for path, _ in receiver.received] == ["/hook"]
    assert [*monitoring.alerts()[0].undelivered.values()] == [
        "HTTP 307, a redirection, which is not followed"
    ]


def test_a_dead_url_neither_fails_a_check_nor_holds_it_up(
    monitoring: EvidentlyMonitoring, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "DEADLINE_SECONDS", 1.0)
    receiver.delay = 3.0
    dead = ["http://127.0.0.1:9/", "http://127.0.0.1:9/${NOT_SET}", "${NOT_SET}", "http://[x", receiver.url]
    monitoring.monitor(frame(seed=1), thresholds={"columns": {"age": 0.3}})
    configure(monitoring, thresholds={"columns": {"age": 0.3}}, webhooks=dead)
    begun = time.monotonic()
    result = monitoring.monitor(frame(seed=1, shift=1.0))
    assert time.monotonic() - begun < 5.0
    reasons = monitoring.alerts()[0].undelivered
    assert result.alerts
    assert [*reasons] == dead
    assert reasons[dead[0]] == "ConnectionError"
    assert "NOT_SET" in reasons[dead[1]]
    assert reasons[receiver.url] == "no answer within 1 s"
    # A webhook that is taken out is not told any more.
    configure(monitoring, webhooks=[])
    monitoring.deliver_alerts()
    assert monitoring.alerts()[0].undelivered == reasons


def test_a_hook_is_called_when_everything_is_stored_and_its_error_is_the_callers(
    monitoring: EvidentlyMonitoring,
) -> None:
    class OwnError(Exception):
        pass

    def hook(alerts: Any) -> None:
        assert monitoring.history()[0]["alerts"][0]["id"] == alerts[0].id
        assert monitoring.alerts()[0].id == alerts[0].id
        raise OwnError

    with pytest.raises(OwnError):
        monitoring.monitor(frame(seed=1, shift=1.0), drift_share=0.2, on_alert=hook)
    assert len(monitoring.history()) == 1
    monitoring.monitor(frame(seed=2), drift_share=0.2, on_alert=hook)


def test_projects_and_models_have_alerts_of_their_own(make_context: MakeContext) -> None:
    churn, fraud = prepared(make_context("churn")), prepared(make_context("fraud"))
    limits = {"columns": {"age": 0.3}}

    def check(monitoring: EvidentlyMonitoring, model: str, seed: int) -> None:
        monitoring.monitor(frame(seed=seed, shift=1.0), model=model, thresholds=limits)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(check, each, m, s) for s in (1, 2) for m in "ab" for each in (churn, fraud)]:
            done.result()
    for monitoring in (churn, fraud):
        assert sorted((alert.model, alert.count) for alert in monitoring.alerts()) == [("a", 2), ("b", 2)]
    churn.monitor(frame(seed=3), model="a", thresholds=limits)
    assert [alert.model for alert in churn.alerts(open_only=True)] == ["b"]
    assert len(fraud.alerts(open_only=True)) == 2


def test_alerts_outlive_a_torn_line_and_move_with_the_workspace(monitoring: EvidentlyMonitoring) -> None:
    (alert,) = monitoring.monitor(frame(seed=1, shift=1.0), drift_share=0.2).alerts
    log = monitoring.path / "alerts.jsonl"
    with log.open("ab") as stream:
        stream.write(b'{"event":"cleared","at":"2026-')
    assert monitoring.alerts()[0].status == "open"
    with log.open("ab") as stream:
        stream.write(b'\nno json\n{"event":"of a later version","at":"2026-01-01T00:00:00+00:00"}\n')
    root = monitoring.workspace.root_path
    moved = root.rename(root.with_name("moved"))
    from mlops.workspace.model import ProjectWorkspace

    workspace = ProjectWorkspace.load_metadata(moved, project_name="moved")
    there = EvidentlyMonitoring(ToolContext(workspace, monitoring_settings()))
    assert there.ack(alert.id, by="ada").status == "acknowledged"
    assert not root.exists()


def monitoring_settings() -> Any:
    from mlops.settings import resolve

    return resolve().settings


def test_the_history_is_a_frame_by_time(monitoring: EvidentlyMonitoring) -> None:
    empty = monitoring.history_frame()
    assert len(empty) == 0
    assert {"rows", "drift_share", "alerts"} <= set(empty.columns)
    plain = monitoring.monitor(frame(50, seed=1).drop(columns="churned"), model="clf:2")
    full = monitoring.monitor(frame(60, seed=2, shift=1.0), latency_ms=[1.0, 3.0], drift_share=0.2)
    history = monitoring.history_frame()
    assert list(history.index) == [plain.checked_at, full.checked_at]
    assert str(history.index.dtype).endswith("UTC]")
    assert list(history["rows"]) == [50, 60]
    assert list(history["alerts"]) == [0, 1]
    assert list(history["n_drifted"]) == [plain.n_drifted, full.n_drifted]
    assert list(history["model_version"].fillna("")) == ["2", ""]
    assert history["performance.accuracy"].isna().tolist() == [True, False]
    assert history["performance.accuracy"].iloc[1] == full.performance["accuracy"]
    assert history["latency_ms.mean"].iloc[1] == 2.0
    assert list(monitoring.history_frame("clf")["snapshot_id"]) == [plain.snapshot_id]
    assert list(monitoring.history_frame(limit=1)["snapshot_id"]) == [full.snapshot_id]


def test_alerts_are_logged_to_the_run_that_is_open_or_to_the_monitoring_run(base: Any) -> None:
    with MLOpsClient("churn", base_path=base) as client:
        client.set_reference_data(frame(1000), target_column="churned", prediction_column="prediction")
        client.monitor_predictions(frame(seed=1))
        assert client.tracking.list_runs() == []
        for seed in (2, 3):
            found = client.monitor_predictions(frame(seed=seed, shift=1.0), thresholds={"drift_share": 0.2})
        (run,) = client.tracking.list_runs()
        assert (run["run_name"], run["status"]) == ("monitoring churn", "FINISHED")
        assert (run["metrics"]["alerts"], run["metrics"]["drift.share"]) == (1, found.drift_share)
        assert run["tags"]["mlops.alerts"] == "drift.share"
        assert run["tags"]["mlops.snapshot"] == found.snapshot_id
        with client.start_run("nightly") as mine:
            inside = client.monitor_predictions(frame(seed=4, wrong=0.5))
        logged = client.get_run(mine.run_id)
        assert logged["metrics"]["alerts"] == len(inside.alerts) > 0
        assert "accuracy" in logged["tags"]["mlops.alerts"]
        assert len(client.tracking.list_runs()) == 2


def test_a_pipeline_runs_on_new_alerts_only(base: Any) -> None:
    trained: list[int] = []

    def retrain() -> int:
        trained.append(1)
        return len(trained)

    with MLOpsClient("churn", base_path=base) as client:
        client.set_reference_data(frame(1000), target_column="churned", prediction_column="prediction")
        pipeline = client.create_pipeline("retrain").add_step(retrain)
        for seed in (2, 3):
            client.monitor_predictions(
                frame(seed=seed, shift=1.0), thresholds={"drift_share": 0.2}, on_alert=pipeline
            )
        assert trained == [1]
        assert [run["pipeline_name"] for run in client.list_runs("retrain")] == ["retrain"]
        with pytest.raises(ConfigError, match="cannot be called and is no pipeline"):
            client.monitor_predictions(frame(), on_alert=7)  # type: ignore[arg-type]
