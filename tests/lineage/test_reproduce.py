"""A run of a real repository is restored and run again, while the repository has moved on."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops import ConfigError, DataNotFoundError, IntegrationError, MLOpsClient
from mlops.errors import ConfirmationRequiredError, DataIntegrityError
from mlops.workspace import links

TRAIN = """
import os, pathlib, sys, time
import helper, mlflow

numbers = [float(text) for text in pathlib.Path("../data/train.csv").read_text().split()]
for factor in (1.0, float(sys.argv[1])):
    with mlflow.start_run(run_name="train"):
        mlflow.log_param("factor", factor)
        total = sum(numbers) * factor * helper.SCALE * float(os.environ.get("NOISE", 1))
        mlflow.log_metrics({"total": total, "nothing": float("nan"), "fit_seconds": time.time()})
if os.environ.get("BREAK"):
    sys.exit("broken on purpose")
"""
FOREIGN = ("MLOPS_", "MLFLOW_", "_MLFLOW_", "DVC_", "BENTOML_", "EVIDENTLY_", "AWS_", "GIT_")


@dataclass(frozen=True)
class Trained:
    repository: Path
    run_id: str
    commit: str

    @property
    def client(self) -> MLOpsClient:
        return MLOpsClient("churn", repo_root=self.repository)


def git(directory: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", "-C", directory, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Trained:
    """The repository after a run of code that differed from its commit; data and code are others now."""
    repository = tmp_path_factory.mktemp("training") / "repo"
    (repository / "src").mkdir(parents=True)
    (repository / "data").mkdir()
    (repository / "src/train.py").write_text(TRAIN)
    (repository / "src/helper.py").write_text("SCALE = 1\n")
    (repository / "data/train.csv").write_text("1 2 3")
    (repository / ".gitignore").write_text("/data/\n")
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "first")
    (repository / "src/helper.py").write_text("SCALE = 2\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environ |= {"XDG_CACHE_HOME": str(shared_cache)}
    command = (
        "run",
        "churn",
        "--create",
        "--data",
        "../data/train.csv",
        "--",
        sys.executable,
        "train.py",
        "0.5",
    )
    start = [sys.executable, "-c", "from mlops.cli import main; main()", *command]
    subprocess.run(start, cwd=repository / "src", env=environ, check=True)
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "src/helper.py").write_text("SCALE = 3\n")
    git(repository, "commit", "-qam", "second")
    (repository / "data/train.csv").write_text("7 7")
    (repository / "src/helper.py").write_text("SCALE = 4\n")
    client = MLOpsClient("churn", repo_root=repository)
    (run,) = [run for run in client.list_runs() if run["params"]["factor"] == "0.5"]
    client.close()
    return Trained(repository, run["run_id"], commit)


@pytest.fixture
def trained(original: Trained, tmp_path: Path) -> Iterator[Trained]:
    """A copy of it for each test."""
    copy = tmp_path / "repo"
    shutil.copytree(original.repository, copy)
    yield Trained(copy, original.run_id, original.commit)
    # Nothing of the user's is ever touched, whatever a test did.
    assert git(copy, "diff", "HEAD", "--name-only") == "src/helper.py"
    assert git(copy, "diff", "--name-only") == "src/helper.py"
    assert (copy / "data/train.csv").read_text() == "7 7"


def test_a_run_is_restored_without_its_code(trained: Trained) -> None:
    result = trained.client.reproduce(trained.run_id)
    directory = trained.client.workspace.outputs_path / "reproduce" / trained.run_id
    assert (result.directory, result.rerun, result.ok, result.code.worktree) == (directory, None, True, None)
    ((data),) = result.data
    assert (data.name, data.path) == ("data/train.csv", directory / "data/data/train.csv")
    assert data.path.read_text() == "1 2 3"
    assert json.loads((directory / "params.json").read_text()) == {"factor": "0.5"}
    assert json.loads((directory / "run.json").read_text())["metrics"]["total"] == 6.0
    assert "mlflow==" in (directory / "environment.txt").read_text()
    assert not result.environment
    assert "SCALE = 2" in (directory / "code.diff").read_text()
    assert (result.code.commit, result.code.dirty) == (trained.commit, True)
    assert json.loads((directory / "reproduction.json").read_text()) == json.loads(
        json.dumps(result.to_dict())
    )
    with pytest.raises(ConfirmationRequiredError, match="is not empty"):
        trained.client.reproduce(trained.run_id)
    data.path.write_text("scribbled on")
    trained.client.reproduce(trained.run_id, force=True)
    assert data.path.read_text() == "1 2 3"


def test_the_commands_to_go_on_by_hand_can_be_pasted(trained: Trained, tmp_path: Path) -> None:
    target = tmp_path / "by hand"
    result = trained.client.reproduce(trained.run_id, directory=target)
    text = (target / "README.txt").read_text()
    assert result.code.instructions in text
    lines = [line for line in result.code.instructions.splitlines() if "venv" not in line]
    script = "mlops() { " + f"{sys.executable} -c 'from mlops.cli import main; main()' \"$@\"; }}\n"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script + "\n".join(lines)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = [run for run in trained.client.list_runs() if run["params"]["factor"] == "0.5"]
    assert [run["metrics"]["total"] for run in again] == [6.0, 6.0]
    assert not (target / "code").exists()
    assert git(trained.repository, "worktree", "list").count("\n") == 0


def test_it_is_run_again_with_its_own_code_and_data(trained: Trained, tmp_path: Path) -> None:
    client = trained.client
    index = (trained.repository / ".git/index").read_bytes()
    before = [version.to_dict() for version in client.data.history()]
    found = []
    thread = threading.Thread(
        target=lambda: found.append(
            client.reproduce(trained.run_id, directory=tmp_path / "out", checkout=True)
        )
    )
    thread.start()
    thread.join()
    (result,) = found
    assert result.ok, result.to_dict()
    assert (trained.repository / ".git/index").read_bytes() == index
    tree = tmp_path / "out/code"
    assert (result.code.worktree, result.code.patched) == (tree, True)
    assert git(tree, "rev-parse", "HEAD") == trained.commit
    assert (tree / "src/helper.py").read_text() == "SCALE = 2\n"
    assert (tree / "data/train.csv").read_text() == "1 2 3"
    assert {m.name: m.match for m in result.metrics} == {"total": True, "nothing": True, "fit_seconds": None}
    assert result.rerun is not None
    new = client.get_run(str(result.rerun.run_id))
    assert new["params"] == {"factor": "0.5"}, "of the two runs of the command it is the same one"
    old = client.get_run(trained.run_id)
    for tag in (
        "mlops.command",
        "mlops.directory",
        "mlops.git_commit",
        "mlops.code_diff",
        "mlops.environment",
    ):
        assert new["tags"][tag] == old["tags"][tag]
    assert new["tags"]["mlops.reproduces"] == trained.run_id
    assert [(use["name"], use["digest"]) for use in client.tracking.datasets(new["run_id"])] == [
        (data.name, data.md5) for data in result.data
    ]
    assert [version.to_dict() for version in client.data.history()] == before
    (link,) = [link for link in links.logged(client.workspace)[0] if link.relation == links.REPRODUCED_BY]
    assert (link.source, link.target) == (f"run:{trained.run_id}", f"run:{new['run_id']}")


def test_links_of_the_code_never_lead_restored_data_out(trained: Trained, tmp_path: Path) -> None:
    outside = tmp_path / "shared"
    outside.mkdir()
    (outside / "train.csv").write_text("somebody's own")
    repository = trained.repository
    away = tmp_path / "data"
    (repository / "data").rename(away)
    (repository / "data").symlink_to(outside)
    git(repository, "add", "-f", "data")
    git(repository, "commit", "-qm", "link", "data")
    client = trained.client
    client.tracking.client().set_tag(trained.run_id, "mlops.git_commit", git(repository, "rev-parse", "HEAD"))
    client.tracking.client().delete_tag(trained.run_id, "mlops.code_diff")
    (repository / "data").unlink()
    away.rename(repository / "data")
    git(repository, "rm", "-q", "--cached", "data")
    git(repository, "commit", "-qm", "no link")
    result = client.reproduce(trained.run_id, directory=tmp_path / "out", checkout=True, rerun=False)
    assert (outside / "train.csv").read_text() == "somebody's own"
    assert [data.path.read_text() for data in result.data] == ["1 2 3"]
    assert result.code.worktree is not None
    assert not (result.code.worktree / "data").is_symlink()


def test_another_result_is_told(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("NOISE", "1.0001")
        result = trained.client.reproduce(trained.run_id, directory=tmp_path / "a", rerun=True)
        assert not result.ok
        (total,) = [metric for metric in result.metrics if metric.match is False]
        assert (total.name, total.recorded) == ("total", 6.0)
        assert total.reproduced == pytest.approx(6.0006)
        close = trained.client.reproduce(
            trained.run_id, directory=tmp_path / "a", rerun=True, tolerance=0.001, force=True
        )
    assert close.ok


def test_a_command_that_fails_is_reported_with_what_it_said(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("BREAK", "1")
        result = trained.client.reproduce(trained.run_id, directory=tmp_path / "out", checkout=True)
    assert result.rerun is not None
    assert (result.ok, result.rerun.exit_code) == (False, 1)
    assert result.rerun.tail[-1] == "broken on purpose"
    assert result.rerun.output.read_text().endswith("broken on purpose\n")


def test_code_without_a_run_of_its_own_is_told(trained: Trained, tmp_path: Path) -> None:
    client = trained.client
    client.tracking.client().set_tag(trained.run_id, "mlops.command", "true")
    result = client.reproduce(trained.run_id, directory=tmp_path / "out", checkout=True)
    assert (result.ok, result.metrics) == (False, ())
    assert result.rerun is not None
    assert (result.rerun.run_id, result.rerun.exit_code) == (None, 0)


@pytest.mark.parametrize("problem", ["commit", "repository", "run", "tolerance", "secret", "command", "data"])
def test_what_cannot_be_done_is_refused_and_nothing_is_left(
    trained: Trained, tmp_path: Path, problem: str
) -> None:
    target, client, run_id, options = tmp_path / "out", trained.client, trained.run_id, {"checkout": True}
    tracking = client.tracking.client()
    expected: tuple[type[Exception], str] = (IntegrationError, problem)
    hint = ""
    if problem == "commit":
        tracking.set_tag(run_id, "mlops.git_commit", "0" * 40)
        hint = "fetch"
    elif problem == "repository":
        away = tmp_path / "away"
        shutil.copytree(client.workspace_path, away / "churn")
        client = MLOpsClient("churn", base_path=away)
    elif problem == "run":
        run_id, expected = "f" * 32, (DataNotFoundError, "no run")
    elif problem == "tolerance":
        options, expected = {"tolerance": math.nan}, (ConfigError, "nan")
    elif problem == "secret":
        tracking.set_tag(run_id, "mlops.command", "python train.py --token '********'")
        options = {"rerun": True}
    elif problem == "command":
        tracking.delete_tag(run_id, "mlops.command")
        options = {"rerun": True}
    elif problem == "data":
        (version,) = client.data.datasets()
        for part in ("remote", ".dvc/cache"):
            shutil.rmtree(client.workspace.dvc_path / part)
        expected = (DataIntegrityError, version.md5)
    with chdir(tmp_path), pytest.raises(expected[0], match=expected[1]) as caught:
        client.reproduce(run_id, directory=target, **options)
    assert caught.value.operation in ("reproduce", "get_run", "pull")
    assert caught.value.hint
    assert hint in caught.value.hint
    assert not target.exists()
    assert git(trained.repository, "worktree", "list").count("\n") == 0


def test_a_copied_workspace_reproduces_into_itself(trained: Trained, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(trained.client.workspace_path, away / "churn")
    client = MLOpsClient("churn", base_path=away)
    with chdir(trained.repository / "src"):
        result = client.reproduce(trained.run_id, checkout=True, rerun=False)
    assert result.directory == away / "churn/outputs/reproduce" / trained.run_id
    assert result.code.repository == trained.repository
    assert (result.directory / "environment.txt").is_file()
    assert [data.path.read_text() for data in result.data] == ["1 2 3"]
    assert not (trained.repository / "mlops/workspace/churn").exists()


def test_a_run_of_an_interactive_session_has_everything_but_a_command(trained: Trained) -> None:
    client = trained.client
    with client.start_run(params={"a": 1}) as run:
        run.log_metric("m", 1)
    for tag in ("mlops.git_commit", "mlflow.source.git.commit", "mlops.command"):
        if tag in client.get_run(run.run_id)["tags"]:
            client.tracking.client().delete_tag(run.run_id, tag)
    result = client.reproduce(run.run_id)
    assert (result.data, result.command, result.code.commit) == ((), None, None)
    assert json.loads(result.params_file.read_text()) == {"a": "1"}
    assert any("no commit" in note for note in result.notes)
    with pytest.raises(IntegrationError, match="no commit"):
        client.reproduce(run.run_id, checkout=True, force=True)
