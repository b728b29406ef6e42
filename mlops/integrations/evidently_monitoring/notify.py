"""Telling webhooks of new alerts: a POST of JSON each, in a time that no dead URL can exceed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlops.errors import ConfigError
from mlops.integrations.evidently_monitoring import alert_log
from mlops.integrations.evidently_monitoring.alert_log import AlertRecord
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.settings import expand
from mlops.workspace.model import ProjectWorkspace, now

# All webhooks of a check together; what is not delivered by then waits for the next check.
DEADLINE_SECONDS: Final = 10.0
# Before each attempt.
_PAUSES_SECONDS: Final = (0.0, 0.5, 1.0)
# For a connection and for an answer: two attempts and their pause are within the deadline.
_TIMEOUT_SECONDS: Final = 3.0
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500
_REDIRECT: Final = 300


def deliver_pending(
    workspace: ProjectWorkspace, webhooks: Sequence[str], *, lock_timeout: float, operation: str
) -> None:
    """Tell each webhook what it was not told yet, and note the outcome.

    A webhook may be told twice, if a process ends in between or an answer is late: the ids stay the same.

    Args:
        workspace: The project.
        webhooks: URLs as they are configured.
        lock_timeout: Seconds to wait for another writer of the log.
        operation: The calling method, for errors.
    """
    path = workspace.monitoring_path / alert_log.ALERTS_FILE
    waiting = alert_log.pending(path, webhooks, at=now())
    if not waiting:
        return
    outcomes = _post_all({url: _payload(workspace, alerts) for url, alerts in waiting.items()})
    with workspace.lock(TOOL, timeout=lock_timeout, operation=operation):
        alert_log.record_deliveries(path, outcomes, waiting)


def _payload(workspace: ProjectWorkspace, alerts: Sequence[AlertRecord]) -> dict[str, Any]:
    name = workspace.project_name
    lines = [f"{name}{f'/{each.model}' if each.model else ''}: {each.message}" for each in alerts]
    hidden = ("undelivered",)
    return {
        "project": name,
        # What chat systems show.
        "text": "\n".join(lines),
        "alerts": [{k: v for k, v in each.to_dict().items() if k not in hidden} for each in alerts],
    }


def _post_all(payloads: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """Return, by webhook, the reason it was not told, or None."""
    late = f"no answer within {DEADLINE_SECONDS:g} s"
    outcomes: dict[str, str | None] = dict.fromkeys(payloads, late)
    deadline = time.monotonic() + DEADLINE_SECONDS

    def tell(url: str, payload: Mapping[str, Any]) -> None:
        outcomes[url] = _post(url, payload, deadline)

    # Threads that end with the process: looking up a host's name has no time-out of its own.
    threads = [
        threading.Thread(target=tell, args=each, name="mlops-webhook", daemon=True)
        for each in payloads.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {**outcomes}


def _post(template: str, payload: Mapping[str, Any], deadline: float) -> str | None:
    """Return the reason why a URL was not told, without the URL: that may hold a secret."""
    import requests

    try:
        url = expand(template, os.environ, setting="monitoring.webhooks")
    except ConfigError as error:
        return str(error)
    problem = ""
    for pause in _PAUSES_SECONDS:
        if problem and time.monotonic() + pause >= deadline:
            break
        time.sleep(pause)
        try:
            # Following a redirection would turn the POST into a GET.
            answer = requests.post(
                url, json=payload, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True
            )
            answer.close()
        except requests.RequestException as error:
            problem = type(error).__name__
            continue
        except ValueError:
            # What a URL's parser and a host name's encoder raise; requests lets some of that through.
            return "it is no valid URL"
        if answer.status_code < _REDIRECT:
            return None
        problem = f"HTTP {answer.status_code}"
        if answer.is_redirect:
            problem += ", a redirection, which is not followed"
        if answer.status_code != _TOO_MANY_REQUESTS and answer.status_code < _SERVER_ERROR:
            break
    return problem
