"""Whole workspaces copied: into an archive, out of one, and beside the original under another name.

A copy is taken tool by tool, by each adapter's ``export``, while the project is in use. It is put together
below the base, where nobody sees it, and then appears in one rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import names
from mlops.errors import ArchiveError, MLOpsError, WorkspaceCorruptError
from mlops.files import STATE_DIRECTORY, locked, write_atomic
from mlops.workspace import archive, links, metadata, renaming, tools
from mlops.workspace.archive import FILES, TOOLS, Manifest, Progress
from mlops.workspace.model import DIRECTORIES, METADATA_FILE, ProjectWorkspace, now
from mlops.workspace.portable import portable
from mlops.workspace.scratch import base_scratch
from mlops.workspace.unpacking import Reader

if TYPE_CHECKING:
    from mlops.workspace.catalog import WorkspaceCatalog
    from mlops.workspace.tools import ToolContext

logger = logging.getLogger(__name__)

# What refers to something is copied before it, so that the copy has both: Bentos and checks, then the runs,
# then the data that they read.
_LAST: Final = {"mlflow": 1, "dvc": 2}
# What a copy without runs keeps.
_DATA_TOOLS: Final = ("dvc",)
# Not copied as files: the adapters copy these, or they mean nothing elsewhere.
_OWN: Final = {*DIRECTORIES, METADATA_FILE, renaming.MARKER, STATE_DIRECTORY} - {"outputs"}
# What only has a meaning together with the runs it tells of.
_OF_RUNS: Final = {links.FILE_NAME, "model_metrics.jsonl"}


def export(
    context: ToolContext, path: Path, *, include_data: bool, progress: Progress | None, operation: str
) -> Manifest:
    """Write a workspace as one file; see ``WorkspaceManager.export_workspace``."""
    workspace = context.workspace
    base = workspace.root_path.parent
    _check_target(path, workspace, operation)
    key = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    lock = base / STATE_DIRECTORY / "locks" / f"archive.{key}.lock"
    with (
        locked(lock, timeout=context.settings.lock_timeout, operation=operation),
        base_scratch(base, "export", operation=operation) as directory,
    ):
        configuration, left_out = portable(workspace)
        left_out += _snapshot(context, directory, include_data=include_data, operation=operation)
        with _copying(workspace.project_name, operation):
            write_atomic(directory / METADATA_FILE, metadata.dump(configuration))
        packages = (tools.DISTRIBUTION, *tools.registered())
        manifest = Manifest(
            workspace.project_name,
            workspace.id,
            now(),
            versions={package: tools.installed_version(package) for package in packages},
            left_out=tuple(left_out),
        )
        return archive.write(directory, path, manifest, progress=progress)


@contextlib.contextmanager
def imported(
    catalog: WorkspaceCatalog,
    path: Path,
    name: str,
    *,
    replaced: str | None,
    progress: Progress | None,
    operation: str,
) -> Iterator[ProjectWorkspace]:
    """Give the workspace of an archive, complete but for its place, and remove it if it is left where it is.

    Args:
        catalog: The base.
        path: The archive.
        name: The name it gets.
        replaced: The project it takes the place of, if any.
        progress: Called as ``progress(done, total)`` with bytes.
        operation: The calling method.
    """
    with base_scratch(catalog.base_path, "import", operation=operation) as directory:
        tree = directory / "tree"
        tree.mkdir()
        Reader(path, operation).extract(tree, progress=progress)
        try:
            former = ProjectWorkspace.load_metadata(tree)
        except WorkspaceCorruptError as error:
            raise ArchiveError(
                f"{path} is damaged: {error.details.get('reason', error)}",
                operation=operation,
                hint=error.hint,
            ) from error
        taken = {w.id for w in catalog.list_workspaces() if not w.error and w.project_name != replaced}
        yield _assemble(catalog, directory, tree, former, name, anew=former.id in taken, operation=operation)


@contextlib.contextmanager
def cloned(
    catalog: WorkspaceCatalog, source: ToolContext, name: str, *, with_runs: bool, operation: str
) -> Iterator[ProjectWorkspace]:
    """Give a copy of a workspace, complete but for its place, and remove it if it is left where it is."""
    with base_scratch(catalog.base_path, "clone", operation=operation) as directory:
        tree = directory / "tree"
        tree.mkdir()
        only = None if with_runs else _DATA_TOOLS
        for note in _snapshot(source, tree, include_data=True, only=only, operation=operation):
            logger.warning("%s has a copy without %s", source.workspace.project_name, note)
        yield _assemble(catalog, directory, tree, source.workspace, name, anew=True, operation=operation)


def _snapshot(
    context: ToolContext,
    tree: Path,
    *,
    include_data: bool,
    only: Collection[str] | None = None,
    operation: str,
) -> list[str]:
    """Copy what a workspace holds, but for its configuration; return what was left out and why."""
    workspace = context.workspace
    with _copying(workspace.project_name, operation):
        left_out = _copy_files(workspace, tree / FILES, log=only is None)
        for tool in sorted(tools.registered(), key=lambda tool: (_LAST.get(tool, 0), tool)):
            if only is None or tool in only:
                (tree / TOOLS / tool).mkdir(parents=True)
                tools.create(tool, context).export(tree / TOOLS / tool, include_data=include_data)
        left_out += _without_links(tree)
    if not include_data:
        left_out.append("the content of data versions")
    return left_out


def _assemble(
    catalog: WorkspaceCatalog,
    directory: Path,
    tree: Path,
    former: ProjectWorkspace,
    name: str,
    *,
    anew: bool,
    operation: str,
) -> ProjectWorkspace:
    """Make a workspace of a tree, under another name and id if need be."""
    home = directory / "base"
    workspace = _renamed(former, home / name, anew=anew)
    with _copying(name, operation):
        # Marks it as a base, so that locks and staging stay out of the workspace.
        (home / STATE_DIRECTORY).mkdir(parents=True)
        workspace.ensure_directories()
        for path in sorted((tree / FILES).iterdir()) if (tree / FILES).is_dir() else ():
            if path.name in _OWN:
                raise ArchiveError(
                    f"The archive has {path.name!r} where only a tool may put it",
                    hint="export the project again",
                )
            with contextlib.suppress(FileNotFoundError):
                (workspace.root_path / path.name).rmdir()
            path.rename(workspace.root_path / path.name)
        workspace.save_metadata()
        context = renaming.context_of(catalog, workspace)
        for path in sorted((tree / TOOLS).iterdir()) if (tree / TOOLS).is_dir() else ():
            adapter = _adapter(path.name, context)
            adapter.restore(path)
            shutil.rmtree(path)
            adapter.close()
        renaming.adopt(context, former, moved=False)
    return workspace


@contextlib.contextmanager
def _copying(project: str, operation: str) -> Iterator[None]:
    """Give errors the method that was called, and those of the disk a next step."""
    try:
        yield
    except MLOpsError as error:
        error.operation = operation
        raise
    except OSError as error:
        raise ArchiveError(
            f"{project!r} cannot be copied: {error}",
            operation=operation,
            workspace=project,
            hint="check the free space and the permissions of the base path; nothing was changed",
        ) from error


def _adapter(tool: str, context: ToolContext) -> tools.ToolAdapter:
    if tool not in tools.registered():
        raise ArchiveError(
            f"The archive holds data of {tool!r}, for which there is no integration here",
            workspace=context.workspace.project_name,
            hint="install the package that provides it, then import again",
        )
    return tools.create(tool, context)


def _renamed(former: ProjectWorkspace, root: Path, *, anew: bool) -> ProjectWorkspace:
    changes: dict[str, Any] = {"project_name": root.name, "root_path": root}
    own_prefix = former.bentoml_tag_prefix == names.default_tag_prefix(former.project_name)
    if root.name != former.project_name:
        on_server = former.mlflow_tracking_uri is not None
        if own_prefix or on_server:
            # On a server, models of two projects may not share a prefix, nor runs an experiment.
            changes["bentoml_tag_prefix"] = None
        if on_server:
            changes["mlflow_experiment_id"] = None
    if anew:
        changes |= {"id": str(uuid.uuid4()), "evidently_project_id": None}
    return replace(former, **changes)


def _copy_files(workspace: ProjectWorkspace, target: Path, *, log: bool) -> list[str]:
    """Copy what no tool keeps; a link is followed if it stays in the workspace."""
    root = workspace.root_path
    real_root = root.resolve()
    left_out: list[str] = []
    skipped = _OWN if log else _OWN | _OF_RUNS
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if here == root:
            folders[:] = [name for name in folders if name not in skipped]
            files = [name for name in files if name not in skipped]
        inside = target / here.relative_to(root)
        inside.mkdir(parents=True, exist_ok=True)
        # os.walk names links to directories among the directories, and does not enter them.
        for name in [*files, *(name for name in folders if (here / name).is_symlink())]:
            path = here / name
            if name.startswith(".") and name.endswith((".tmp", ".partial")):
                continue
            real = path.resolve()
            if not real.is_relative_to(real_root):
                left_out.append(f"{path.relative_to(root)}: it is a link that leads out of the workspace")
            elif real.is_file():
                with contextlib.suppress(FileNotFoundError):  # removed at this moment
                    shutil.copy2(real, inside / name)
            elif path.is_symlink() or real.exists():
                left_out.append(f"{path.relative_to(root)}: it is neither a file nor a link to one")
    return left_out


def _without_links(tree: Path) -> list[str]:
    """Put files in place of the links that a tool's copy has."""
    left_out: list[str] = []
    real_tree = tree.resolve()
    for folder, folders, files in os.walk(tree):
        for path in [Path(folder, name) for name in (*files, *folders)]:
            if not path.is_symlink():
                continue
            real = path.resolve()
            path.unlink()
            if real.is_relative_to(real_tree) and real.is_file():
                shutil.copy2(real, path)
            else:
                left_out.append(f"{path.relative_to(tree)}: it is a link to something else than a file in it")
    return left_out


def _check_target(path: Path, workspace: ProjectWorkspace, operation: str) -> None:
    problem = None
    if path.is_dir():
        problem = f"{path} is a directory"
    elif not path.parent.is_dir():
        problem = f"The directory {path.parent} does not exist"
    elif workspace.root_path.resolve() in path.resolve().parents:
        problem = f"{path} is inside the workspace that it would hold"
    if problem:
        raise ArchiveError(
            problem,
            operation=operation,
            workspace=workspace.project_name,
            hint=f"name a file in an existing directory, such as {workspace.project_name}.tar.zst",
        )
