from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from mlops import MLOpsClient, PipelineScheduler, Project, ScheduleError, WorkspaceNotFoundError
from mlops.scheduling.history import JobStatus
from tests.scheduling import jobs

JOBS = jobs.__name__


@pytest.fixture
def client(base: Path) -> MLOpsClient:
    return MLOpsClient("churn", base_path=base)


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def entries(client: MLOpsClient) -> list[dict[str, object]]:
    found: list[dict[str, object]] = yaml.safe_load(client.workspace.metadata_file.read_text())["schedules"]
    return found


def backdate(client: MLOpsClient, name: str, **age: float) -> None:
    """Make a stored schedule as old as if nobody had run it since."""
    text = yaml.safe_load(client.workspace.metadata_file.read_text())
    for entry in text["schedules"]:
        if entry["name"] == name:
            moment = (datetime.now(UTC) - timedelta(**age)).replace(microsecond=0)
            entry["created_at"] = entry["since"] = moment.isoformat()
    client.workspace.metadata_file.write_text(yaml.safe_dump(text))


def test_an_interval_really_fires_and_is_recorded(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    made = scheduler.schedule_interval(name="often", pipeline=jobs.unbound, seconds=1)
    assert made.persistent
    with scheduler:
        wait_until(lambda: sum(r.status == "FINISHED" for r in scheduler.history("often")) >= 2)
    assert not scheduler.running
    runs = scheduler.history("often")
    times = [run.scheduled_at for run in runs]
    assert len(set(times)) == len(times)
    assert all(at.microsecond == 0 for at in times)
    finished = [run for run in runs if run.status == "FINISHED"]
    assert {run.run_id for run in finished} == {run["run_id"] for run in client.list_runs("unbound")}
    # Another process would see the same.
    other = PipelineScheduler("churn", base_path=client.workspace_path.parent)
    assert [s.name for s in other.list()] == ["often"]
    assert other.history() == runs


def test_schedules_are_stored_where_people_can_read_them(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    scheduler.schedule_daily(name="night", pipeline_func=jobs.build, hour=2, timezone="Europe/Berlin")
    scheduler.schedule_hourly(name="hourly", pipeline=f"{JOBS}:unbound", minute=15, timezone="UTC")
    at = datetime.now(UTC) + timedelta(days=1)
    scheduler.schedule_once(name="once", pipeline_func=jobs.build, run_at=at)
    scheduler.schedule_cron(
        name="week", pipeline_func=jobs.build, cron_expression="0 4 * * 0", timezone="UTC"
    )
    stored = {str(entry["name"]): entry for entry in entries(client)}
    assert stored["night"]["cron"] == "0 2 * * *"
    assert stored["night"]["timezone"] == "Europe/Berlin"
    assert stored["night"]["target"] == f"{JOBS}:build"
    assert stored["hourly"]["target"] == f"{JOBS}:unbound"
    listed = {schedule.name: schedule for schedule in PipelineScheduler(client).list()}
    assert list(listed) == ["hourly", "night", "once", "week"]
    assert listed["once"].at == at
    sunday = listed["week"].next_after(datetime.now(UTC))
    assert sunday is not None
    assert (sunday.weekday(), sunday.hour) == (6, 4)
    # Said again by the next start of a script, nothing changes.
    before = client.workspace.metadata_file.read_bytes()
    scheduler.schedule_daily(name="night", pipeline_func=jobs.build, hour=2, timezone="Europe/Berlin")
    assert client.workspace.metadata_file.read_bytes() == before
    changed = scheduler.schedule_daily(name="night", pipeline_func=jobs.build, hour=3)
    assert changed.cron == "0 3 * * *"
    assert len(entries(client)) == 4


def test_what_cannot_be_imported_lives_with_the_process_and_says_so(
    client: MLOpsClient, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    with PipelineScheduler(Project("churn", projects_dir=client.workspace_path.parent)) as scheduler:
        with caplog.at_level(logging.WARNING, "mlops"):
            made = scheduler.schedule_interval(name="here", pipeline_func=lambda: done.set(), seconds=1)
        assert not made.persistent
        assert "ends with this process" in caplog.text
        assert entries(client) == []
        assert [schedule.name for schedule in scheduler.list()] == ["here"]
        assert done.wait(10)
    assert PipelineScheduler(client).list() == ()
    assert PipelineScheduler(client).history("here")[-1].schedule == "here"


def test_without_a_project_nothing_is_stored() -> None:
    scheduler = PipelineScheduler()
    made = scheduler.schedule_interval(name="often", pipeline_func=jobs.number, hours=1)
    assert not made.persistent
    run = scheduler.run("often")
    assert run is not None
    assert (run.status, scheduler.history()) == (JobStatus.FINISHED, (run,))
    scheduler.pause("often")
    assert scheduler.list()[0].paused
    scheduler.remove("often")
    assert scheduler.list() == ()
    assert list(Path.cwd().iterdir()) == []


def test_a_failing_job_is_tried_again_and_never_stops_the_others(client: MLOpsClient) -> None:
    tries: list[float] = []

    def lucky() -> None:
        tries.append(time.monotonic())
        if len(tries) < 2:
            raise RuntimeError("not yet")

    def leave() -> None:
        raise SystemExit(3)

    ended: list[str] = []
    scheduler = PipelineScheduler(client, on_end=lambda run: ended.append(f"{run.schedule} {run.status}"))
    scheduler.schedule_interval(name="lucky", pipeline_func=lucky, seconds=1, retries=2, retry_delay=0.2)
    scheduler.schedule_interval(name="bad", pipeline_func=jobs.fail, seconds=1)
    scheduler.schedule_interval(name="rude", pipeline_func=leave, seconds=1)
    scheduler.schedule_interval(name="good", pipeline_func=lambda: None, seconds=1)
    with scheduler:
        wait_until(lambda: ended.count("good FINISHED") >= 3 and ended.count("bad FAILED") >= 2)
        wait_until(lambda: len(scheduler.history("rude")) >= 2)
    first = scheduler.history("lucky", limit=None)[-1]
    assert (first.status, first.attempts, first.error) == (JobStatus.FINISHED, 2, None)
    assert tries[1] - tries[0] >= 0.2
    bad = scheduler.history("bad")[-1]
    assert (bad.status, bad.attempts, bad.error) == (JobStatus.FAILED, 1, "RuntimeError: no data today")
    assert scheduler.history("rude")[-1].error == "SystemExit: 3"


def test_a_failed_pipeline_is_a_failed_job_with_its_run(client: MLOpsClient) -> None:
    def broken(number: int) -> int:
        return number // 0

    def run() -> object:
        pipeline = client.create_pipeline("p").add_step(jobs.number).add_step(broken)
        return pipeline.run(raise_on_failure=False)

    scheduler = PipelineScheduler(client)
    scheduler.schedule_interval(name="x", pipeline_func=run, hours=1)
    outcome = scheduler.run("x")
    assert outcome is not None
    assert outcome.status is JobStatus.FAILED
    assert "ZeroDivisionError" in (outcome.error or "")
    assert outcome.run_id == client.list_runs("p")[0]["run_id"]


def test_a_long_job_never_runs_beside_itself(client: MLOpsClient) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def slow() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(2.5)
        with lock:
            running -= 1

    scheduler = PipelineScheduler(client)
    scheduler.schedule_interval(name="slow", pipeline_func=slow, seconds=1)
    with scheduler:
        wait_until(lambda: sum(r.status == "SKIPPED" for r in scheduler.history()) >= 2)
        with pytest.raises(ScheduleError, match="still running"):
            scheduler.run("slow")
    assert most == 1
    assert {run.status for run in scheduler.history()} == {JobStatus.FINISHED, JobStatus.SKIPPED}


def test_of_many_missed_firings_the_last_is_made_up(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    scheduler.schedule_interval(name="minutes", pipeline_func=jobs.number, minutes=10)
    scheduler.schedule_interval(name="old", pipeline_func=jobs.number, hours=2, grace_seconds=60)
    backdate(client, "minutes", hours=2, minutes=5)
    backdate(client, "old", hours=3)
    with scheduler:
        wait_until(lambda: any(run.status == "FINISHED" for run in scheduler.history()))
        time.sleep(0.5)
    (made_up,) = scheduler.history()
    assert made_up.schedule == "minutes"
    late = datetime.now(UTC) - made_up.scheduled_at
    assert timedelta(minutes=4) < late < timedelta(minutes=6)
    # It counts: the next start has nothing to make up.
    with scheduler:
        time.sleep(0.5)
    assert scheduler.history() == (made_up,)
    assert scheduler.run("minutes", due=True) is None


def test_pausing_resuming_and_removing_while_it_runs(client: MLOpsClient) -> None:
    other = PipelineScheduler("churn", base_path=client.workspace_path.parent)
    with PipelineScheduler(client) as scheduler:
        other.schedule_interval(name="often", pipeline_func=jobs.number, seconds=1)
        wait_until(lambda: len(scheduler.history()) >= 1)
        other.pause("often")
        count = len([run for run in scheduler.history() if run.ended_at])
        time.sleep(2.2)
        assert len(scheduler.history()) <= count + 1
        count = len(scheduler.history())
        other.resume("often")
        wait_until(lambda: len(scheduler.history()) > count)
        other.remove("often")
        time.sleep(0.3)
        count = len(scheduler.history())
        time.sleep(1.5)
        assert len(scheduler.history()) == count
        assert scheduler.list() == ()
    for verb in (other.pause, other.resume, other.remove, other.run):
        with pytest.raises(ScheduleError, match="There is no schedule 'often' in the project 'churn'"):
            verb("often")


def test_two_projects_in_one_process_do_not_see_each_other(base: Path) -> None:
    one, two = (MLOpsClient(name, base_path=base) for name in ("churn", "retail"))
    first, second = PipelineScheduler(one), PipelineScheduler(two)
    for scheduler in (first, second):
        scheduler.schedule_interval(name="same", pipeline=jobs.unbound, seconds=1)
    with first, second:
        wait_until(lambda: all(any(r.run_id for r in s.history()) for s in (first, second)))
    for client, scheduler in ((one, first), (two, second)):
        own = {run["run_id"] for run in client.list_runs()}
        assert {run.run_id for run in scheduler.history() if run.run_id} == own


def test_a_pipeline_of_another_project_is_not_run(base: Path) -> None:
    other = MLOpsClient("retail", base_path=base)
    scheduler = PipelineScheduler(MLOpsClient("churn", base_path=base))
    foreign = other.create_pipeline("p").add_step(jobs.number)
    scheduler.schedule_interval(name="x", pipeline=foreign, hours=1)
    run = scheduler.run("x")
    assert run is not None
    assert run.status is JobStatus.FAILED
    assert "belongs to" in (run.error or "")
    assert other.list_runs() == []


def test_bad_values_are_refused_before_anything_is_stored(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    before = client.workspace.metadata_file.read_bytes()
    target = {"pipeline_func": jobs.number}
    refused: list[tuple[str, Callable[[], object]]] = [
        ("hour=24", lambda: scheduler.schedule_daily(name="x", hour=24, **target)),
        ("minute=-1", lambda: scheduler.schedule_hourly(name="x", minute=-1, **target)),
        ("named '../x'", lambda: scheduler.schedule_daily(name="../x", hour=1, **target)),
        ("every_seconds=0", lambda: scheduler.schedule_interval(name="x", **target)),
        ("every_seconds=0.5", lambda: scheduler.schedule_interval(name="x", seconds=0.5, **target)),  # type: ignore[arg-type]
        ("'Mars/Base'", lambda: scheduler.schedule_daily(name="x", hour=1, timezone="Mars/Base", **target)),
        ("has passed", lambda: scheduler.schedule_once(name="x", run_at="2020-01-01", **target)),
        ("'soon'", lambda: scheduler.schedule_once(name="x", run_at="soon", **target)),
        ("'* *'", lambda: scheduler.schedule_cron(name="x", cron_expression="* *", **target)),
        ("retries=-1", lambda: scheduler.schedule_daily(name="x", hour=1, retries=-1, **target)),
        ("grace_seconds=0", lambda: scheduler.schedule_daily(name="x", hour=1, grace_seconds=0, **target)),
        ("option 'jitter'", lambda: scheduler.schedule_daily(name="x", hour=1, jitter=1, **target)),
        ("one thing to run", lambda: scheduler.schedule_daily(name="x", hour=1)),
        ("no module 'nowhere'", lambda: scheduler.schedule_daily(name="x", hour=1, pipeline="nowhere:f")),
        ("neither", lambda: scheduler.schedule_daily(name="x", hour=1, pipeline=f"{JOBS}:absent")),
    ]
    for message, call in refused:
        with pytest.raises(ScheduleError, match=message.replace("*", r"\*").replace("..", r"\.\.")):
            call()
    assert client.workspace.metadata_file.read_bytes() == before
    with pytest.raises(WorkspaceNotFoundError):
        PipelineScheduler("absent", base_path=client.workspace_path.parent)


def test_an_entry_broken_by_hand_stops_only_itself(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    scheduler.schedule_interval(name="good", pipeline_func=jobs.number, seconds=1)
    text = yaml.safe_load(client.workspace.metadata_file.read_text())
    text["schedules"] += [{"name": "bad", "target": f"{JOBS}:number", "cron": "61 * * * *"}]
    text["schedules"] += [{"name": "by-hand", "target": f"{JOBS}:number", "every_seconds": 1}]
    client.workspace.metadata_file.write_text(yaml.safe_dump(text))
    assert [schedule.name for schedule in scheduler.list()] == ["by-hand", "good"]
    assert "61 * * * *" in str(scheduler.errors()["bad"])
    with scheduler:
        wait_until(lambda: {run.schedule for run in scheduler.history()} == {"good", "by-hand"})
    scheduler.remove("bad")
    assert scheduler.errors() == {}


def test_a_moved_workspace_keeps_its_schedules(client: MLOpsClient, tmp_path: Path) -> None:
    PipelineScheduler(client).schedule_interval(name="often", pipeline=jobs.unbound, seconds=1)
    client.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    client.workspace_path.rename(elsewhere / "churn")
    scheduler = PipelineScheduler("churn", base_path=elsewhere)
    run = scheduler.run("often")
    assert run is not None
    assert run.status is JobStatus.FINISHED
    assert len(MLOpsClient("churn", base_path=elsewhere).list_runs()) == 1
    assert not client.workspace_path.exists()


def test_stopping_ends_a_wait_for_another_try(client: MLOpsClient) -> None:
    scheduler = PipelineScheduler(client)
    scheduler.schedule_interval(name="bad", pipeline_func=jobs.fail, seconds=1, retries=5, retry_delay=60)
    scheduler.start()
    wait_until(lambda: len(scheduler.history()) >= 1)
    started = time.monotonic()
    scheduler.stop()
    assert time.monotonic() - started < 5
    assert scheduler.history()[-1].status is JobStatus.FAILED
