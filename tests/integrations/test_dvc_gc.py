from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops import MLOpsClient
from mlops.errors import DataIntegrityError, IntegrationUnavailableError
from mlops.integrations.dvc_data import DataVersion, DVCData
from mlops.workspace import links
from mlops.workspace.tools import Link, ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def cache_of(data: DVCData) -> Path:
    return data.context.workspace.dvc_path / ".dvc" / "cache" / "files" / "md5"


def objects(root: Path) -> set[str]:
    return {path.parent.name + path.name for path in root.rglob("*") if path.is_file()}


def versions_of(data: DVCData, source: Path, *contents: str) -> list[DataVersion]:
    added = []
    for content in contents:
        source.write_text(content)
        added.append(data.add(source))
    return added


def refer(data: DVCData, end: str) -> None:
    links.record(data.context.workspace, [Link(end, "run:1", links.INPUT_OF)], operation="test")


def everything(data: DVCData) -> dict[str, bytes]:
    root = data.context.workspace.root_path
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_the_real_one_does(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    first, second, third = versions_of(data, source, "first", "second!", "third")
    data.push()
    refer(data, f"data:{second.md5}")
    before = everything(data)
    planned = data.gc()
    assert everything(data) == before
    assert planned.dry_run
    assert ([v.md5 for v in planned.versions], planned.objects, planned.bytes) == ([first.md5], 1, 5)
    assert (planned.remote_objects, planned.kept, planned.versions[0].pushed) == (0, 2, True)
    assert json.loads(json.dumps(planned.to_dict()))["kept"] == 2

    done = data.gc(dry_run=False)
    assert (done.versions, done.objects, done.bytes) == (planned.versions, 1, 5)
    assert [v.md5 for v in data.history()] == [second.md5, third.md5]
    assert objects(cache_of(data)) == {second.md5, third.md5}
    assert data.gc().versions == ()
    assert data.verify().ok
    assert data.summary()["versions"] == 2


def test_without_remote_a_pushed_version_still_comes_back(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    first, second = versions_of(data, source, "first", "second")
    data.push()
    data.gc(dry_run=False)
    assert data.pull(version=first.md5)[0].md5 == first.md5
    assert source.read_text() == "first"
    # It is not on the list again by that, and what was put there is safe to replace.
    assert [v.md5 for v in data.history()] == [second.md5]
    data.pull()
    assert source.read_text() == "second"

    assert data.gc(remote=True, dry_run=False).remote_objects == 1
    assert objects(data.context.workspace.dvc_path / "remote") == {second.md5}
    with pytest.raises(DataIntegrityError, match="Neither the cache nor the remote") as caught:
        data.pull(version=first.md5)
    assert "gc removed it on" in str(caught.value.hint)
    # Added once more it is a version like any other.
    source.write_text("first")
    assert data.add(source).pushed is False
    data.push()
    assert [v.md5 for v in data.history()] == [second.md5, first.md5]
    assert data.verify().ok


def test_objects_that_versions_share_stay(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "shared").write_text("shared")
    (source / "old").write_text("old")
    first = data.add(source)
    (source / "old").write_text("new")
    second = data.add(source)
    twin = tmp_path / "twin"
    twin.write_text("old")
    data.add(twin)
    data.push()
    result = data.gc(dry_run=False, remote=True)
    # "old" is a dataset of its own, so only the list of the first version goes.
    assert [v.md5 for v in result.versions] == [first.md5]
    assert (result.objects, result.remote_objects) == (1, 1)
    assert first.md5 not in objects(cache_of(data))
    assert second.md5 in objects(cache_of(data))
    shutil.rmtree(cache_of(data))
    shutil.rmtree(source)
    twin.unlink()
    data.pull()
    assert twin.read_text() == "old"
    assert data.verify().ok


@pytest.mark.parametrize("end", ["data:{md5}", "data:{short}"])
def test_whatever_a_link_names_stays(data: DVCData, tmp_path: Path, end: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "x").write_text("1")
    version = data.add(folder)
    (folder / "x").write_text("2")
    data.add(folder)
    refer(data, end.format(md5=version.md5, short=version.md5[:12]))
    assert data.gc().versions == ()


def test_what_is_in_plain_sight_stays(data: DVCData, tmp_path: Path) -> None:
    held, pointed = tmp_path / "held.csv", tmp_path / "pointed.csv"
    old = versions_of(data, held, "1", "22", "333")
    data.pull(version=old[0])
    named = versions_of(data, pointed, "4", "55", "666")
    (tmp_path / "pointed.csv.dvc").write_text(named[0].pointer)
    gone = {version.md5 for version in data.gc(dry_run=False).versions}
    assert gone == {old[1].md5, named[1].md5}
    assert held.read_text() == "1"


def test_what_runs_read_stays_and_the_rest_of_the_client_is_asked(base: Path, tmp_path: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    source = tmp_path / "train.csv"
    source.write_text("first")
    with client.start_run():
        first = client.dvc_add(source)
    source.write_text("second")
    client.dvc_add(source)
    source.write_text("third")
    client.dvc_add(source)
    (links.log_file(client.workspace)).unlink(missing_ok=True)
    result = client.data.gc(dry_run=False)
    assert len(result.versions) == 1
    assert first.md5 in {version.md5 for version in client.data.history()}
    client.close()


def test_it_refuses_where_links_cannot_be_read(data: DVCData, tmp_path: Path) -> None:
    versions_of(data, tmp_path / "a.csv", "1", "22")
    links.log_file(data.context.workspace).write_text("no link\n")
    with pytest.raises(IntegrationUnavailableError, match="no telling which versions are in use") as caught:
        data.gc(dry_run=False)
    assert "links" in caught.value.details["errors"]
    assert len(data.history()) == 2
    assert len(objects(cache_of(data))) == 2


def test_it_refuses_where_a_kept_version_lost_its_list(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "x").write_text("1")
    old = data.add(source)
    (source / "x").write_text("2")
    head = data.add(source)
    (cache_of(data) / head.md5[:2] / head.md5[2:]).unlink()
    with pytest.raises(DataIntegrityError, match="The file list of"):
        data.gc(dry_run=False)
    assert old.md5 in objects(cache_of(data))
    data.add(source)
    assert len(data.gc(dry_run=False).versions) == 1
    assert data.verify().ok


def test_what_others_pushed_to_a_shared_remote_stays(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    mine = DVCData(make_context(dvc_remote_path=str(tmp_path / "nas")))
    context = make_context("other", dvc_remote_path=str(tmp_path / "nas" / "churn"))
    context.workspace.project_name = "churn"
    theirs = DVCData(context)
    shared = tmp_path / "theirs"
    shared.mkdir()
    (shared / "same").write_text("first")
    (shared / "own").write_text("own")
    version = theirs.add(shared)
    theirs.push()
    (first, _) = versions_of(mine, tmp_path / "a.csv", "first", "second")
    mine.push()
    result = mine.gc(dry_run=False, remote=True)
    # The file of the version removed is also in their directory.
    assert ([v.md5 for v in result.versions], result.remote_objects) == ([first.md5], 0)
    shutil.rmtree(cache_of(theirs))
    shutil.rmtree(shared)
    assert theirs.pull(version=version)[0].files == 2


def test_litter_of_killed_processes_goes_once_it_is_old(data: DVCData, tmp_path: Path) -> None:
    versions_of(data, tmp_path / "a.csv", "1")
    folder = cache_of(data) / "ab"
    folder.mkdir(exist_ok=True)
    for name, age in (("old", 90_000), ("young", 10)):
        path = folder / f".{name}.tmp"
        path.write_text("torn")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    (folder / ("0" * 30)).write_text("an add that was killed before its record")
    result = data.gc(dry_run=False)
    assert (result.objects, result.versions) == (2, ())
    assert [path.name for path in folder.iterdir()] == [".young.tmp"]


def test_gc_of_nothing_creates_nothing(data: DVCData) -> None:
    assert data.gc().to_dict()["versions"] == []
    assert data.gc(dry_run=False, remote=True).objects == 0
    assert not data.context.workspace.dvc_path.joinpath("ledger.jsonl").exists()


def test_an_add_that_a_gc_overtakes_is_refused_and_works_again(
    data: DVCData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops.integrations.dvc_data import adding

    versions_of(data, tmp_path / "other.csv", "1")
    source = tmp_path / "a.csv"
    source.write_text("content")
    record = adding.record

    def late(*arguments: object, **keywords: object) -> object:
        DVCData(data.context).gc(dry_run=False)
        return record(*arguments, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(adding, "record", late)
        with pytest.raises(DataIntegrityError, match="cleaned up while it was being added"):
            data.add(source)
    assert len(data.history()) == 1
    data.add(source)
    assert data.verify().ok


def test_a_push_that_a_gc_of_the_remote_overtakes_sends_again(
    data: DVCData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops.integrations.dvc_data.directory_remote import DirectoryRemote

    source = tmp_path / "a.csv"
    first, *_ = versions_of(data, source, "first", "second", "third")
    data.push()
    versions_of(data, source, "fourth")
    upload = DirectoryRemote.upload
    done = []

    def late(self: DirectoryRemote, *arguments: object) -> object:
        if not done:
            done.append(DVCData(data.context).gc(dry_run=False, remote=True))
            # Somebody adds again what was just taken out of the remote that this push has looked at before.
            versions_of(data, source, "first", "fourth")
        return upload(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryRemote, "upload", late)
        result = data.push()
    assert len(done[0].versions) == 3
    assert {version.md5 for version in result.versions} >= {first.md5}
    assert {version.pushed for version in data.history()} == {True}
    assert data.push().objects == 0
    assert data.verify().ok
