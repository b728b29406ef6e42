"""Data versions against bare DVC doing the same, in the process and by its command line, on the same disk.

A file made anew each time, because DVC remembers by inode and time what it hashed. Of several turns the
fastest counts on either side: a disk that somebody else keeps busy only ever adds.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import Ratio

FILES = 10_000
FILE_BYTES = 1_000
BIG_BYTES = 500_000_000
TURNS = 3
_BLOCK = 1_000_000


def run(scratch: Path) -> list[Ratio]:
    bench = _Bench(scratch)
    bench.store(_small_file)  # imports and bytecode on both sides
    ratios = []
    for label, make, turns in (
        (f"{FILES:,} files of 1 KB", _many_files, TURNS),
        ("one file of 500 MB", _big_file, TURNS),
    ):
        taken = [bench.store(make) for _ in range(turns)]
        ours, bare, command, again, add_again = (min(column) for column in zip(*taken, strict=True))
        ratios += [
            Ratio(f"add and push {label} | dvc.repo.Repo", bare, ours, 1 / 1.15),
            Ratio(f"add and push {label} | dvc add, dvc push", command, ours, 1 / 0.7),
            Ratio(f"unchanged add of {label} | dvc add", add_again, again, 10.0),
        ]
    taken_pulls = [bench.restore() for _ in range(TURNS)]
    ours, command = (min(column) for column in zip(*taken_pulls, strict=True))
    ratios.append(Ratio(f"pull {FILES:,} files of 1 KB | dvc pull", command, ours, 1 / 0.35))
    return ratios


class _Bench:
    """Makes the same data for each side in turn and times what each does with it."""

    def __init__(self, scratch: Path) -> None:
        from mlops import MLOpsClient

        scratch.mkdir(parents=True)
        self._scratch = scratch
        self._numbers = itertools.count()
        self._client = MLOpsClient.from_project("ours", base_path=scratch / "base")

    def store(self, make: Callable[[Path], None]) -> tuple[float, float, float, float, float]:
        """Return seconds: our add and push, the Repo's, the command's, our next add, the command's next."""
        from dvc.repo import Repo

        bare, command = self._repository(), self._repository()
        source = self._scratch / f"data-{next(self._numbers)}"
        for path in (source, bare / "data", command / "data"):
            make(path)
        os.sync()

        def repo() -> None:
            with Repo(str(bare)) as opened:
                opened.add(str(bare / "data"))
            with Repo(str(bare)) as opened:
                opened.push()

        def ours() -> None:
            self._client.data.add(source)
            self._client.data.push(source)

        repo_seconds, our_seconds = _seconds(repo), _seconds(ours)
        command_seconds = _seconds(lambda: (_dvc(command, "add", "data"), _dvc(command, "push")))
        again = min(_seconds(lambda: self._client.data.add(source)) for _ in range(3))
        add_again = _seconds(lambda: _dvc(command, "add", "data"))
        for path in (bare, command, source, self._client.workspace.dvc_path):
            self._put_away(path)
        return our_seconds, repo_seconds, command_seconds, again, add_again

    def restore(self) -> tuple[float, float]:
        """Return the seconds our pull and `dvc pull` take when the data and the cache are gone."""
        command, source = self._repository(), self._scratch / f"data-{next(self._numbers)}"
        _many_files(source)
        shutil.copytree(source, command / "data")
        version = self._client.data.add(source)
        self._client.data.push(source)
        _dvc(command, "add", "data")
        _dvc(command, "push")
        caches = (self._client.workspace.dvc_path / ".dvc" / "cache", command / ".dvc" / "cache")
        for path in (source, command / "data", *caches):
            self._put_away(path)
        os.sync()
        ours = _seconds(lambda: self._client.data.pull(source))
        command_seconds = _seconds(lambda: _dvc(command, "pull"))
        assert len(list(source.iterdir())) == len(list((command / "data").iterdir())) == version.files
        return ours, command_seconds

    def _put_away(self, path: Path) -> None:
        """Take data out of the way: deleted if it is big, else moved.

        For minutes after many files were deleted, ext4 is slow to create new ones in their place, and that
        would be counted against whoever comes next.
        """
        if path.is_dir() and not any(file.stat().st_size == BIG_BYTES for file in path.rglob("*")):
            path.rename(self._scratch / f"away-{next(self._numbers)}")
        else:
            _remove(path)

    def _repository(self) -> Path:
        """Return a repository of plain DVC as `dvc init` and `dvc remote add` make it."""
        path = self._scratch / f"repository-{next(self._numbers)}"
        (path / ".dvc").mkdir(parents=True)
        (path / ".dvc" / "config").write_text(
            f"[core]\n    no_scm = True\n    analytics = false\n    remote = storage\n"
            f"    site_cache_dir = {path / '.dvc' / 'site'}\n"
            f"['remote \"storage\"']\n    url = {path / 'remote'}\n"
        )
        return path


def _many_files(path: Path) -> None:
    path.mkdir()
    for number in range(FILES):
        (path / f"{number:05}.bin").write_bytes(os.urandom(FILE_BYTES))


def _big_file(path: Path) -> None:
    with path.open("xb") as stream:
        for _ in range(BIG_BYTES // _BLOCK):
            stream.write(os.urandom(_BLOCK))


def _small_file(path: Path) -> None:
    path.write_bytes(os.urandom(FILE_BYTES))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _dvc(repository: Path, *arguments: str) -> None:
    environment = dict(os.environ, DVC_NO_ANALYTICS="1")
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=repository,
        check=True,
        capture_output=True,
        env=environment,
    )
