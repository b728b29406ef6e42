"""Alerts over time: raised once, counted while they go on, acknowledged by people, cleared by a later check.

``alerts.jsonl`` is a log of events that is only ever appended to; what an alert is now follows from them. An
alert is the same as long as checks find the same kind, metric and column of the same model. Once a check
finds it clear it has ended, and the next one is another alert with another id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines
from mlops.errors import DataNotFoundError
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.workspace.model import ProjectWorkspace, now

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring.alerts import Judgement, Key
    from mlops.integrations.evidently_monitoring.results import Alert

ALERTS_FILE: Final = "alerts.jsonl"
# What could not be delivered for so long is news no more.
KEEP_TRYING: Final = timedelta(days=7)
_EVENTS: Final = frozenset({"raised", "seen", "cleared", "acknowledged", "delivered", "undelivered"})
# Enough to tell all alerts of a project apart, short enough to be typed.
_ID_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One alert from when it was raised to what became of it.

    Args:
        id: What ``ack`` takes.
        kind: As of ``Alert``; so are ``model``, ``metric`` and ``column``.
        model: The model concerned, or None.
        metric: What was compared.
        column: The column it is about, or None.
        value: The number that crossed, in the latest check that found it.
        threshold: What it was compared with there.
        message: One sentence for people, of that check.
        snapshot_id: The check that raised it; empty for silence.
        first_seen: When that was, aware.
        last_seen: When the latest check found it, aware.
        count: How many checks found it.
        cleared_at: When a check found it clear, or None.
        acknowledged_at: When somebody took note, or None.
        acknowledged_by: Who, or None.
        note: What they wrote, or None.
        undelivered: Webhook to why it was not told yet; empty text before the first attempt.
    """

    id: str
    kind: str
    model: str | None
    metric: str
    column: str | None
    value: float
    threshold: float
    message: str
    snapshot_id: str
    first_seen: datetime
    last_seen: datetime
    count: int = 1
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    undelivered: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """``open``, ``acknowledged`` while it goes on, or ``cleared``."""
        if self.cleared_at is not None:
            return "cleared"
        return "open" if self.acknowledged_at is None else "acknowledged"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name, value in values.items():
            if isinstance(value, datetime):
                values[name] = value.isoformat()
        return {"id": self.id, "status": self.status, **values, "undelivered": dict(self.undelivered)}


def read(path: Path) -> list[AlertRecord]:
    """Return every alert as it is now, in the order in which they were raised.

    Args:
        path: The log; a missing one holds nothing.
    """
    found: dict[str, AlertRecord] = {}
    for line in jsonlines.read(path):
        if line.value is not None:
            _apply(line.value, found)
    return list(found.values())


def record_check(
    path: Path, judgement: Judgement, *, model: str | None, at: datetime, webhooks: Sequence[str]
) -> tuple[Alert, ...]:
    """Note what a check found; the caller holds the project's lock.

    Args:
        path: The log.
        judgement: What the thresholds say.
        model: The model checked.
        at: When.
        webhooks: Who is to be told of what is new.

    Returns:
        What was found, with ids and counts.
    """
    from mlops.integrations.evidently_monitoring.alerts import key

    going_on = {_key(each): each for each in read(path) if each.model == model and each.cleared_at is None}
    identified = []
    for alert in judgement.found:
        before = going_on.get(key(alert))
        identity = before.id if before else uuid.uuid4().hex[:_ID_LENGTH]
        identified.append(replace(alert, id=identity, count=before.count + 1 if before else 1))
    cleared = [each.id for each in going_on.values() if judgement.clears(_key(each))]
    moment = at.isoformat()
    events: list[dict[str, Any]] = []
    for each in identified:
        values = each.to_dict()
        if each.count == 1:
            events.append({"event": "raised", "at": moment, **values, "webhooks": [*webhooks]})
        else:
            kept = {name: values[name] for name in ("id", "value", "threshold", "message")}
            events.append({"event": "seen", "at": moment, **kept})
    if cleared:
        events.append({"event": "cleared", "at": moment, "ids": cleared})
    jsonlines.append(path, events)
    return tuple(identified)


