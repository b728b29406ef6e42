"""Whether any two projects of a base share something: proved by resolved paths, file identities and ids."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mlops.errors import MLOpsError
from mlops.integrations.dvc_data.vault import Vault
from mlops.integrations.evidently_monitoring.project import project_id
from mlops.integrations.mlflow_tracking import MLflowTracking, server
from mlops.reporting.doctor.finding import SHOWN, Check, Finding, named
from mlops.reporting.doctor.subject import Subject
from mlops.reporting.doctor.tree import Identity, Tree
from mlops.reporting.wording import counted
from mlops.workspace.model import ProjectWorkspace

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Claim:
    """A place that a project uses and no other may.

    Args:
        project: The project.
        workspace_id: The id of its workspace.
        what: What is kept there.
        place: Where, for people; without credentials.
        parts: The same as steps from the most general on: a place contains those that begin with its parts.
    """

    project: str
    workspace_id: str
    what: str
    place: str
    parts: tuple[str, ...]


def conflicts(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield the places that two projects use, once for each of the projects.

    Args:
        subjects: Every project of the base whose settings are known.
    """
    shared: dict[tuple[str, str], list[tuple[Claim, Claim]]] = {}
    for outer, inner in _overlaps(sorted((c for s in subjects for c in claims(s)), key=lambda c: c.parts)):
        # Copies that kept their id share this one by that, which is a finding of its own.
        if outer.what == inner.what == _EVIDENTLY and outer.workspace_id == inner.workspace_id:
            continue
        for mine, theirs in ((inner, outer), (outer, inner)):
            shared.setdefault((mine.project, theirs.project), []).append((mine, theirs))
    for (project, other), pairs in shared.items():
        mine, theirs = pairs[0]
        places = {each.what: each.place for each, _ in pairs}
        same = "is also" if mine.parts == theirs.parts else "overlaps with"
        more = f"; so it is with {counted(len(places) - 1, 'more place')}" if len(places) > 1 else ""
        yield Finding(
            project,
            Check.SHARED,
            f"The {mine.what} of {project}, {mine.place}, {same} the {theirs.what} of {other}"
            + ("" if mine.place == theirs.place else f", {theirs.place}")
            + more,
            "give one of the two a place of its own (mlops config show says which setting names it), or "
            "remove the link or mount that leads to the other's",
            details={"places": places, "projects": [other]},
        )


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the places that a project uses, by its settings and by the files of its tools."""
    workspace, tracking = subject.workspace, MLflowTracking(subject.context)
    local = {
        "artifact root": tracking.artifact_root,
        "monitoring directory": workspace.monitoring_path,
        "model store": workspace.models_path,
        "outputs directory": workspace.outputs_path,
    }
    file = tracking.database if tracking.embedded else server.sqlite_file(tracking.uri)
    if tracking.embedded:
        local["tracking database"] = tracking.database
    else:
        store = (
            ("file", *Path(os.path.realpath(file)).parts) if file else ("url", server.redact(tracking.uri))
        )
        shown = server.redact(tracking.uri)
        experiment = (*store, "experiment", tracking.experiment_name)
        yield _claim(subject, "experiment", f"{tracking.experiment_name} on {shown}", experiment)
        # Of names that start with another's prefix there is no telling whose they are.
        prefix = ("models", *store, *tracking.model_prefix)
        yield _claim(subject, "model prefix", f"{tracking.model_prefix} on {shown}", prefix)
    vault = Vault(subject.context)
    local["DVC cache"] = vault.cache.root
    try:
        remote = vault.remote(vault.operation("doctor"))
    except MLOpsError:
        pass  # a finding of its own, among those of the settings
    else:
        if remote.path is not None:
            local["DVC remote"] = remote.path
        else:
            yield _claim(subject, "DVC remote", remote.public, _url_parts(remote.public))
    for what, place in _plain_dvc(vault):
        if _URL.match(place):
            yield _claim(subject, what, place, _url_parts(place))
        else:
            local[what] = vault.dvc_dir / place
    yield _claim(subject, _EVIDENTLY, project_id(workspace), (_EVIDENTLY, project_id(workspace)))
    for what, path in local.items():
        yield _claim(subject, what, str(path), ("file", *Path(os.path.realpath(path)).parts))
        # A hard link or a mount has another path and the same identity.
        with contextlib.suppress(OSError):
            status = path.stat()
            yield _claim(subject, what, str(path), ("inode", str(status.st_dev), str(status.st_ino)))


def symbolic_links(workspace: ProjectWorkspace, tree: Tree, base: Path) -> Iterator[Finding]:
    """Yield the links of a workspace that lead out of the base, or into another project.

    Args:
        workspace: The workspace.
        tree: What it has.
        base: The base path.
    """
    own, root = Path(os.path.realpath(workspace.root_path)), Path(os.path.realpath(base))
    out: dict[str, str] = {}
    across: dict[str, str] = {}
    for link in tree.links:
        target = Path(os.path.realpath(link))
        if root not in target.parents:
            out[str(link)] = str(target)
        elif link != workspace.root_path and not target.is_relative_to(own):
            across[str(link)] = str(target)
    for check, links, where in (
        (Check.LINK, out, f"out of {base}"),
        (Check.LINK_TO_PROJECT, across, "out of its workspace"),
    ):
        if links:
            told = [f"{link} is a link {where}, to {target}" for link, target in links.items()]
            yield Finding(
                workspace.project_name,
                check,
                named(told),
                "put what it points to in its place: elsewhere it is neither isolated nor removed with it",
                details={"links": dict(list(links.items())[:SHOWN])},
            )


def shared_files(workspace: ProjectWorkspace, trees: Mapping[str, Tree]) -> Iterator[Finding]:
    """Yield the files of a workspace that are files of another one too, and can be written to.

    What cannot be written to, such as a stored object, is safe to share: nobody changes it.

    Args:
        workspace: The workspace.
        trees: What each workspace has, by project.
    """
    mine = trees[workspace.project_name].elsewhere
    for other, tree in trees.items():
        common: list[Identity] = sorted(mine.keys() & tree.elsewhere.keys())
        if other == workspace.project_name or not common:
            continue
        more = f", and so are {len(common) - 1} more" if len(common) > 1 else ""
        yield Finding(
            workspace.project_name,
            Check.SHARED_FILE,
            f"{mine[common[0]]} is the same file as {tree.elsewhere[common[0]]} of {other}{more}: what is "
            "written to one is written to both",
            "copy one of the two projects anew without hard links: mlops clone, or cp -a",
            details={"projects": [other], "files": [str(mine[each]) for each in common[:SHOWN]]},
        )


_EVIDENTLY: Final = "Evidently project"


def _claim(subject: Subject, what: str, place: str, parts: tuple[str, ...]) -> Claim:
    return Claim(subject.project, subject.workspace.id, what, place, parts)


def _overlaps(ordered: Sequence[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Yield pairs of claims of two projects of which the first contains the second, or is the same."""
    above: list[Claim] = []
    for claim in ordered:
        while above and claim.parts[: len(above[-1].parts)] != above[-1].parts:
            above.pop()
        yield from ((each, claim) for each in above if each.project != claim.project)
        above.append(claim)


def _url_parts(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    return ("url", parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), *parts.path.split("/")[1:])


def _plain_dvc(vault: Vault) -> Iterator[tuple[str, str]]:
    """Yield the cache and the remotes that plain DVC would use in a vault, by its configuration files."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    try:
        parser.read([vault.config, vault.config.with_name("config.local")], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return  # what is damaged is found where the vault is looked at
    for section in parser.sections():
        name = section.strip("'\" ")
        if name == "cache" and parser.has_option(section, "dir"):
            yield "cache of plain DVC", parser.get(section, "dir").strip("\"' ")
        if name.startswith("remote ") and parser.has_option(section, "url"):
            yield f"{name.strip()} of plain DVC", server.redact(parser.get(section, "url").strip("\"' "))
