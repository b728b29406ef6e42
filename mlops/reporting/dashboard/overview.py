"""The first page: all projects in one table, what needs attention, and what they come to together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.files import human_bytes
from mlops.reporting.charts import RUNS, charts, runs_table
from mlops.reporting.dashboard.rendering import render, render_json, report_of
from mlops.reporting.formatting import number, percent
from mlops.reporting.gates import MEANINGS, Failure, evaluate
from mlops.reporting.wording import counted, one_line

if TYPE_CHECKING:
    from mlops.reporting.rankings import Place, Rankings
    from mlops.reporting.totals import Totals
    from mlops.reporting.trends import Trends

# The page tells how many there are; more than this at once would push the projects out of sight.
_SHOWN_FINDINGS: Final = 100
# The pages of analytics compare all metrics.
_SHOWN_METRICS: Final = 4
_METRIC_CHARACTERS: Final = 40
# What a trend counts, and whether more of it is bad news.
_ACTIVITIES: Final = (
    ("runs", "runs", False),
    ("failed", "failed runs", True),
    ("data_versions", "data versions", False),
    ("model_versions", "model versions", False),
    ("checks", "checks", False),
    ("drifted", "checks that found drift", True),
)


@dataclass(frozen=True, slots=True)
class Card:
    """A sum over all projects.

    Args:
        label: Of what.
        value: The sum, as people read it.
        notes: What is to be known of it: each a text and ``warn``, ``bad`` or nothing.
    """

    label: str
    value: str
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """The projects that come first in something.

    Args:
        title: In what.
        places: Project and value, the first first.
    """

    title: str
    places: tuple[tuple[str, str], ...]


def routes() -> list[Route]:
    """Return the routes of the page and of the report as JSON."""
    return [Route("/", _overview, name="overview"), Route("/report.json", _report, name="report")]


def _overview(request: Request) -> Response:
    report = report_of(request)
    failures = evaluate(report.projects)
    by_project: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        by_project[failure.project_name].append(failure)
    return render(
        request,
        "overview.html",
        report=report,
        cards=cards(report.totals),
        findings=failures[:_SHOWN_FINDINGS],
        found=len(failures),
        by_project=by_project,
        meanings=MEANINGS,
        activities=tuple(_activities(report.trends)),
        windows=report.trends.windows,
        chart=next((chart for chart in charts(report) if chart.name == RUNS), None),
        runs_table=runs_table(report),
        rankings=tuple(each for each in _rankings(report.rankings) if each.places),
    )


def _report(request: Request) -> Response:
    return render_json(report_of(request).to_dict())


def cards(totals: Totals) -> tuple[Card, ...]:
    """Return the sums for the head of the page.

    Args:
        totals: Those of the report.
    """

    def notes(*each: tuple[int, str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((f"{count:,} {words}", tone) for count, words, tone in each if count)

    by_status = totals.runs_by_status
    limits = totals.over_soft + totals.over_hard
    return (
        Card("projects", number(totals.projects), notes((totals.troubled, "in trouble", "bad"))),
        Card(
            "runs",
            number(totals.runs),
            notes((by_status.get("RUNNING", 0), "running", ""), (by_status.get("FAILED", 0), "failed", "")),
        ),
        Card(
            "data versions",
            number(totals.data_versions),
            (
                (f"in {counted(totals.datasets, 'dataset')}", ""),
                *notes((totals.unpushed, "not pushed", "warn")),
            ),
        ),
        Card(
            "model versions",
            number(totals.model_versions),
            (
                (f"of {counted(totals.models, 'model')}", ""),
                *notes((totals.in_production, "in production", "")),
            ),
        ),
        Card("deployments", number(totals.deployments), notes((totals.served, "served now", ""))),
        Card(
            "checks",
            number(totals.checks),
            notes((totals.drifting, "project" + "s" * (totals.drifting != 1) + " drifting", "bad")),
        ),
        Card("open alerts", number(totals.open_alerts)),
        Card("storage", human_bytes(totals.storage_bytes), notes((limits, "over a limit", "bad"))),
        Card("unknown origins", number(totals.gaps)),
    )


def _activities(trends: Trends) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Yield what is counted, and for each window the count, the one before, and how the change is judged."""
    for name, label, is_bad in _ACTIVITIES:
        pairs = [(getattr(each.now, name), getattr(each.before, name)) for each in trends.windows]
        yield label, [(now, before, "bad" if is_bad and now > before else "") for now, before in pairs]


def _rankings(rankings: Rankings) -> Iterator[Ranked]:
    def ranked(title: str, places: Sequence[Place], words: Callable[[float], str] = number) -> Ranked:
        return Ranked(title, tuple((place.project_name, words(place.value)) for place in places))

    yield ranked("Most runs in 30 days", rankings.active)
    yield ranked("Largest share of failed runs in 30 days", rankings.failing, percent)
    idle = [place for place in rankings.idle if place.value >= 1]
    yield ranked("Longest without a run", idle, lambda days: counted(int(days), "day"))
    yield ranked("Most storage", rankings.storage, human_bytes)
    yield ranked("Most drifted columns", rankings.drift, percent)
    yield ranked("Most open alerts", rankings.alerts)
    yield ranked("Most data versions not pushed", rankings.unpushed)
    yield ranked("Most of unknown origin", rankings.gaps)
    # What most projects measure can be compared best.
    most = sorted(rankings.metrics.values(), key=lambda each: (-len(each.places), each.metric))
    for each in most[:_SHOWN_METRICS]:
        better = "highest" if each.mode == "max" else "lowest"
        yield ranked(f"Best {one_line(each.metric, _METRIC_CHARACTERS)} ({better})", each.places)
