"""The progress of a run on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mlops.pipelines.progression import Observer, Progress
from mlops.pipelines.results import StepStatus


@contextlib.contextmanager
def display(name: str) -> Iterator[Observer]:
    """Show a run's steps on standard error while it lasts, and what became of each; yields the observer.

    Args:
        name: The pipeline.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False, markup=False)
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(name, total=None)
        under_way: list[str] = []

        def show(progress: Progress) -> None:
            if progress.status is None:
                under_way.append(progress.step)
            else:
                under_way.remove(progress.step)
                console.print(_line(progress))
            bar.update(
                task,
                total=progress.total,
                completed=progress.done,
                description=": ".join([name, ", ".join(under_way)]) if under_way else name,
            )

        yield show


def _line(progress: Progress) -> str:
    if progress.status is StepStatus.FINISHED:
        how = "reused" if progress.cached else f"{progress.duration:.2f} s"
    else:
        how = str(progress.status).lower()
    return f"  {progress.step}  {how}"
