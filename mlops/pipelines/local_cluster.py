"""A Dask cluster on this machine for as long as a run takes.

Scheduler and workers live in processes apart from the user's: starting them changes environment variables,
logging and more, and a script without a ``__main__`` guard would be run once by every worker. Connections are
encrypted with a key made for this cluster, because whoever can connect to a scheduler can run code.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mlops.pipelines.interpreter import end_with, interpreter

# A busy worker that holds the interpreter's lock is not a dead one; a dead one is noticed by its process.
_CONFIG: Final = {
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.profile.enabled": False,
    "distributed.logging": {"distributed": "error"},
}


@contextlib.contextmanager
def local_cluster(directory: Path, *, workers: int) -> Iterator[tuple[str, Any]]:
    """Start a cluster and yield its address and security; it ends with the block, or with this process.

    Args:
        directory: Where its workers keep what they need while they live.
        workers: How many processes.

    Raises:
        OSError: It did not start; standard error says why.
    """
    with interpreter(__name__, str(directory), str(workers)) as child:
        with os.fdopen(os.dup(child.told), "rb") as stream:
            started = stream.read()
        if not started:
            raise OSError(f"its process ended with exit code {child.process.wait()}")
        address, security = pickle.loads(started)  # noqa: S301 - our own child wrote it
        yield address, security


def main(tell: str, lifeline: str, directory: str, workers: str) -> None:
    """Run a cluster until the parent ends.

    Args:
        tell: Descriptor of the pipe that gets the address and the security.
        lifeline: Descriptor of the pipe that ends with the parent.
        directory: As for ``local_cluster``.
        workers: As for ``local_cluster``.
    """
    end_with(lifeline)
    import dask

    with dask.config.set({**_CONFIG, "temporary-directory": directory}):
        from distributed import LocalCluster

        cluster = LocalCluster(
            n_workers=int(workers),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            security=True,
            # As in this process, the operating system decides how much memory there is.
            memory_limit=0,
            local_directory=directory,
        )
        with os.fdopen(int(tell), "wb") as stream:
            pickle.dump((cluster.scheduler_address, cluster.security), stream)
        threading.Event().wait()
