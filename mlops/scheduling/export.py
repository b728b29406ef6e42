"""Schedules for what runs them in production: cron, systemd timers and Kubernetes' CronJobs.

Each exported entry calls ``mlops schedule run PROJECT NAME --due``: what is recorded, tried again, paused and
kept from running twice stays as it is, also beside a scheduler that is running.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from mlops.errors import ScheduleError
from mlops.scheduling.cron import WEEKDAYS, parse
from mlops.scheduling.schedule import Schedule

_EVERY: Final = ((1, 60, "*/{} * * * *"), (60, 24, "0 */{} * * *"), (1440, 1, "0 0 * * *"))
_K8S_NAME: Final = 52  # Kubernetes appends to the name of a CronJob what makes it unique


@dataclass(frozen=True, slots=True)
class Setting:
    """Where exported schedules run.

    Args:
        base_path: The directory that holds the projects there.
        directory: The working directory, from which the modules of schedules are imported.
        command: How mlops is called, as one would type it in a shell.
    """

    base_path: Path
    directory: Path
    command: str

    def call(self, schedule: Schedule) -> list[str]:
        """Return the command line that runs a schedule if it is due."""
        base = ["--base-path", str(self.base_path)]
        return [*shlex.split(self.command), *base, *_run(schedule)]


def to_cron(schedules: Iterable[Schedule], setting: Setting) -> str:
    """Return a crontab.

    Args:
        schedules: The schedules; paused ones are written, and do nothing while they are paused.
        setting: Where they run.

    Raises:
        ScheduleError: One runs once, or at an interval that cron does not know.
    """
    lines = ["# CRON_TZ is understood by cronie; other crons use the zone of the machine."]
    zone = None
    for schedule in schedules:
        if schedule.timezone != zone:
            zone = schedule.timezone
            lines.append(f"CRON_TZ={zone}")
        command = f"cd {shlex.quote(str(setting.directory))} && {shlex.join(setting.call(schedule))}"
        # To cron a % ends the line.
        lines.append(f"{_expression(schedule)} {command.replace('%', chr(92) + '%')}")
    return "\n".join(lines) + "\n"


def to_systemd(schedules: Iterable[Schedule], setting: Setting) -> str:
    """Return a service and a timer for each schedule, each below a comment with the name of its file.

    Args:
        schedules: The schedules.
        setting: Where they run.
    """
    units = []
    for schedule in schedules:
        unit = f"mlops-{schedule.project}-{schedule.name}"
        about = f"Description=mlops: {schedule.name} of {schedule.project}"
        call = " ".join(_systemd_word(word) for word in setting.call(schedule))
        directory = str(setting.directory).replace("%", "%%")
        service = ["[Unit]", about, "", "[Service]", "Type=oneshot", f"WorkingDirectory={directory}"]
        units.append("\n".join([f"# {unit}.service", *service, f"ExecStart={call}"]))
        timer = ["[Unit]", about, "", "[Timer]", *_timer(schedule), "AccuracySec=1s", ""]
        units.append("\n".join([f"# {unit}.timer", *timer, "[Install]", "WantedBy=timers.target"]))
    return "\n\n".join(units) + "\n" if units else ""


def to_k8s(schedules: Iterable[Schedule], setting: Setting, *, image: str, claim: str) -> str:
    """Return a CronJob for each schedule, for ``kubectl apply -f``.

    Args:
        schedules: The schedules.
        setting: Where they run: the paths are those inside the container.
        image: The image with mlops and the user's code.
        claim: The volume claim that holds the projects; it is mounted at ``base_path``.

    Raises:
        ScheduleError: One runs once, or at an interval that cron does not know.
    """
    import yaml

    documents = [_cron_job(schedule, setting, image, claim) for schedule in schedules]
    return str(yaml.safe_dump_all(documents, sort_keys=False)) if documents else ""


def _cron_job(schedule: Schedule, setting: Setting, image: str, claim: str) -> dict[str, Any]:
    container = {
        "name": "job",
        "image": image,
        "command": setting.call(schedule),
        "workingDir": str(setting.directory),
        "volumeMounts": [{"name": "projects", "mountPath": str(setting.base_path)}],
    }
    volume = {"name": "projects", "persistentVolumeClaim": {"claimName": claim}}
    pod = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": _k8s_name(schedule),
            "annotations": {"mlops/project": schedule.project, "mlops/schedule": schedule.name},
        },
        "spec": {
            "schedule": _expression(schedule),
            "timeZone": schedule.timezone,
            "suspend": schedule.paused,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": math.ceil(schedule.grace_seconds),
            # The schedule's own retries are made inside the job.
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
        },
    }


def _run(schedule: Schedule) -> list[str]:
    return ["schedule", "run", str(schedule.project), schedule.name, "--due"]


def _expression(schedule: Schedule) -> str:
    if schedule.cron is not None:
        cron = parse(schedule.cron)
        fields = cron.text.split()
        # Some crons know no names in lists, and Kubernetes no 7 for Sunday.
        for place in (3, 4):
            if not fields[place].startswith("*"):
                fields[place] = ",".join(map(str, cron.values[place]))
        return " ".join(fields)
    minutes, rest = divmod(schedule.every_seconds or 0, 60)
    for unit, whole, expression in _EVERY:
        count, left = divmod(minutes, unit)
        if rest == left == 0 and count and whole % count == 0 and (count < whole or whole == 1):
            return expression.format(count)
    raise ScheduleError(
        f"The schedule {schedule.name!r} runs {schedule.when}, which no cron expression says",
        operation="export",
        workspace=schedule.project,
        hint="export it for systemd, or use `mlops schedule start`",
    )


def _timer(schedule: Schedule) -> list[str]:
    if schedule.cron is None and schedule.at is None:
        every = schedule.every_seconds
        return [f"OnActiveSec={every}s", f"OnUnitActiveSec={every}s"]
    if schedule.at is not None:
        local = schedule.at.astimezone(ZoneInfo(schedule.timezone))
        calendars = [f"{local:%Y-%m-%d %H:%M:%S} {schedule.timezone}"]
    else:
        calendars = _calendars(schedule)
    return [*(f"OnCalendar={calendar}" for calendar in calendars), "Persistent=true"]


def _calendars(schedule: Schedule) -> list[str]:
    cron = parse(schedule.cron or "")
    minute, hour, day, month = (
        "*" if field == "*" else ",".join(f"{value:02d}" for value in values)
        for field, values in zip(cron.text.split()[:4], cron.values[:4], strict=True)
    )
    weekdays = ",".join(WEEKDAYS[value].capitalize() for value in cron.values[4])
    every_day = cron.text.split()[4] == "*"
    clock = f"{hour}:{minute}:00 {schedule.timezone}"
    if cron.either_day:
        return [f"*-{month}-{day} {clock}", f"{weekdays} *-{month}-* {clock}"]
    return [f"{'' if every_day else weekdays + ' '}*-{month}-{day} {clock}"]


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not escaped or re.search(r"[\s'\";]", escaped) else escaped


def _k8s_name(schedule: Schedule) -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", f"{schedule.project}-{schedule.name}".lower()).strip("-")
    if len(name) > _K8S_NAME:
        import hashlib

        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: _K8S_NAME - 9]}-{digest}"
    return name
