"""The few numbers at the head of a report."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.files import human_bytes
from mlops.reporting.facts import ProjectReport
from mlops.reporting.tables import Cell


def summary(projects: Sequence[ProjectReport]) -> tuple[tuple[str, Cell], ...]:
    """Return what all projects come to together, each with its name.

    Args:
        projects: What a report says of each.
    """

    def count(label: str, number: int, tone: str = "") -> tuple[str, Cell]:
        return label, Cell(f"{number:,}", number, tone if number else "")

    return (
        count("projects", len(projects)),
        count("in trouble", sum(bool(each.troubles) for each in projects), "bad"),
        count("runs", sum(each.runs.total for each in projects)),
        count("data versions", sum(each.data.versions for each in projects)),
        count("not pushed", sum(each.data.unpushed for each in projects), "warn"),
        count("models", sum(each.models.models for each in projects)),
        count("deployments", sum(len(each.models.deployments) for each in projects)),
        count("drifting", sum(each.drifting for each in projects), "bad"),
        count("open alerts", sum(len(each.monitoring.open_alerts) for each in projects), "bad"),
        ("storage", Cell(human_bytes(sum(each.storage.total_bytes for each in projects)))),
    )
