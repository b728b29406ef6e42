"""Which servers of web pages run on this machine now, so that other pages can link to theirs."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops.files import write_atomic
from mlops.integrations.mlflow_tracking.processes import ProcessState, own_tags, state


def announce(*, tool: str, url: str, base: Path, project: str | None) -> Path | None:
    """Write down that this process has a server running, and return where that stands.

    It counts as long as this process lives; what killed processes left is removed here. Where nothing can be
    written, nobody is told, and None is returned: the pages themselves do not depend on it.

    Args:
        tool: ``mlflow`` or ``evidently``.
        url: Where it answers.
        base: The base whose projects it shows.
        project: The only project it shows, or None for all.
    """
    record = {
        "tool": tool,
        "url": url,
        "base": str(base.resolve()),
        "project": project,
        "process": own_tags(),
    }
    path = _directory() / f"{uuid.uuid4().hex}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other, values in _records():
            if state(values["process"]) is ProcessState.GONE:
                other.unlink(missing_ok=True)
        write_atomic(path, json.dumps(record))
    except OSError:
        return None
    return path


def find(tool: str, base: Path, project: str | None = None) -> str | None:
    """Return where a tool's pages of a base answer, or None if they do not run.

    Args:
        tool: ``mlflow`` or ``evidently``.
        base: The base.
        project: The project to be shown there; None for all.
    """
    found = [
        (values["project"] is not None, values["url"])
        for _, values in _records()
        if (values["tool"], values["base"]) == (tool, str(base.resolve()))
        and values["project"] in (None, project)
        and state(values["process"]) is ProcessState.ALIVE
    ]
    # Those of one project only if there are none of all.
    return min(found)[1] if found else None


def _directory() -> Path:
    from platformdirs import user_cache_path

    # Not in the base, which may be read-only or shared with other machines.
    return user_cache_path("mlops-workspaces") / "ui"


def _records() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in _directory().glob("*.json"):
        # One that is removed meanwhile, or damaged, is no server's.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            values = json.loads(path.read_bytes())
            yield path, {key: values[key] for key in ("tool", "url", "base", "project", "process")}
