"""What MLflow asks when code starts a run: which experiment it belongs to, and what to tag it with.

The classes have the shape of MLflow's providers without deriving from them, which would import MLflow while
it is being imported itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from mlops.plugins import variables
from mlops.plugins.variables import Membership

PROJECT_TAG: Final = "mlops.project"
GROUP_TAG: Final = "mlops.run_group"
_ROUTING: Final = "mlops.integrations.mlflow_tracking.routing"
# The experiment that is the project in a workspace's own store.
_OWN_EXPERIMENT: Final = "0"
# No store has it, so MLflow refuses to start the run.
_NO_EXPERIMENT: Final = "-1"
# How long the state of the data is taken for unchanged, in multiples of the time it took to find out: many
# runs started at once, as a grid search does, must not each look at every file.
_REUSE: Final = 20.0


class ProjectExperiment:
    """Sends runs of code that names no experiment to the project of this process.

    MLflow asks only where neither ``mlflow.set_experiment`` nor ``MLFLOW_EXPERIMENT_NAME`` (or ``_ID``) has
    named one.
    """

    def in_context(self) -> bool:
        """Say whether the environment names a project, and the code has not chosen another store itself."""
        member = variables.membership()
        return member is not None and (not _store_is_chosen() or _is_own_store(member))

    def get_experiment_id(self) -> str:
        """Return the project's experiment, or an impossible id where it cannot be told.

        That is the case if the variables that name the store got lost on the way to this process, so that its
        runs would end up in a database in the working directory; and on a server, where the experiment is
        named by ``MLFLOW_EXPERIMENT_NAME``, if that one did.
        """
        member = variables.membership()
        if member is None or not _store_is_chosen() or variables.workspace_in(member.store) is None:
            return _NO_EXPERIMENT
        return _OWN_EXPERIMENT


class ProjectTags:
    """Tags every run of the project: its name, process and ``mlops run``, and what it takes to do it again.

    The runs are those of a process whose environment names the project, those of ``client.start_run()``, and
    those that plain MLflow code starts inside it. By the process ``mlops doctor`` knows whether anybody is
    still at work on a run.
    """

    def in_context(self) -> bool:
        """Say whether the run that is being started is a project's."""
        return _route() is not None or _member() is not None

    def tags(self) -> dict[str, str]:
        """Return the tags; an empty dictionary where the run is nobody's."""
        route, member = _route(), _member()
        if member is None and route is None:
            return {}
        from mlops.integrations.mlflow_tracking import processes, provenance

        project = member.project if member is not None else str(route.project)
        started_by = os.environ.get(variables.COMMAND)
        found = {PROJECT_TAG: project, **processes.own_tags(), **provenance.tags(started_by)}
        if member is None:
            return found
        if member.group:
            found[GROUP_TAG] = member.group
        if reproduced := os.environ.get(variables.REPRODUCES):
            found[provenance.REPRODUCES_TAG] = reproduced
        if variables.workspace_in(member.store) is None:
            # `mlops run` makes them artifacts on the server when the command has ended.
            provenance.keep(member.workspace / "mlflow" / "artifacts", found)
        return found


class DataTags:
    """Tags every run of the project with data versions, as ``mlops.data.<dataset>``.

    If versions were named for this process (``mlops run --data``), it is these. Otherwise it is every dataset
    of the project whose files are, when the run starts, as some version has them by size and time: the tag
    says which data was in place. A dataset that was changed without being versioned gets no tag.

    This is a provider of its own, so that trouble with the data costs a run these tags only; MLflow logs it.
    """

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}
        self._until = 0.0
        self._of: Membership | None = None

    def in_context(self) -> bool:
        """Say whether the run that is being started is one of the project this process belongs to."""
        return _member() is not None

    def tags(self) -> dict[str, str]:
        """Return the tags."""
        member = _member()
        if member is None:
            return {}
        if member == self._of and time.monotonic() < self._until:
            return self._tags
        start = time.monotonic()
        self._tags, self._of = _data_tags(member), member
        end = time.monotonic()
        self._until = end + _REUSE * (end - start)
        return self._tags


def _data_tags(member: Membership) -> dict[str, str]:
    from mlops.integrations.mlflow_tracking.recording import data_tag

    versions = _named(member.data) if member.data else _in_place(member)
    return {data_tag(name): md5 for name, md5 in versions.items()}


def _named(text: str) -> dict[str, str]:
    return {str(name): str(md5) for name, md5 in json.loads(text).items()}


def _in_place(member: Membership) -> dict[str, str]:
    from mlops.integrations.dvc_data import DVCData
    from mlops.integrations.dvc_data.versions import DataState
    from mlops.plugins.mlflow_store import open_workspace
    from mlops.workspace.opening import resolve_for
    from mlops.workspace.tools import ToolContext

    workspace = open_workspace(member.workspace, operation="tags")
    if not workspace.dvc_path.is_dir():
        return {}
    data = DVCData(ToolContext(workspace, resolve_for(workspace).settings))
    return {
        dataset.name: dataset.on_disk
        for dataset in data.status()
        if dataset.on_disk is not None and dataset.state is DataState.CLEAN
    }


def _route() -> Any:
    """Return where a run of ours sends the calling code, or None; without one, routing was never imported."""
    routing = sys.modules.get(_ROUTING)
    return routing.route_of_new_run() if routing is not None else None


def _member() -> Membership | None:
    """Return the project of this process if the run that is being started belongs to it."""
    member = variables.membership()
    if member is None:
        return None
    route = _route()
    if route is None:
        return member if _store_is_chosen() and _is_own_store(member) else None
    return member if route.project == member.project and _leads_to(route.uri, member) else None


def _leads_to(uri: str, member: Membership) -> bool:
    root = variables.workspace_in(member.store)
    if root is None:
        return variables.without_credentials(uri) == member.store
    from mlops.integrations.mlflow_tracking import store

    return uri == store.database_uri(root.resolve() / "mlflow" / store.DATABASE)


def _store_is_chosen() -> bool:
    from mlflow.tracking import is_tracking_uri_set

    return bool(is_tracking_uri_set())


def _is_own_store(member: Membership) -> bool:
    from mlflow.tracking import get_tracking_uri

    uri = str(get_tracking_uri())
    return variables.without_credentials(uri) == member.store or _same_workspace(uri, member.store)


def _same_workspace(uri: str, store: str) -> bool:
    one, other = variables.workspace_in(uri), variables.workspace_in(store)
    return one is not None and other is not None and Path(one).resolve() == Path(other).resolve()
