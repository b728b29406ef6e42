from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import (
    ConfirmationRequiredError,
    DataIntegrityError,
    DataNotFoundError,
    IsolationError,
)
from mlops.integrations.dvc_data import DataState, DVCData
from mlops.workspace.links import COPIED_TO
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def projects(make_context: MakeContext) -> tuple[DVCData, DVCData]:
    return DVCData(make_context("churn")), DVCData(make_context("fraud"))


def write_set(source: Path) -> Path:
    source.mkdir()
    for name in ("a ä", "b", "same"):
        (source / name).write_text("a" if name == "same" else name[0])
    return source


def inodes(data: DVCData) -> set[int]:
    return {p.stat().st_ino for p in data.context.workspace.root_path.rglob("*") if p.is_file()}


def test_a_version_becomes_a_dataset_of_the_other_project(
    projects: tuple[DVCData, DVCData], tmp_path: Path
) -> None:
    churn, fraud = projects
    source = write_set(tmp_path / "images")
    version = churn.add(source)
    (source / "b").write_text("newer")
    churn.add(source)
    seen: list[tuple[int, int]] = []
    copy = fraud.copy_from(churn, version, progress=lambda done, total: seen.append((done, total)))
    assert (copy.md5, copy.size, copy.files) == (version.md5, 3, 3)
    assert copy.name == "workspace:outputs/images"
    assert {path.name: path.read_text() for path in copy.path.iterdir()} == {
        "a ä": "a",
        "b": "b",
        "same": "a",
    }
    assert seen[-1][0] == seen[-1][1] > 0
    assert fraud.status()[0].state is DataState.CLEAN
    assert inodes(churn).isdisjoint(inodes(fraud))
    assert fraud.verify().ok
    # It lives without the other project.
    fraud.push()
    shutil.rmtree(churn.context.workspace.root_path)
    shutil.rmtree(copy.path)
    assert fraud.pull()[0].md5 == version.md5


def test_both_projects_say_so_and_once(projects: tuple[DVCData, DVCData], tmp_path: Path) -> None:
    churn, fraud = projects
    source = tmp_path / "train.csv"
    source.write_text("1")
    version = churn.add(source)
    for _ in range(2):
        fraud.copy_from(churn, source)
    (there,), (here,) = list(fraud.links()), list(churn.links())
    assert (there.source, there.target) == (f"churn/data:{version.md5}", f"data:{version.md5}")
    assert (here.source, here.target) == (f"data:{version.md5}", f"fraud/data:{version.md5}")
    assert {here.relation, there.relation} == {COPIED_TO}
    assert len(fraud.history()) == 1
    # What was copied keeps its origin through a gc of both.
    assert churn.gc(dry_run=False).versions == fraud.gc(dry_run=False).versions == ()


def test_a_newer_version_of_the_same_replaces_the_older(
    projects: tuple[DVCData, DVCData], tmp_path: Path
) -> None:
    churn, fraud = projects
    source, place = tmp_path / "train.csv", tmp_path / "fraud" / "train.csv"
    for content in ("1", "22"):
        source.write_text(content)
        churn.add(source)
        copy = fraud.copy_from(churn, source, path=place)
        assert (copy.path, place.read_text()) == (place, content)
    assert [version.size for version in fraud.history(place)] == [1, 2]
    assert len(list(fraud.links())) == 2


def test_content_of_the_users_own_is_not_replaced(projects: tuple[DVCData, DVCData], tmp_path: Path) -> None:
    churn, fraud = projects
    source, place = tmp_path / "train.csv", tmp_path / "mine.csv"
    source.write_text("1")
    place.write_text("mine")
    churn.add(source)
    with pytest.raises(ConfirmationRequiredError, match=r"mine\.csv has content"):
        fraud.copy_from(churn, source, path=place)
    assert place.read_text() == "mine"
    assert fraud.datasets() == list(churn.links()) == list(fraud.links()) == []
    fraud.copy_from(churn, source, path=place, force=True)
    assert place.read_text() == "1"


def test_what_cannot_be_copied_is_refused(projects: tuple[DVCData, DVCData], tmp_path: Path) -> None:
    churn, fraud = projects
    source = tmp_path / "train.csv"
    source.write_text("1")
    version = churn.add(source)
    with pytest.raises(DataNotFoundError, match="not a dataset of this project") as caught:
        fraud.copy_from(churn, "nothing.csv")
    assert (caught.value.workspace, caught.value.operation) == ("churn", "copy_from")
    with pytest.raises(IsolationError, match="in 'churn' already"):
        churn.copy_from(DVCData(churn.context), source)
    for data in projects:
        with pytest.raises(IsolationError, match="DVC storage"):
            fraud.copy_from(churn, source, path=data.context.workspace.dvc_path / "x")
    cached = churn.context.workspace.dvc_path / ".dvc/cache/files/md5" / version.md5[:2] / version.md5[2:]
    cached.chmod(0o644)
    cached.write_text("2")
    with pytest.raises(DataIntegrityError, match=r"train\.csv@"):
        fraud.copy_from(churn, source)
    assert fraud.datasets() == []
    churn.add(source)
    assert fraud.copy_from(churn, source).md5 == version.md5


def test_what_only_the_other_projects_remote_has_is_fetched(
    projects: tuple[DVCData, DVCData], tmp_path: Path
) -> None:
    churn, fraud = projects
    version = churn.add(write_set(tmp_path / "images"))
    churn.push()
    shutil.rmtree(churn.context.workspace.dvc_path / ".dvc" / "cache")
    assert fraud.copy_from(churn, version.md5).md5 == version.md5
    assert fraud.verify().ok


def test_an_export_keeps_origin_and_copies(
    projects: tuple[DVCData, DVCData], make_context: MakeContext, tmp_path: Path
) -> None:
    churn, fraud = projects
    (tmp_path / "a.csv").write_text("1")
    churn.add(tmp_path / "a.csv")
    fraud.copy_from(churn, tmp_path / "a.csv")
    for data in projects:
        (tmp_path / "export").mkdir()
        data.export(tmp_path / "export")
        restored = DVCData(make_context(f"new-{data.context.workspace.project_name}"))
        restored.restore(tmp_path / "export")
        assert list(restored.links()) == list(data.links())
        shutil.rmtree(tmp_path / "export")
