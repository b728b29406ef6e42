from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient
from mlops.cli import main


def load() -> list[int]:
    return [1, 2, 3]


def train(load: list[int], rate: float = 0.5) -> float:
    return sum(load) * rate


@pytest.fixture
def saved(base: Path) -> Path:
    with MLOpsClient("churn", base_path=base) as client:
        pipeline = client.create_pipeline("training", params={"rate": 0.1}).add_step(load).add_step(train)
        pipeline.save_version("v1.9.0", {"author": "ada"})
        pipeline.run()
        pipeline.params["rate"] = 0.2
        pipeline.add_step(format_score).save_version("v1.10.0")
        pipeline.run()
        client.create_pipeline("reports")
    return base


def format_score(train: float) -> str:
    return f"{train:.2f}"


def call(capsys: pytest.CaptureFixture[str], base: Path, *arguments: str) -> tuple[int, str, str]:
    """Return the exit code, output and errors of a command."""
    with pytest.raises(SystemExit) as done:
        main(["--base-path", str(base), "pipeline", *arguments])
    captured = capsys.readouterr()
    return int(done.value.code or 0), captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], base: Path, *arguments: str) -> Any:
    code, out, err = call(capsys, base, *arguments, "--project", "churn", "--json")
    assert code == 0, err
    return json.loads(out)


def test_pipelines_runs_and_versions_are_listed(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports, training = as_json(capsys, saved, "list")
    assert (reports["name"], reports["runs"], reports["last_run"]) == ("reports", 0, None)
    assert (training["versions"], training["latest_version"], training["runs"]) == (2, "v1.10.0", 2)
    assert training["last_run"]["status"] == "FINISHED"

    runs = as_json(capsys, saved, "runs", "training", "--steps")
    assert [run["tags"]["mlops.pipeline_version"] for run in runs] == ["v1.10.0", "v1.9.0"]
    assert [part["run_name"] for part in runs[1]["steps"]] == ["load", "train"]
    assert len(as_json(capsys, saved, "runs", "training", "--limit", "1")) == 1

    versions = as_json(capsys, saved, "versions", "training")
    assert [version["version"] for version in versions] == ["v1.9.0", "v1.10.0"]
    for arguments, texts in (
        (["list"], ["training", "v1.10.0", "FINISHED"]),
        (["runs", "training", "--steps"], ["v1.9.0", "  load", "FINISHED"]),
        (["versions", "training"], ["v1.9.0", "rate=0.1", "author=ada", "load, train, format_score"]),
    ):
        code, out, err = call(capsys, saved, *arguments, "--project", "churn")
        assert (code, err) == (0, "")
        assert all(text in out for text in texts), out


def test_a_version_is_shown_with_its_sources(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, saved, "show", "training")["version"] == "v1.10.0"
    code, out, _ = call(capsys, saved, "show", "training", "1.9", "--project", "churn")
    assert code == 0
    assert out.splitlines()[0] == "training v1.9.0"
    for text in ("parameter rate", "load=load.load", "rate=params.rate", "return sum(load) * rate"):
        assert text in out


def test_versions_are_compared(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = as_json(capsys, saved, "compare", "training", "v1.9.0", "v1.10.0")
    assert (comparison["added"], comparison["modified"]) == (["format_score"], [])
    assert comparison["params"] == {"rate": ["0.1", "0.2"]}
    code, out, _ = call(capsys, saved, "compare", "training", "v1.9.0", "v1.10.0", "--project", "churn")
    assert code == 0
    assert "training: v1.9.0 → v1.10.0" in out
    assert "step format_score" in out


def test_what_is_unknown_is_an_error_and_creates_nothing(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["versions", "absent", "--project", "churn"], "no pipeline 'absent'"),
        (["show", "reports", "--project", "churn"], "no saved version"),
        (["show", "training", "v7", "--project", "churn"], "no version 'v7'"),
        (["compare", "training", "v1.9.0", "../x", "--project", "churn"], "cannot be named"),
        (["list", "--project", "absent"], "absent"),
    ):
        code, out, err = call(capsys, saved, *arguments)
        assert (code, out) == (1, "")
        assert message in err
        assert "Hint: " in err
    assert not (saved / "absent").exists()


def test_a_saved_version_is_run_with_parameters(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = as_json(capsys, saved, "run", "training", "--version", "v1.9.0", "--param", "rate=2")
    assert (done["status"], done["version"]) == ("FINISHED", "v1.9.0")
    client = MLOpsClient("churn", base_path=saved)
    assert client.get_run(done["run_id"])["params"] == {"rate": "2"}
    again = as_json(capsys, saved, "run", "training", "--like", done["run_id"])
    assert again["version"] == "v1.10.0"
    assert client.pipeline_params(again["run_id"]) == {"rate": 2}
    code, out, err = call(capsys, saved, "run", "training", "--project", "churn", "--version", "v1.9.0")
    assert code == 0, err
    assert "training v1.9.0: FINISHED" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("training", "--version", "v9"), 1, "v9"),
        (("training", "--param", "rate"), 2, "NAME=VALUE"),
        (("reports",), 1, "No version of the pipeline 'reports' was saved"),
        (("training", "--like", "0" * 32), 1, "0000"),
        (("nothing",), 1, "has no pipeline 'nothing'"),
    ],
)
def test_what_cannot_be_run_says_so(
    saved: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    before = len(MLOpsClient("churn", base_path=saved).list_runs())
    found, _, err = call(capsys, saved, "run", *arguments, "--project", "churn")
    assert (found, message in err) == (code, True), err
    assert len(MLOpsClient("churn", base_path=saved).list_runs()) == before


_closed = True


def check() -> str:
    if _closed:
        raise ValueError("the shop is closed")
    return "open"


def buy(check: str) -> str:
    return f"bought while {check}"


def test_a_failed_run_says_how_to_go_on_and_does(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MLOpsClient("churn", base_path=base)
    pipeline = client.create_pipeline("shopping").add_step(load).add_step(check).add_step(buy)
    pipeline.save_version("v1.0.0")
    code, out, err = call(capsys, base, "run", "shopping", "-p", "churn")
    assert code == 1
    assert out.startswith("shopping v1.0.0: FAILED in ")
    (failed,) = client.list_runs("shopping")
    assert "Error: The step 'check' failed: ValueError: the shop is closed\n" in err
    assert f"go on from there: mlops pipeline run PIPELINE -p churn --resume {failed['run_id']}\n" in err
    monkeypatch.setattr(sys.modules[__name__], "_closed", False)
    client.create_pipeline("shopping").add_step(load).add_step(check).add_step(buy).save_version("v1.0.1")
    done = as_json(capsys, base, "run", "shopping", "--resume", failed["run_id"])
    assert (done["status"], done["version"], done["resumed_from"]) == ("FINISHED", "v1.0.1", failed["run_id"])
    assert [bool(step["reused_from"]) for step in done["steps"]] == [True, False, False]
