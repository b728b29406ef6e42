"""Progress of commands that take a while."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar of bytes on standard error while there is a person to see it.

    Args:
        title: What is going on.

    Yields:
        What is called as ``progress(done, total)`` with bytes, or None where nobody looks.
    """
    with _bar(title, "DownloadColumn") as progress:
        yield progress


@contextlib.contextmanager
def count_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar of things that are counted, as ``bytes_bar`` does of bytes.

    Args:
        title: What is going on.
    """
    with _bar(title, "MofNCompleteColumn") as progress:
        yield progress


@contextlib.contextmanager
def _bar(title: str, amount: str) -> Iterator[Callable[[int, int], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        getattr(progress, amount)(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
