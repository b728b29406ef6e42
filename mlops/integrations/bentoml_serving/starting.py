"""Starting servers, and knowing which ones run for a project, in this process and in others."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IntegrationError, IntegrationUnavailableError
from mlops.files import write_atomic
from mlops.integrations.bentoml_serving.environment import child_environment
from mlops.integrations.bentoml_serving.prediction_log import log_directory
from mlops.integrations.bentoml_serving.server import Server, loading_failure, log_tail
from mlops.integrations.bentoml_serving.service_source import entry_service, has_own_service
from mlops.workspace.scratch import claim, sweep

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving.entries import StoreEntry
    from mlops.integrations.bentoml_serving.store import BentoStore
    from mlops.workspace.model import ProjectWorkspace

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
RECORD: Final = "server.json"
KEPT_LOGS: Final = 20
POLL_SECONDS: Final = 0.2
# Between our choosing a free port and the server's binding it, someone else may take it.
PORT_ATTEMPTS: Final = 3

_started: dict[Path, list[Server]] = {}
_guard: Final = threading.Lock()


def serving_directory(workspace: ProjectWorkspace) -> Path:
    """Return where a project's running servers have their homes."""
    return workspace.state_path / "serving" / workspace.root_path.name


def start(
    store: BentoStore,
    bento: StoreEntry,
    *,
    host: str,
    port: int | None,
    timeout: float,
    workers: int | None,
    sample_rate: float = 0.0,
) -> Server:
    """Start a server and wait until it can predict.

    Args:
        store: The project's store.
        bento: The Bento to serve.
        host: The address to listen on.
        port: The port, or None for a free one.
        timeout: Seconds to wait.
        workers: Processes that predict; None for as many as the service itself says.
        sample_rate: The share of requests that is logged, 0 to 1.

    Raises:
        IntegrationError: The server ended before it was ready, or the model could not be loaded; the message
            has the reason.
        IntegrationUnavailableError: It was not ready in time, or the port is taken.
    """
    deadline = time.monotonic() + timeout
    for attempt in range(1, PORT_ATTEMPTS + 1):
        chosen = _free_port(host) if port is None else port
        if port is not None and _taken(host, port):
            raise _failure(
                store,
                f"Port {port} of {host} is in use",
                "choose another port, or leave it out",
                IntegrationUnavailableError,
            )
        server, home = _spawn(store, bento, host=host, port=chosen, workers=workers, sample_rate=sample_rate)
        try:
            ready = _wait(server, deadline)
        except BaseException:
            server.stop()
            raise
        if ready:
            _record(server, home)
            with _guard:
                _started.setdefault(store.workspace.root_path, []).append(server)
            return server
        alive = server.running()
        server.stop()
        tail = log_tail(server.log)
        if (reason := loading_failure(server.log)) is not None:
            raise _failure(
                store,
                f"{bento.tag} could not be loaded by its server: {reason}",
                f"the whole traceback is in {server.log}",
                IntegrationError,
                tail,
            )
        if alive:
            raise _failure(
                store,
                f"The server of {bento.tag} was not ready within {timeout:g} s",
                f"pass a longer timeout; the log is {server.log}",
                IntegrationUnavailableError,
                tail,
            )
        if port is None and "Address already in use" in tail and attempt < PORT_ATTEMPTS:
            continue
        raise _failure(
            store,
            f"The server of {bento.tag} ended before it was ready. The end of its log:\n{tail}",
            f"the whole log is {server.log}",
            IntegrationError,
            tail,
        )
    raise AssertionError("unreachable")


def running(workspace: ProjectWorkspace) -> Iterator[dict[str, Any]]:
    """Yield the servers that run for a project, whichever process started them; only reads."""
    import psutil

    root = serving_directory(workspace)
    for path in sorted(root.glob(f"*/{RECORD}")) if root.is_dir() else ():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            # A process id is used again after a while; the time of its start tells the two apart.
            same = abs(process.create_time() - record.pop("process_started")) < 1.0
            alive = same and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            continue
        if alive:
            yield record


def stop_started(workspace: ProjectWorkspace) -> None:
    """Stop the servers that this process started for a project."""
    with _guard:
        servers = _started.pop(workspace.root_path, [])
    for server in servers:
        server.stop()


