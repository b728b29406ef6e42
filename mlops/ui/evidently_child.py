"""The server's own process: Evidently's pages over the projects of a base, until its owner is gone.

Usage: python -m mlops.ui.evidently_child OWNER_PID SOCKET_DESCRIPTOR HOME SCOPE_URI
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mlops.ui.child import serve


def app(uri: str, home: Path) -> Any:
    """Return the application.

    Args:
        uri: The projects to show, as a scope's URI.
        home: The server's own directory.
    """
    from mlops.ui.evidently_app import create_app
    from mlops.ui.projects import Projects
    from mlops.ui.scope import Scope

    scratch = home / "empty"
    scratch.mkdir()
    return create_app(Projects(Scope.parse(uri)), scratch)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], app))
