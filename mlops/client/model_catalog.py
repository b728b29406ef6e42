"""Which versions of models projects have: registered, packaged, served; read without importing MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import MLOpsError
from mlops.integrations.bentoml_serving import BentoServing
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import StoreEntry
    from mlops.integrations.mlflow_tracking.queries import ModelRow
    from mlops.workspace import WorkspaceManager

_DATA: Final = "mlops.data."
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One version of a model.

    Args:
        project: The project.
        name: The short name.
        version: The version.
        registered: Whether the registry has it; a directory can be packaged without being registered.
        aliases: The aliases that point to it, sorted.
        framework: The framework and its version, or "" if that is not known.
        size_bytes: What its files take on disk, or None if that is not known.
        run_id: The run that made it, or "".
        data: The md5 of each data version it was trained on, by dataset.
        packaged: Whether it is stored as a Bento model.
        bento: Whether it has a Bento.
        serving: The addresses of the servers that run it now.
        created_at: When it was registered, or packaged, aware; None if that is not known.
        tags: The version's tags.
    """

    project: str
    name: str
    version: str
    registered: bool
    aliases: tuple[str, ...] = ()
    framework: str = ""
    size_bytes: int | None = None
    run_id: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    packaged: bool = False
    bento: bool = False
    serving: tuple[str, ...] = ()
    created_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "project": self.project,
            "name": self.name,
            "version": self.version,
            "registered": self.registered,
            "aliases": list(self.aliases),
            "framework": self.framework,
            "size_bytes": self.size_bytes,
            "run_id": self.run_id,
            "data": dict(self.data),
            "packaged": self.packaged,
            "bento": self.bento,
            "serving": list(self.serving),
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "tags": dict(self.tags),
        }


def collect(
    manager: WorkspaceManager, project: str | None = None
) -> tuple[list[CatalogEntry], dict[str, str]]:
    """Return the versions of one project, or of all by project, newest first; nothing is created.

    Args:
        manager: The base.
        project: One project.

    Returns:
        The versions, and why a project, or something in it, could not be read, by the project's name.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
        MLOpsError: The one project that was asked for cannot be read.
    """
    found: list[CatalogEntry] = []
    errors: dict[str, str] = {}
    workspaces = manager.list_workspaces() if project is None else [manager.get_workspace(project)]
    for workspace in workspaces:
        if workspace.error:
            errors[workspace.project_name] = workspace.error
            continue
        try:
            context = ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
            entries, damaged = of_project(context)
        except MLOpsError as error:
            if project is not None:
                raise
            errors[workspace.project_name] = str(error)
            continue
        found += entries
        if damaged:
            errors[workspace.project_name] = "; ".join(damaged)
    return found, errors


def of_project(context: ToolContext) -> tuple[list[CatalogEntry], list[str]]:
    """Return the versions of a project, newest first, and what is wrong with packaged ones.

    Args:
        context: The project.

    Raises:
        IntegrationError: The registry cannot be read.
    """
    serving = BentoServing(context)
    models = serving.models()
    packaged = {(entry.model, entry.version): entry for entry in models if not entry.error}
    bentos = {entry.tag for entry in serving.bentos() if not entry.error}
    urls: dict[str, list[str]] = {}
    for server in serving.servers():
        urls.setdefault(server["tag"], []).append(server["url"])
    entries = [
        *_registered(context, MLflowTracking(context).model_versions(), packaged, bentos, urls),
        *(
            CatalogEntry(
                context.workspace.project_name,
                name,
                version,
                registered=False,
                **_packaged(entry, bentos, urls),
            )
            for (name, version), entry in packaged.items()
        ),
    ]
    entries.sort(key=lambda entry: (entry.created_at or _NEVER, entry.name, entry.version), reverse=True)
    return entries, [entry.error for entry in models if entry.error]


def _registered(
    context: ToolContext,
    rows: list[ModelRow],
    packaged: dict[tuple[str, str], StoreEntry],
    bentos: set[str],
    urls: Mapping[str, list[str]],
) -> Iterator[CatalogEntry]:
    """Yield registered versions, and take their packages out of ``packaged``."""
    prefix = MLflowTracking(context).model_prefix
    for row in rows:
        name = row.name.removeprefix(prefix)
        entry = packaged.pop((name, row.version), None)
        facts = _packaged(entry, bentos, urls) if entry is not None else {}
        size = row.tags.get("mlops.size_bytes", "")
        data = {k.removeprefix(_DATA): v for k, v in row.tags.items() if k.startswith(_DATA)}
        # What plain MLflow registered says less of itself than its package does.
        facts |= {
            "framework": row.tags.get("mlops.framework") or facts.get("framework", ""),
            "size_bytes": int(size) if size.isdigit() else facts.get("size_bytes"),
            "run_id": row.run_id or facts.get("run_id", ""),
            "data": data or facts.get("data", {}),
            "created_at": row.created_at,
        }
        yield CatalogEntry(
            context.workspace.project_name,
            name,
            row.version,
            registered=True,
            aliases=row.aliases,
            tags=row.tags,
            **facts,
        )


def _packaged(entry: StoreEntry, bentos: set[str], urls: Mapping[str, list[str]]) -> dict[str, Any]:
    return {
        "framework": entry.labels.get("framework", ""),
        "size_bytes": entry.size,
        "run_id": entry.labels.get("run_id", ""),
        "data": {k.removeprefix("data."): v for k, v in entry.labels.items() if k.startswith("data.")},
        "packaged": True,
        "bento": entry.tag in bentos,
        "serving": tuple(urls.get(entry.tag, ())),
        "created_at": entry.created_at,
    }
