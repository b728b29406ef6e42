"""Opening a project for a client: below a base, or in exactly the directory the caller names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import names, settings
from mlops.errors import ConfigError, WorkspaceNotFoundError
from mlops.workspace import configuration
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace.manager import WorkspaceManager

# What a caller may pass beside a project's name: kept in a new workspace, or in force for this caller only.
_KEPT = (*configuration.WIRING, "metadata")


def open_project(
    manager: WorkspaceManager,
    project_name: str,
    *,
    description: str | None,
    overrides: Mapping[str, Any],
    directory: Path | None = None,
) -> ToolContext:
    """Open a project, creating its workspace on first use, and return it with the settings in force.

    Args:
        manager: The base it belongs to.
        project_name: The project.
        description: One line for people; updates what is stored.
        overrides: Settings by name. They win over every other layer for this caller; a workspace that is
            created keeps those that belong to it.
        directory: Exactly this directory instead of one below the base.

    Raises:
        ConfigError: An override is unknown or wrong.
    """
    allowed = {*settings.NAMES, *_KEPT}
    if unknown := sorted(set(overrides) - allowed):
        raise ConfigError(
            f"Unknown setting {unknown[0]!r} for project {project_name!r}",
            operation="from_project",
            workspace=project_name,
            hint=f"settings are: {', '.join(sorted(allowed))}",
        )
    kept = {key: value for key, value in overrides.items() if key in _KEPT and value is not None}
    arguments = {key: value for key, value in overrides.items() if key in settings.NAMES}
    configuration.check(kept, project=project_name, operation="from_project")
    settings.resolve(arguments=arguments)  # a wrong value must not leave a workspace behind
    if directory is not None:
        workspace = _open_directory(directory, project_name, description=description, config=kept)
    else:
        try:
            manager.get_workspace(project_name)
        except WorkspaceNotFoundError:
            workspace = manager.get_or_create_workspace(project_name, description=description, **kept)
        else:
            workspace = manager.get_or_create_workspace(project_name, description=description)
    return ToolContext(
        workspace, resolve_for(workspace, arguments=arguments, root=manager.location.root).settings
    )


def resolve_for(
    workspace: ProjectWorkspace,
    *,
    arguments: Mapping[str, Any] | None = None,
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> settings.Resolved:
    """Return the settings in force for a workspace.

    Args:
        workspace: The project.
        arguments: What the caller passed.
        root: The repository whose pyproject.toml is the layer below the workspace; None for none.
        environ: The environment, ``os.environ`` by default.
    """
    stored = {name: getattr(workspace, name, None) for name in settings.NAMES}
    if stored["bentoml_tag_prefix"] == names.default_tag_prefix(workspace.project_name):
        stored["bentoml_tag_prefix"] = None
    return settings.resolve(arguments=arguments, workspace=stored, directory=root, environ=environ)


def _open_directory(
    directory: Path, project_name: str, *, description: str | None, config: Mapping[str, Any]
) -> ProjectWorkspace:
    names.validate_project_name(project_name, operation="from_project")
    root = Path(directory).expanduser().absolute()
    fresh = ProjectWorkspace(project_name, root, description=description or "", **config)
    fresh.check_serializable()
    with fresh.lock(operation="from_project"):
        try:
            workspace = ProjectWorkspace.load_metadata(root)
        except WorkspaceNotFoundError:
            fresh.ensure_directories()
            fresh.save_metadata()
            return fresh
        if workspace.project_name != project_name:
            raise ConfigError(
                f"{root} holds the project {workspace.project_name!r}, not {project_name!r}",
                operation="from_project",
                workspace=project_name,
                hint=f"open it as {workspace.project_name!r}, or choose another workspace_path",
            )
        workspace.ensure_directories()
        if description and description != workspace.description:
            workspace = workspace.changed({"description": description})
            workspace.save_metadata()
        return workspace


def describe_settings(
    workspace: ProjectWorkspace | None, *, root: Path | None
) -> list[tuple[str, str | None, str]]:
    """Return each setting as (name, value, layer it comes from), with ``${NAME}`` references as written.

    Args:
        workspace: The project, or None for what holds without one.
        root: The repository whose pyproject.toml is the lowest layer.
    """
    raw = _Unexpanded(os.environ)
    if workspace is None:
        resolved = settings.resolve(directory=root, environ=raw)
    else:
        resolved = resolve_for(workspace, root=root, environ=raw)
    values = asdict(resolved.settings)
    return [
        (name, None if value is None else str(value), resolved.origins[name])
        for name, value in values.items()
    ]


class _Unexpanded(dict[str, str]):
    """An environment in which a reference stands for itself, so that no secret is printed."""

    def __getitem__(self, name: str) -> str:
        return f"${{{name}}}"
