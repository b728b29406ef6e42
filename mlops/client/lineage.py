"""Verbs for lineage: where a result comes from, and copies between projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops.client.session import ProjectSession

if TYPE_CHECKING:
    from mlops.integrations.dvc_data import DataVersion
    from mlops.integrations.mlflow_tracking.versions import ModelVersion
    from mlops.lineage.passport import ModelPassport
    from mlops.lineage.trace import Trace


class LineageVerbs(ProjectSession):
    """What tells where a result comes from."""

    def trace(self, ref: str | Path) -> Trace:
        """Return everything a result came from and everything that came of it.

        Args:
            ref: A data file or its md5, a run id, ``project.model:version``, ``model@alias``, a Bento tag, a
                snapshot id, a git commit, or the start of a hash; ``kind:id`` where a text means two things.

        Returns:
            The chain, also into other projects where something was copied. Printed, it is a tree;
            ``mlops.lineage.drawing`` has the languages of Graphviz and Mermaid.

        Raises:
            DataNotFoundError: The project has nothing of that name.
            ConfigError: It can mean several things.
        """
        from mlops.lineage.search import Projects
        from mlops.lineage.trace import trace

        self._flush()
        projects = Projects(self.manager, context=self._context)
        (found,) = projects.find(str(ref))
        return trace(found, projects.graph)

    def passport(self, model: ModelVersion | str) -> ModelPassport:
        """Return what belongs to one version of a model: data, code, run, Bento, reference, snapshots.

        Args:
            model: ``name``, ``name:version`` or ``name@alias``; the newest version by default.

        Raises:
            ModelNotFoundError: The project has no such model version.
        """
        from mlops.lineage.passport import passport
        from mlops.lineage.records import ProjectRecords

        self._flush()
        text = model if isinstance(model, str) else f"{model.full_name}:{model.version}"
        return passport(text, ProjectRecords(self._context))

    def copy_model(
        self,
        model: ModelVersion | str,
        target_project: str,
        *,
        version: str | int | None = None,
        alias: str | None = None,
        name: str | None = None,
    ) -> ModelVersion:
        """Register a copy of a model version in another project; both keep a note of it.

        The files are copied, so neither project can harm the other's. A version that was copied before is not
        copied again.

        Args:
            model: Whatever ``load_model`` takes.
            target_project: A project of the same base.
            version: The version; the newest by default.
            alias: An alias, instead of a version.
            name: The model's short name there; the same by default.

        Returns:
            The version in the other project.

        Raises:
            ModelNotFoundError: There is no such model or version.
            WorkspaceNotFoundError: There is no such project.
        """
        from mlops.lineage.copies import copy_model

        with self._other(target_project) as target:
            return copy_model(self.tracking, target.tracking, model, version=version, alias=alias, name=name)

    def copy_data(
        self, data: str | Path | DataVersion, target_project: str, *, path: str | Path | None = None
    ) -> DataVersion:
        """Bring a data version into another project; both keep a note of it.

        Args:
            data: A path, dataset name, md5 or version of this project.
            target_project: A project of the same base.
            path: Where the dataset is to live there; below that project's outputs by default.

        Raises:
            DataNotFoundError: There is no such version.
            WorkspaceNotFoundError: There is no such project.
        """
        from mlops.lineage.copies import copy_data

        with self._other(target_project) as target:
            return copy_data(self.data, target.data, data, path=path)

    def _other(self, project: str) -> ProjectSession:
        """Open another project of the base, which must exist: a misspelt name creates nothing."""
        self.manager.get_workspace(project)
        return ProjectSession(
            project, manager=self.manager, description=None, workspace_path=None, overrides={}
        )

    def _flush(self) -> None:
        if (tracking := self._loaded_tracking) is not None:
            tracking.flush()
