"""Pages from templates, in which every value is text unless a template says otherwise."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from mlops.files import human_bytes
from mlops.reporting.facts import plain
from mlops.reporting.formatting import ago, duration, instant, number, percent
from mlops.reporting.wording import counted, one_line

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport

TEMPLATES: Final = Path(__file__).with_name("templates")
# Text in a script element ends at "</", whatever JSON says; the others keep comments and old parsers out.
_UNSAFE: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page.

    Args:
        request: The request it answers.
        template: The template's file.
        status: The HTTP status.
        **values: What the template shows. ``path`` and ``parameters`` (of the request), ``pages`` (the tools'
            own pages), ``age`` (seconds since the report was collected, or None) and ``now`` are there.
    """
    state = request.app.state
    base = state.manager.base_path
    given = {
        "path": request.url.path,
        "parameters": request.query_params,
        "pages": state.tool_pages,
        "age": state.reports.age,
        "now": datetime.now(UTC),
        "base_paths": sorted({str(base), str(base.resolve())}, key=len, reverse=True),
    }
    return HTMLResponse(environment().get_template(template).render(given | values), status)


def render_json(value: Any) -> Response:
    """Return facts as JSON; what is not a number there, such as NaN, is null."""
    return JSONResponse(_finite(plain(value)))


def since(request: Request) -> float | None:
    """Return the moment of ``time.monotonic`` before which nothing to be shown may have been collected.

    None for a reader who follows a link: then some seconds do not matter.
    """
    # What browsers send when a page is reloaded, and not when a link is followed.
    control = request.headers.get("cache-control", "")
    return time.monotonic() if "max-age=0" in control or "no-cache" in control else None


def report_of(request: Request) -> StatusReport:
    """Return the report to show: at most some seconds old, and anew when the reader reloads the page."""
    found: StatusReport = request.app.state.reports.get(since=since(request))
    return found


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates' environment."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "ago": ago,
        "bytes": human_bytes,
        "counted": counted,
        "duration": duration,
        "number": number,
        "percent": percent,
        "instant": instant,
        "one_line": one_line,
        "embedded": embedded,
        "told": _told,
        "web_address": _web_address,
    }
    return made


def embedded(value: Any) -> Markup:
    """Return a value as JSON for a ``<script type="application/json">`` element.

    Args:
        value: Plain values and facts; what is not a number, such as NaN, becomes null.
    """
    text = json.dumps(_finite(plain(value)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))  # noqa: S704 - JSON without what could end its element


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


@jinja2.pass_context
def _told(context: jinja2.runtime.Context, message: str) -> str:
    """Return a message without the place of the base, which is nothing for readers on other machines."""
    for base in context["base_paths"]:
        message = message.replace(base, "\N{HORIZONTAL ELLIPSIS}")
    return message


def _web_address(address: str) -> str | None:
    """Return an address that may be linked to; others, such as ``javascript:``, would run in the page."""
    return address if address.startswith(("http://", "https://")) else None
