"""Texts that others chose, as commands print them: no terminal takes any of them for an order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient
from mlops.cli import main
from mlops.integrations.evidently_monitoring import alert_log
from mlops.integrations.evidently_monitoring.alerts import Judgement
from mlops.integrations.evidently_monitoring.results import Alert
from mlops.reporting.gates import Gate
from mlops.workspace.model import now

# Clears the screen, sets the window's title, the same with a single character, and turns text around.
HOSTILE = "evil\x1b[2J\x1b]0;owned\x07\x9b31m\u202etxt"
ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMANDS = (
    ("status",),
    ("report",),
    ("report", "--fail-on", ",".join(Gate)),
    ("models",),
    ("models", "show", "churn", f"clf {HOSTILE}"),
    ("runs", "churn"),
    ("usage", "--gc"),
    ("alerts", "list"),
    ("list",),
    ("show", "churn"),
    ("doctor",),
)
AS_JSON = (
    ("report", "--json"),
    ("models", "--json"),
    ("runs", "churn", "--json"),
    ("alerts", "list", "--json"),
)


@pytest.fixture(scope="module")
def hostile(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in which a directory, a run, a model, an alert and an address have such names."""
    base = tmp_path_factory.mktemp("base") / f"of {HOSTILE}"
    (base / ".mlops").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        client = MLOpsClient.from_project("churn", base_path=base, description=HOSTILE)
        client.manager.update_workspace_metadata(
            "churn", tags={HOSTILE: HOSTILE}, metadata={HOSTILE: HOSTILE}
        )
        with client.start_run(HOSTILE, tags={HOSTILE: HOSTILE}, params={"how": HOSTILE}) as run:
            client.log_metric("loss", 0.5)
        api = client.tracking.client()
        name = f"churn.clf {HOSTILE}"
        api.create_registered_model(name)
        api.create_model_version(name, f"runs:/{run.run_id}/model", run.run_id, tags={"note": HOSTILE})
        api.set_registered_model_alias(name, "production", "1")
        client.close()
    moment = now()
    alert = Alert("drift", HOSTILE, 1.0, 0.5, "", moment, f"{HOSTILE} drifted", "drift.score", column=HOSTILE)
    alert_log.record_check(
        client.workspace.monitoring_path / alert_log.ALERTS_FILE,
        Judgement([alert]),
        model=HOSTILE,
        at=moment,
        webhooks=[f"http://127.0.0.1:9/{HOSTILE}"],
    )
    corrupt = base / HOSTILE
    corrupt.mkdir()
    (corrupt / "workspace.yaml").write_text("tags: [unclosed\n")
    return base


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_text_of_others_reaches_a_terminal_as_an_order(
    hostile: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        main(["--base-path", str(hostile), *command])
    out, err = capsys.readouterr()
    assert "evil" in out
    assert ORDERS.findall(out + err) == []


@pytest.mark.parametrize("command", AS_JSON, ids=" ".join)
def test_programs_get_the_texts_as_they_are(
    hostile: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        main(["--base-path", str(hostile), *command, "--json"])
    out = capsys.readouterr().out
    assert ORDERS.findall(out) == []
    assert any(HOSTILE in text for text in texts(json.loads(out)))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value
