"""Plotly figures as plain JSON values, safe for names and texts that anybody may have written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from mlops.reporting.wording import one_line

Figure = dict[str, Any]

# Colours of the page, which its script puts in; words stand beside the colours wherever they are used.
STATUS_COLOURS: Final = {
    "FINISHED": "var(--ok)",
    "FAILED": "var(--bad)",
    "KILLED": "var(--warn)",
    "RUNNING": "var(--series-1)",
    "SCHEDULED": "var(--series-7)",
}
# More points than this are a line to the eye.
_MARKED: Final = 60


def label(text: object, limit: int | None = None) -> str:
    """Return a text as Plotly shows it literally; Plotly takes tags and entities in any text for markup.

    Args:
        text: Anybody's text.
        limit: The largest number of characters; a longer text is cut, which an ellipsis tells.
    """
    return one_line(str(text), limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | None) -> float | None:
    """Return a number that JSON can hold; one that is not finite becomes None, which is drawn as a gap."""
    return value if value is not None and math.isfinite(value) else None


def line(name: str, x: Sequence[Any], y: Sequence[float | None], *, limit: bool = False) -> Figure:
    """Return one line of a chart.

    Args:
        name: Its name in the legend.
        x: Where its points are.
        y: Their values; None leaves a gap.
        limit: Whether it is a limit rather than something measured.
    """
    trace: Figure = {
        "type": "scatter",
        "mode": "lines" if limit or len(x) > _MARKED else "lines+markers",
        "name": label(name),
        "x": list(x),
        "y": [number(value) for value in y],
    }
    return trace | {"line": {"dash": "dash", "width": 1}, "hoverinfo": "skip"} if limit else trace


def bars(
    name: str, labels: Sequence[str], values: Sequence[float | None], *, colour: str | None = None
) -> Figure:
    """Return one series of horizontal bars.

    Args:
        name: Its name in the legend.
        labels: What each bar is of.
        values: Their lengths.
        colour: Their colour; by default the next of the page's.
    """
    trace: Figure = {
        "type": "bar",
        "orientation": "h",
        "name": label(name),
        "y": [label(each) for each in labels],
        "x": [number(value) for value in values],
    }
    return trace | {"marker": {"color": colour}} if colour else trace


def figure(traces: Sequence[Figure], *, x: str = "", y: str = "", **layout: Any) -> Figure:
    """Return a chart.

    Args:
        traces: What it draws.
        x: The title of the horizontal axis.
        y: That of the vertical one.
        **layout: Further parts of Plotly's layout; those of the axes are merged with the titles.
    """
    axes = {name: _titled(text) | layout.pop(name, {}) for name, text in (("xaxis", x), ("yaxis", y))}
    return {"data": list(traces), "layout": {**axes, **layout}}


def _titled(text: str) -> Figure:
    return {"title": {"text": label(text)}} if text else {}
