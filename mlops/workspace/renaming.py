"""Everything that carries a project's name, given another: in its tools and in its link log.

A renamed directory is a working project at once. What remains is noted in a file that moves along with it,
and finished by whoever opens the project next if the process that renamed it is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines, names
from mlops.errors import InvalidModelNameError, MLOpsError, WorkspaceError
from mlops.files import sync_directory, write_atomic
from mlops.workspace import links, tools
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace.catalog import WorkspaceCatalog

logger = logging.getLogger(__name__)

# In a workspace's directory while it is being renamed.
MARKER: Final = ".renaming.json"


def rename(catalog: WorkspaceCatalog, old: Path, new: Path, *, operation: str) -> None:
    """Rename a workspace's directory and everything that carries its name; see ``rename_workspace``.

    Args:
        catalog: The base.
        old: The present directory, which is a workspace.
        new: The directory it gets; the caller holds the locks of both, and has made sure that it is free.
        operation: The calling method.
    """
    workspace = ProjectWorkspace.load_metadata(old, project_name=old.name)
    context = context_of(catalog, workspace)
    refuse_in_use(context, operation=operation)
    tools.close_loaded(context)
    timeout = context.settings.lock_timeout
    note = {
        "to": new.name,
        "former_name": old.name,
        "former_root": str(old),
        "former_prefix": workspace.bentoml_tag_prefix,
    }
    write_atomic(old / MARKER, json.dumps(note))
    with contextlib.ExitStack() as held:
        # Whoever stores something now finishes before, or finds out afterwards that the workspace is gone.
        for name in sorted({*tools.registered(), links.LOCK}):
            held.enter_context(workspace.lock(name, timeout=timeout, operation=operation))
        old.rename(new)
        sync_directory(new.parent)
    try:
        finish(catalog, new)
    except InvalidModelNameError as error:
        # Nothing is renamed by a tool that refuses; what others have renamed gets its name back.
        back = {**note, "to": old.name, "former_name": new.name, "former_root": str(new)}
        back["former_prefix"] = _named(workspace, new).bentoml_tag_prefix
        write_atomic(new / MARKER, json.dumps(back))
        new.rename(old)
        finish(catalog, old)
        error.operation = operation
        raise
    except (MLOpsError, OSError) as error:
        raise WorkspaceError(
            f"{old.name!r} is {new.name!r} now, but not everything in it is renamed: {error}",
            operation=operation,
            workspace=new.name,
            hint=f"put that right and open {new.name!r}, which finishes the renaming",
        ) from error


def pending(root: Path) -> bool:
    """Say whether a workspace was renamed and carries its former name somewhere."""
    return (root / MARKER).exists()


def was(root: Path, name: str) -> bool:
    """Say whether a workspace carries that name no more, but something in it still does."""
    try:
        note: dict[str, Any] = json.loads((root / MARKER).read_bytes())
    except FileNotFoundError:
        return False
    return bool(note["to"] == root.name and note["former_name"] == name)


def finish(catalog: WorkspaceCatalog, root: Path) -> None:
    """Finish the renaming of a workspace, if one was begun; the caller holds its lock.

    Args:
        catalog: The base.
        root: The workspace's directory.
    """
    try:
        note: dict[str, Any] = json.loads((root / MARKER).read_bytes())
    except FileNotFoundError:
        return
    # Noted before the directory was renamed, which then did not happen.
    if note["to"] == root.name:
        workspace = _named(ProjectWorkspace.load_metadata(root), root)
        former = replace(
            workspace,
            project_name=note["former_name"],
            root_path=Path(note["former_root"]),
            bentoml_tag_prefix=note["former_prefix"],
        )
        adopt(context_of(catalog, workspace), former, moved=True)
        workspace.save_metadata()
    (root / MARKER).unlink(missing_ok=True)


def finish_when_opened(catalog: WorkspaceCatalog, root: Path) -> None:
    """Finish what a killed process left; a tool that cannot be renamed must not keep the project closed.

    Args:
        catalog: The base.
        root: The workspace's directory, whose lock the caller holds.
    """
    try:
        finish(catalog, root)
    except (MLOpsError, OSError) as error:
        logger.warning("The renaming of %s could not be finished: %s", root.name, error)


def adopt(context: ToolContext, former: ProjectWorkspace, *, moved: bool) -> None:
    """Let every tool and the link log take over what was stored under a former name or in a former place.

    Args:
        context: The workspace as it is now.
        former: The workspace as it was.
        moved: Whether the former one is gone; a copy leaves what is on shared servers alone.
    """
    for tool in tools.registered():
        tools.create(tool, context).adopt(former, moved=moved)
    old, new = former.bentoml_tag_prefix or "", prefix_of(context)
    path = links.log_file(context.workspace)
    if old == new or not path.exists():
        return
    with context.workspace.lock(links.LOCK, operation="adopt"):
        write_atomic(path, b"".join(_with_prefix(path.read_bytes(), old, new)))


def context_of(catalog: WorkspaceCatalog, workspace: ProjectWorkspace) -> ToolContext:
    """Return what the adapters of a workspace are built from."""
    return ToolContext(workspace, resolve_for(workspace, root=catalog.location.root).settings)


def prefix_of(context: ToolContext) -> str:
    """Return what the names of a project's registered models and Bentos start with."""
    return context.settings.bentoml_tag_prefix or names.default_tag_prefix(context.workspace.project_name)


def refuse_in_use(context: ToolContext, *, operation: str) -> None:
    """Raise if a run is open or a server runs in the project, in this process or another.

    Raises:
        WorkspaceError: It says which.
        MLOpsError: A tool cannot say, because its store is damaged or its server cannot be reached.
    """
    project = context.workspace.project_name
    try:
        at_work = [each for tool in tools.registered() for each in tools.create(tool, context).in_use()]
    except MLOpsError as error:
        error.operation = operation
        raise
    if at_work:
        raise WorkspaceError(
            f"The project {project!r} is in use: {'; '.join(at_work[:5])}"
            + (f" and {len(at_work) - 5} more" if len(at_work) > 5 else ""),
            operation=operation,
            workspace=project,
            details={"in_use": at_work},
            hint="end the runs and stop the servers named, then try again",
        )


def _named(workspace: ProjectWorkspace, root: Path) -> ProjectWorkspace:
    """Return the workspace under the name of a directory, with a prefix that follows from the name."""
    own = workspace.bentoml_tag_prefix == names.default_tag_prefix(workspace.project_name)
    prefix = None if own else workspace.bentoml_tag_prefix
    return replace(workspace, project_name=root.name, root_path=root, bentoml_tag_prefix=prefix)


def _with_prefix(content: bytes, old: str, new: str) -> Iterator[bytes]:
    """Yield the lines of a link log with models and Bentos renamed; what cannot be read stays as it is."""
    for line in content.splitlines(keepends=True):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict) or not line.endswith(b"\n"):
            yield line
            continue
        for end in ("source", "target"):
            kind, colon, name = str(value.get(end, "")).partition(":")
            # The new prefix may start with the old one.
            done = new.startswith(old) and name.startswith(new)
            if colon and kind in ("model", "bento") and name.startswith(old) and not done:
                value[end] = f"{kind}:{new}{name.removeprefix(old)}"
        yield jsonlines.encode(value)
