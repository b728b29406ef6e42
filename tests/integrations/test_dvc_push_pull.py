from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.errors import (
    ConfirmationRequiredError,
    DataIntegrityError,
    DataNotFoundError,
    IntegrationError,
    IntegrationUnavailableError,
    IsolationError,
)
from mlops.integrations.dvc_data import DataState, DataVersion, DVCData
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def cache_of(data: DVCData) -> Path:
    return data.context.workspace.dvc_path / ".dvc" / "cache" / "files" / "md5"


def remote_of(data: DVCData) -> Path:
    return data.context.workspace.dvc_path / "remote" / "files" / "md5"


def corrupt(path: Path) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 1 for byte in content))
    path.chmod(0o444)


def write_set(source: Path, **files: str) -> Path:
    source.mkdir(exist_ok=True)
    for name, content in files.items():
        (source / name).write_text(content)
    return source


def read_set(source: Path) -> dict[str, str]:
    return {p.relative_to(source).as_posix(): p.read_text() for p in source.rglob("*") if p.is_file()}


def two_versions(data: DVCData, tmp_path: Path) -> tuple[Path, DataVersion, DataVersion]:
    source = tmp_path / "train.csv"
    source.write_text("first")
    first = data.add(source)
    source.write_text("second")
    return source, first, data.add(source)


def test_any_version_comes_back(data: DVCData, tmp_path: Path) -> None:
    source, first, second = two_versions(data, tmp_path)
    assert [v.md5 for v in data.history(source)] == [first.md5, second.md5]
    assert data.find(first.md5[:6]).md5 == first.md5

    assert [v.md5 for v in data.pull(source, version=first.md5[:8])] == [first.md5]
    assert source.read_text() == "first"
    (status,) = data.status()
    assert (status.state, status.on_disk, status.version.md5) == (DataState.CLEAN, first.md5, second.md5)
    # An older version on disk does not change which one is current.
    assert [v.md5 for v in data.pull()] == [second.md5]
    assert source.read_text() == "second"
    assert data.pull(version=first)[0].md5 == first.md5
    assert data.pull(second.name)[0].md5 == second.md5
    copy = tmp_path / "copies" / "old.csv"
    data.pull(source, version=first.md5, destination=copy)
    assert (copy.read_text(), source.read_text()) == ("first", "second")


def test_what_is_restored_is_a_file_of_its_own(data: DVCData, tmp_path: Path) -> None:
    source, first, _ = two_versions(data, tmp_path)
    source.chmod(0o600)
    data.pull(version=first)
    assert source.stat().st_nlink == 1
    assert source.stat().st_mode & 0o777 == 0o600
    source.write_text("edited")
    assert data.verify().ok
    data.pull(version=first, destination=tmp_path / "new.csv")
    (tmp_path / "new.csv").write_text("edited")
    assert data.verify().ok


def test_versions_come_back_when_the_cache_is_gone(data: DVCData, tmp_path: Path) -> None:
    source, first, _second = two_versions(data, tmp_path)
    images = write_set(tmp_path / "images", a="1", b="2")
    old = data.add(images)
    write_set(images, b="3", c="4")
    (images / "a").unlink()
    data.add(images)
    result = data.push()
    assert (result.objects, len(result.versions)) == (2 + 4 + 2, 4)
    assert all(version.pushed for version in [*data.history(), *result.versions])

    shutil.rmtree(cache_of(data))
    data.pull(version=first)
    data.pull(images, version=old)
    assert source.read_text() == "first"
    assert read_set(images) == {"a": "1", "b": "2"}
    shutil.rmtree(cache_of(data))
    source.unlink()
    shutil.rmtree(images)
    data.pull()
    assert source.read_text() == "second"
    assert read_set(images) == {"b": "3", "c": "4"}
    assert {status.state for status in data.status()} == {DataState.CLEAN}


