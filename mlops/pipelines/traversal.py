"""The steps of a graph carried out: one after the other, or several at once where the graph allows it."""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import copy_context

from mlops.pipelines.engine import settled
from mlops.pipelines.execution import perform
from mlops.pipelines.progression import Progression
from mlops.pipelines.results import StepResult


def traverse(progression: Progression) -> None:
    """Carry out the steps of a run; after a failure those under way are waited for and no more are started.

    A step that has no other beside it runs in the calling thread, where a debugger and Ctrl-C reach it.

    Args:
        progression: The run.
    """
    sorter = progression.graph.sorter()
    running: dict[Future[StepResult], str] = {}
    with progression.engine.pool(progression.engine.at_once, "mlops-step") as pool:
        while sorter.is_active() and (progression.failure is None or running):
            ready = sorter.get_ready() if progression.failure is None else ()
            if len(ready) == 1 and not running:
                progression.end(_run(progression, ready[0]))
                sorter.done(ready[0])
                continue
            for name in ready:
                # In a copy of this context, where the run of the pipeline is the active one.
                running[pool.submit(copy_context().run, _run, progression, name)] = name
            for future in settled(running):
                progression.end(future.result())
                sorter.done(running.pop(future))


def _run(progression: Progression, name: str) -> StepResult:
    started = progression.begin(name)
    return started if isinstance(started, StepResult) else perform(started)
