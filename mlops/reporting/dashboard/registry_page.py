"""Every version of every model of every project in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlops.reporting.dashboard.rendering import render, render_json, since
from mlops.reporting.registry import Registry, RegistryEntry

# Rows that a browser lays out at once; the page says how many there are, and narrowing finds the others.
_SHOWN: Final = 500
# What can be chosen: the label on the page.
STATES: Final[Mapping[str, str]] = {
    "production": "In production",
    "serving": "Served now",
    "packaged": "Packaged",
    "drifting": "Drifting",
    "unchecked": "Never checked",
}


def routes() -> list[Route]:
    """Return the routes of the page and of the registry as JSON."""
    return [Route("/registry", _page, name="registry"), Route("/registry.json", _json, name="registry-json")]


def _page(request: Request) -> Response:
    registry = _registry(request)
    words = request.query_params.get("find", "").casefold().split()
    state = request.query_params.get("state", "")
    fitting = [entry for entry in registry.entries if _has(entry, words) and _is(entry, state)]
    return render(
        request,
        "registry.html",
        age=request.app.state.registry.age,
        entries=fitting[:_SHOWN],
        fitting=len(fitting),
        total=len(registry.entries),
        errors=registry.errors,
        states=STATES,
        chosen=state,
    )


def _json(request: Request) -> Response:
    return render_json(_registry(request).to_dict())


def _registry(request: Request) -> Registry:
    found: Registry = request.app.state.registry.get(since=since(request))
    return found


def words_of(entry: RegistryEntry) -> list[str]:
    """Return what a version of a model is found by."""
    own = [f"{entry.project}.{entry.model}:{entry.version}", entry.made_with, entry.flavor, entry.run_id]
    own += [entry.bento or "", *(f"@{alias}" for alias in entry.aliases)]
    # What this library itself notes is long, and of no person's making.
    return own + [f"{key}={value}" for key, value in entry.tags.items() if not key.startswith("mlops.")]


def _has(entry: RegistryEntry, words: list[str]) -> bool:
    text = " ".join(words_of(entry)).casefold()
    return all(word in text for word in words)


def _is(entry: RegistryEntry, state: str) -> bool:
    return {
        "production": "production" in entry.aliases,
        "serving": bool(entry.serving),
        "packaged": entry.packaged,
        "drifting": entry.drifting is True,
        "unchecked": entry.last_check is None,
    }.get(state, True)
