from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import MLOpsClient, WorkspaceManager
from mlops.cli import main

COMMAND = [sys.executable, "-c", "from mlops.cli import main; main()"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "base"
    (path / ".mlops").mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def churn(base: Path) -> Iterator[MLOpsClient]:
    """A project with two versions, the first in production and packaged, and one model from a directory."""
    with MLOpsClient.from_project("churn", base_path=base) as client:
        data = base.parent / "train.csv"
        data.write_text("age\n1\n")
        with client.start_run("training"):
            client.dvc_add(data)
            for strength in (1.0, 2.0):
                frame = pd.DataFrame({"it's age": [20.0, 40.0], "member": [True, False]})
                model = LogisticRegression(C=strength).fit(frame, [0, 1])
                client.log_model(model, "clf", input_example=frame, tags={"team": "growth"})
        client.promote("clf", "production", version=1)
        client.deploy_model("clf", version=1)
        client.deploy_model(
            client.tracking.models.download("clf"), name="plain", version="7", build_bento=False
        )
        yield client


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def mlops(base: Path, churn: MLOpsClient, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, where MLflow is imported already."""

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as caught:
            main(["--base-path", str(base), *arguments])
        out, err = capsys.readouterr()
        return Done(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture
def start(base: Path, churn: MLOpsClient) -> Callable[..., subprocess.Popen[str]]:
    """``mlops serve`` in a process of its own."""

    def run(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "--base-path", str(base), "serve", "churn", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def listed(mlops, *arguments: str) -> list[tuple[str, str]]:
    done = mlops("models", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [(each["model"], each["version"]) for each in json.loads(done.stdout)]


def test_models_are_listed_newest_first_with_what_became_of_them(mlops, churn: MLOpsClient) -> None:
    first, second, plain = reversed(json.loads(mlops("models", "churn", "--json").stdout))
    assert (plain["model"], plain["version"], plain["kind"], plain["packaged"]) == (
        *("plain", "7"),
        *("packaged", True),
    )
    run = churn.list_runs()[0]["run_id"]
    (md5,) = {version.md5 for version in churn.data.history()}
    for entry, version in ((first, "1"), (second, "2")):
        assert (entry["project"], entry["model"], entry["version"]) == ("churn", "clf", version)
        assert entry["run_id"] == run
        assert list(entry["data"].values()) == [md5]
        assert (entry["framework"], entry["flavor"], entry["kind"]) == (
            "scikit-learn",
            "sklearn",
            "registered",
        )
        assert entry["size_bytes"] > 1000
    assert (first["aliases"], first["bento"], first["packaged"]) == (
        *(["production"], "churn.clf:1"),
        True,
    )
    assert (second["aliases"], second["bento"], second["packaged"]) == ([], None, False)
    table = mlops("models", "churn").stdout
    assert re.search(rf"clf +1 +production +scikit-learn==.* kB +yes +{run[:8]} ", table)
    assert re.search(r"plain +7 .* model only", table)


def test_the_list_is_narrowed(mlops) -> None:
    assert listed(mlops) == [("plain", "7"), ("clf", "2"), ("clf", "1")]
    assert listed(mlops, "list") == listed(mlops, "churn") == listed(mlops)
    assert listed(mlops, "--name", "plain") == [("plain", "7")]
    assert listed(mlops, "churn", "--alias", "production") == [("clf", "1")]
    assert listed(mlops, "--tag", "team=growth", "--name", "churn.clf") == [("clf", "2"), ("clf", "1")]
    assert listed(mlops, "--tag", "team=other") == []
    assert listed(mlops, "--framework", "sklearn", "--alias", "production") == [("clf", "1")]
    assert listed(mlops, "--framework", "xgboost") == listed(mlops, "--drift") == []
    done = mlops("models", "--tag", "team")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not key=value" in done.stderr


def test_listing_imports_no_tool_and_creates_no_project(mlops, base: Path, churn: MLOpsClient) -> None:
    code = """
import sys
from mlops.cli import main
try:
    main()
finally:
    heavy = {"mlflow", "bentoml", "pandas", "numpy"} & set(sys.modules)
    assert not heavy, heavy
"""
    arguments = ["--base-path", str(base), "models", "churn"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in (("models", "fraud"), ("models", "show", "fraud", "clf"), ("artifacts", "fraud")):
        done = mlops(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Workspace does not exist: 'fraud'" in done.stderr
    assert mlops("deploy", "fraud", "clf").returncode == 1
    assert mlops("serve", "fraud", "clf").returncode == 1
    assert not (base / "fraud").exists()


def test_a_project_that_cannot_be_read_hides_no_other(mlops, base: Path) -> None:
    manager = WorkspaceManager(base)
    broken = manager.create_workspace("bad")
    broken.metadata_file.write_text("torn: [")
    other = manager.create_workspace("list")
    (other.models_path / "models" / "list.clf" / "1").mkdir(parents=True)
    try:
        done = mlops("models")
        assert done.returncode == 0
        assert "production" in done.stdout
        assert "bad: " in done.stderr
        assert "incomplete" in done.stderr
        # A project may be called like a subcommand; asked for alone, what it lacks is an error.
        done = mlops("models", "list", "list", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (1, [])
        assert "incomplete" in done.stderr
    finally:
        broken.metadata_file.unlink()
        manager.delete_workspace("list", force=True)


def test_one_version_is_shown_with_its_origin(mlops, churn: MLOpsClient) -> None:
    run = churn.list_runs()[0]["run_id"]
    shown = json.loads(mlops("models", "show", "churn", "clf:1", "--json").stdout)
    assert (shown["name"], shown["version"], shown["run_id"]) == ("clf", "1", run)
    assert (shown["aliases"], shown["bento"]) == (["production"], "churn.clf:1")
    assert [use["name"].rpartition("/")[2] for use in shown["data"]] == ["train.csv"]
    assert shown["signature"]["inputs"]
    by_alias = json.loads(mlops("models", "show", "churn", "clf@production", "--json").stdout)
    assert by_alias == shown
    newest = mlops("models", "show", "churn", "clf").stdout
    assert "churn.clf:2" in newest
    assert run in newest
    assert re.search(r"tags +team=growth", newest)
    missing = mlops("models", "show", "churn", "nope")
    assert missing.returncode == 1
    assert "no model version 'nope'" in missing.stderr


def test_promoting_says_what_it_replaces(mlops, churn: MLOpsClient) -> None:
    done = mlops("models", "promote", "churn", "clf", "champion", "--version", "1")
    assert done.stdout == "churn.clf:1 is champion now\n"
    done = mlops("models", "promote", "churn", "clf", "champion")
    assert done.stdout == "churn.clf:2 is champion now, before it was version 1\n"
    assert churn.tracking.models.aliases("clf")["champion"] == "2"
    refused = mlops("models", "promote", "churn", "clf", "no alias")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Invalid alias 'no alias'" in refused.stderr


def test_artifacts_are_listed(mlops) -> None:
    every = json.loads(mlops("artifacts", "churn", "--json").stdout)
    assert {artifact["type"] for artifact in every} == {"model", "data"}
    only = mlops("artifacts", "churn", "--type", "model", "--limit", "1").stdout
    assert "clf:2" in only
    assert "clf:1" not in only
    refused = mlops("artifacts", "churn", "--type", "toy")
    assert refused.returncode == 1
    assert "types are: model, data" in refused.stderr


def test_deploying_and_exporting(mlops, tmp_path: Path) -> None:
    again = json.loads(mlops("deploy", "churn", "clf@production", "--json").stdout)
    assert (again["tag"], again["bento_tag"], again["exported_to"]) == ("churn.clf:1", "churn.clf:1", None)
    done = mlops("deploy", "churn", "clf", "--version", "1", "--export", "out")
    assert done.returncode == 0, done.stderr
    folder = Path.cwd() / "out"
    assert f"docker build -t churn.clf:1 -f {folder}/env/docker/Dockerfile {folder}" in done.stdout
    assert (folder / "models" / "churn.clf" / "1" / "model.yaml").is_file()
    refused = mlops("deploy", "churn", "clf:1", "--export", "out")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "holds an exported Bento already" in refused.stderr
    assert mlops("deploy", "churn", "clf:1", "--export", "out", "--force").returncode == 0
    assert mlops("deploy", "churn", "clf", "--no-bento", "--export", "x").returncode == 2
    missing = mlops("deploy", "churn", "clf", "--version", "9")
    assert missing.returncode == 1
    assert "its versions: 2, 1" in missing.stderr


def gone(processes: list[psutil.Process], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_serving_until_ctrl_c(mlops, start) -> None:
    process = start("clf", "--version", "1", "--no-log")
    family = []
    try:
        first = process.stdout.readline()
        assert first.startswith("churn.clf:1: http://127.0.0.1:"), process.stderr.read()
        request = process.stdout.readline()
        assert '{"it' in request
        answer = subprocess.run(shlex.split(request), capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout)["model"] == "churn.clf:1"
        serving = {e["version"]: e["serving"] for e in json.loads(mlops("models", "--json").stdout)}
        assert serving == {"7": [], "2": [], "1": [first.split()[1]]}
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) > 2
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert gone(family)
    assert {str(e["serving"]) for e in json.loads(mlops("models", "--json").stdout)} == {"[]"}


def test_stopping_it_while_it_starts(start) -> None:
    process = start("clf:1")
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(children) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors
    assert gone(children)


def test_a_server_that_cannot_run_says_why(mlops, start) -> None:
    assert mlops("serve", "churn", "clf", "--port", "0").returncode == 2
    missing = start("clf", "--version", "2")
    output, errors = missing.communicate(timeout=60)
    assert (missing.returncode, output) == (1, "")
    assert "mlops deploy churn clf:2" in errors

    process = start("clf:1")
    assert process.stdout.readline().startswith("churn.clf:1")
    (launcher,) = psutil.Process(process.pid).children()
    launcher.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "The server of churn.clf:1 ended by itself. The end of its log:" in errors
    assert "Hint: the whole log is" in errors
