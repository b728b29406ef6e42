"""Reading many projects in several processes at once: reading them is work for the processor, not the disk.

A helper is a fresh interpreter that reads its share and answers once it is done with all of it. Whatever it
leaves out, because it failed or because a project needs a server, is read by the process that asked.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import WorkspaceNotFoundError
from mlops.reporting.memory import Remembered

if TYPE_CHECKING:
    from mlops.reporting.collecting import Collection

# Starting an interpreter costs as much as reading this many projects.
WORTH_PROJECTS: Final = 120
# Each takes as much memory as the process that asks.
MOST_HELPERS: Final = 3
# The same modules as here, wherever this process found them.
_CODE: Final = "import sys; sys.path[:] = {path!r}; from mlops.reporting.helpers import main; main()"


@dataclass(slots=True)
class Shared:
    """Projects that are shared out.

    Args:
        own: Those that this process reads itself.
        given: Each helper with the projects it was given.
        left: Those that no helper read; complete once all answers are there.
    """

    own: Sequence[Path]
    given: list[tuple[subprocess.Popen[bytes], Sequence[Path]]] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    def answers(self) -> Iterator[tuple[Remembered, bool]]:
        """Yield what helpers found of each project, and whether it can be kept, waiting for all of them."""
        for process, roots in self.given:
            output, _ = process.communicate()
            found: list[list[Any]] = json.loads(output) if process.returncode == 0 else []
            for name, state, paths, mounted, report, schedules, lasting in found:
                yield (
                    Remembered(name, bytes.fromhex(state), os.fsencode(paths), mounted, report, schedules),
                    lasting,
                )
            read = {row[0] for row in found}
            self.left += [root for root in roots if root.name not in read]


@contextlib.contextmanager
def sharing(collection: Collection, roots: Sequence[Path]) -> Iterator[Shared]:
    """Share projects out to as many processes as there are processors for; few are not shared.

    Args:
        collection: The pass over the base.
        roots: The projects' directories.
    """
    count = min(_processors() - 1, MOST_HELPERS, len(roots) // WORTH_PROJECTS)
    if count < 1 or not sys.executable:
        yield Shared(roots)
        return
    # A helper begins later by what it costs to start it.
    share = (len(roots) - WORTH_PROJECTS) // (count + 1)
    own, rest = roots[: len(roots) - count * share], roots[len(roots) - count * share :]
    shared = Shared(own)
    try:
        for index in range(count):
            part = rest[index * share : (index + 1) * share]
            shared.given.append((_start(collection, part), part))
        yield shared
    finally:
        for process, _ in shared.given:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _processors() -> int:
    """Return how many processors this process may use; where that cannot be asked, how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _start(collection: Collection, roots: Sequence[Path]) -> subprocess.Popen[bytes]:
    order = {
        "base": str(collection.base_path),
        "table": collection.table,
        "now": collection.now.isoformat(),
        "names": [root.name for root in roots],
    }
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and code of this module
        [sys.executable, "-P", "-c", _CODE.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with contextlib.suppress(BrokenPipeError):
        # It ended already; then it answers nothing, and this process reads its share.
        if process.stdin is not None:
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
            process.stdin = None
    return process


def main() -> None:
    """Read the projects that standard input names and write what was found to standard output."""
    from mlops.reporting.collecting import Collection

    # A process that soon ends needs no memory back.
    gc.disable()
    order = json.load(sys.stdin.buffer)
    base = Path(order["base"])
    collection = Collection(base, order["table"], now=datetime.fromisoformat(order["now"]))
    found = []
    for name in order["names"]:
        with contextlib.suppress(WorkspaceNotFoundError, FileNotFoundError):
            if (read := collection.examine(base / name)) is not None:
                kept, lasting = read
                row = (kept.name, kept.state.hex(), os.fsdecode(kept.paths), kept.mounted)
                found.append((*row, kept.report, kept.schedules, lasting))
    sys.stdout.buffer.write(json.dumps(found).encode())
