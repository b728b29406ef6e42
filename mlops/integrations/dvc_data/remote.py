"""Where the project's remote is, from the one setting ``dvc_remote_path``.

- None: ``dvc/remote`` inside the workspace.
- A relative path: inside the workspace, and it moves along with it.
- An absolute path or a URL: it may be shared, so the project's name is appended unless it is the last part
  already. Two projects with the same setting therefore never share an object, and the same project on two
  machines does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from mlops.errors import (
    ConfigError,
    IntegrationNotInstalledError,
    IntegrationUnavailableError,
    IsolationError,
)
from mlops.integrations.dvc_data.operation import Operation
from mlops.workspace.model import METADATA_FILE, ProjectWorkspace
from mlops.workspace.tools import DISTRIBUTION

DEFAULT: Final = "dvc/remote"
# The module DVC loads for each kind of URL (dvc_objects/fs/__init__.py); http comes with DVC itself.
PLUGINS: Final = {
    "s3": "dvc_s3",
    "gs": "dvc_gs",
    "azure": "dvc_azure",
    "ssh": "dvc_ssh",
    "hdfs": "dvc_hdfs",
    "webhdfs": "dvc_webhdfs",
    "webdav": "dvc_webdav",
    "webdavs": "dvc_webdav",
    "oss": "dvc_oss",
    "gdrive": "dvc_gdrive",
    "http": "dvc_http",
    "https": "dvc_http",
}
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class RemoteLocation:
    """The project's remote.

    Args:
        url: What DVC opens: an absolute path, or a URL with its credentials if it has any.
        public: The same without credentials, for configuration files and messages.
        identity: What pushes are recorded under; the same after a move of the workspace.
        path: The directory, for a remote that is one.
        required: The directory that must exist before anything is written below it: a shared disk that is not
            mounted must not be replaced by a local directory.
        scheme: The URL's scheme, or ``""``.
    """

    url: str
    public: str
    identity: str
    path: Path | None = None
    required: Path | None = None
    scheme: str = ""

    def check(self, operation: Operation) -> None:
        """Raise unless what the remote needs on this machine is there.

        Raises:
            IntegrationNotInstalledError: DVC's plug-in for the URL is missing.
            IntegrationUnavailableError: The directory is missing.
        """
        if self.required is not None and not self.required.is_dir():
            raise operation.error(
                IntegrationUnavailableError,
                f"The remote directory {self.required} does not exist",
                hint="mount or create it, or change the setting dvc_remote_path",
            )
        if self.scheme and find_spec(PLUGINS[self.scheme]) is None:
            raise operation.error(
                IntegrationNotInstalledError,
                f"The remote {self.public} cannot be used because the package "
                f"{PLUGINS[self.scheme].replace('_', '-')!r} is not installed",
                hint=f"install it with: pip install {_requirement(self.scheme)}",
                details={"extra": self.scheme},
            )


def locate_remote(
    workspace: ProjectWorkspace, configured: str | None, operation: Operation
) -> RemoteLocation:
    """Return the remote a setting stands for; nothing is contacted.

    Args:
        workspace: The project's workspace.
        configured: The setting, with environment references already expanded.
        operation: The calling method.

    Raises:
        ConfigError: The setting is empty, or its kind of URL is not one DVC has.
        IsolationError: A relative path leaves the workspace, or an absolute one is inside another's.
    """
    if configured is None:
        path = workspace.root_path / DEFAULT
        return RemoteLocation(str(path), str(path), DEFAULT, path=path)
    text = configured.strip()
    if not text or any(ord(character) < 32 or character == '"' for character in text):
        raise operation.error(
            ConfigError,
            "The setting dvc_remote_path is empty or has a quotation mark or a control character in it",
            hint="use a path or a URL such as s3://bucket/prefix",
        )
    match = _URL.match(text)
    if match and match[1].lower() != "file":
        return _from_url(text, match[1].lower(), workspace.project_name, operation)
    path = Path(urlsplit(text).path if match else text).expanduser()
    if not path.is_absolute():
        return _inside(workspace, path, operation)
    path = Path(os.path.normpath(path))
    if path.is_relative_to(workspace.root_path):
        return _inside(workspace, path.relative_to(workspace.root_path), operation)
    for directory in (path, *path.parents):
        if (directory / METADATA_FILE).is_file():
            raise operation.error(
                IsolationError,
                f"The remote {path} is inside another workspace, {directory}",
                hint="point dvc_remote_path somewhere else, or leave it out for the workspace's own remote",
            )
    own = path if path.name == workspace.project_name else path / workspace.project_name
    required = path.parent if own == path else path
    return RemoteLocation(str(own), str(own), str(own), path=own, required=required)


def _inside(workspace: ProjectWorkspace, relative: Path, operation: Operation) -> RemoteLocation:
    normal = PurePosixPath(os.path.normpath(relative))
    reserved = (PurePosixPath("dvc/.dvc"), PurePosixPath("dvc/datasets"))
    if normal.parts[:1] == ("..",) or normal in (PurePosixPath(), PurePosixPath("dvc")):
        problem = "is not a directory of its own inside the workspace"
    elif any(normal.is_relative_to(taken) for taken in reserved):
        problem = "is where DVC keeps its own files"
    else:
        path = workspace.root_path / normal
        return RemoteLocation(str(path), str(path), normal.as_posix(), path=path)
    raise operation.error(
        IsolationError,
        f"The remote {str(relative)!r} {problem}",
        hint=f"use a relative path such as {DEFAULT!r}, an absolute path, or a URL",
    )


def _from_url(text: str, scheme: str, project: str, operation: Operation) -> RemoteLocation:
    if scheme not in PLUGINS:
        raise operation.error(
            ConfigError,
            f"The setting dvc_remote_path has an unknown kind of URL: {scheme}://",
            hint=f"DVC knows: {', '.join(sorted(PLUGINS))}",
        )
    parts = urlsplit(text)
    path = parts.path.rstrip("/")
    if PurePosixPath(path).name != project:
        path = f"{path}/{project}"
    user, _, host = parts.netloc.rpartition("@")
    public_host = f"{user.partition(':')[0]}@{host}" if user else host
    url = urlunsplit((scheme, parts.netloc, path, parts.query, parts.fragment))
    # A query can carry a signature, so it is left out of everything that is written or shown.
    public = urlunsplit((scheme, public_host, path, "", ""))
    return RemoteLocation(url, public, public, scheme=scheme)


def _requirement(scheme: str) -> str:
    return (
        f'"{DISTRIBUTION}[s3]"' if scheme == "s3" else f'"dvc[{"webdav" if scheme == "webdavs" else scheme}]"'
    )
