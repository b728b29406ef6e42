"""Asking a dashboard over real connections, with headers that a browser would not send."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mlops.reporting.dashboard.server import DashboardServer


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    server: DashboardServer,
    path: str = "/",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    hosts: tuple[str, ...] | None = None,
) -> Answer:
    """Return the answer; ``hosts`` are the values of the headers ``Host``, by default the right one."""
    address = urlsplit(server.url).netloc
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for host in (address,) if hosts is None else hosts:
            connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()})
    finally:
        connection.close()
