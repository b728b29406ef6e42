"""What is stored survives the death of a process, and several at once lose nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import ConfirmationRequiredError, DataIntegrityError, IntegrationUnavailableError
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

MakeContext = Callable[..., ToolContext]


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


def objects_of(data: DVCData, place: str) -> Path:
    return data.context.workspace.dvc_path / place / "files" / "md5"


def damage(path: Path) -> None:
    """Other bytes of the same length, with the time and mode of before."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("step", ["jsonlines.append", "remote", "cache"])
def test_a_kill_in_the_middle_of_gc_leaves_no_listed_version_in_pieces(
    data: DVCData, tmp_path: Path, step: str
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(6):
        (folder / str(number)).write_text(f"old {number}")
    old = data.add(folder)
    for number in range(3, 6):
        (folder / str(number)).write_text(f"new {number}")
    new = data.add(folder)
    data.push()
    process = child(
        data,
        folder,
        """
        from mlops.integrations.dvc_data import garbage, object_directory
        count = 0
        def stop(*arguments):
            print("mark", flush=True)
            time.sleep(60)
        remove = object_directory.ObjectDirectory.remove
        def after_two(self, md5):
            global count
            count += sys.argv[3] in str(self.root)
            if count == 3:
                stop()
            remove(self, md5)
        if sys.argv[3] == "jsonlines.append":
            garbage.jsonlines.append = stop
        else:
            object_directory.ObjectDirectory.remove = after_two
        data.gc(dry_run=False, remote=True)
        """,
        step,
    )
    kill_at_mark(process)
    listed = [version.md5 for version in data.history()]
    assert listed == ([old.md5, new.md5] if step == "jsonlines.append" else [new.md5])
    # What is listed is whole, wherever it is looked for.
    assert data.verify().ok
    data.gc(dry_run=False, remote=True)
    for place in (".dvc/cache", "remote"):
        left = {path.parent.name + path.name for path in objects_of(data, place).glob("*/*")}
        assert len(left) == 7
        assert old.md5 not in left
    shutil.rmtree(objects_of(data, ".dvc/cache"))
    shutil.rmtree(folder)
    data.pull()
    assert (folder / "0").read_text() == "old 0"


def test_a_lost_cache_object_is_named_and_comes_back(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("1")
    version = data.add(source)
    lost = objects_of(data, ".dvc/cache") / version.md5[:2] / version.md5[2:]
    lost.unlink()
    with pytest.raises(DataIntegrityError, match=r"Neither the cache nor the remote holds external:.*a\.csv"):
        data.push()
    assert data.verify().missing == (f"{version.name}@{version.md5}",)
    data.add(source)
    data.push()
    lost.unlink()
    assert data.verify().ok
    source.unlink()
    data.pull()
    assert source.read_text() == "1"


def test_a_damaged_remote_object_is_found_and_mended(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name)
    version = data.add(source)
    data.push()
    remote = objects_of(data, "remote")
    file = next(path for path in remote.glob("*/*") if path.suffix != ".dir")
    for damaged in (file, remote / version.md5[:2] / version.md5[2:]):
        damage(damaged)
        assert data.push().objects == 0
        report = data.verify()
        assert (report.damaged, report.missing, len(report.gaps)) == ((str(damaged),), (), 1)
        assert data.push(repair=True).objects == 1
        assert data.verify().ok
    # With the cache lost there is nothing to mend it with: that is an error, and nothing more is lost.
    damage(file)
    shutil.rmtree(objects_of(data, ".dvc/cache"))
    with pytest.raises(DataIntegrityError, match="Neither the cache nor the remote"):
        data.pull(destination=tmp_path / "elsewhere")
    with pytest.raises(DataIntegrityError, match="Neither the cache nor the remote"):
        data.push(repair=True)
    assert file.exists()
    assert not (tmp_path / "elsewhere").exists()
    data.add(source)
    data.push(repair=True)
    assert data.verify().ok


def test_a_cached_object_that_rots_is_mended_from_the_remote(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("1")
    version = data.add(source)
    data.push()
    cached = objects_of(data, ".dvc/cache") / version.md5[:2] / version.md5[2:]
    damage(cached)
    assert data.verify().damaged == (str(cached),)
    data.push(repair=True)
    assert cached.read_text() == "1"
    assert data.verify().ok


def test_a_remote_that_lost_files_of_a_directory_is_a_gap(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    version = data.add(source)
    data.push()
    gone = [path for path in objects_of(data, "remote").glob("*/*") if path.suffix != ".dir"][:2]
    for path in gone:
        path.unlink()
    report = data.verify()
    assert not report.ok
    assert len(report.gaps) == 2
    assert all(f"@{version.md5}" in label for label in report.gaps)
    cache = objects_of(data, ".dvc/cache")
    cache.rename(tmp_path / "kept")
    with pytest.raises(DataIntegrityError, match="and 1 more"):
        data.pull(destination=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    shutil.rmtree(cache)
    (tmp_path / "kept").rename(cache)
    assert data.push().objects == 2
    assert data.verify().ok


def test_an_unreachable_remote_stops_nothing_else(make_context: MakeContext, tmp_path: Path) -> None:
    data = DVCData(make_context(dvc_remote_path="http://127.0.0.1:9/store"))
    source = tmp_path / "a.csv"
    source.write_text("1")
    data.add(source)
    # Nothing was pushed yet, so there is nothing to verify there.
    assert data.verify().ok
    with pytest.raises(IntegrationUnavailableError, match=r"127\.0\.0\.1:9/store/churn cannot be used"):
        data.push()
    source.unlink()
    data.pull()
    assert source.read_text() == "1"


def test_what_a_progress_function_raises_ends_any_long_call(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("1")
    mine = OSError("stop")

    def fail(done: int, total: int) -> None:
        raise mine

    data.add(source)
    calls = [
        lambda: data.push(progress=fail),
        lambda: data.verify(progress=fail),
        lambda: data.pull(destination=tmp_path / "b.csv", progress=fail),
    ]
    for call in calls:
        with pytest.raises(OSError, match="stop") as caught:
            call()
        assert caught.value is mine
    assert not (tmp_path / "b.csv").exists()
    assert data.history()[0].pushed is False
    data.push()
    assert data.verify().ok


def test_a_directory_of_thousands_of_files(data: DVCData, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for part in range(50):
        (folder / f"part {part} ä").mkdir(parents=True)
        for number in range(100):
            (folder / f"part {part} ä" / f"{number}.txt").write_text(f"{part} {number}")
    version = data.add(folder)
    assert version.files == 5000
    totals: list[tuple[int, int]] = []
    assert data.push(progress=lambda done, total: totals.append((done, total))).objects == 5001
    assert totals[-1][0] == totals[-1][1]
    assert totals == sorted(totals)
    shutil.rmtree(objects_of(data, ".dvc/cache"))
    shutil.rmtree(folder)
    data.pull()
    assert (folder / "part 49 ä" / "99.txt").read_text() == "49 99"
    start = time.process_time()
    assert data.add(folder).md5 == version.md5
    assert time.process_time() - start < 2


def test_content_of_an_add_that_was_killed_is_not_overwritten(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("first")
    data.add(source)
    source.write_text("only here")
    process = child(
        data,
        source,
        """
        from mlops.integrations.dvc_data import adding
        def stop(*arguments, **keywords):
            print("mark", flush=True)
            time.sleep(60)
        adding.record = stop
        data.add(folder)
        """,
    )
    kill_at_mark(process)
    assert len(list(objects_of(data, ".dvc/cache").glob("*/*"))) == 2
    with pytest.raises(ConfirmationRequiredError, match=r"a\.csv has content that no version holds"):
        data.pull()
    assert source.read_text() == "only here"


def test_a_damaged_object_is_replaced_when_the_same_content_is_added(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("1")
    version = data.add(source)
    cached = objects_of(data, ".dvc/cache") / version.md5[:2] / version.md5[2:]
    cached.chmod(0o644)
    cached.write_text("2")
    twin = tmp_path / "twin.csv"
    twin.write_text("1")
    data.add(twin)
    assert data.verify().ok
