"""What the last report found, kept in the user's cache, so that the next one reads only what changed.

A project's facts are kept with a digest of the times, sizes and inodes of everything in its workspace. They
hold as long as the digest is the same; what depends on the moment (days, next firings, servers) is never
kept. The cache can be deleted at any time, and a damaged one is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

# A change within the tick of the file system's clock may leave no trace: what is so fresh is not kept.
FRESH_NANOSECONDS: Final = 2_000_000_000
# A workspace with more in it costs nearly as much to compare as to read.
MOST_PATHS: Final = 20_000
# No name of a file has a slash, so two of them part paths.
SEPARATOR: Final = "//"
# Another report that is being kept at the same time.
_WAIT_SECONDS: Final = 1.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS validity (key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (
    name TEXT PRIMARY KEY, state BLOB NOT NULL, paths BLOB NOT NULL, mounted TEXT,
    report TEXT NOT NULL, schedules TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is kept of one project.

    Args:
        name: The project.
        state: Digest of its files.
        paths: What the digest is of, relative to the workspace.
        mounted: A directory outside that was there, or None.
        report: Its encoded facts, as JSON.
        schedules: Its section ``schedules``, as JSON.
    """

    name: str
    state: bytes
    paths: bytes
    mounted: str | None
    report: str
    schedules: str


class Memory:
    """What was found in one base.

    Args:
        base: The base path.
    """

    def __init__(self, base: Path) -> None:
        from platformdirs import user_cache_path

        name = hashlib.sha256(str(base).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        self._path = user_cache_path("mlops-workspaces") / "reports" / f"{name}.db"

    def exists(self) -> bool:
        """Say whether there is a cache of the base."""
        return self._path.exists()

    def recall(self, key: str, names: Sequence[str] | None = None) -> dict[str, Remembered]:
        """Return what is kept, by project; nothing if that cannot be read.

        Args:
            key: What else the facts depend on; nothing holds that was kept with another key.
            names: Only of these projects; None for all.
        """
        if not self.exists():
            return {}
        statement = "SELECT name, state, paths, mounted, report, schedules FROM projects"
        found: dict[str, Remembered] = {}
        with self._tolerant("read"), self._open() as connection:
            if connection.execute("SELECT key FROM validity").fetchone() != (key,):
                return {}
            for row in connection.execute(statement):
                if names is None or row[0] in names:
                    found[row[0]] = Remembered(*row)
        return found

    def keep(self, key: str, found: Iterable[Remembered], *, known: Iterable[str] | None) -> None:
        """Keep what was found anew; what cannot be written is not kept.

        Args:
            key: As for ``recall``; with another key everything is forgotten.
            found: The projects.
            known: All projects of the base, so that others are forgotten; None to forget none.
        """
        with self._tolerant("written"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as connection, connection:
                # What a power failure may cost is read again.
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(_TABLES)
                if connection.execute("SELECT key FROM validity").fetchone() != (key,):
                    connection.execute("DELETE FROM projects")
                    connection.execute("DELETE FROM validity")
                    connection.execute("INSERT INTO validity VALUES (?)", (key,))
                if known is not None:
                    kept = {name for (name,) in connection.execute("SELECT name FROM projects")}
                    gone = [(name,) for name in kept.difference(known)]
                    connection.executemany("DELETE FROM projects WHERE name = ?", gone)
                connection.executemany(
                    "INSERT OR REPLACE INTO projects VALUES (?, ?, ?, ?, ?, ?)",
                    [(e.name, e.state, e.paths, e.mounted, e.report, e.schedules) for e in found],
                )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as connection:
            yield connection

    @contextlib.contextmanager
    def _tolerant(self, what: str) -> Iterator[None]:
        """Do without the cache if it cannot be used, and remove it if it is damaged."""
        try:
            yield
        except sqlite3.OperationalError as error:
            logger.info("The cache of reports %s cannot be %s: %s", self._path, what, error)
        except (sqlite3.DatabaseError, UnicodeError) as error:
            logger.info("The cache of reports %s is damaged and made anew: %s", self._path, error)
            with contextlib.suppress(OSError):
                self._path.unlink()
        except OSError as error:
            logger.info("The cache of reports %s cannot be %s: %s", self._path, what, error)
