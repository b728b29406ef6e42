"""The Evidently UI over the projects of a base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from mlops.ui.evidently_shelf import identifier
from mlops.ui.process import UIProcess, without

# These would change what the server shows, or ask for a password on each request.
_FOREIGN: Final = ("EVIDENTLY_", "GIT_COMMIT")
_SETTINGS: Final = {
    "DO_NOT_TRACK": "true",
    # Otherwise every page asks git for it, in the directory of the package.
    "GIT_COMMIT": "-",
}


class EvidentlyUI(UIProcess):
    """Evidently's pages over the projects of a base, each read from its own workspace.

    They show and never change: projects that appear later show up, and one that cannot be read says why and
    hides no other. The server is one child process that listens on 127.0.0.1 only and ends with this one,
    however this one ends. Use it as a context manager, or call ``start`` and ``stop``.

    Args:
        manager: The base.
        project: Show this project only; None for all, those created later included.
        port: The port; None for a free one.
    """

    tool: ClassVar[str] = "evidently"
    title: ClassVar[str] = "Evidently UI"
    module: ClassVar[str] = "mlops.ui.evidently_child"
    health_path: ClassVar[str] = "/api/projects"

    @property
    def page(self) -> str:
        """The page to open in a browser: the one project's dashboard, or the list of all."""
        if self._project is None:
            return f"{self.url}/"
        return f"{self.url}/projects/{identifier(self._manager.get_workspace(self._project))}"

    def environment(self) -> Mapping[str, str]:
        """Return the variables of the server's process."""
        return {**without(_FOREIGN), **_SETTINGS}