def test_versions_come_back_when_only_the_remote_is_left(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    data = DVCData(make_context(dvc_remote_path=str(tmp_path / "nas")))
    images = write_set(tmp_path / "images", a="1", b="2")
    file, directory = data.add(images / "a", pointer=False), data.add(images)
    data.push()
    shutil.rmtree(data.context.workspace.dvc_path)
    assert data.datasets() == []

    (restored,) = data.pull(version=file.md5, destination=tmp_path / "back.txt")
    assert (tmp_path / "back.txt").read_text() == "1"
    assert (restored.md5, restored.size, restored.pushed) == (file.md5, 1, None)
    shutil.rmtree(data.context.workspace.dvc_path)
    (restored,) = data.pull(DataVersion.from_dict(directory.to_dict()), destination=tmp_path / "back")
    assert read_set(tmp_path / "back") == {"a": "1", "b": "2"}
    assert restored.files == 2
    with pytest.raises(DataNotFoundError, match="no version"):
        data.pull(version=file.md5)
    with pytest.raises(DataIntegrityError, match="Neither the cache nor the remote"):
        data.pull(version="0" * 32, destination=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_edits_are_not_overwritten_without_force(data: DVCData, tmp_path: Path) -> None:
    source, first, second = two_versions(data, tmp_path)
    source.write_text("my edit")
    for arguments in ({}, {"version": first}):
        with pytest.raises(ConfirmationRequiredError, match=r"train\.csv has content that no version holds"):
            data.pull(source, **arguments)
    assert source.read_text() == "my edit"
    other = tmp_path / "other.csv"
    other.write_text("not ours")
    with pytest.raises(ConfirmationRequiredError, match=r"other\.csv"):
        data.pull(source, destination=other)
    assert data.status()[0].state is DataState.MODIFIED
    data.pull(source, force=True)
    assert source.read_text() == "second"
    assert second.md5 == data.status()[0].on_disk


def test_new_files_in_a_directory_are_not_removed_without_force(data: DVCData, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", a="1", b="2")
    data.add(images)
    data.add(images / "a")
    write_set(images, mine="new")
    (images / "b").unlink()
    with pytest.raises(ConfirmationRequiredError, match=r"mine has content") as caught:
        data.pull(images)
    assert caught.value.details == {"files": ["mine"]}
    assert "b" not in read_set(images)
    data.pull(images, force=True)
    assert sorted(read_set(images)) == ["a", "a.dvc", "b"]


def test_a_deleted_file_of_a_directory_comes_back(data: DVCData, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", a="1", b="2")
    data.add(images)
    (images / "a").unlink()
    kept = (images / "b").stat()
    assert data.status()[0].changes == ("a",)
    data.pull()
    assert read_set(images) == {"a": "1", "b": "2"}
    assert (images / "b").stat().st_mtime_ns == kept.st_mtime_ns


def test_content_whose_only_copy_is_the_source_is_not_replaced(data: DVCData, tmp_path: Path) -> None:
    source, first, second = two_versions(data, tmp_path)
    (cache_of(data) / second.md5[:2] / second.md5[2:]).unlink()
    with pytest.raises(ConfirmationRequiredError):
        data.pull(source, version=first)
    assert source.read_text() == "second"
    # Adding stores it again, though the source has not changed.
    data.add(source)
    data.pull(source, version=first)
    assert source.read_text() == "first"


def test_a_dataset_may_change_between_file_and_directory(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "thing"
    source.write_text("file")
    file = data.add(source)
    source.unlink()
    write_set(source, inner="directory")
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "x").write_text("x")
    directory = data.add(source)
    data.pull(version=file)
    assert source.read_text() == "file"
    data.pull(version=directory)
    assert read_set(source) == {"inner": "directory", "deep/er/x": "x"}
    data.pull(version=file)
    assert source.read_text() == "file"


def test_unknown_and_ambiguous_targets(data: DVCData, tmp_path: Path) -> None:
    source, first, _ = two_versions(data, tmp_path)
    for call in (
        lambda: data.pull("nope.csv"),
        lambda: data.pull(version="abcd"),
        lambda: data.push("nope.csv"),
        lambda: data.find("abcd"),
        lambda: data.history("nope.csv"),
    ):
        with pytest.raises(DataNotFoundError) as caught:
            call()
        assert caught.value.hint
        assert caught.value.tool == "dvc"
    with pytest.raises(DataNotFoundError, match="2 versions"):
        data.find("")
    with pytest.raises(IntegrationError, match="One version"):
        data.pull([source, source], version=first)
    twin = tmp_path / "twin.csv"
    twin.write_text("first")
    data.add(twin)
    with pytest.raises(DataNotFoundError, match="2 datasets"):
        data.pull(version=first.md5)
    with pytest.raises(IntegrationError, match="One destination"):
        data.pull(destination=tmp_path / "x")
    with pytest.raises(IsolationError):
        data.pull(source, destination=data.context.workspace.dvc_path / "x")


def test_push_selects_and_repeats_nothing(data: DVCData, tmp_path: Path) -> None:
    source, first, second = two_versions(data, tmp_path)
    assert data.summary()["unpushed"] == 2
    assert data.push(source).versions == (replace(second, pushed=True),)
    assert [version.pushed for version in data.history()] == [False, True]
    assert data.status()[0].unpushed == 1
    assert data.push([first.md5, first]).objects == 1
    result = data.push()
    assert (result.objects, result.bytes, len(result.versions)) == (0, 0, 2)
    assert data.add(source).pushed is True
    assert (tmp_path / "none").exists() is False


def test_a_lost_or_damaged_object_is_named_and_the_rest_is_pushed(data: DVCData, tmp_path: Path) -> None:
    source, first, second = two_versions(data, tmp_path)
    images = write_set(tmp_path / "images", a="1", b="2")
    directory = data.add(images)
    lost = data.add(write_set(tmp_path / "more", c="3") / "c")
    (cache_of(data) / lost.md5[:2] / lost.md5[2:]).unlink()
    corrupt(cache_of(data) / first.md5[:2] / first.md5[2:])
    with pytest.raises(DataIntegrityError, match="Neither the cache nor the remote") as caught:
        data.push()
    assert caught.value.details["missing"] == [f"{first.name}@{first.md5}", f"{lost.name}@{lost.md5}"]
    assert {v.md5 for v in data.history() if v.pushed} == {second.md5, directory.md5}
    assert not (remote_of(data) / first.md5[:2] / first.md5[2:]).exists()
    data.add(tmp_path / "more" / "c")
    source.write_text("first")
    data.add(source)
    assert len(data.push().versions) == 4
    assert data.verify().ok


def test_a_directory_with_a_lost_file_is_not_called_pushed(data: DVCData, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", a="1", b="2")
    directory = data.add(images)
    child = data.add(images / "b", pointer=False)
    (cache_of(data) / child.md5[:2] / child.md5[2:]).unlink()
    with pytest.raises(DataIntegrityError, match=r"b of external:") as caught:
        data.push(images)
    assert caught.value.details["missing"] == [f"b of {directory.name}@{directory.md5}"]
    assert not (remote_of(data) / directory.md5[:2] / directory.md5[2:]).exists()
    assert data.summary()["unpushed"] == 2


def test_a_remote_that_lost_objects_is_healed(data: DVCData, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", a="1", b="2", c="3")
    version = data.add(images)
    data.push()
    gone, cut, *_ = [path for path in remote_of(data).rglob("*") if path.is_file() and path.suffix != ".dir"]
    gone.unlink()
    cut.chmod(0o644)
    cut.write_bytes(b"")
    assert data.push(images).objects == 2
    shutil.rmtree(cache_of(data))
    shutil.rmtree(images)
    data.pull(version=version)
    assert read_set(images) == {"a": "1", "b": "2", "c": "3"}


def test_a_damaged_cache_is_healed_from_the_remote(data: DVCData, tmp_path: Path) -> None:
    source, first, _ = two_versions(data, tmp_path)
    data.push()
    corrupt(cache_of(data) / first.md5[:2] / first.md5[2:])
    report = data.verify()
    assert not report.ok
    assert [Path(path).name for path in report.damaged] == [first.md5[2:]]
    data.pull(version=first)
    assert source.read_text() == "first"
    assert data.verify().ok
    corrupt(cache_of(data) / first.md5[:2] / first.md5[2:])
    corrupt(remote_of(data) / first.md5[:2] / first.md5[2:])
    assert len(data.verify().damaged) == 2
    assert data.verify().missing == (f"{first.name}@{first.md5}",)
    with pytest.raises(DataIntegrityError):
        data.pull(version=first, destination=tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "listing",
    [
        b'[{"md5": "c4ca4238a0b923820dcc509a6f75849b", "relpath": "../../evil"}]',
        b'[{"md5": "c4ca4238a0b923820dcc509a6f75849b", "relpath": "/tmp/evil"}]',
        b'[{"md5": "c4ca4238a0b923820dcc509a6f75849b", "relpath": ""}]',
        b'[{"md5": "../../../../../../evil", "relpath": "a"}]',
        b'{"md5": 1}',
        b"no json",
    ],
)
def test_a_listing_cannot_write_outside_its_target(data: DVCData, tmp_path: Path, listing: bytes) -> None:
    data.ensure()
    md5 = hashlib.md5(listing).hexdigest() + ".dir"  # noqa: S324 - DVC's hash
    (remote_of(data) / md5[:2]).mkdir(parents=True)
    (remote_of(data) / md5[:2] / md5[2:]).write_bytes(listing)
    with pytest.raises(DataIntegrityError, match="the file list of b@"):
        data.pull(version=md5, destination=tmp_path / "a" / "b")
    assert not (tmp_path / "evil").exists()


def move(data: DVCData, target: Path, *, copy: bool = False) -> DVCData:
    root = data.context.workspace.root_path
    (shutil.copytree if copy else shutil.move)(root, target)
    workspace = ProjectWorkspace.load_metadata(target, project_name=target.name)
    return DVCData(ToolContext(workspace, data.context.settings))


def test_a_moved_workspace_keeps_working(data: DVCData, base: Path, tmp_path: Path) -> None:
    own = data.context.workspace.outputs_path / "own.csv"
    own.write_text("own")
    source, _first, _second = two_versions(data, tmp_path)
    data.add(own)
    data.push()
    moved = move(data, base / "renamed")
    assert moved.summary()["unpushed"] == 0
    (moved.context.workspace.outputs_path / "own.csv").unlink()
    source.unlink()
    moved.pull()
    assert (moved.context.workspace.outputs_path / "own.csv").read_text() == "own"
    assert source.read_text() == "second"
    source.write_text("third")
    moved.add(source)
    assert moved.push().objects == 1
    assert not (base / "churn").exists()
    config = (moved.context.workspace.dvc_path / ".dvc" / "config").read_text()
    assert str(base) not in config


def test_a_copied_workspace_never_touches_the_original(data: DVCData, base: Path, tmp_path: Path) -> None:
    own = data.context.workspace.outputs_path / "own.csv"
    own.write_text("own")
    data.add(own)
    source, first, _ = two_versions(data, tmp_path)
    data.push()

    def state() -> dict[Path, tuple[int, int, int]]:
        paths = [source, *data.context.workspace.root_path.rglob("*")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = state()
    copied = move(data, base / "copy", copy=True)
    copied.pull("workspace:outputs/own.csv", force=True)
    with pytest.raises(IsolationError, match=r"train\.csv"):
        copied.pull(first.name, version=first)
    copied.pull(first.name, version=first, destination=tmp_path / "elsewhere.csv")
    (copied.context.workspace.outputs_path / "own.csv").write_text("changed")
    copied.add(copied.context.workspace.outputs_path / "own.csv")
    copied.push()
    assert state() == before
    assert (tmp_path / "elsewhere.csv").read_text() == "first"


def git(*arguments: str, cwd: Path) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)


def dvc(*arguments: str, cwd: Path) -> str:
    environment = dict(os.environ, DVC_NO_ANALYTICS="1", DVC_SITE_CACHE_DIR=str(cwd.parent / "site"))
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_team_mate_with_plain_dvc_and_git_gets_the_data(make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    data = DVCData(make_context(dvc_remote_path=str(tmp_path / "nas")))
    repository = tmp_path / "repo"
    repository.mkdir()
    git("init", "-q", cwd=repository)
    (repository / "größe 1.csv").write_text("1")
    write_set(repository / "images", a="1", b="2")
    data.add(repository / "größe 1.csv")
    data.add(repository / "images")
    data.push()
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config").write_text(
        f"[core]\n    remote = team\n['remote \"team\"']\n    url = {tmp_path / 'nas' / 'churn'}\n"
    )
    git("add", "größe 1.csv.dvc", "images.dvc", ".dvc/config", cwd=repository)
    git("commit", "-qm", "data", cwd=repository)
    clone = tmp_path / "clone"
    git("clone", "-q", str(repository), str(clone), cwd=tmp_path)
    dvc("pull", cwd=clone)
    assert (clone / "größe 1.csv").read_text() == "1"
    assert read_set(clone / "images") == {"a": "1", "b": "2"}
    assert "up to date" in dvc("status", cwd=clone)


def test_a_team_mate_with_this_package_gets_the_data_by_the_pointer(
    make_context: MakeContext, tmp_path: Path
) -> None:
    (tmp_path / "nas").mkdir()
    first = DVCData(make_context(dvc_remote_path=str(tmp_path / "nas")))
    images = write_set(tmp_path / "images", a="1", b="2")
    version = first.add(images)
    first.push()
    (tmp_path / "clone" / "base").mkdir(parents=True)
    shutil.copy(tmp_path / "images.dvc", tmp_path / "clone" / "images.dvc")
    workspace = ProjectWorkspace("churn", tmp_path / "clone" / "base" / "churn")
    workspace.ensure_directories()
    second = DVCData(ToolContext(workspace, first.context.settings))
    (pulled,) = second.pull(tmp_path / "clone" / "images")
    assert (pulled.md5, pulled.size, pulled.files) == (version.md5, 2, 2)
    assert read_set(tmp_path / "clone" / "images") == {"a": "1", "b": "2"}
    assert second.status()[0].state is DataState.CLEAN
    assert second.add(tmp_path / "clone" / "images").md5 == version.md5


def test_plain_dvc_understands_the_vault(data: DVCData, tmp_path: Path) -> None:
    images = write_set(tmp_path / "images", a="1", b="2")
    data.add(images)
    data.push()
    shutil.rmtree(cache_of(data))
    vault = data.context.workspace.dvc_path
    dvc("pull", cwd=vault)
    (payload,) = vault.glob("datasets/*/payload")
    assert read_set(payload) == {"a": "1", "b": "2"}
    data.add(images)
    assert data.verify().ok


def test_an_unmounted_remote_is_not_replaced_by_a_directory(
    make_context: MakeContext, tmp_path: Path
) -> None:
    data = DVCData(make_context(dvc_remote_path=str(tmp_path / "mnt" / "nas")))
    source = tmp_path / "a.csv"
    source.write_text("1")
    data.add(source)
    with pytest.raises(IntegrationUnavailableError, match=r"mnt/nas does not exist"):
        data.push()
    assert not (tmp_path / "mnt").exists()
    # What the cache has needs no remote.
    source.unlink()
    data.pull()
    assert source.read_text() == "1"
    shutil.rmtree(cache_of(data))
    source.unlink()
    with pytest.raises(IntegrationUnavailableError):
        data.pull()
    (tmp_path / "mnt" / "nas").mkdir(parents=True)
    with pytest.raises(DataIntegrityError):
        data.pull()
