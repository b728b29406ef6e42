"""What all projects of a report come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.reporting.facts import ProjectReport, plain


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all projects; exact.

    Args:
        projects: Number of projects, the corrupt ones included.
        corrupt: Number of those whose ``workspace.yaml`` cannot be read.
        troubled: Number of projects with something that could not be read.
        runs: Number of runs.
        runs_by_status: Their number by status.
        datasets: Number of datasets.
        data_versions: Number of data versions.
        unpushed: Number of those that no remote is known to hold.
        data_bytes: Bytes of the current version of each dataset.
        models: Number of registered models.
        model_versions: Number of registered versions.
        in_production: Number of models with the alias ``production``.
        bento_models: Number of stored Bento models.
        deployments: Number of Bentos.
        served: Number of Bentos that are served now.
        checks: Number of checks.
        drifted_checks: Number of those that found drift.
        drifting: Number of projects in which the latest check of a model found drift.
        open_alerts: Number of alerts that nobody has acknowledged.
        storage_bytes: What all workspaces cost; each counts for itself, hard links once.
        storage_by_directory: The same by directory.
        over_soft: Number of projects beyond a soft limit, and beyond no hard one.
        over_hard: Number of projects beyond a hard limit.
        pipelines: Number of pipelines.
        schedules: Number of schedules.
        gaps: Number of things whose origin is not known.
    """

    projects: int = 0
    corrupt: int = 0
    troubled: int = 0
    runs: int = 0
    runs_by_status: Mapping[str, int] = field(default_factory=dict)
    datasets: int = 0
    data_versions: int = 0
    unpushed: int = 0
    data_bytes: int = 0
    models: int = 0
    model_versions: int = 0
    in_production: int = 0
    bento_models: int = 0
    deployments: int = 0
    served: int = 0
    checks: int = 0
    drifted_checks: int = 0
    drifting: int = 0
    open_alerts: int = 0
    storage_bytes: int = 0
    storage_by_directory: Mapping[str, int] = field(default_factory=dict)
    over_soft: int = 0
    over_hard: int = 0
    pipelines: int = 0
    schedules: int = 0
    gaps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = plain(self)
        return values


def sum_up(projects: Iterable[ProjectReport]) -> Totals:
    """Return the sums over projects.

    Args:
        projects: What is said of each.
    """
    every = tuple(projects)
    over = [{row.state for row in each.storage.quota} for each in every]
    deployments = [one for each in every for one in each.models.deployments]
    return Totals(
        projects=len(every),
        corrupt=sum(each.state != "ready" for each in every),
        troubled=sum(bool(each.troubles) for each in every),
        runs=sum(each.runs.total for each in every),
        runs_by_status=added(each.runs.by_status for each in every),
        datasets=sum(each.data.datasets for each in every),
        data_versions=sum(each.data.versions for each in every),
        unpushed=sum(each.data.unpushed for each in every),
        data_bytes=sum(each.data.size_bytes for each in every),
        models=sum(each.models.models for each in every),
        model_versions=sum(each.models.versions for each in every),
        in_production=sum(len(each.models.production) for each in every),
        bento_models=sum(each.models.bento_models for each in every),
        deployments=len(deployments),
        served=sum(bool(one.urls) for one in deployments),
        checks=sum(each.monitoring.checks for each in every),
        drifted_checks=sum(each.monitoring.drifted for each in every),
        drifting=sum(each.drifting for each in every),
        open_alerts=sum(len(each.monitoring.open_alerts) for each in every),
        storage_bytes=sum(each.storage.total_bytes for each in every),
        storage_by_directory=added(each.storage.by_directory for each in every),
        over_soft=sum("soft" in states and "hard" not in states for states in over),
        over_hard=sum("hard" in states for states in over),
        pipelines=sum(len(each.pipelines) for each in every),
        schedules=sum(len(each.schedules) for each in every),
        gaps=sum(len(each.gaps) for each in every),
    )


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by name."""
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found
