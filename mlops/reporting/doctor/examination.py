"""The examination: which checks there are, in which order; trouble with one tool hides no other's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mlops.errors import ConfigError, WorkspaceNotFoundError
from mlops.reporting.doctor import (
    configuration,
    crashes,
    data,
    isolation,
    leftovers,
    logs,
    monitoring,
    pipelines,
    secrets,
    serving,
    tracking,
)
from mlops.reporting.doctor.finding import TROUBLE, Check, Finding, explained
from mlops.reporting.doctor.subject import Progress, Subject
from mlops.reporting.doctor.tree import Tree, walk
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

# What cannot be looked at if it fails, and a check of it; after a failure, further ones are left out.
_CHECKS: Final[tuple[tuple[str, Callable[[Subject], Iterator[Finding]]], ...]] = (
    ("settings", configuration.of_settings),
    ("runs", tracking.findings),
    ("runs", crashes.runs),
    ("data", data.findings),
    ("packaged models", serving.findings),
    ("packaged models", leftovers.staged_models),
    ("servers", crashes.servers),
    ("monitoring", monitoring.findings),
    ("pipelines", pipelines.findings),
    ("schedules", crashes.jobs),
    ("logs", logs.findings),
    # Last: what runs recorded is in a database that may have turned out to be damaged.
    ("runs", secrets.findings),
)

# After these nothing else can be learned from the store.
_FATAL: Final = (Check.DATABASE, Check.SCHEMA)


def examine(
    manager: WorkspaceManager,
    project_name: str | None = None,
    *,
    fix: bool = False,
    deep: bool = False,
    progress: Progress | None = None,
) -> list[Finding]:
    """Return what is wrong in one project or in all, by project; what is of the whole base comes last.

    Args:
        manager: The base.
        project_name: One project; what it shares with others is found all the same.
        fix: Put right what is safe to.
        deep: Read every stored object again and check whole databases, rather than compare names and sizes.
        progress: Called as ``progress(done, total)`` with bytes while data of a project is read.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
    """
    workspaces = manager.list_workspaces()
    if project_name is not None and not any(w.project_name == project_name for w in workspaces):
        workspaces.append(manager.get_workspace(project_name))
    chosen = [each for each in workspaces if project_name in (None, each.project_name)]
    names = {each.project_name for each in chosen}
    subjects, refused = _subjects(manager, workspaces, deep=deep, progress=progress)
    trees = {each.project_name: walk(each.root_path) for each in chosen}
    if any(tree.elsewhere for tree in trees.values()):
        trees |= {w.project_name: walk(w.root_path) for w in workspaces if w.project_name not in trees}
    of_base: list[Finding] = []
    for finding in (
        *configuration.of_base(workspaces),
        *configuration.without_file(manager.base_path),
        *refused,
        *isolation.conflicts(list(subjects.values())),
        *leftovers.of_base(manager.base_path, workspaces),
    ):
        if finding.project in names or project_name is None:
            of_base.append(finding)
    found: list[Finding] = []
    for workspace in chosen:
        own = _of_files(manager, workspace, trees)
        own += [finding for finding in of_base if finding.project == workspace.project_name]
        found += _righted(own) if fix else own
        if (subject := subjects.get(workspace.project_name)) is not None:
            found += _of_tools(subject, fix=fix)
    shared = [finding for finding in of_base if finding.project not in names]
    found += _righted(shared) if fix else shared
    # Errors quote what they are about.
    return [
        replace(each, message=secrets.redacted(each.message), hint=secrets.redacted(each.hint))
        for each in found
    ]


def _subjects(
    manager: WorkspaceManager,
    workspaces: Sequence[ProjectWorkspace],
    *,
    deep: bool,
    progress: Progress | None,
) -> tuple[dict[str, Subject], list[Finding]]:
    """Return the projects whose settings can be resolved, and findings for those whose cannot."""
    subjects: dict[str, Subject] = {}
    silent: dict[str, str] = {}
    refused: list[Finding] = []
    for workspace in workspaces:
        if workspace.error:
            continue
        try:
            settings = resolve_for(workspace, root=manager.location.root).settings
        except ConfigError as error:
            refused.append(configuration.wrong(workspace, error))
            continue
        subjects[workspace.project_name] = Subject(ToolContext(workspace, settings), deep, progress, silent)
    return subjects, refused


def _of_files(
    manager: WorkspaceManager, workspace: ProjectWorkspace, trees: dict[str, Tree]
) -> list[Finding]:
    """Return what can be said without settings, of a corrupt workspace too."""
    tree = trees[workspace.project_name]
    found = [
        *isolation.symbolic_links(workspace, tree, manager.base_path),
        *isolation.shared_files(workspace, trees),
        *configuration.of_file(workspace),
        *secrets.of_file(workspace),
        *leftovers.temporary_files(workspace, tree),
    ]
    if not workspace.error:
        found += [*leftovers.renamed(manager, workspace), *leftovers.monitoring_restore(workspace)]
    return found


def _of_tools(subject: Subject, *, fix: bool) -> list[Finding]:
    found: list[Finding] = []
    failed: set[str] = set()
    for what, check in _CHECKS:
        if what in failed:
            continue
        new: list[Finding] = []
        try:
            for finding in check(subject):
                new.append(finding)
        except WorkspaceNotFoundError:
            return []  # deleted while it was looked at
        except TROUBLE as error:
            failed.add(what)
            new.append(
                subject.finding(
                    Check.STORE,
                    f"The {what} of {subject.project} cannot be looked at: {explained(error)}",
                    getattr(error, "hint", None)
                    or "make what the message names reachable and readable, then look again",
                    part=what,
                )
            )
        if any(finding.check in _FATAL for finding in new):
            failed.add(what)
        # Before the next check, which may then see more: a store that is back has runs to be ended.
        found += _righted(new) if fix else new
    return found


def _righted(found: Iterable[Finding]) -> list[Finding]:
    return [now for each in found if (now := each.put_right()) is not None]
