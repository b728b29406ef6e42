"""What the checks of a project found, by its history and its log of alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from mlops.integrations.evidently_monitoring import alert_log, pointer, project
from mlops.integrations.evidently_monitoring.history import HISTORY_FILE
from mlops.reporting.facts import AlertFacts, CheckFacts, Gap, MonitoringFacts
from mlops.reporting.reading import days
from mlops.workspace.tools import ToolContext, ToolState

# How every line begins: ``MonitoringResult.to_dict`` puts these values first.
_BEGINNING: Final = re.compile(
    rb'\{"snapshot_id":"[^"]+","model":(null|"[^"]*"),"checked_at":"([^"]+)","drift_detected":(true|false),'
)
_UTC: Final = "+00:00"


@dataclass(frozen=True, slots=True)
class Monitored:
    """What the records of monitoring say.

    Args:
        facts: The numbers.
        gaps: The latest checks that do not say which version they are of.
        damaged: What is wrong with lines that cannot be understood.
    """

    facts: MonitoringFacts = field(default_factory=MonitoringFacts)
    gaps: tuple[Gap, ...] = ()
    damaged: tuple[str, ...] = ()


def read(context: ToolContext, *, first: date) -> Monitored:
    """Return what the records say, parsing no more of them than the latest check of each model.

    Args:
        context: The project.
        first: The earliest day that is counted by day.
    """
    folder = context.workspace.monitoring_path
    path = folder / HISTORY_FILE
    latest: dict[bytes, bytes] = {}
    damaged: list[int] = []
    moments: list[tuple[date, str]] = []
    checks = drifted = 0
    for number, line in enumerate(_whole_lines(path), 1):
        beginning = _BEGINNING.match(line)
        if beginning is None or not line.endswith(b"}\n"):
            damaged.append(number)
            continue
        model, at, verdict = beginning.groups()
        checks += 1
        latest[model] = line
        day = _day(at.decode())
        if day >= first:
            moments.append((day, "checks"))
        if verdict == b"true":
            drifted += 1
            if day >= first:
                moments.append((day, "drifted"))
    last = sorted((check_facts(json.loads(line)) for line in latest.values()), key=lambda c: c.checked_at)
    facts = MonitoringFacts(
        checks, drifted, tuple(reversed(last)), tuple(_open_alerts(folder)), days.counted(moments)
    )
    gaps = [Gap(f"snapshot:{each.snapshot_id}", "model") for each in facts.last if not each.model_version]
    lines = ", ".join(map(str, damaged[:10]))
    problems = (f"{path} has lines that cannot be understood: {lines}",) if damaged else ()
    return Monitored(facts, tuple(gaps), problems)


def state(context: ToolContext) -> ToolState:
    """Say whether the Evidently project is there.

    Raises:
        DataIntegrityError: Its file, or that of the references, cannot be read.
    """
    found = project.is_current(context.workspace, operation="collect")
    pointer.read(context.workspace, operation="collect")
    return ToolState.READY if found else ToolState.NOT_CREATED


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        stream = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with stream:
        for line in stream:
            # What is behind the last newline was cut off while it was written, and never counted.
            if line.endswith(b"\n"):
                yield line


def _day(text: str) -> date:
    if text.endswith(_UTC):
        return date.fromisoformat(text[:10])
    return datetime.fromisoformat(text).astimezone(UTC).date()


def check_facts(record: Mapping[str, Any]) -> CheckFacts:
    """Return a check as reports tell of it.

    Args:
        record: The check as ``MonitoringResult.to_dict`` gave it.
    """
    compared = record["n_compared"]
    return CheckFacts(
        snapshot_id=record["snapshot_id"],
        model=record["model"],
        model_version=record["model_version"],
        checked_at=datetime.fromisoformat(record["checked_at"]),
        rows=record["rows"],
        drift_detected=record["drift_detected"],
        drift_share=record["drift_share"] if compared else None,
        n_drifted=record["n_drifted"],
        n_compared=compared,
        missing_share=record["missing_share"],
        performance={name: value for name, value in record["performance"].items() if value is not None},
    )


def _open_alerts(folder: Path) -> Iterator[AlertFacts]:
    for record in reversed(alert_log.read(folder / alert_log.ALERTS_FILE)):
        if record.status == "open":
            yield AlertFacts(record.id, record.model, record.kind, record.message, record.first_seen)
