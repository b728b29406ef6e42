from __future__ import annotations

import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops import ScheduleError
from mlops.scheduling.export import Setting, to_cron, to_k8s, to_systemd
from mlops.scheduling.schedule import Schedule

SETTING = Setting(Path("/srv/pro jects"), Path("/srv/100%code"), "/opt/venv/bin/mlops")
CALL = "--base-path '/srv/pro jects' schedule run churn {} --due"


def schedule(name: str, **values: Any) -> Schedule:
    return Schedule(name=name, project="churn", target="work:run", **values)


def test_a_crontab_runs_what_is_due_in_its_zone() -> None:
    found = [
        schedule("night", cron="30 2 * * *", timezone="Europe/Berlin"),
        schedule("sundays", cron="0 4 * JAN,jul 7", timezone="Europe/Berlin"),
        schedule("often", every_seconds=900),
        schedule("hours", every_seconds=6 * 3600),
        schedule("days", every_seconds=86400),
    ]
    lines = to_cron(found, SETTING).splitlines()
    assert lines[0].startswith("#")
    assert lines[1] == "CRON_TZ=Europe/Berlin"
    assert lines[2] == rf"30 2 * * * cd /srv/100\%code && /opt/venv/bin/mlops {CALL.format('night')}"
    assert lines[3].startswith("0 4 * 1,7 0 cd ")
    assert lines[4] == "CRON_TZ=UTC"
    assert [line[:12] for line in lines[5:]] == ["*/15 * * * *", "0 */6 * * * ", "0 0 * * * cd"]


@pytest.mark.parametrize("seconds", [5, 7 * 60, 5 * 3600, 90 * 60, 2 * 86400])
def test_what_cron_cannot_say_is_refused(seconds: int) -> None:
    with pytest.raises(ScheduleError, match=r"'odd' runs every .* no cron expression"):
        to_cron([schedule("odd", every_seconds=seconds)], SETTING)
    once = schedule("odd", at=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(ScheduleError, match="once"):
        to_k8s([once], SETTING, image="i", claim="c")


def test_systemd_understands_the_timers(tmp_path: Path) -> None:
    found = [
        schedule("night", cron="30 2 * * *", timezone="Europe/Berlin"),
        schedule("either", cron="*/20 2-4 13 * mon-fri", timezone="Europe/Berlin"),
        schedule("sundays", cron="0 4 * * 7"),
        schedule("often", every_seconds=5),
        schedule("once", at=datetime(2030, 1, 1, tzinfo=UTC), timezone="Europe/Berlin"),
    ]
    text = to_systemd(found, SETTING)
    calendars = [line.partition("=")[2] for line in text.splitlines() if line.startswith("OnCalendar")]
    assert calendars == [
        "*-*-* 02:30:00 Europe/Berlin",
        "*-*-13 02,03,04:00,20,40:00 Europe/Berlin",
        "Mon,Tue,Wed,Thu,Fri *-*-* 02,03,04:00,20,40:00 Europe/Berlin",
        "Sun *-*-* 04:00:00 UTC",
        "2030-01-01 01:00:00 Europe/Berlin",
    ]
    assert "OnUnitActiveSec=5s" in text
    assert 'ExecStart=/opt/venv/bin/mlops --base-path "/srv/pro jects" schedule run churn night --due' in text
    assert "WorkingDirectory=/srv/100%%code" in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here to judge")
    for calendar in calendars:
        judged = subprocess.run([analyze, "calendar", calendar], capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stderr


def test_kubernetes_gets_one_cron_job_each() -> None:
    found = [
        schedule("Night.Run", cron="30 2 * * 5-7", timezone="Europe/Berlin", grace_seconds=90.5, paused=True),
        schedule("x" * 90, every_seconds=3600),
    ]
    night, long = yaml.safe_load_all(to_k8s(found, SETTING, image="registry/churn:1", claim="projects"))
    assert (night["apiVersion"], night["kind"]) == ("batch/v1", "CronJob")
    assert night["metadata"]["name"] == "churn-night-run"
    assert len(long["metadata"]["name"]) <= 52
    spec = night["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["suspend"]) == ("30 2 * * 0,5,6", "Europe/Berlin", True)
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == ("Forbid", 91)
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["/opt/venv/bin/mlops", *shlex.split(CALL.format("Night.Run"))]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "projects"
    assert long["spec"]["schedule"] == "0 */1 * * *"


def test_nothing_to_export_is_nothing() -> None:
    assert to_systemd([], SETTING) == to_k8s([], SETTING, image="i", claim="c") == ""