def acknowledge(
    workspace: ProjectWorkspace,
    path: Path,
    alert_id: str,
    *,
    by: str | None,
    note: str | None,
    lock_timeout: float,
) -> AlertRecord:
    """Note that somebody knows of an alert; see ``EvidentlyMonitoring.ack``."""
    operation = "ack"
    with workspace.lock(TOOL, timeout=lock_timeout, operation=operation):
        known = [each for each in read(path) if alert_id and each.id.startswith(alert_id)]
        if len(known) != 1:
            problem = (
                f"There are {len(known)} alerts whose ids begin with {alert_id!r}"
                if known
                else f"There is no alert {alert_id!r} in {workspace.project_name}"
            )
            raise DataNotFoundError(
                problem,
                tool=TOOL,
                operation=operation,
                workspace=workspace.project_name,
                hint=f"list them with: mlops alerts list {workspace.project_name}",
            )
        event = {"event": "acknowledged", "at": now().isoformat(), "id": known[0].id, "by": by, "note": note}
        jsonlines.append(path, [event])
        found = {known[0].id: known[0]}
        _apply(event, found)
    return found[known[0].id]


def pending(path: Path, webhooks: Iterable[str], *, at: datetime) -> dict[str, list[AlertRecord]]:
    """Return what each webhook was not told yet.

    Args:
        path: The log.
        webhooks: Those that are configured now; the others are not told any more.
        at: Now: what is older than ``KEEP_TRYING`` is left out.
    """
    recent = [each for each in read(path) if each.undelivered and at - each.first_seen < KEEP_TRYING]
    waiting = {url: [each for each in recent if url in each.undelivered] for url in webhooks}
    return {url: alerts for url, alerts in waiting.items() if alerts}


def record_deliveries(
    path: Path, outcomes: Mapping[str, str | None], told: Mapping[str, Sequence[AlertRecord]]
) -> None:
    """Note which webhooks were told, and why others were not; the caller holds the project's lock.

    Args:
        path: The log.
        outcomes: Webhook to the reason it was not told, or None.
        told: Webhook to what it was to be told.
    """
    at = now().isoformat()
    jsonlines.append(
        path,
        [
            {
                "event": "delivered" if error is None else "undelivered",
                "at": at,
                "ids": [alert.id for alert in told[url]],
                "webhook": url,
                "error": error,
            }
            for url, error in outcomes.items()
        ],
    )


def _key(alert: AlertRecord) -> Key:
    return alert.kind, alert.metric, alert.column


def _apply(event: Mapping[str, Any], found: dict[str, AlertRecord]) -> None:
    """Let one event change the alerts it is about; one of a later version changes nothing."""
    kind = event.get("event")
    if kind not in _EVENTS:
        return
    at = datetime.fromisoformat(event["at"])
    if kind == "raised":
        names = ("id", "kind", "model", "metric", "column", "value", "threshold", "message", "snapshot_id")
        waiting = dict.fromkeys(event["webhooks"], "")
        found[event["id"]] = AlertRecord(
            **{name: event[name] for name in names}, first_seen=at, last_seen=at, undelivered=waiting
        )
        return
    for alert in _concerned(event, found):
        if kind == "seen":
            changes = {name: event[name] for name in ("value", "threshold", "message")}
            changed = replace(alert, count=alert.count + 1, last_seen=at, **changes)
        elif kind == "cleared":
            changed = replace(alert, cleared_at=at)
        elif kind == "acknowledged":
            changed = replace(alert, acknowledged_at=at, acknowledged_by=event["by"], note=event["note"])
        else:
            waiting = {url: error for url, error in alert.undelivered.items() if url != event["webhook"]}
            if kind == "undelivered":
                waiting[event["webhook"]] = event["error"]
            changed = replace(alert, undelivered=waiting)
        found[alert.id] = changed


def _concerned(event: Mapping[str, Any], found: Mapping[str, AlertRecord]) -> Iterator[AlertRecord]:
    for each in event["ids"] if "ids" in event else [event["id"]]:
        if each in found:
            yield found[each]
