"""Artifacts sent through the server: each request reads and writes in the project it names."""

from __future__ import annotations

from typing import Any, Final

from mlops.ui.failures import answered
from mlops.ui.projects import Projects

# How MLflow's server begins the path of a request once it has checked whose it is.
_PREFIX: Final = "workspaces"


def repository_class() -> Any:
    """Return the repository's class, which needs MLflow's base classes."""
    from mlflow.entities import FileInfo
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repo import ArtifactRepository, StreamUploadMixin
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    from mlops.integrations.mlflow_tracking import store

    class BaseRepository(ArtifactRepository, StreamUploadMixin):  # type: ignore[misc]
        """The artifact directories of all projects, as ``workspaces/<slug>/<path>``.

        Args:
            artifact_uri: The URI it was asked for by.
            projects: The projects.
        """

        def __init__(self, artifact_uri: str, projects: Projects) -> None:
            super().__init__(artifact_uri)
            self._projects = projects

        def _split(self, path: str | None) -> tuple[Any, str, str]:
            prefix, _, rest = (path or "").strip("/").partition("/")
            slug, _, inner = rest.partition("/")
            if prefix != _PREFIX or not slug:
                raise MlflowException.invalid_parameter_value(
                    "Choose a project: artifacts are kept per project, and this request names none"
                )
            with answered():
                workspace = self._projects.opened(slug)
            directory = store.artifact_root(workspace).as_uri()
            return LocalArtifactRepository(directory), inner, f"{prefix}/{slug}"

        def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
            """Store a file."""
            repository, inner, _ = self._split(artifact_path)
            repository.log_artifact(local_file, inner or None)

        def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
            """Store a directory."""
            repository, inner, _ = self._split(artifact_path)
            repository.log_artifacts(local_dir, inner or None)

        def log_artifact_from_stream(
            self, stream: Any, artifact_file_name: str, artifact_path: str | None = None
        ) -> None:
            """Store what a stream holds."""
            repository, inner, _ = self._split(artifact_path)
            repository.log_artifact_from_stream(stream, artifact_file_name, inner or None)

        async def log_artifact_from_async_stream(
            self, chunks: Any, artifact_file_name: str, artifact_path: str | None = None
        ) -> None:
            """Store what a stream holds."""
            repository, inner, _ = self._split(artifact_path)
            await repository.log_artifact_from_async_stream(chunks, artifact_file_name, inner or None)

        def list_artifacts(self, path: str | None = None) -> list[Any]:
            """Return what is directly below a path."""
            repository, inner, prefix = self._split(path)
            found = repository.list_artifacts(inner or None)
            return [FileInfo(f"{prefix}/{item.path}", item.is_dir, item.file_size) for item in found]

        def get_local_path(self, artifact_path: str) -> str:
            """Return where a file is."""
            repository, inner, _ = self._split(artifact_path)
            return str(repository.get_local_path(inner))

        def _download_file(self, remote_file_path: str, local_path: str) -> None:
            repository, inner, _ = self._split(remote_file_path)
            repository._download_file(inner, local_path)

        def delete_artifacts(self, artifact_path: str | None = None) -> None:
            """Remove a file or directory; not all artifacts of a project at once."""
            repository, inner, _ = self._split(artifact_path)
            if not inner:
                raise MlflowException.invalid_parameter_value("Name the file or directory to remove")
            repository.delete_artifacts(inner)

    return BaseRepository
