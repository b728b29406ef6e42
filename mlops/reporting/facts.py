"""What a report says of one project: plain values, from which every table, page and gate is made.

``to_dict`` of each is the stable JSON form: keys are added in later versions, never renamed or removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from typing import Any

from mlops.workspace.quota import QuotaRow


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run in short.

    Args:
        run_id: Its id.
        run_name: Its name.
        status: ``RUNNING``, ``SCHEDULED``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        started_at: When it began, aware.
        ended_at: When it ended, aware; None while it runs.
    """

    run_id: str
    run_name: str
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BestMetric:
    """The best latest value of a metric among the finished runs.

    Args:
        metric: The metric's name.
        mode: ``max`` or ``min``: which way is better.
        value: The value.
        run_id: The run that has it.
        run_name: That run's name.
    """

    metric: str
    mode: str
    value: float
    run_id: str
    run_name: str


@dataclass(frozen=True, slots=True)
class RunsFacts:
    """The project's runs; single steps of pipelines and the runs that checks log to are not counted.

    Args:
        total: How many there are.
        by_status: Their number by status, for the statuses that occur.
        last: The one that was started last, or None.
        last_ended: The one that was started last among those that are ``FINISHED`` or ``FAILED``, or None.
        last_ended_by_pipeline: The same for each pipeline that has such a run, by its name.
        best: The best value of each metric, by metric; what MLflow measures of the machine is left out.
        by_day: Day (UTC) of the start to the number of runs by status, for the last 30 days.
        earlier: The number of runs by status that started in the 30 days before those.
    """

    total: int = 0
    by_status: Mapping[str, int] = field(default_factory=dict)
    last: RunFacts | None = None
    last_ended: RunFacts | None = None
    last_ended_by_pipeline: Mapping[str, RunFacts] = field(default_factory=dict)
    best: tuple[BestMetric, ...] = ()
    by_day: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    earlier: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The project's data versions.

    Args:
        datasets: Number of datasets.
        versions: Number of versions.
        size_bytes: Bytes of the current version of each dataset.
        unpushed: Number of versions that the remote is not known to hold.
        last_added: When the latest version was added, aware.
        remote: Where they are pushed to, without credentials.
        by_day: Day (UTC) to ``versions``, the number of those added then, for the last 30 days.
        earlier: The same number for the 30 days before those.
    """

    datasets: int = 0
    versions: int = 0
    size_bytes: int = 0
    unpushed: int = 0
    last_added: datetime | None = None
    remote: str = ""
    by_day: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    earlier: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """A packaged version of a model.

    Args:
        model: The model's short name.
        version: The version.
        tag: The Bento's tag.
        created_at: When it was built, aware.
        production: Whether the alias ``production`` points to this version.
        urls: Where it is served now.
    """

    model: str
    version: str
    tag: str
    created_at: datetime | None = None
    production: bool = False
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelsFacts:
    """The project's models.

    Args:
        models: Number of registered models.
        versions: Number of registered versions.
        production: Model to the version that the alias ``production`` points to.
        bento_models: Number of stored Bento models.
        deployments: The Bentos, newest first.
        by_day: Day (UTC) to ``versions``, the number of those registered then, for the last 30 days.
        earlier: The same number for the 30 days before those.
    """

    models: int = 0
    versions: int = 0
    production: Mapping[str, str] = field(default_factory=dict)
    bento_models: int = 0
    deployments: tuple[DeploymentFacts, ...] = ()
    by_day: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    earlier: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """The latest check of a model.

    Args:
        snapshot_id: The Evidently snapshot.
        model: The model, or None for the project's only one.
        model_version: The model's version, or None.
        checked_at: When it was made, aware.
        rows: Rows of the batch.
        drift_detected: The verdict.
        drift_share: Share of drifted columns, 0 to 1; None if no column could be compared.
        n_drifted: Number of drifted columns.
        n_compared: Number of columns compared.
        missing_share: Share of missing cells, 0 to 1.
        performance: Metric to value, where the batch had targets.
    """

    snapshot_id: str
    model: str | None
    model_version: str | None
    checked_at: datetime
    rows: int
    drift_detected: bool
    drift_share: float | None
    n_drifted: int
    n_compared: int
    missing_share: float | None = None
    performance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """An alert that nobody has acknowledged yet.

    Args:
        alert_id: Its id.
        model: The model it is about, or None.
        kind: What was exceeded, such as ``drift_share``.
        message: One sentence for people.
        raised_at: When it was raised first, aware.
    """

    alert_id: str
    model: str | None
    kind: str
    message: str
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class MonitoringFacts:
    """What checks found.

    Args:
        checks: Number of checks.
        drifted: Number of checks that found drift.
        last: The latest check of each model, newest first.
        open_alerts: Alerts that nobody has acknowledged, newest first.
        by_day: Day (UTC) to the number of checks and of those that found drift (``checks``, ``drifted``), for
            the last 30 days.
        earlier: The same numbers for the 30 days before those.
    """

    checks: int = 0
    drifted: int = 0
    last: tuple[CheckFacts, ...] = ()
    open_alerts: tuple[AlertFacts, ...] = ()
    by_day: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    earlier: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """What the workspace costs on disk; hard links are counted once, in each part and in the total.

    Args:
        total_bytes: The whole workspace.
        by_directory: Bytes of ``mlflow``, ``dvc``, ``monitoring``, ``models`` and ``outputs``.
        quota: The limits that are set, ``total`` first.
    """

    total_bytes: int = 0
    by_directory: Mapping[str, int] = field(default_factory=dict)
    quota: tuple[QuotaRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """A schedule that is stored in the project.

    Args:
        name: Its name.
        target: What it runs.
        when: When, in words.
        paused: Whether it rests.
        next_at: When it fires next, aware; None if it rests or is over.
        last_status: How its last job ended, or None.
        last_at: When that began, aware.
    """

    name: str
    target: str
    when: str
    paused: bool = False
    next_at: datetime | None = None
    last_status: str | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Something whose origin is not known.

    Looked at are all registered versions, all Bentos, and the latest check of each model.

    Args:
        ref: What it is, as ``mlops trace`` takes it.
        missing: What is not known of it: of a registered version its ``run``, the ``data`` version that was
            read or the ``commit`` of the code; of a Bento or a check the registered version, ``model``.
    """

    ref: str
    missing: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A tool, or a whole project, that could not be read in full.

    Args:
        tool: The tool; a section of ``workspace.yaml``, such as ``quota``; or "" for the project.
        state: ``unavailable``, ``not-installed`` or ``corrupt``.
        message: Why.
    """

    tool: str
    state: str
    message: str


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """All that a report says of one project; what could not be read is empty and named in ``troubles``.

    Args:
        project_name: The project.
        state: ``ready`` or ``corrupt``.
        description: One line for people.
        tags: Its labels.
        created_at: When it was created, aware; None if it is corrupt.
        tools: Tool to its state: ``ready``, ``not-created``, ``not-installed`` or ``unavailable``.
        runs: Its runs.
        data: Its data versions.
        models: Its models and deployments.
        monitoring: Its checks and alerts.
        storage: What it costs on disk.
        pipelines: The names of its pipelines, sorted.
        schedules: Its schedules, by name.
        gaps: What has no known origin.
        troubles: What could not be read.
    """

    project_name: str
    state: str = "ready"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    runs: RunsFacts = field(default_factory=RunsFacts)
    data: DataFacts = field(default_factory=DataFacts)
    models: ModelsFacts = field(default_factory=ModelsFacts)
    monitoring: MonitoringFacts = field(default_factory=MonitoringFacts)
    storage: StorageFacts = field(default_factory=StorageFacts)
    pipelines: tuple[str, ...] = ()
    schedules: tuple[ScheduleFacts, ...] = ()
    gaps: tuple[Gap, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    @property
    def drifting(self) -> bool:
        """Whether the latest check of any model found drift."""
        return any(check.drift_detected for check in self.monitoring.last)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = plain(self)
        return values


def plain(value: Any) -> Any:
    """Return facts as plain JSON values: dictionaries, lists, ISO times."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    # JSON has neither NaN nor infinities.
    return None if isinstance(value, float) and not math.isfinite(value) else value
