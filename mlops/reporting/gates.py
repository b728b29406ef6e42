"""Gates: what a report may not hold if a check in CI is to pass.

A gate is decided from the report alone, for each project on its own. What could not be read has not passed: a
project or tool in trouble fails the gates that depend on it, each with a line that says so, unless the gate
``corrupt`` is asked for too and tells it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mlops.errors import ConfigError
from mlops.files import human_bytes
from mlops.reporting.facts import ProjectReport, RunFacts
from mlops.reporting.wording import counted, moment, one_line

# Long enough for any sentence of an alert or an error, short enough for a line of a log.
_WHAT_LIMIT: Final = 300


class Gate(StrEnum):
    """What can be asked for."""

    DRIFT = "drift"
    FAILED_RUN = "failed-run"
    UNPUSHED_DATA = "unpushed-data"
    QUOTA = "quota"
    ALERT = "alert"
    CORRUPT = "corrupt"


MEANINGS: Final[Mapping[Gate, str]] = {
    Gate.DRIFT: "the latest check of a model found drift",
    Gate.FAILED_RUN: "the last run of the project, or of one of its pipelines, failed; a later one that "
    "finishes clears it, one that still runs or was killed does not",
    Gate.UNPUSHED_DATA: "a data version is not known to be on the remote",
    Gate.QUOTA: "a soft or hard limit on storage is exceeded",
    Gate.ALERT: "an alert has not been acknowledged",
    Gate.CORRUPT: "the project or one of its tools cannot be read",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason why a gate fails; as text, a line for a log.

    Args:
        project_name: The project.
        gate: The gate.
        what: What was found, on one line.
    """

    project_name: str
    gate: Gate
    what: str

    def __str__(self) -> str:
        return f"{one_line(self.project_name)}: {self.gate}: {self.what}"


def parse(names: Iterable[str]) -> tuple[Gate, ...]:
    """Return the gates named, each once, in the order of ``Gate``.

    Args:
        names: Lists of names with commas between them, such as ``drift,alert``.

    Raises:
        ConfigError: A name is not a gate's; an empty one is none either, so that an empty variable of a CI
            system does not pass unnoticed.
    """
    given = {name.strip() for listed in names for name in listed.split(",")}
    unknown = sorted(given - set(Gate))
    if unknown:
        raise ConfigError(
            f"There is no gate named {', '.join(map(repr, unknown))}",
            operation="parse",
            hint=f"the gates are {', '.join(Gate)}",
        )
    return tuple(gate for gate in Gate if gate in given)


def evaluate(projects: Iterable[ProjectReport], gates: Iterable[Gate] = tuple(Gate)) -> tuple[Failure, ...]:
    """Return every reason why one of the gates fails, project by project; nothing if all pass.

    Args:
        projects: What a report says of each.
        gates: Those to look at; all by default.
    """
    asked = tuple(gates)
    return tuple(
        Failure(project.project_name, gate, one_line(what, _WHAT_LIMIT))
        for project in projects
        for gate in asked
        for what in (
            *_FINDERS[gate](project),
            *(() if Gate.CORRUPT in asked else _unread(project, gate)),
        )
    )


def _drift(project: ProjectReport) -> Iterator[str]:
    for check in project.monitoring.last:
        if check.drift_detected:
            yield (
                f"{check.n_drifted} of {counted(check.n_compared, 'column')} drifted"
                f"{_of(check.model, check.model_version)}, checked {moment(check.checked_at)} UTC"
            )


def _failed_run(project: ProjectReport) -> Iterator[str]:
    last = project.runs.last_ended
    by_pipeline = project.runs.last_ended_by_pipeline
    # The last run of a project is as a rule that of a pipeline: it is told once.
    of_pipelines = {run.run_id for run in by_pipeline.values()}
    if last is not None and last.run_id not in of_pipelines:
        yield from _failure("the last run", last)
    for name, run in sorted(by_pipeline.items()):
        yield from _failure(f"the last run of the pipeline {name}", run)


def _unpushed_data(project: ProjectReport) -> Iterator[str]:
    if project.data.unpushed:
        yield f"{project.data.unpushed:,} of {counted(project.data.versions, 'data version')} not pushed"


def _quota(project: ProjectReport) -> Iterator[str]:
    for row in project.storage.quota:
        limit = {"soft": row.soft_bytes, "hard": row.hard_bytes}.get(row.state)
        if limit is not None:
            used = f"{human_bytes(row.used_bytes)} of {human_bytes(limit)}"
            yield f"{row.scope} is over its {row.state} limit: {used}"


def _alert(project: ProjectReport) -> Iterator[str]:
    for alert in project.monitoring.open_alerts:
        yield f"{alert.kind}{_of(alert.model)}: {alert.message} (since {moment(alert.raised_at)} UTC)"


def _corrupt(project: ProjectReport) -> Iterator[str]:
    for trouble in project.troubles:
        yield f"{trouble.tool or 'the project'} is {trouble.state}: {trouble.message}"


_FINDERS: Final[Mapping[Gate, Callable[[ProjectReport], Iterator[str]]]] = {
    Gate.DRIFT: _drift,
    Gate.FAILED_RUN: _failed_run,
    Gate.UNPUSHED_DATA: _unpushed_data,
    Gate.QUOTA: _quota,
    Gate.ALERT: _alert,
    Gate.CORRUPT: _corrupt,
}
# The tool, or the section of workspace.yaml, that a gate's facts come from.
_SOURCES: Final = {
    Gate.DRIFT: "evidently",
    Gate.ALERT: "evidently",
    Gate.FAILED_RUN: "mlflow",
    Gate.UNPUSHED_DATA: "dvc",
    Gate.QUOTA: "quota",
}


def _unread(project: ProjectReport, gate: Gate) -> Iterator[str]:
    for trouble in project.troubles:
        if trouble.tool in ("", _SOURCES.get(gate)):
            yield f"not known: {trouble.tool or 'the project'} is {trouble.state}: {trouble.message}"


def _failure(which: str, run: RunFacts) -> Iterator[str]:
    if run.status == "FAILED":
        yield f"{which} failed: {run.run_name} ({run.run_id}), started {moment(run.started_at)} UTC"


def _of(model: str | None, version: str | None = None) -> str:
    return "" if model is None else f" in {model}" + (f":{version}" if version else "")
