"""Evidently's own server over the workspaces of a base, for looking at them and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from mlops.ui.evidently_state import state_class
from mlops.ui.projects import Projects

# A page of another site must not read these under a name of its own that leads here.
_HOSTS: Final = ["127.0.0.1", "localhost"]
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def create_app(projects: Projects, scratch: Path) -> Any:
    """Return the server's application.

    Args:
        projects: The projects to show.
        scratch: An empty directory for what Evidently wants to have a place for.
    """
    from evidently.ui.service.app import create_app as create
    from evidently.ui.service.base import BlobStorage
    from evidently.ui.service.components.dashboard import DashboardComponent
    from evidently.ui.service.components.security import NoSecurityComponent
    from evidently.ui.service.components.storage import LocalStorageComponent
    from evidently.ui.service.components.telemetry import TelemetryComponent
    from evidently.ui.service.local_service import LocalConfig
    from evidently.ui.service.storage.common import NoopAuthManager
    from evidently.ui.service.storage.local import create_local_project_manager
    from litestar.exceptions import HTTPException
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    class ShelfBlobs(BlobStorage):  # type: ignore[misc]
        """Snapshots as they lie in the workspaces."""

        def __init__(self, state: Any) -> None:
            self._state = state

        @contextlib.contextmanager
        def open_blob(self, id: str) -> Iterator[Any]:
            with self._state.opened(id) as stream:
                yield stream

        async def put_blob(self, blob_id: str, obj: Any) -> None:
            raise _refusal()

        async def delete_blob(self, blob_id: str) -> None:
            raise _refusal()

        def blob_exists(self, id: str) -> bool:
            return self._state.path_of(id) is not None

    class ShelfStorage(LocalStorageComponent):  # type: ignore[misc]
        """Where the pages get projects from."""

        # So that projects are looked for at every request.
        use_cache: ClassVar[bool] = False

        class Config:
            type_alias = "mlops_shelf"

        def project_manager_provider(self) -> Callable[..., Awaitable[Any]]:
            async def project_manager_factory() -> Any:
                state.refresh()
                return manager

            return project_manager_factory

    class ReadOnly(NoSecurityComponent):  # type: ignore[misc]
        """Lets requests look, and refuses the others."""

        class Config:
            type_alias = "mlops_read_only"

        def get_auth_guard(self) -> Callable[[Any, Any], None]:
            def guard(connection: Any, _: Any) -> None:
                if connection.scope.get("method") not in _READING:
                    raise _refusal()

            return guard

    def _refusal() -> HTTPException:
        return HTTPException(
            status_code=403,
            detail="These pages only show what the projects hold; change it with mlops, or in Python",
        )

    state = state_class()(projects, scratch)
    manager = create_local_project_manager(
        str(scratch), autorefresh=False, auth=NoopAuthManager(), state=state
    )
    manager.blob_storage = ShelfBlobs(state)
    app = create(
        LocalConfig(
            security=ReadOnly(),
            storage=ShelfStorage(path=str(scratch), autorefresh=False),
            telemetry=TelemetryComponent(enabled=False),
            dashboard=DashboardComponent(path=str(scratch)),
        )
    )
    return TrustedHostMiddleware(app, allowed_hosts=_HOSTS)
