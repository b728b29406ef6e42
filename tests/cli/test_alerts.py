"""``mlops alerts``: what checks found, over one project or all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlops import MLOpsClient
from mlops.cli import main
from mlops.integrations.evidently_monitoring import runtime

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mlops(base: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["--base-path", str(base), *arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture(autouse=True)
def projects(base: Path, clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")
    rng = np.random.default_rng(0)
    for name in ("churn", "fraud"):
        with MLOpsClient(name, base_path=base) as client:
            client.monitoring.set_reference_data({"age": rng.normal(40, 10, 300)})
            for model in ("clf", "reg") if name == "churn" else ("clf",):
                client.monitoring.monitor({"age": rng.normal(60, 10, 100)}, model=model)


def listed(mlops: Run, *arguments: str) -> list[tuple[str, str, str]]:
    code, out, _ = mlops("alerts", "list", *arguments, "--json")
    assert code == 0
    return [(each["project"], each["model"], each["status"]) for each in json.loads(out)]


def test_alerts_of_one_project_or_all_are_listed_newest_first(mlops: Run) -> None:
    everything = [("fraud", "clf", "open"), ("churn", "reg", "open"), ("churn", "clf", "open")]
    assert listed(mlops) == everything
    assert listed(mlops, "churn") == everything[1:]
    table = mlops("alerts", "list")[1]
    assert table.count("1 of 1 column drifted (100%; alert at 50%)") == 3
    assert "fraud" in table
    code, _, err = mlops("alerts", "list", "nowhere")
    assert code == 1
    assert "Workspace does not exist" in err


def test_an_acknowledged_alert_is_not_open(mlops: Run) -> None:
    (alert,) = json.loads(mlops("alerts", "list", "fraud", "--json")[1])
    code, out, _ = mlops("alerts", "ack", "fraud", alert["id"][:6], "--note", "known", "--by", "ada")
    assert (code, out) == (0, f"{alert['id']} is acknowledged: {alert['message']}\n")
    assert listed(mlops, "--open") == [("churn", "reg", "open"), ("churn", "clf", "open")]
    assert listed(mlops, "fraud") == [("fraud", "clf", "acknowledged")]
    assert "ada: known" in mlops("alerts", "list", "fraud")[1]
    for project, says in (("churn", "There is no alert"), ("nowhere", "Workspace does not exist")):
        code, out, err = mlops("alerts", "ack", project, alert["id"])
        assert (code, out) == (1, "")
        assert says in err


def test_a_damaged_project_does_not_hide_the_others(mlops: Run, base: Path) -> None:
    (base / "churn" / "workspace.yaml").write_text("- nonsense")
    code, out, err = mlops("alerts", "list", "--json")
    assert (code, [each["project"] for each in json.loads(out)]) == (0, ["fraud"])
    assert "Not everything could be read: churn: " in err


def test_listing_imports_no_tool_and_creates_nothing(base: Path) -> None:
    before = sorted(path for path in base.rglob("*") if ".mlops" not in path.parts)
    code = """
import sys
from mlops.cli import main
try:
    main()
finally:
    heavy = {"mlflow", "bentoml", "evidently", "pandas", "numpy", "apscheduler"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "--base-path", str(base), "alerts", "list", "--open"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "drifted" in done.stdout
    assert sorted(path for path in base.rglob("*") if ".mlops" not in path.parts) == before
