"""The few numbers at the head of a report."""

from __future__ import annotations

from mlops.files import human_bytes
from mlops.reporting.cells import Cell
from mlops.reporting.totals import Totals


def summary(totals: Totals) -> tuple[tuple[str, Cell], ...]:
    """Return what all projects come to together, each number with its name.

    Args:
        totals: The sums of a report.
    """

    def count(label: str, number: int, tone: str = "") -> tuple[str, Cell]:
        return label, Cell(f"{number:,}", number, tone if number else "")

    return (
        count("projects", totals.projects),
        count("in trouble", totals.troubled, "bad"),
        count("runs", totals.runs),
        count("data versions", totals.data_versions),
        count("not pushed", totals.unpushed, "warn"),
        count("model versions", totals.model_versions),
        count("deployments", totals.deployments),
        count("drifting", totals.drifting, "bad"),
        count("open alerts", totals.open_alerts, "bad"),
        ("storage", Cell(human_bytes(totals.storage_bytes))),
    )
