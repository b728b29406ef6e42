from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlops import IsolationError, WorkspaceLockedError
from mlops.files import Usage, contained, locked, measure, write_atomic


def test_a_reader_never_sees_a_part_even_when_the_writer_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "0" * 200_000)
    writer = (
        "import sys, pathlib; from mlops.files import write_atomic\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    write_atomic(pathlib.Path(sys.argv[1]), str(n % 10) * 200_000)\n"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", writer, str(target)]) as process:
            deadline = time.monotonic() + 0.6
            while time.monotonic() < deadline:
                text = target.read_text()
                assert len(text) == 200_000
                assert len(set(text)) == 1
            process.send_signal(signal.SIGKILL)
        text = target.read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "\ud800")
    assert target.read_text() == "old"
    assert list(tmp_path.glob(".*.tmp")) == []


def test_files_follow_the_umask_so_that_a_team_can_share_them(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file.txt", "x")
    (tmp_path / "plain.txt").write_text("x")
    assert (tmp_path / "file.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_a_path_must_stay_inside(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (tmp_path / "other").mkdir()
    (base / "link").symlink_to(tmp_path / "other")
    assert contained(base / "a" / "b", base) == base / "a" / "b"
    for outside in (base / ".." / "other", base / "link", base / "link" / "x", base):
        with pytest.raises(IsolationError, match="outside"):
            contained(outside, base)


def test_a_lock_excludes_threads_and_says_who_waited(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    order: list[str] = []

    def hold() -> None:
        with locked(path):
            order.append("thread")

    with locked(path):
        thread = threading.Thread(target=hold)
        thread.start()
        time.sleep(0.1)
        order.append("main")
        with (
            pytest.raises(WorkspaceLockedError, match="held") as caught,
            locked(path, timeout=0.1, workspace="churn"),
        ):
            pass
        assert caught.value.workspace == "churn"
    thread.join()
    assert order == ["main", "thread"]


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = (
        "import sys, pathlib, time; from mlops.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.wait()
        with locked(path, timeout=2):
            pass


def test_hard_links_are_counted_once_and_links_are_not_followed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_bytes(b"x" * 1000)
    os.link(tree / "a", tree / "sub" / "b")
    (tmp_path / "big").write_bytes(b"x" * 50_000)
    (tree / "link").symlink_to(tmp_path / "big")
    usage = measure(tree)
    assert usage.files == 3
    assert 1000 <= usage.bytes < 1500
    assert measure(tmp_path / "missing") == Usage(0, 0)