@atexit.register
def _stop_all() -> None:
    with _guard:
        servers = [server for group in _started.values() for server in group]
        _started.clear()
    for server in servers:
        server.stop()


def _spawn(
    store: BentoStore, bento: StoreEntry, *, host: str, port: int, workers: int | None, sample_rate: float
) -> tuple[Server, Path]:
    # All that takes time comes before the process: nothing would end it if this were interrupted in between.
    service, ready_path = entry_service(bento.path)
    variables = {**_configuration(service, workers), **_logging(store, bento, sample_rate)}
    root = serving_directory(store.workspace)
    log = _new_log(store.home / "logs", bento)
    # A home of its own: two servers in one home destroy each other's metrics and task results.
    with store.lock("serve"):
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        home, descriptor = claim(root, bento.model)
    try:
        for kind in ("model", "bento"):
            (home / f"{kind}s").symlink_to(store.root(kind).resolve(), target_is_directory=True)
        command = [
            *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(store.home), str(home)),
            *(sys.executable, "-P", "-m", "bentoml", "serve", bento.tag, "--host", host, "--port", str(port)),
        ]
        environment = child_environment(home, **variables)
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - a tag was checked before it got here
                command,
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The launcher inherits the claim on the home, which so lasts as long as the server.
                pass_fds=(descriptor,),
            )
    finally:
        os.close(descriptor)
    server = Server(
        process,
        home=home,
        host=host,
        port=port,
        tag=bento.tag,
        workspace=store.workspace.project_name,
        log=log,
        ready_path=ready_path,
    )
    return server, home


def _configuration(service: str, workers: int | None) -> dict[str, str]:
    if workers is None:
        return {}
    return {"BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {service: {"workers": workers}}})}


def _logging(store: BentoStore, bento: StoreEntry, sample_rate: float) -> dict[str, str]:
    from mlops.integrations.bentoml_serving.bento_service import prediction_log as writer

    if sample_rate <= 0 or not has_own_service(bento.path):
        return {}
    directory = log_directory(store.workspace, bento.model)
    # Without parents: a workspace that is deleted meanwhile must not come back.
    for path in (store.workspace.monitoring_path, directory.parent, directory):
        path.mkdir(exist_ok=True)
    return {writer.DIRECTORY_VARIABLE: str(directory), writer.RATE_VARIABLE: repr(sample_rate)}


def _wait(server: Server, deadline: float) -> bool:
    while server.running() and time.monotonic() < deadline:
        # Another server may have taken the port meanwhile, and would answer for this one.
        if server.healthy() and _listens(server):
            return True
        if loading_failure(server.log) is not None:
            return False
        time.sleep(POLL_SECONDS)
    return False


def _listens(server: Server) -> bool:
    import psutil

    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.port
            for process in family
            for connection in process.net_connections(kind="inet")
        )
    except psutil.AccessDenied:
        # Some systems hide sockets from their own user; then the answer has to do.
        return True
    except psutil.Error:
        return False


def _record(server: Server, home: Path) -> None:
    import psutil

    record = {
        "tag": server.tag,
        "url": server.url,
        "port": server.port,
        "pid": server.pid,
        "process_started": psutil.Process(server.pid).create_time(),
        "owner_pid": os.getpid(),
        "log": str(server.log),
        "started_at": datetime.now(UTC).isoformat(),
    }
    write_atomic(home / RECORD, json.dumps(record))


def _new_log(directory: Path, bento: StoreEntry) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for old in logs[: -KEPT_LOGS + 1]:
        old.unlink(missing_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    return directory / f"{bento.model}-{bento.version}-{stamp}.log"


def _free_port(host: str) -> int:
    with contextlib.closing(socket.socket(_family(host))) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _taken(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket(_family(host))) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _failure(
    store: BentoStore, message: str, hint: str, kind: type[IntegrationError], tail: str = ""
) -> IntegrationError:
    return kind(
        message,
        tool="bentoml",
        operation="serve",
        workspace=store.workspace.project_name,
        details={"log": tail} if tail else None,
        hint=hint,
    )
