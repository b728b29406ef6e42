"""Reports of many projects, made by hand: what a page or a text has to bear, without making the projects."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

from mlops.reporting.facts import (
    AlertFacts,
    BestMetric,
    CheckFacts,
    DataFacts,
    DeploymentFacts,
    Gap,
    ModelsFacts,
    MonitoringFacts,
    ProjectReport,
    RunFacts,
    RunsFacts,
    ScheduleFacts,
    StorageFacts,
    Trouble,
)
from mlops.reporting.report import StatusReport
from mlops.workspace.quota import QuotaRow
from tests.reporting.demo import HOSTILE

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
DIRECTORIES = ("mlflow", "dvc", "monitoring", "models", "outputs")


def report(*projects: ProjectReport) -> StatusReport:
    """Return a report of projects."""
    return StatusReport.of(projects, generated_at=NOW, base_path="/srv/ml/<base>")


def fleet(count: int) -> tuple[ProjectReport, ...]:
    """Return projects of which every third drifts, every fifth has failed and every seventh is in trouble."""
    return tuple(_project(number) for number in range(count))


def hostile() -> ProjectReport:
    """Return a project in which every text that others choose would be markup, code or a command."""
    text = (
        HOSTILE + "\x1b]0;title\x07\r\n# heading\n[link](javascript:alert(1)) @team #1 ![i](http://x/y.png)"
    )
    run = RunFacts(text, text, "FAILED", NOW, NOW)
    check = CheckFacts(text, text, text, NOW, 10, True, 0.5, 1, 2, 0.1, {text: 0.5})
    return ProjectReport(
        "hostile",
        description=text,
        tags={text: text},
        created_at=NOW,
        runs=RunsFacts(
            1, {"FAILED": 1}, run, run, {text: run}, (BestMetric(text, "max", math.inf, text, text),)
        ),
        models=ModelsFacts(1, 1, {text: text}, 1, (DeploymentFacts(text, text, text, NOW, True, (text,)),)),
        monitoring=MonitoringFacts(1, 1, (check,), (AlertFacts(text, text, text, text, NOW),)),
        storage=StorageFacts(10, {"dvc": 10}, (QuotaRow("total", 10, 5, None, "soft"),)),
        pipelines=(text,),
        schedules=(ScheduleFacts(text, text, text, False, NOW, text, NOW),),
        gaps=(Gap(text, "run"),),
        troubles=(Trouble("mlflow", "unavailable", text),),
    )


def _project(number: int) -> ProjectReport:
    name = f"project-{number:04d}"
    status = "FAILED" if number % 5 == 0 else "FINISHED"
    last = RunFacts(f"{number:032x}", f"train {number}", status, NOW - timedelta(hours=number), NOW)
    drifts = number % 3 == 0
    by_directory = {each: (number + 1) * 1_000_000 * place for place, each in enumerate(DIRECTORIES)}
    return ProjectReport(
        name,
        description=f"What project {number} is about",
        tags={"team": f"team-{number % 7}"},
        created_at=NOW - timedelta(days=90),
        runs=RunsFacts(
            20,
            {"FINISHED": 18, "FAILED": 2},
            last,
            last,
            best=(
                BestMetric("accuracy", "max", 0.5 + number % 100 / 250, f"{number:032x}", f"train {number}"),
                BestMetric("loss", "min", 1 / (number + 1), f"{number:032x}", f"train {number}"),
            ),
            by_day={_day(back): {"FINISHED": 1 + number % 3, "FAILED": back % 4} for back in range(0, 30, 2)},
        ),
        data=DataFacts(2, 5, 10_000_000, number % 2, NOW, "dvc/remote"),
        models=ModelsFacts(
            1, 3, {"classifier": "2"}, 1, (DeploymentFacts("classifier", "2", f"{name}.c:2", NOW, True),)
        ),
        monitoring=MonitoringFacts(
            4,
            1,
            (CheckFacts("s", "classifier", "2", NOW, 500, drifts, 0.8 if drifts else 0.1, 4, 5, 0.01),),
            (AlertFacts(f"a{number}", "classifier", "drift_share", "4 of 5 columns", NOW),) if drifts else (),
        ),
        storage=StorageFacts(sum(by_directory.values()), by_directory),
        pipelines=("nightly",),
        schedules=(ScheduleFacts("night", "jobs:main", "every day at 02:30", False, NOW, "FINISHED", NOW),),
        troubles=(Trouble("mlflow", "unavailable", "the server does not answer"),) if number % 7 == 0 else (),
    )


def _day(back: int) -> date:
    return NOW.date() - timedelta(days=back)
