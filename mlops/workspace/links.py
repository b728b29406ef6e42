"""What belongs together in one project: the link log, and the links that the tools themselves keep.

The tools are the record: a run knows its data, a model version its run, a Bento its model. ``links.jsonl`` in
the workspace repeats what they said when it happened, one line per link, so that a chain can still be told
after a run, a Bento or a snapshot was deleted. It can be rebuilt from the tools at any time.

Both ends of a link are references, ``kind:id``:

- ``data:<md5>``, a directory's md5 with ``.dir``
- ``commit:<sha>``, ``run:<id>``, ``pipeline:<name>@<version>``
- ``model:<project>.<name>:<version>``, ``bento:<tag>``
- ``reference:<hash>``, ``snapshot:<id>``

What another project holds has that project's name in front: ``churn/data:<md5>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines
from mlops.errors import MLOpsError
from mlops.files import write_atomic
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import Link, ToolContext

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

FILE_NAME: Final = "links.jsonl"
LOCK: Final = "links"
GROUP: Final = "mlops.links"
# The relations, each from the earlier thing to the later one.
INPUT_OF: Final = "input-of"
CODE_OF: Final = "code-of"
DEFINED: Final = "defined"
PRODUCED: Final = "produced"
PACKAGED_AS: Final = "packaged-as"
REFERENCE_OF: Final = "reference-of"
COMPARED_IN: Final = "compared-in"
CHECKED_BY: Final = "checked-by"
COPIED_TO: Final = "copied-to"
# What made a pipeline run, such as a check with an alert; and the steps of that run.
STARTED: Final = "started"
HAS_STEP: Final = "has-step"
REPRODUCED_BY: Final = "reproduced-by"


@dataclass(frozen=True, slots=True)
class Collected:
    """The links of a project.

    Args:
        links: Every link that is known, each once.
        confirmed: The references, of either end, that some tool named itself.
        errors: Tool, or ``links`` for the log, to why its links could not be read.
    """

    links: tuple[Link, ...]
    confirmed: frozenset[str]
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A link log that was written anew.

    Args:
        links: How many links it has now.
        errors: Tool to why its links could not be read; of these the log has what it had before.
    """

    links: int
    errors: Mapping[str, str] = field(default_factory=dict)


def log_file(workspace: ProjectWorkspace) -> Path:
    """Return the project's link log."""
    return workspace.root_path / FILE_NAME


def record(workspace: ProjectWorkspace, links: Iterable[Link], *, operation: str) -> None:
    """Append links to the project's log.

    Args:
        workspace: The project.
        links: What belongs together.
        operation: The calling method, for errors.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
        WorkspaceLockedError: The log stayed locked.
    """
    at = datetime.now(UTC).isoformat()
    lines = [_line(link, at) for link in links]
    if not lines:
        return
    with workspace.lock(LOCK, operation=operation):
        workspace.require_present(operation=operation)
        jsonlines.append(log_file(workspace), lines)


def logged(workspace: ProjectWorkspace) -> tuple[list[Link], list[jsonlines.Line]]:
    """Return the links of the log, and the lines that cannot be understood."""
    links: list[Link] = []
    damaged: list[jsonlines.Line] = []
    for line in jsonlines.read(log_file(workspace)):
        value = line.value or {}
        source, target, relation = (str(value.get(key) or "") for key in ("source", "target", "relation"))
        attributes = value.get("attributes", {})
        if source and target and relation and isinstance(attributes, dict):
            links.append(Link(source, target, relation, attributes))
        else:
            damaged.append(line)
    return links, damaged


def collect(context: ToolContext) -> Collected:
    """Return what every tool and the log say; trouble with one of them is reported, not raised.

    Args:
        context: The project.
    """
    found, errors = from_tools(context)
    kept, damaged = logged(context.workspace)
    if damaged:
        lines = ", ".join(str(line.number) for line in damaged[:10])
        errors["links"] = f"{log_file(context.workspace)} has lines that cannot be understood: {lines}"
    confirmed = frozenset(end for link in found for end in (link.source, link.target))
    return Collected(tuple(_unique([*found, *kept])), confirmed, errors)


def from_tools(context: ToolContext) -> tuple[list[Link], dict[str, str]]:
    """Return the links that the tools keep, and why a tool's could not be read, by tool."""
    found: list[Link] = []
    errors: dict[str, str] = {}
    for tool in tools.registered():
        try:
            found += tools.create(tool, context).links()
        except (MLOpsError, OSError) as error:
            errors[tool] = str(error)
    for name, point in _sources().items():
        try:
            found += point.load()(context)
        except (MLOpsError, OSError) as error:
            errors[name] = str(error)
    return found, errors


@cache
def _sources() -> dict[str, EntryPoint]:
    """Return what keeps links beside the tools: functions of a ``ToolContext`` that yield them, by name."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def rebuild(context: ToolContext, *, operation: str = "rebuild_links") -> Rebuilt:
    """Write the log anew from what the tools say, keeping what only the log knew.

    Args:
        context: The project.
        operation: The calling method, for errors.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
    """
    workspace = context.workspace
    found, errors = from_tools(context)
    now = datetime.now(UTC).isoformat()
    with workspace.lock(LOCK, operation=operation):
        workspace.require_present(operation=operation)
        kept, _ = logged(workspace)
        times = _times(workspace)
        # The tools first: of two equal links theirs has the facts of today.
        links = _unique([*found, *kept])
        lines = [_line(link, times.get(_key(link), now)) for link in links]
        write_atomic(log_file(workspace), b"".join(map(jsonlines.encode, lines)))
    return Rebuilt(len(links), errors)


def _unique(links: Iterable[Link]) -> list[Link]:
    first: dict[tuple[str, str, str], Link] = {}
    for link in links:
        first.setdefault(_key(link), link)
    return list(first.values())


def _key(link: Link) -> tuple[str, str, str]:
    return link.source, link.target, link.relation


def _times(workspace: ProjectWorkspace) -> dict[tuple[str, str, str], str]:
    """Return when each link was first logged."""
    first: dict[tuple[str, str, str], str] = {}
    for line in jsonlines.read(log_file(workspace)):
        value = line.value or {}
        if at := value.get("at"):
            key = str(value.get("source")), str(value.get("target")), str(value.get("relation"))
            first.setdefault(key, str(at))
    return first


def _line(link: Link, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "source": link.source,
        "target": link.target,
        "relation": link.relation,
        "attributes": dict(link.attributes),
    }
