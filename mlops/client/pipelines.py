"""Verbs for pipelines: make one in the project, and list those it has."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mlops.client.session import ProjectSession
from mlops.errors import PipelineError

if TYPE_CHECKING:
    from mlops.pipelines.pipeline import Pipeline


class PipelineVerbs(ProjectSession):
    """What makes pipelines."""

    def create_pipeline(self, name: str, **options: Any) -> Pipeline:
        """Return a new, empty pipeline of this project; the project lists it from now on.

        Args:
            name: ASCII letters, digits, ``_``, ``.`` and ``-``.
            **options: ``params``, ``version``, ``description`` and ``max_workers``; see ``Pipeline``.

        Raises:
            PipelineError: The name or an option is wrong.
        """
        from mlops.pipelines import catalogue
        from mlops.pipelines.pipeline import Pipeline

        pipeline = Pipeline(name, tracking=self.tracking, **options)
        catalogue.register(
            self.workspace, name, description=pipeline.description, operation="create_pipeline"
        )
        self._pipelines[name] = pipeline
        return pipeline

    def get_pipeline(self, name: str, *, version: str | None = None) -> Pipeline:
        """Return a pipeline, ready to run: what this client made, else what was saved as a version.

        Args:
            name: Its name.
            version: A saved version; by default the pipeline this client made, or the newest version.

        Raises:
            PipelineError: The project has no pipeline of that name, or no code of it was saved.
            PipelineVersionError: There is no such version, or it cannot run here any more.
        """
        from mlops.pipelines import catalogue
        from mlops.pipelines.pipeline import Pipeline

        if version is None and name in self._pipelines:
            return self._pipelines[name]
        if name not in (known := catalogue.names(self.workspace)):
            raise PipelineError(
                f"{self.project_name} has no pipeline {name!r}",
                operation="get_pipeline",
                workspace=self.project_name,
                hint=f"pipelines are: {', '.join(known) or 'none yet'}",
            )
        pipeline = Pipeline(name, tracking=self.tracking)
        saved = pipeline.list_versions()
        if version is None and not saved:
            raise PipelineError(
                f"No version of the pipeline {name!r} was saved, so its steps are not known here",
                operation="get_pipeline",
                workspace=self.project_name,
                hint="save one with pipeline.save_version(), or pass the pipeline itself",
            )
        return pipeline.checkout(version or saved[-1].version)

    def get_pipelines(self) -> list[str]:
        """Return the names of the project's pipelines, sorted."""
        from mlops.pipelines import catalogue

        return catalogue.names(self.workspace)

    def pipeline_params(self, run_id: str) -> dict[str, Any]:
        """Return the parameters a run of a pipeline had, as they were.

        Args:
            run_id: The run.

        Raises:
            DataNotFoundError: The project has no such run, or its parameters could not be stored.
        """
        from mlops.pipelines.outputs import OutputStore
        from mlops.pipelines.recording import earlier_params

        return earlier_params(self.tracking, self.tracking.get_run(run_id), OutputStore(self.workspace))

    def load_output(self, digest: str) -> Any:
        """Return what a step of a pipeline returned.

        Args:
            digest: Its ``digest`` or ``uri`` as in ``get_artifacts``.

        Raises:
            DataNotFoundError: The project has no such output.
            DataIntegrityError: It is damaged, or its class can no longer be imported.
        """
        from mlops.pipelines.outputs import OutputStore

        return OutputStore(self.workspace).find(digest)

    def __getstate__(self) -> dict[str, Any]:
        # A step's function refers to the client: in a process of its own the project is opened anew. Tracking
        # stays one object for client and pipeline, so that both know the run.
        adapters = {tool: adapter for tool, adapter in self._adapters.items() if tool == "mlflow"}
        return {**vars(self), "_adapters": adapters, "_adapters_lock": None, "_pipelines": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _adapters_lock=threading.Lock())
