"""Reading many projects in several processes at once: reading them is work for the processor, not the disk.

Each helper is a fresh interpreter that is given a few projects at a time, so that all end at the same moment.
Whatever a helper leaves out, because it failed or because a project needs a server, is read by the process
that asked.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from mlops.errors import WorkspaceNotFoundError

if TYPE_CHECKING:
    from mlops.reporting.collecting import Collection
    from mlops.reporting.memory import Remembered

# Starting the interpreters costs as much as reading this many projects.
WORTH_PROJECTS: Final = 120
MOST_HELPERS: Final = 4
# So few that all end at about the same time, so many that little time goes into handing them over.
_BATCH: Final = 10
# A helper has the next ones already while its answer is taken.
_AHEAD: Final = 2
# Reading makes few cycles and much else: the default of 700 would look for them hundreds of times.
_GARBAGE: Final = 50_000
# A signal may not end a wait without a limit, depending on who handles it.
_WAIT_SECONDS: Final = 1.0
# Debian's SQLite allocates every piece of a schema by itself; of each size glibc keeps so many for the next
# database. Other C libraries do not look at this.
_TUNABLES: Final = "glibc.malloc.tcache_count=1000"
# The same modules as here, wherever this process found them.
_CODE: Final = "import sys; sys.path[:] = {path!r}; from mlops.reporting.helpers import main; main()"

Answer = tuple["Remembered", bool]


class Helpers:
    """The helpers of one report, which end with the block.

    They can be started before it is known what they are to read, so that they come up meanwhile.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            # What is still to be written to a process that has ended is of no use.
            with contextlib.suppress(OSError), process:
                pass

    @staticmethod
    def worth(count: int) -> bool:
        """Say whether so many projects are to be shared out.

        Args:
            count: How many are to be read.
        """
        return count >= WORTH_PROJECTS and _processors() > 1 and bool(sys.executable)

    def prepare(self, base: Path, *, cache: bool) -> None:
        """Start helpers if a report of a base will need them, because nothing of it was kept.

        Args:
            base: The base.
            cache: Whether what was kept is used.
        """
        from mlops.reporting.memory import Memory

        with contextlib.suppress(OSError), os.scandir(base) as entries:
            if self.worth(sum(1 for _ in entries)) and not (cache and Memory(base).exists()):
                self.start()

    def start(self) -> None:
        """Start one helper for each processor, unless they are started already, or as many as can be."""
        with contextlib.suppress(OSError):
            while len(self._processes) < min(_processors(), MOST_HELPERS):
                self._processes.append(
                    subprocess.Popen(  # noqa: S603 - this interpreter, and code of this module
                        [sys.executable, "-P", "-c", _CODE.format(path=sys.path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        env={"GLIBC_TUNABLES": _TUNABLES, **os.environ},
                    )
                )

    def read(self, collection: Collection, names: Sequence[str], left: list[str]) -> Iterator[Answer]:
        """Yield what is found of projects, in any order, and whether each can be kept.

        Args:
            collection: The pass over the base.
            names: The projects.
            left: Gets the names of those that no helper read; complete at the end.
        """
        batches: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
        for start in range(0, len(names), _BATCH):
            batches.put(names[start : start + _BATCH])
        answers: queue.SimpleQueue[tuple[Sequence[str], list[Answer]] | None] = queue.SimpleQueue()
        order = (collection.base_path, collection.table, collection.now, collection.machine)
        self.start()
        for process in self._processes:
            thread = threading.Thread(target=_ask, args=(process, order, batches, answers), daemon=True)
            self._threads.append(thread)
            thread.start()
        asked = len(self._threads)
        while asked:
            try:
                answer = answers.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                continue
            if answer is None:
                asked -= 1
                continue
            given, found = answer
            left += {*given}.difference(kept.name for kept, _ in found)
            yield from found
        while batch := _next(batches):
            left += batch


def _processors() -> int:
    """Return how many processors this process may use; where that cannot be asked, how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _ask(
    process: subprocess.Popen[bytes],
    order: object,
    batches: queue.SimpleQueue[Sequence[str]],
    answers: queue.SimpleQueue[tuple[Sequence[str], list[Answer]] | None],
) -> None:
    """Give one helper projects as long as there are any, and pass on what it answers."""
    given: deque[Sequence[str]] = deque()
    failures = (OSError, EOFError, pickle.UnpicklingError)
    try:
        with contextlib.suppress(*failures), _pipe(process.stdin) as orders, _pipe(process.stdout) as found:
            pickle.dump(order, orders)
            while True:
                while len(given) < _AHEAD and (batch := _next(batches)):
                    given.append(batch)
                    pickle.dump(batch, orders)
                orders.flush()
                if not given:
                    break
                answer = pickle.load(found)  # noqa: S301 - our own child wrote it
                answers.put((given.popleft(), answer))
    finally:
        for batch in given:
            answers.put((batch, []))
        answers.put(None)


def _next(batches: queue.SimpleQueue[Sequence[str]]) -> Sequence[str]:
    try:
        return batches.get_nowait()
    except queue.Empty:
        return ()


@contextlib.contextmanager
def _pipe(stream: IO[bytes] | None) -> Iterator[IO[bytes]]:
    if stream is None:
        raise OSError("the process has no pipe")
    try:
        yield stream
    finally:
        # What is still to be written to a process that has ended is of no use.
        with contextlib.suppress(OSError):
            stream.close()


def main() -> None:
    """Read the projects that standard input names, and write what is found of each batch."""
    from mlops.reporting.collecting import Collection

    gc.set_threshold(_GARBAGE)
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    base, table, now, machine = pickle.load(orders)  # noqa: S301 - our parent wrote it
    collection = Collection(base, table, now=now, machine=machine)
    with contextlib.suppress(EOFError):
        while True:
            names: Sequence[str] = pickle.load(orders)  # noqa: S301 - as above
            pickle.dump([*_examined(collection, base, names)], answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


def _examined(collection: Collection, base: Path, names: Sequence[str]) -> Iterator[Any]:
    for name in names:
        with contextlib.suppress(WorkspaceNotFoundError, FileNotFoundError):
            if (read := collection.examine(base / name)) is not None:
                yield read
