"""Steps called in this process, or in one of their own where they ask for that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops.pipelines import isolation
from mlops.pipelines.engine import Engine
from mlops.pipelines.isolation import Call
from mlops.pipelines.step import Step

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking


@contextlib.contextmanager
def opened(tracking: MLflowTracking, *, at_once: int) -> Iterator[Engine]:
    """Yield the engine.

    Args:
        tracking: The project's adapter.
        at_once: How many steps, or items of one, are at work at once.
    """
    stopped = threading.Event()

    def call(step: Step, task: Call) -> Any:
        if not step.isolated:
            return task.fn(*task.args, **task.kwargs)
        return isolation.call(task, step=step.name, timeout=step.timeout, stopped=stopped.is_set)

    yield Engine(call, at_once, stopped)
