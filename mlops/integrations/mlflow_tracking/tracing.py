"""MLflow traces: each goes to the store of the project in whose run its first span began.

MLflow makes one span processor per process, bound to the tracking URI of that moment.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from mlops.integrations.mlflow_tracking import routing

# Traces whose first span never ends would otherwise be remembered for ever.
REMEMBERED_TRACES: Final = 10_000


def per_store(original: Callable[..., Any]) -> Callable[[str], Any]:
    """Return a replacement of MLflow's processor factory whose processors choose the store per trace.

    Args:
        original: MLflow's factory, which takes a tracking URI.
    """

    def make(tracking_uri: str) -> Any:
        processor = original(tracking_uri=tracking_uri)
        dispatch = _Dispatch(original, tracking_uri, processor)
        # On the instance, because MLflow looks for its own processor classes.
        processor.on_start = dispatch.on_start
        processor.on_end = dispatch.on_end
        return processor

    return make


class _Dispatch:
    def __init__(self, factory: Callable[..., Any], uri: str, processor: Any) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        kind = type(processor)
        self._first = (functools.partial(kind.on_start, processor), functools.partial(kind.on_end, processor))
        self._by_uri: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {uri: self._first}
        self._by_trace: OrderedDict[int, tuple[Callable[..., Any], Callable[..., Any]]] = OrderedDict()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        trace_id = span.context.trace_id
        with self._lock:
            calls = self._by_trace.get(trace_id)
        if calls is None:
            calls = self._for_uri(self._present_uri())
            with self._lock:
                self._by_trace[trace_id] = calls
                if len(self._by_trace) > REMEMBERED_TRACES:
                    self._by_trace.popitem(last=False)
        calls[0](span, parent_context)

    def on_end(self, span: Any) -> None:
        trace_id = span.context.trace_id
        with self._lock:
            if span.parent is None:
                calls = self._by_trace.pop(trace_id, self._first)
            else:
                calls = self._by_trace.get(trace_id, self._first)
        calls[1](span)

    def _present_uri(self) -> str:
        import mlflow

        route = routing.current_route()
        return str(route.uri if route else mlflow.get_tracking_uri())

    def _for_uri(self, uri: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        with self._lock:
            if uri not in self._by_uri:
                processor = self._factory(tracking_uri=uri)
                self._by_uri[uri] = (processor.on_start, processor.on_end)
            return self._by_uri[uri]
