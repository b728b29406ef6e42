"""A report as one HTML file that needs no network, no server and nothing beside it."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.errors import IntegrationNotInstalledError
from mlops.reporting.charts import charts, runs_table
from mlops.reporting.gates import MEANINGS
from mlops.reporting.summary import summary
from mlops.reporting.tables import tables
from mlops.reporting.wording import moment

if TYPE_CHECKING:
    import jinja2

    from mlops.reporting.report import StatusReport

_TEMPLATES: Final = Path(__file__).with_name("templates")
# Rows that a browser lays out at once without a wait. The table of projects has all of its, so that each can
# be found; the other tables are cut here, and say so.
_MOST_ROWS: Final = 1000


def render(report: StatusReport) -> str:
    """Return the page: what needs attention, charts, and every table, sortable.

    It holds the style, the scripts and Plotly themselves. Its policy lets a browser run these scripts only,
    each named by its hash, and load nothing, so that not even markup that slipped through could.

    Args:
        report: What to show.

    Raises:
        IntegrationNotInstalledError: The package plotly is not installed.
    """
    scripts = _scripts()
    made = tables(report)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            generated=moment(report.generated_at),
            summary=summary(report.totals),
            tables=made,
            charts=charts(report),
            runs_table=runs_table(report),
            meanings={str(gate): meaning for gate, meaning in MEANINGS.items()},
            most_rows=_MOST_ROWS,
            style=_style(),
            scripts=scripts,
            policy=_policy(scripts),
        )
    )


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    # Plotly styles what it draws by itself; its pictures to download are made in the page.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _scripts() -> tuple[str, ...]:
    from mlops.reporting.dashboard.assets import files

    found = files()
    plotly = found.get("plotly.min.js")
    if plotly is None or not plotly.is_file():
        raise IntegrationNotInstalledError(
            "The charts of a report's page need the package plotly, which is not installed",
            operation="render",
            hint="pip install plotly, or choose another format",
        )
    paths = (plotly, found["app.js"], _TEMPLATES / "report.js")
    return tuple(path.read_text(encoding="utf-8") for path in paths)


@functools.cache
def _style() -> str:
    from mlops.reporting.dashboard.assets import files

    paths = (files()["style.css"], _TEMPLATES / "report.css")
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    from mlops.reporting.dashboard.rendering import TEMPLATES, environment

    return environment().overlay(loader=jinja2.FileSystemLoader([_TEMPLATES, TEMPLATES]))
