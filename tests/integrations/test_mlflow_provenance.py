"""What is recorded when a run starts, by real processes in real repositories."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient
from mlops.client.command import run_command
from mlops.integrations.mlflow_tracking import code_state, packages, provenance
from mlops.integrations.mlflow_tracking.invocation import MASK, Invocation, invocation, masked, split
from tests.integrations.test_mlflow_queries import server  # noqa: F401

# Prints the tags a run would get, without the seconds that MLflow takes.
PRINT = """
import json, os, sys
from mlops.integrations.mlflow_tracking import provenance
found = provenance.tags()
print(json.dumps(found))
"""
OURS = """
import sys
from mlops import MLOpsClient
from mlops.client.command import run_command
client = MLOpsClient.from_project("churn", base_path=sys.argv[1])
for name in ("first", "second"):
    with client.start_run(name):
        client.log_metric("m", 1.0)
"""
PLAIN = """
import mlflow
with mlflow.start_run(run_name="plain"):
    mlflow.log_metric("m", 1.0)
"""


def git(directory: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", "-C", directory, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    (root / "src").mkdir(parents=True)
    (root / "src/show.py").write_text(PRINT)
    (root / "src/ours.py").write_text(OURS)
    (root / "src/plain.py").write_text(PLAIN)
    (root / ".gitignore").write_text("__pycache__/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def tags(*arguments: str, cwd: Path, **extra: str) -> dict[str, str]:
    done = subprocess.run(
        arguments, cwd=cwd, env={**os.environ, **extra}, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_code_command_and_environment_are_recorded(repository: Path, tmp_path: Path) -> None:
    found = tags(sys.executable, "src/show.py", "--lr", "0.1", cwd=repository)
    assert found["mlops.git_commit"] == git(repository, "rev-parse", "HEAD")
    assert found["mlops.git_dirty"] == "false"
    assert "mlops.code_diff" not in found
    assert found["mlops.script"] == "src/show.py"
    assert (found["mlops.command"], found["mlops.directory"]) == ("python src/show.py --lr 0.1", ".")
    assert found["mlops.python"] == ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch("[0-9a-f]{64}", found["mlops.environment"])
    # Paths of this machine are not kept, wherever it was started from.
    script = repository / "src/show.py"
    for start in (repository / "src", tmp_path):
        path = script if start == tmp_path else "./show.py"
        again = tags(sys.executable, str(path), f"--config={repository}/src/a.yaml", cwd=start)
        assert str(tmp_path) not in json.dumps(again)
        assert again["mlops.script"] == "src/show.py"
    assert again["mlops.command"] == "python src/show.py --config=src/a.yaml"
    module = tags(sys.executable, "-m", "src.show", cwd=repository)
    assert (module["mlops.command"], module["mlops.script"]) == ("python -m src.show", "src/show.py")


def test_a_directory_changed_meanwhile_does_not_matter(repository: Path) -> None:
    (repository / "src/moved.py").write_text(f"import os\nos.chdir('/')\n{PRINT}")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    found = tags(sys.executable, "moved.py", cwd=repository / "src", PWD=str(repository / "src"))
    assert (found["mlops.command"], found["mlops.directory"]) == ("python moved.py", "src")
    assert found["mlops.git_dirty"] == "false"


def test_the_command_of_mlops_run_counts_and_secrets_are_not_kept(repository: Path) -> None:
    outer = Invocation(masked(["make", "train", "API_KEY=abc"]), repository)
    found = tags(sys.executable, "src/show.py", cwd=repository)
    assert provenance.tags(outer.to_text())["mlops.command"] == f"make train 'API_KEY={MASK}'"
    secret = tags(sys.executable, "src/show.py", "--db-password", "hunter2", cwd=repository)
    assert secret["mlops.command"] == f"python src/show.py --db-password '{MASK}'"
    assert "hunter2" not in json.dumps(secret)
    assert found["mlops.environment"] == secret["mlops.environment"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["t", "--password", "a b", "x"], ["t", "--password", MASK, "x"]),
        (["t", "--api-key=abc"], ["t", f"--api-key={MASK}"]),
        (["t", "HF_TOKEN=abc"], ["t", f"HF_TOKEN={MASK}"]),
        (["t", "db.password=abc", "lr=1"], ["t", f"db.password={MASK}", "lr=1"]),
        (["t", "--token", "--verbose"], ["t", "--token", "--verbose"]),
        (["t", "postgresql://ada:pw@host/db"], ["t", f"postgresql://{MASK}@host/db"]),
        (
            ["sh", "-c", "A=1 TOKEN=abc python t --secret 'x y' z"],
            ["sh", "-c", f"A=1 TOKEN={MASK} python t --secret {MASK} z"],
        ),
        (["t", "--pad_token", "[PAD]", "--max-tokens", "5", "--tokenizer", "b"], None),
        (["t", "--lr", "0.1", "a=b", "--key", "k", "author=me"], None),
    ],
)
def test_what_looks_like_a_secret_is_masked(given: list[str], kept: list[str] | None) -> None:
    assert list(masked(given)) == (given if kept is None else kept)


def test_a_command_line_survives_its_way_through_a_tag(tmp_path: Path) -> None:
    arguments = ["python", "t.py", "a b", "it's", "", "$HOME", 'x="1"', "ü"]
    line, where = Invocation(tuple(arguments), tmp_path).portable(tmp_path)
    assert (split(line), where) == ([sys.executable, *arguments[1:]], ".")
    tool = str(Path(sys.executable).parent / "pytest")
    assert Invocation((sys.executable, tool, "-q"), tmp_path).portable(None)[0] == "pytest -q"
    assert Invocation(("sh", "x" * 10_000), tmp_path).portable(None)[0] == ""
    assert Invocation.from_text("no json") is None


@pytest.mark.parametrize(
    ("outer", "counts"),
    [
        ("make train", True),
        ("bash -c 'python t.py'", True),
        ("bash train.sh", True),
        ("jupyter nbconvert --execute n.ipynb", True),
        ("bash -l", False),
        ("/bin/zsh", False),
        ("python3", False),
        ("jupyter lab --no-browser", False),
        ("jupyter-lab", False),
    ],
)
def test_a_session_in_which_a_person_works_is_no_command(tmp_path: Path, outer: str, counts: bool) -> None:
    started = Invocation(tuple(shlex.split(outer)), tmp_path)
    assert (invocation(started.to_text()) == started) is counts


@pytest.mark.parametrize("start", ["-i", "stdin", "worker"])
def test_what_cannot_be_started_again_has_no_command(repository: Path, start: str) -> None:
    if start == "worker":
        code = (
            "import multiprocessing\nfrom src import show\n"
            "if __name__ == '__main__':\n"
            "    pool = multiprocessing.get_context('spawn').Pool(1)\n"
            "    print(pool.apply(show.provenance.tags).get('mlops.command'))\n    pool.terminate()\n"
        )
        (repository / "main.py").write_text(code)
        done = subprocess.run(
            [sys.executable, "main.py"], cwd=repository, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "None"
        return
    arguments = [sys.executable, *(["-i"] if start == "-i" else [])]
    done = subprocess.run(arguments, input=PRINT, cwd=repository, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "mlops.command" not in found
    assert "mlops.script" not in found
    assert found["mlops.git_commit"] == git(repository, "rev-parse", "HEAD")


def test_changes_are_kept_as_a_patch_with_a_program_that_git_does_not_know(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "binary.dat").write_bytes(bytes(range(256)))
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    (repository / "binary.dat").write_bytes(bytes(range(255, -1, -1)))
    (repository / "src/ours.py").unlink()
    (repository / "sub dir").mkdir()
    new = repository / "sub dir/new.py"
    new.write_text("print('new')\n")
    (repository / "output.csv").write_text("not code")
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "color.ui", "always")
    state = code_state.state_of(repository / "sub dir", new)
    assert state is not None
    assert state.dirty
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    subprocess.run(["git", "apply", "-"], cwd=clone, input=state.diff, check=True)
    assert (clone / "binary.dat").read_bytes() == bytes(range(255, -1, -1))
    assert (clone / "sub dir/new.py").read_text() == "print('new')\n"
    assert not (clone / "src/ours.py").exists()
    assert not (clone / "output.csv").exists()


def test_a_large_difference_is_only_said_to_exist(repository: Path) -> None:
    (repository / "src/plain.py").write_text("# much\n" * (code_state.MAX_DIFF_BYTES // 7))
    state = code_state.state_of(repository / "src", repository / "src/plain.py")
    assert state is not None
    assert (state.dirty, state.diff) == (True, None)


def test_outside_a_repository_there_is_no_code_state(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert code_state.state_of(tmp_path, None) is None
    assert code_state.state_of(tmp_path / "empty", None) is None


def test_the_packages_are_those_that_pip_would_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origins = {
        "plain_one-1.0": None,
        "from_git-2.0": {
            "url": "https://ada:pw@host/x.git",
            "vcs_info": {"vcs": "git", "commit_id": "abc"},
        },
        "from_url-3.0": {"url": "https://host/w.whl", "archive_info": {}},
        "from_file-4.0": {"url": "file:///tmp/w.whl", "archive_info": {}},
        "edited-5.0": {"url": tmp_path.as_uri(), "dir_info": {"editable": True}},
        "pip-6.0": None,
    }
    site = tmp_path / "site"

    def install(name: str, origin: Any) -> None:
        (site / f"{name}.dist-info").mkdir(parents=True)
        if origin is not None:
            (site / f"{name}.dist-info/direct_url.json").write_text(json.dumps(origin))

    for name, origin in origins.items():
        install(name, origin)
    (site / "older.egg-info").write_text("Metadata-Version: 1.0\nName: Older_One\nVersion: 7.0\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(site)])
        assert packages.freeze().splitlines()[1:] == [
            "# edited==5.0 is installed from a local directory, for editing",
            "from-file==4.0",
            "from-git @ git+https://host/x.git@abc",
            "from-url @ https://host/w.whl",
            "older-one==7.0",
            "plain-one==1.0",
        ]
        assert packages.editable_directories() == [tmp_path]
        install("later-8.0", None)
        os.utime(site, ns=(time.time_ns(), time.time_ns()))
        assert "later==8.0" in packages.freeze().splitlines()


def test_every_run_has_the_texts_as_artifacts_that_cost_nothing(
    repository: Path, base: Path, tmp_path: Path
) -> None:
    (repository / "src/plain.py").write_text(PLAIN + "# changed\n")
    subprocess.run([sys.executable, "src/ours.py", str(base)], cwd=repository, check=True)
    client = MLOpsClient("churn", base_path=base)
    start = "from mlops.cli import main; main()"
    arguments = ("--base-path", str(base), "run", "churn", "-q", "--", "python", "plain.py")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-c", start, *arguments],
        cwd=repository / "src",
        env={**os.environ, "PATH": path},
        check=True,
    )
    runs = client.list_runs()
    assert [run["run_name"] for run in runs] == ["plain", "second", "first"]
    assert {run["tags"]["mlops.command"] for run in runs} == {
        "python plain.py",
        f"python src/ours.py {base}",
    }
    inodes: dict[str, set[int]] = {}
    for run in runs:
        artifacts = {item.path for item in client.tracking.client().list_artifacts(run["run_id"], "mlops")}
        assert artifacts == {"mlops/code.diff", "mlops/environment.txt"}
        for name in artifacts:
            path_of = client.tracking.artifact_root / "0" / run["run_id"] / "artifacts" / name
            inodes.setdefault(name, set()).add(path_of.stat().st_ino)
    assert {name: len(found) for name, found in inodes.items()} == {
        "mlops/code.diff": 1,
        "mlops/environment.txt": 1,
    }
    assert client.get_artifacts("file") == []
    # Even without the copy beside the artifacts, and in a copy of the workspace, the texts are there.
    client.close()
    shutil.copytree(base / "churn", tmp_path / "other" / "churn")
    other = MLOpsClient("churn", base_path=tmp_path / "other")
    shutil.rmtree(other.tracking.artifact_root / "provenance")
    text = provenance.read(other.tracking, runs[0], provenance.ENVIRONMENT_TAG)
    assert text is not None
    assert b"mlflow==" in text
    (other.tracking.artifact_root / "0" / runs[0]["run_id"] / "artifacts/mlops/environment.txt").write_text(
        "x"
    )
    assert provenance.read(other.tracking, runs[0], provenance.ENVIRONMENT_TAG) is None


def test_runs_on_a_server_have_them_there_too(
    server: str,  # noqa: F811
    repository: Path,
    base: Path,
) -> None:
    client = MLOpsClient("churn", base_path=base, mlflow_tracking_uri=server)
    with client.start_run("ours"):
        pass
    (repository / "src/plain.py").write_text(PLAIN + "# changed\n")
    with chdir(repository):
        assert run_command(client, [sys.executable, "src/plain.py"]).runs == {"FINISHED": 1}
    shutil.rmtree(client.tracking.artifact_root)
    texts = {}
    for run in client.list_runs():
        text = provenance.read(client.tracking, run, provenance.ENVIRONMENT_TAG)
        assert text == packages.freeze().encode()
        texts[run["run_name"]] = provenance.read(client.tracking, run, provenance.DIFF_TAG)
    assert texts["ours"] is None
    assert b"+# changed" in (texts["plain"] or b"")


def test_a_run_starts_although_its_texts_cannot_be_stored(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = MLOpsClient("churn", base_path=base)
    client.tracking.ensure()
    client.tracking.artifact_root.mkdir(exist_ok=True)
    (client.tracking.artifact_root / "provenance").write_text("a file where a directory belongs")
    with client.start_run() as run:
        run.log_metric("m", 1)
    assert client.get_run(run.run_id)["status"] == "FINISHED"
    assert f"The environment of the run {run.run_id} could not be stored" in caplog.text


def test_without_links_every_run_has_a_copy(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MLOpsClient("churn", base_path=base)

    def refuse(*arguments: object) -> None:
        raise OSError(31, "Too many links")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with client.start_run() as run:
            pass
    stored = client.tracking.artifact_root / "0" / run.run_id / "artifacts/mlops/environment.txt"
    assert stored.read_text() == packages.freeze()
