"""What is stored survives the death of a process, and several at once lose nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mlops.integrations.dvc_data import DVCData
from mlops.workspace.tools import ToolContext

OPEN = """
import os, sys, time
from pathlib import Path
from mlops.integrations.dvc_data import DVCData
from mlops.settings import ProjectSettings
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
root, folder = Path(sys.argv[1]), Path(sys.argv[2])
data = DVCData(ToolContext(ProjectWorkspace.load_metadata(root), ProjectSettings()))
"""


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def child(data: DVCData, folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    program = OPEN + textwrap.dedent(code)
    command = [sys.executable, "-c", program, str(data.context.workspace.root_path), str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_at_mark(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "mark\n", process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_kill_in_the_middle_of_add_loses_nothing(data: DVCData, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(os.urandom(1_500_000))
    first = data.add(folder)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "2.bin").write_bytes(os.urandom(2_500_000))
    process = child(
        data,
        folder,
        """
        def wait(done, total):
            if done > total - 2_000_000:
                print("mark", flush=True)
                time.sleep(60)
        data.add(folder, progress=wait)
        """,
    )
    kill_at_mark(process)
    assert [version.md5 for version in data.history()] == [first.md5]
    staging = data.context.workspace.state_path / "staging"
    assert len(list(staging.iterdir())) == 1
    second = data.add(folder)
    assert list(staging.iterdir()) == []
    assert [version.md5 for version in data.history()] == [first.md5, second.md5]
    data.pull(version=first)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    assert data.verify().ok


@pytest.mark.parametrize("step", ["write_index", "jsonlines.append", "write_pointer"])
def test_a_kill_around_the_record_leaves_old_or_new(data: DVCData, tmp_path: Path, step: str) -> None:
    source = tmp_path / "a.csv"
    source.write_text("first")
    first = data.add(source)
    source.write_text("second")
    process = child(
        data,
        source,
        """
        from mlops.integrations.dvc_data import adding
        def stop(*arguments, **keywords):
            print("mark", flush=True)
            time.sleep(60)
        module, _, name = sys.argv[3].rpartition(".")
        setattr(getattr(adding, module) if module else adding, name, stop)
        data.add(folder)
        """,
        step,
    )
    kill_at_mark(process)
    assert len(data.history()) == (2 if step == "write_pointer" else 1)
    second = data.add(source)
    assert [version.md5 for version in data.history()] == [first.md5, second.md5]
    assert (tmp_path / "a.csv.dvc").read_text() == second.pointer
    assert data.verify().ok


def test_a_kill_in_the_middle_of_push_is_finished_by_the_next(data: DVCData, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(400):
        (folder / str(number)).write_text(str(number))
    version = data.add(folder)
    process = child(data, folder, 'print("mark", flush=True); data.push()')
    assert process.stdout is not None
    process.stdout.readline()
    remote = data.context.workspace.dvc_path / "remote" / "files" / "md5"
    until = time.monotonic() + 30
    while not list(remote.glob("*/*")) and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    listing = remote / version.md5[:2] / version.md5[2:]
    sent = len([path for path in remote.glob("*/*") if not path.name.endswith(".tmp")])
    assert sent == 401 or not listing.exists()
    assert data.push().objects == 401 - sent
    shutil.rmtree(data.context.workspace.dvc_path / ".dvc" / "cache")
    shutil.rmtree(folder)
    data.pull()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {str(n): str(n) for n in range(400)}


def test_a_kill_in_the_middle_of_pull_is_finished_by_the_next(data: DVCData, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(20):
        (folder / str(number)).write_text(f"old {number}")
    old = data.add(folder)
    for number in range(10, 30):
        (folder / str(number)).write_text(f"new {number}")
    (folder / "0").unlink()
    data.add(folder)
    process = child(
        data,
        folder,
        """
        import pathlib
        replace, count = pathlib.Path.replace, 0
        def stop(self, target):
            global count
            count += 1
            if count == 5:
                print("mark", flush=True)
                time.sleep(60)
            return replace(self, target)
        pathlib.Path.replace = stop
        data.pull(folder, version=sys.argv[3])
        """,
        old.md5,
    )
    kill_at_mark(process)
    data.pull(folder, version=old)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        str(n): f"old {n}" for n in range(20)
    }
    assert [path.name for path in tmp_path.iterdir() if "mlops-pull" in path.name] == []


def test_processes_that_add_and_push_at_once_lose_nothing(data: DVCData, tmp_path: Path) -> None:
    code = """
        for number in range(8):
            path = folder / f"{sys.argv[3]}-{number}.csv"
            path.write_text(path.name)
            data.add(path)
            (folder / f"{sys.argv[3]}-changes.csv").write_text(str(number))
            data.add(folder / f"{sys.argv[3]}-changes.csv")
        data.push()
    """
    processes = [child(data, tmp_path, code, name) for name in ("one", "two")]
    for process in processes:
        assert process.communicate(timeout=60) == ("", "")
    assert data.summary()["datasets"] == 18
    assert len(data.history()) == 32
    assert data.summary()["unpushed"] == 0
    assert data.verify().ok


def test_a_full_disk_is_an_error_and_nothing_is_recorded(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"first")
    data.add(source)
    source.write_bytes(os.urandom(300_000))
    code = """
        import resource
        from mlops.errors import IntegrationUnavailableError
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            data.add(folder)
        except IntegrationUnavailableError as error:
            print(error.operation, error.tool, "cannot be written" in str(error), bool(error.hint))
    """
    process = child(data, source, code)
    assert process.communicate() == ("add dvc True True\n", "")
    assert len(data.history()) == 1
    data.add(source)
    code = code.replace("data.add(folder)", "data.push()").replace("cannot be written", "cannot be used")
    process = child(data, source, code)
    assert process.communicate() == ("push dvc True True\n", "")
    assert [version.pushed for version in data.history()] == [True, False]
    assert data.push().objects == 1
    assert data.verify().ok
