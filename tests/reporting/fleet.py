"""A base with many projects: one made by the library, the others copies with names and ids of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlops import MLOpsClient
from tests.reporting.demo import past_run

RUNS: Final = 20
_FIRST: Final = "fleet-00000"
# The last digits of an id tell projects apart: the order in which a database keeps ids stays the same.
_DIGITS: Final = 5


@dataclass(frozen=True)
class _File:
    path: list[bytes]
    parts: list[bytes]
    mode: int
    linked: int | None


@dataclass(frozen=True)
class Fleet:
    """The first project, in pieces that are put together anew for each copy."""

    files: list[_File]
    directories: list[list[bytes]]

    def copy(self, base: Path, number: int) -> Path:
        """Write one more project and return its directory."""
        root = os.fsencode(base / name_of(number))
        os.mkdir(root)
        for directory in self.directories:
            os.mkdir(root + b"/" + _joined(directory, number))
        written: dict[int, bytes] = {}
        for file in self.files:
            path = root + b"/" + _joined(file.path, number)
            if file.linked is not None and file.linked in written:
                os.link(written[file.linked], path)
                continue
            with open(path, "wb") as stream:
                stream.write(_joined(file.parts, number))
            os.chmod(path, file.mode)
            if file.linked is not None:
                written[file.linked] = path
        return base / name_of(number)


def name_of(number: int) -> str:
    """Return the name of a project of the fleet."""
    return f"fleet-{number:05d}"


def build_fleet(base: Path, count: int, *, only_runs: bool = False) -> Path:
    """Make a base with so many projects of 20 runs, each with data, a model, a Bento and checks.

    Args:
        base: The directory to make.
        count: How many projects.
        only_runs: Whether they have nothing but the runs.
    """
    (base / ".mlops").mkdir(parents=True)
    fleet = first_project(base, only_runs=only_runs)
    for number in range(1, count):
        fleet.copy(base, number)
    return base


def first_project(base: Path, *, only_runs: bool = False) -> Fleet:
    """Make the first project with the library, and take it apart."""
    client = MLOpsClient.from_project(_FIRST, base_path=base, description="One of many", metadata={"n": 1})
    for index in range(RUNS - 1):
        numbers = {"accuracy": 0.5 + index / 100, "loss": 1 / (index + 1), "f1": 0.4 + index / 50}
        status = "FAILED" if index % 9 == 4 else "FINISHED"
        params = {"depth": str(index), "rate": "0.1", "solver": "lbfgs", "seed": "0", "folds": "5"}
        past_run(client, f"run {index}", days=2 * index + 0.5, status=status, metrics=numbers, params=params)
    if only_runs:
        with client.start_run("best", params={"depth": 9}):
            client.log_metrics({"accuracy": 0.93, "loss": 0.1, "f1": 0.9})
    else:
        _use_everything(client)
    checks = [check["snapshot_id"] for check in client.monitoring.history()]
    ids = [client.workspace.id, *checks, *(run["run_id"] for run in client.list_runs(limit=None, steps=True))]
    client.close()
    return _taken_apart(base / _FIRST, re.compile("|".join(map(re.escape, [_FIRST, *ids])).encode()))


def _use_everything(client: MLOpsClient) -> None:
    import numpy
    import pandas
    from sklearn.linear_model import LogisticRegression

    generator = numpy.random.default_rng(0)
    frame = pandas.DataFrame({"a": generator.normal(size=300), "b": generator.normal(size=300)})
    frame["y"] = (frame["a"] > 0).astype(int)
    data = client.get_workspace_path("outputs") / "train.csv"
    frame.to_csv(data, index=False)
    with client.start_run("best", params={"depth": 9}):
        client.dvc_add(data)
        client.log_metrics({"accuracy": 0.93, "loss": 0.1, "f1": 0.9})
        client.log_text("kept", "notes.txt")
        model = LogisticRegression().fit(frame[["a", "b"]], frame["y"])
        client.log_model(model, "classifier", input_example=frame[["a", "b"]].head())
    client.dvc_push()
    client.promote("classifier", "production")
    client.deploy_model("classifier")
    frame["prediction"] = frame["y"]
    columns = {"target_column": "y", "prediction_column": "prediction"}
    client.set_reference_data(frame, model="classifier:1", **columns)
    client.monitor_predictions(frame, model="classifier:1", **columns)
    client.monitor_predictions(
        frame.assign(a=frame["a"] + 3, b=frame["b"] + 3), model="classifier:1", **columns
    )


def _taken_apart(root: Path, own: re.Pattern[bytes]) -> Fleet:
    top = os.fsencode(root)
    directories: list[list[bytes]] = []
    files: list[_File] = []
    for path, is_directory in _walk(top):
        relative = _split(path[len(top) + 1 :], own)
        if is_directory:
            directories.append(relative)
            continue
        with open(path, "rb") as stream:
            content = stream.read()
        stat = os.stat(path)
        files.append(
            _File(relative, _split(content, own), stat.st_mode, stat.st_ino if stat.st_nlink > 1 else None)
        )
    return Fleet(files, directories)


def _walk(path: bytes) -> Iterator[tuple[bytes, bool]]:
    for entry in sorted(os.scandir(path), key=lambda each: each.name):
        is_directory = entry.is_dir(follow_symlinks=False)
        yield entry.path, is_directory
        if is_directory:
            yield from _walk(entry.path)


def _split(content: bytes, own: re.Pattern[bytes]) -> list[bytes]:
    """Return content in pieces: every second one is the project's name or an id."""
    return re.split(b"(" + own.pattern + b")", content)


def _joined(parts: list[bytes], number: int) -> bytes:
    return b"".join(part if i % 2 == 0 else _of_copy(part, number) for i, part in enumerate(parts))


def _of_copy(part: bytes, number: int) -> bytes:
    if part == _FIRST.encode():
        return name_of(number).encode()
    return part[:-_DIGITS] + f"{number:05x}".encode()
