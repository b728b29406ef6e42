"""The lineage that pages draw: of a whole project, its models first, and of single runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mlops.lineage import references
from mlops.lineage.references import Ref
from mlops.lineage.search import Projects
from mlops.reporting.dashboard.lineage_graph import MAX_NODES, Drawing, draw
from mlops.reporting.dashboard.opened import read

if TYPE_CHECKING:
    from mlops.lineage.records import ProjectRecords
    from mlops.workspace import WorkspaceManager
    from mlops.workspace.tools import ToolContext

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def of_project(manager: WorkspaceManager, context: ToolContext) -> Drawing:
    """Return the drawing of a project: the newest models with all around them, then runs without a model.

    Args:
        manager: The base, for what was copied from or to other projects.
        context: The project.
    """
    graph = Projects(manager, context=context).graph
    project = context.workspace.project_name
    records = graph.records(project)
    if records is None:
        return draw(graph, ())
    ends = dict.fromkeys(end for link in records.collected.links for end in (link.source, link.target))
    known = [Ref.parse(end, project=project) for end in ends]
    # What has no link to anything is told by the other parts of the page.
    linked = set(known)
    roots = [ref for ref in _important(records) if ref in linked]
    return draw(graph, [*roots, *known], total=len(known))


def of_thing(manager: WorkspaceManager, context: ToolContext, ref: str) -> Drawing:
    """Return the drawing of one thing of a project.

    Args:
        manager: The base.
        context: The project.
        ref: The thing, as ``mlops trace`` takes it.

    Raises:
        DataNotFoundError: The project has no such thing.
        ConfigError: It can mean several things.
    """
    projects = Projects(manager, context=context)
    (found,) = projects.find(ref)
    return draw(projects.graph, [found])


def of_run(manager: WorkspaceManager, context: ToolContext, run_id: str) -> Drawing:
    """Return the drawing of one run of a project.

    Args:
        manager: The base.
        context: The project.
        run_id: A run that the project has.
    """
    graph = Projects(manager, context=context).graph
    return draw(graph, [Ref(context.workspace.project_name, references.RUN, run_id)])


def _important(records: ProjectRecords) -> list[Ref]:
    """Return the models, those with an alias first, newest first; then the newest runs."""
    created = {
        name: (bool(row.aliases), row.created_at or _NEVER) for name, row in records.model_versions.items()
    }
    for name, entry in records.bento_models.items():
        created.setdefault(name, (False, entry.created_at or _NEVER))
    models = sorted(created, key=lambda name: created[name], reverse=True)
    # A store that cannot be read is among the drawing's errors already.
    runs = read(lambda: records.tracking.list_runs(limit=MAX_NODES, steps=False)).value or []
    return [
        *(Ref(records.project, references.MODEL, name) for name in models),
        *(Ref(records.project, references.RUN, run["run_id"]) for run in runs),
    ]
