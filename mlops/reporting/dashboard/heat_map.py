"""Where data drifts: the checks of the last weeks over all projects, by day or by column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
from mlops.reporting.dashboard import figures
from mlops.reporting.dashboard.opened import open_context, read

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

DAYS: Final = 30
# As many rows and columns as can be read beside each other.
MAX_ROWS: Final = 30
MAX_COLUMNS: Final = 40
_LABEL_LENGTH: Final = 20

Across = Literal["day", "column"]
ACROSS: Final[tuple[Across, ...]] = ("day", "column")


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """What a heat map needs of one check.

    Args:
        label: ``<project>.<model>``, or the project for a check of no model.
        project: The project.
        day: The day (UTC) of the check, as ISO text.
        share: Share of drifted columns, 0 to 1; None if no column could be compared.
        columns: Column to whether it drifted.
    """

    label: str
    project: str
    day: str
    share: float | None
    columns: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class DriftChecks:
    """The checks of the last weeks over all projects.

    Args:
        checks: The checks.
        days: The days they are from, oldest first.
        errors: Project to why its checks could not be read.
    """

    checks: tuple[DriftCheck, ...] = ()
    days: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A heat map as numbers.

    Args:
        across: ``day`` or ``column``.
        rows: Model and its project, those that drift most first.
        columns: Days, or the names of columns that drift most.
        values: Row and column to a share of 0 to 1; what was not checked is not there.
        left_out: How many models and columns have no place.
    """

    across: Across
    rows: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    values: Mapping[tuple[str, str], float]
    left_out: int

    @property
    def figure(self) -> figures.Figure:
        """The heat map as a chart, the model that drifts most on top."""
        labels = [label for label, _ in reversed(self.rows)]
        cells = [
            [figures.number(self.values.get((label, each))) for each in self.columns] for label in labels
        ]
        trace = {
            "type": "heatmap",
            "x": [figures.label(each) for each in self.columns],
            "y": [figures.label(each) for each in labels],
            "z": cells,
            "zmin": 0,
            "zmax": 1,
            "xgap": 1,
            "ygap": 1,
            "hoverongaps": False,
            "colorscale": [[0, "var(--low)"], [1, "var(--high)"]],
            "colorbar": {"tickformat": ".0%", "thickness": 12},
            "hovertemplate": "%{y}<br>%{x}: %{z:.0%}<extra></extra>",
        }
        # Of a day the year is known, of a long name the beginning says enough.
        short = [
            each[5:] if self.across == "day" else figures.label(each, _LABEL_LENGTH) for each in self.columns
        ]
        ticks = {"tickvals": trace["x"], "ticktext": short}
        # Names that look like numbers or dates stay names.
        axis = {"type": "category", "showgrid": False}
        return figures.figure([trace], xaxis=axis | ticks, yaxis=axis | {"dtick": 1})


def collect(manager: WorkspaceManager, *, now: datetime | None = None) -> DriftChecks:
    """Return the checks of the last ``DAYS`` days of all projects that can be read.

    Args:
        manager: The base.
        now: The moment to count back from, aware; by default this one.
    """
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    days = tuple((today - timedelta(days=back)).isoformat() for back in range(DAYS - 1, -1, -1))
    since = datetime.fromisoformat(days[0]).replace(tzinfo=UTC)
    found: list[DriftCheck] = []
    errors: dict[str, str] = {}
    for workspace in manager.list_workspaces():
        name = workspace.project_name
        part = read(lambda name=name: list(_of_project(manager, name, since)))  # type: ignore[misc]
        found += part.value or ()
        if part.error:
            errors[name] = part.error
    return DriftChecks(tuple(found), days, errors)


def heat_map(found: DriftChecks, across: Across) -> HeatMap:
    """Return the heat map of some checks.

    Args:
        found: The checks.
        across: ``day`` for the largest share of drifted columns of each day, or ``column`` for the share of
            the checks in which a column drifted.
    """
    projects = {check.label: check.project for check in found.checks}
    values = (_by_day if across == "day" else _by_column)(found.checks)
    rows = _largest(values, lambda key: key[0])
    columns = list(found.days) if across == "day" else _largest(values, lambda key: key[1])
    shown_rows, shown_columns = rows[:MAX_ROWS], columns[:MAX_COLUMNS]
    left_out = len(rows) - len(shown_rows) + len(columns) - len(shown_columns)
    return HeatMap(
        across,
        tuple((label, projects[label]) for label in shown_rows),
        tuple(shown_columns),
        values,
        left_out,
    )


def _of_project(manager: WorkspaceManager, project: str, since: datetime) -> Iterator[DriftCheck]:
    for check in EvidentlyMonitoring(open_context(manager, project)).each_check(since=since):
        yield DriftCheck(
            label=f"{project}.{check['model']}" if check["model"] else project,
            project=project,
            day=datetime.fromisoformat(check["checked_at"]).astimezone(UTC).date().isoformat(),
            share=check["drift_share"],
            columns={name: bool(column["drifted"]) for name, column in check["columns"].items()},
        )


def _by_day(checks: Sequence[DriftCheck]) -> dict[tuple[str, str], float]:
    worst: dict[tuple[str, str], float] = {}
    for check in checks:
        if check.share is not None:
            key = check.label, check.day
            worst[key] = max(check.share, worst.get(key, 0.0))
    return worst


def _by_column(checks: Sequence[DriftCheck]) -> dict[tuple[str, str], float]:
    drifted: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for check in checks:
        for column, has in check.columns.items():
            drifted[check.label, column].append(has)
    return {key: sum(each) / len(each) for key, each in drifted.items()}


def _largest(values: Mapping[tuple[str, str], float], name: Callable[[tuple[str, str]], str]) -> list[str]:
    """Return the names with the largest sums first, in the order of the alphabet where they are equal."""
    sums: dict[str, float] = defaultdict(float)
    for key, value in values.items():
        sums[name(key)] += value
    return sorted(sums, key=lambda each: (-sums[each], each))
