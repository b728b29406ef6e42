"""What each gate of a report means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.errors import ConfigError
from mlops.reporting.facts import (
    AlertFacts,
    CheckFacts,
    DataFacts,
    MonitoringFacts,
    ProjectReport,
    RunFacts,
    RunsFacts,
    StorageFacts,
    Trouble,
)
from mlops.reporting.gates import MEANINGS, Gate, evaluate, parse
from mlops.reporting.report import StatusReport
from mlops.workspace.quota import QuotaRow
from tests.reporting.demo import past_run

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
DAMAGED = Trouble("", "corrupt", "workspace.yaml is not valid YAML")


def run(status: str, name: str = "night", age: int = 0) -> RunFacts:
    return RunFacts(f"id-of-{name}", name, status, NOW - timedelta(days=age))


def check(*, drift: bool, model: str | None = "clf") -> CheckFacts:
    return CheckFacts("s1", model, "3", NOW, 300, drift, 0.6 if drift else 0.0, 3 if drift else 0, 5)


def lines(project: ProjectReport, *gates: Gate) -> list[str]:
    return [str(failure) for failure in evaluate([project], gates)]


def test_a_project_in_which_all_is_well_passes_every_gate() -> None:
    well = ProjectReport(
        "churn",
        runs=RunsFacts(2, {"FINISHED": 1, "KILLED": 1}, run("KILLED"), run("FINISHED")),
        data=DataFacts(1, 2),
        monitoring=MonitoringFacts(2, 1, (check(drift=False),)),
        storage=StorageFacts(10, {}, (QuotaRow("total", 10, 20, 30, "ok"),)),
    )
    assert evaluate([well, ProjectReport("empty")]) == ()


def test_only_the_latest_check_of_each_model_counts_for_drift() -> None:
    monitoring = MonitoringFacts(9, 8, (check(drift=True), check(drift=False, model="other")))
    project = ProjectReport("churn", monitoring=monitoring)
    assert lines(project, Gate.DRIFT) == [
        "churn: drift: 3 of 5 columns drifted in clf:3, checked 2026-03-01 12:30 UTC"
    ]
    only = ProjectReport("churn", monitoring=MonitoringFacts(1, 1, (check(drift=True, model=None),)))
    assert lines(only, Gate.DRIFT) == ["churn: drift: 3 of 5 columns drifted, checked 2026-03-01 12:30 UTC"]


def test_the_last_run_that_ended_counts_for_the_project_and_for_each_pipeline() -> None:
    failed = run("FAILED", "broke")
    running = RunsFacts(2, {"FAILED": 1, "RUNNING": 1}, last=run("RUNNING"), last_ended=failed)
    assert lines(ProjectReport("churn", runs=running), Gate.FAILED_RUN) == [
        "churn: failed-run: the last run failed: broke (id-of-broke), started 2026-03-01 12:30 UTC"
    ]
    cleared = RunsFacts(9, {"FAILED": 8, "FINISHED": 1}, run("FINISHED"), run("FINISHED"))
    assert lines(ProjectReport("churn", runs=cleared), Gate.FAILED_RUN) == []

    old = run("FAILED", "weekly run", age=3)
    by_pipeline = {"weekly": old, "nightly": run("FINISHED")}
    pipelines = RunsFacts(9, {}, run("FINISHED"), run("FINISHED"), by_pipeline)
    assert lines(ProjectReport("churn", runs=pipelines), Gate.FAILED_RUN) == [
        "churn: failed-run: the last run of the pipeline weekly failed: weekly run (id-of-weekly run), "
        "started 2026-02-26 12:30 UTC"
    ]
    once = RunsFacts(9, {}, old, old, {"weekly": old})
    assert len(lines(ProjectReport("churn", runs=once), Gate.FAILED_RUN)) == 1


def test_data_limits_and_alerts() -> None:
    rows = (
        QuotaRow("total", 9_000_000, 5_000_000, 10_000_000, "soft"),
        QuotaRow("dvc", 8_000_000, None, 4_000_000, "hard"),
        QuotaRow("mlflow", 1, 2, None, "ok"),
    )
    alerts = (
        AlertFacts("a2", "clf", "drift_share", "too much\n drift", NOW),
        AlertFacts("a1", None, "rows", "few", NOW),
    )
    project = ProjectReport(
        "churn",
        data=DataFacts(1, 2, unpushed=1),
        storage=StorageFacts(9_000_000, {}, rows),
        monitoring=MonitoringFacts(open_alerts=alerts),
    )
    assert lines(project, *Gate) == [
        "churn: unpushed-data: 1 of 2 data versions not pushed",
        "churn: quota: total is over its soft limit: 9.0 MB of 5.0 MB",
        "churn: quota: dvc is over its hard limit: 8.0 MB of 4.0 MB",
        "churn: alert: drift_share in clf: too much drift (since 2026-03-01 12:30 UTC)",
        "churn: alert: rows: few (since 2026-03-01 12:30 UTC)",
    ]
    assert lines(project, Gate.DRIFT, Gate.FAILED_RUN, Gate.CORRUPT) == []


def test_what_cannot_be_read_has_not_passed() -> None:
    torn = ProjectReport("torn", troubles=(Trouble("mlflow", "unavailable", "no database"),))
    told = "torn: failed-run: not known: mlflow is unavailable: no database"
    assert lines(torn, Gate.FAILED_RUN, Gate.DRIFT, Gate.UNPUSHED_DATA, Gate.QUOTA) == [told]
    # Once is enough.
    assert lines(torn, *Gate) == ["torn: corrupt: mlflow is unavailable: no database"]

    broken = ProjectReport("broken", "corrupt", troubles=(DAMAGED,))
    for gate in set(Gate) - {Gate.CORRUPT}:
        assert lines(broken, gate) == [
            f"broken: {gate}: not known: the project is corrupt: workspace.yaml is not valid YAML"
        ]


def test_what_happens_in_a_project_fails_and_clears_its_gates(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    manager = client.manager

    def found(*gates: Gate) -> list[str]:
        report = StatusReport.collect(manager=manager, cache=False)
        return [
            f"{failure.gate}: {failure.what}" for failure in evaluate(report.projects, gates or tuple(Gate))
        ]

    def fail() -> None:
        raise RuntimeError("no rows")

    past_run(client, "sweep", days=3, status="FAILED")
    past_run(client, "stopped", days=2, status="KILLED")
    assert len(found()) == 1
    assert found()[0].startswith("failed-run: the last run failed: sweep (")
    past_run(client, "again", days=1)
    assert found() == []
    client.create_pipeline("nightly").add_step(fail).run(raise_on_failure=False)
    with client.start_run("by hand"):
        assert found()[0].startswith("failed-run: the last run of the pipeline nightly failed: nightly (")
    assert len(found()) == 1
    client.create_pipeline("nightly").add_step(count_rows).run()
    assert found() == []

    manager.update_workspace_metadata("churn", quota={"soft": 10, "tools": {"mlflow": {"hard": "1 kB"}}})
    over = found()
    assert [line.partition(": ")[2].partition(" limit")[0] for line in over] == [
        "total is over its soft",
        "mlflow is over its hard",
    ]
    file = base / "churn" / "workspace.yaml"
    file.write_text(file.read_text().replace("soft: 10", "soft: much"))
    (line,) = found(Gate.QUOTA)
    assert line.startswith("quota: not known: quota is corrupt: ")
    client.close()


def count_rows() -> int:
    return 1


def test_a_finding_is_one_short_line_whatever_it_tells_of() -> None:
    hostile = AlertFacts("a", "\x1b[31mred", "kind", "a\r\nb\u2028c \u202eevil " + "x" * 5000, NOW)
    project = ProjectReport("churn", monitoring=MonitoringFacts(open_alerts=(hostile,)))
    (line,) = lines(project, Gate.ALERT)
    assert line.isprintable()
    assert line.startswith("churn: alert: kind in [31mred: a b c evil xxx")
    assert line.endswith("…")
    assert len(line) < 350


def test_gates_are_named_in_lists() -> None:
    assert parse(["alert, drift", "drift"]) == (Gate.DRIFT, Gate.ALERT)
    assert parse([]) == ()
    assert set(MEANINGS) == set(Gate)
    for wrong in ("drift,bogus", "", "drift,,alert", "DRIFT"):
        with pytest.raises(ConfigError, match="There is no gate named") as raised:
            parse([wrong])
        assert "drift, failed-run, unpushed-data, quota, alert, corrupt" in str(raised.value.hint)
