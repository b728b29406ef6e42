from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.errors import DataIntegrityError, DataNotFoundError, IntegrationError, IsolationError
from mlops.integrations.dvc_data import DataState, DataVersion, DVCData
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def stored_bytes(data: DVCData) -> int:
    cache = data.context.workspace.dvc_path / ".dvc" / "cache"
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())


def dvc_hash(path: Path) -> tuple[str, int, int | None]:
    """What DVC itself makes of a file or directory."""
    from dvc.fs import localfs
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import get_odb

    odb = get_odb(localfs, str(path.parent / "odb"), hash_name="md5")
    _, meta, obj = build(odb, str(path), localfs, "md5", dry_run=True)
    return obj.hash_info.value, meta.size, meta.nfiles


@pytest.mark.parametrize(
    "name",
    [
        "train.csv",
        "with space, comma.csv",
        "größe #1 100%.csv",
        "x.dvc",
        "dvc.yaml",
        "2024",
        "1e5",
        "yes",
        "- a: b",
        "'quoted'.csv",
        'double".csv',
        "数据.parquet",
    ],
)
def test_a_file_of_any_name_has_the_hash_and_pointer_dvc_gives_it(
    data: DVCData, tmp_path: Path, name: str
) -> None:
    source = tmp_path / name
    source.write_bytes(b"id,label\n1,0\n")
    version = data.add(source)

    assert (version.md5, version.size, version.files) == (dvc_hash(source)[0], 13, 1)
    assert version.path == source
    assert version.added_at.tzinfo is not None
    assert version.digest == version.md5
    from dvc.utils.serialize import loads_yaml

    pointer = (tmp_path / f"{name}.dvc").read_text(encoding="utf-8")
    assert pointer == version.pointer
    assert loads_yaml(pointer) == {"outs": [{"md5": version.md5, "size": 13, "hash": "md5", "path": name}]}


def test_a_directory_has_the_hash_dvc_gives_it(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "images"
    for name in ("a.txt", "ä b.txt", "sub/c.txt", "sub/d/e.dvc", "sub/dvc.yaml", "same1", "same2", "empty"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("same" if name.startswith("same") else "" if name == "empty" else name)
    version = data.add(source)
    assert (version.md5, version.size, version.files) == dvc_hash(source)
    assert version.is_directory
    assert len(version.digest) == 36
    assert (tmp_path / "images.dvc").read_text() == (
        f"outs:\n- md5: {version.md5}\n  size: {version.size}\n  nfiles: 8\n  hash: md5\n  path: images\n"
    )


def test_empty_file_and_directory(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "nothing").mkdir()
    assert data.add(tmp_path / "empty.csv").size == 0
    version = data.add(tmp_path / "nothing")
    assert (version.size, version.files, version.md5) == (0, 0, dvc_hash(tmp_path / "nothing")[0])
    data.push()
    (tmp_path / "nothing").rmdir()
    (tmp_path / "empty.csv").unlink()
    data.pull()
    assert (tmp_path / "nothing").is_dir()
    assert (tmp_path / "empty.csv").read_bytes() == b""


def test_a_directory_and_a_file_in_it_are_two_datasets(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "part.csv").write_text("1")
    whole = data.add(source)
    part = data.add(source / "part.csv")
    assert whole.is_directory
    assert not part.is_directory
    # The pointer written into the directory is no data of it.
    assert data.add(source).md5 == whole.md5
    assert {status.state for status in data.status()} == {DataState.CLEAN}


def test_a_user_file_named_like_a_pointer_is_data(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "part.csv").write_text("1")
    (source / "part.csv.dvc").write_text("notes of mine")
    data.add(source / "part.csv", pointer=False)
    assert data.add(source).files == 2


def test_names_are_relative_to_the_repository_or_say_where_else(
    make_context: MakeContext, tmp_path: Path
) -> None:
    context = make_context()
    (tmp_path / "base" / ".git").mkdir()
    data = DVCData(context)
    inside, own, outside = (
        tmp_path / "base" / "data" / "a.csv",
        context.workspace.outputs_path / "b.csv",
        tmp_path / "c.csv",
    )
    for path in (inside, own, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    names = [data.add(path).name for path in (inside, own, outside)]
    assert names[:2] == ["data/a.csv", "workspace:outputs/b.csv"]
    assert names[2].startswith("external:")
    assert names[2].endswith("/c.csv")
    other = tmp_path / "other" / "c.csv"
    other.parent.mkdir()
    other.write_text("c.csv")
    assert data.add(other).name != names[2]
    assert [version.name for version in data.datasets()] == sorted({*names, data.history(other)[0].name})


def test_unchanged_data_makes_no_version_and_imports_no_dvc(context: ToolContext, tmp_path: Path) -> None:
    source = tmp_path / "train.csv"
    source.write_text("1")
    first = DVCData(context).add(source)
    (tmp_path / "train.csv.dvc").unlink()
    code = f"""
        import sys
        from mlops.integrations.dvc_data import DVCData
        from mlops.settings import ProjectSettings
        from mlops.workspace.model import ProjectWorkspace
        from mlops.workspace.tools import ToolContext
        workspace = ProjectWorkspace.load_metadata({str(context.workspace.root_path)!r})
        data = DVCData(ToolContext(workspace, ProjectSettings()))
        data.ensure(), data.health(), data.summary(), data.status(), data.datasets(), data.usage()
        print(data.add({str(source)!r}).md5)
        heavy = {{"dvc", "dvc_data", "mlflow", "pandas", "numpy", "bentoml", "evidently"}} & set(sys.modules)
        assert not heavy, heavy
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (result.stderr, result.stdout.strip()) == ("", first.md5)
    assert (tmp_path / "train.csv.dvc").exists()
    assert len(DVCData(context).history(source)) == 1


def test_only_touched_files_are_read_again(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    data.add(source)
    (source / "3.bin").write_bytes(b"x" * 1000)
    (source / "new.bin").write_bytes(b"y")
    before = stored_bytes(data)
    version = data.add(source)
    assert version.md5 == dvc_hash(source)[0]
    listing = data.context.workspace.dvc_path / ".dvc/cache/files/md5" / version.md5[:2] / version.md5[2:]
    assert stored_bytes(data) - before == 1001 + listing.stat().st_size


def test_an_edit_that_keeps_size_and_time_is_noticed(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "train.csv"
    source.write_text("1")
    times = source.stat()
    first = data.add(source)
    source.write_text("2")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert data.add(source).md5 != first.md5


def test_only_one_extra_copy_lasts(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(3_000_000))
    data.add(source)
    assert 3_000_000 <= data.usage().bytes < 3_010_000
    assert list((data.context.workspace.state_path / "staging").iterdir()) == []
    # The source is no link into the cache.
    assert source.stat().st_nlink == 1
    source.write_bytes(b"")
    assert data.verify().ok


def test_data_that_changes_meanwhile_is_refused(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "a.bin").write_bytes(b"a" * 3_000_000)
    (source / "b.bin").write_bytes(b"b")

    def write(done: int, total: int) -> None:
        (source / "b.bin").write_bytes(b"c")

    with pytest.raises(DataIntegrityError, match=r"b\.bin changed") as caught:
        data.add(source, progress=write)
    assert (caught.value.tool, caught.value.operation, caught.value.workspace) == ("dvc", "add", "churn")
    assert caught.value.hint
    assert data.datasets() == []
    assert not (tmp_path / "set.dvc").exists()
    assert data.add(source).files == 2


def test_progress_counts_to_the_size(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    for number in range(3):
        (source / str(number)).write_bytes(bytes(1_500_000))
    seen: list[tuple[int, int]] = []
    data.add(source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4_500_000, 4_500_000)
    assert seen == sorted(seen)


def test_what_cannot_be_versioned_is_named(data: DVCData, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"nope\.csv does not exist"):
        data.add(tmp_path / "nope.csv")
    source = tmp_path / "set"
    source.mkdir()
    for name, make in {
        "pipe": lambda path: os.mkfifo(path),
        "gone": lambda path: path.symlink_to(tmp_path / "nope.csv"),
        "folder": lambda path: path.symlink_to(tmp_path),
        os.fsdecode(b"bad-\xff"): lambda path: path.touch(),
    }.items():
        make(source / name)
        with pytest.raises(IntegrationError, match="cannot be versioned") as caught:
            data.add(source)
        assert str(source / name).encode("utf-8", "backslashreplace") in str(caught.value).encode(
            "utf-8", "backslashreplace"
        )
        (source / name).unlink()
    assert data.datasets() == []
    assert not (data.context.workspace.dvc_path / "ledger.jsonl").exists()


def test_links_to_files_are_stored_by_content(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("content")
    source = tmp_path / "set"
    source.mkdir()
    (source / "linked.txt").symlink_to(tmp_path / "blob")
    current = tmp_path / "current.txt"
    current.symlink_to("blob")
    directory, file = data.add(source), data.add(current)
    assert file.path == current
    assert file.size == directory.size == 7
    current.unlink()
    (source / "linked.txt").unlink()
    data.pull()
    assert current.read_text() == (source / "linked.txt").read_text() == "content"
    assert not current.is_symlink()


def test_the_vault_is_no_data(data: DVCData, base: Path) -> None:
    data.ensure()
    vault = data.context.workspace.dvc_path
    for path in (vault, vault / ".dvc" / "config", vault / "remote", base, base / "churn"):
        with pytest.raises(IsolationError, match=r"DVC storage"):
            data.add(path)


def test_somebody_elses_pointer_is_not_overwritten(data: DVCData, tmp_path: Path) -> None:
    source, pointer = tmp_path / "train.csv", tmp_path / "train.csv.dvc"
    source.write_text("1")
    kept = [
        "my notes",
        "outs:\n- md5: 0\n  path: other.csv\n",
        "frozen: true\ndeps:\n- path: s3://x\nouts:\n- md5: a\n  path: train.csv\n",
        "outs:\n- md5: 900150983cd24fb0d6963f7d28e17f72\n  path: train.csv\n  desc: mine\n",
        "outs: [",
        "outs:\n- md5: ../../x\n  path: train.csv\n",
    ]
    for text in kept:
        pointer.write_text(text)
        with pytest.raises(IntegrationError, match=r"train\.csv\.dvc is not a plain DVC pointer"):
            data.add(source)
        assert pointer.read_text() == text
        assert data.datasets() == []
    assert data.add(source, pointer=False).size == 1
    assert pointer.read_text() == kept[-1]
    pointer.write_text(
        "outs:\n- md5: 900150983cd24fb0d6963f7d28e17f72\n  size: 3\n  hash: md5\n  path: train.csv\n"
    )
    version = data.add(source)
    assert pointer.read_text() == version.pointer


def test_a_version_survives_json(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    version = data.add(tmp_path / "a.csv")
    assert DataVersion.from_dict(json.loads(json.dumps(version.to_dict()))) == version
    assert json.loads(json.dumps([status.to_dict() for status in data.status()]))[0]["state"] == "clean"


def test_importing_dvc_leaves_the_process_as_it_was(context: ToolContext, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    code = f"""
        import logging, os, sys
        out, err = sys.stdout, sys.stderr
        env, cwd = dict(os.environ), os.getcwd()
        from mlops.integrations.dvc_data import DVCData
        from mlops.settings import ProjectSettings
        from mlops.workspace.model import ProjectWorkspace
        from mlops.workspace.tools import ToolContext
        workspace = ProjectWorkspace.load_metadata({str(context.workspace.root_path)!r})
        data = DVCData(ToolContext(workspace, ProjectSettings()))
        data.add({str(tmp_path / "a.csv")!r}), data.push(), data.pull(force=True), data.verify()
        assert "dvc" in sys.modules
        assert (sys.stdout, sys.stderr) == (out, err)
        assert (env, cwd) == (dict(os.environ), os.getcwd())
        assert logging.getLogger("asyncio").level == logging.getLogger("aiohttp").level == 0
        for name in ("dvc", "dvc_data", "dvc_objects"):
            handlers = logging.getLogger(name).handlers
            assert [type(handler) for handler in handlers] == [logging.NullHandler], handlers
            assert logging.getLogger(name).level == 0
        assert not logging.getLogger().handlers
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_threads_and_projects_do_not_see_each_other(make_context: MakeContext, tmp_path: Path) -> None:
    source = tmp_path / "shared.csv"
    source.write_text("shared")
    adapters = [DVCData(make_context(name)) for name in ("churn", "fraud")]
    failures: list[BaseException] = []

    def work(data: DVCData, numbers: range) -> None:
        try:
            for number in numbers:
                own = tmp_path / f"{data.context.workspace.project_name}-{number}.csv"
                own.write_text(own.name)
                data.add(own)
            data.add(source, pointer=False)
            data.push()
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(data, half))
        for data in adapters
        for half in (range(3), range(3, 6))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    churn, fraud = adapters
    assert {v.path.name for v in churn.datasets()} == {"shared.csv", *(f"churn-{n}.csv" for n in range(6))}
    assert churn.summary()["datasets"] == fraud.summary()["datasets"] == 7
    assert churn.summary()["unpushed"] == 0
    inodes = [
        {p.stat().st_ino for p in d.context.workspace.dvc_path.rglob("*") if p.is_file()} for d in adapters
    ]
    assert inodes[0].isdisjoint(inodes[1])


def test_nothing_is_printed_or_logged_by_default(
    data: DVCData, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler(stream := io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        (tmp_path / "a.csv").write_text("1")
        data.add(tmp_path / "a.csv")
        data.push()
    finally:
        logging.getLogger().removeHandler(handler)
    assert capfd.readouterr() == ("", "")
    assert stream.getvalue() == ""


def test_an_error_of_the_progress_function_passes_through(data: DVCData, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    cause = KeyError("cause")
    mine = FileNotFoundError("mine")
    mine.__cause__ = cause

    def fail(done: int, total: int) -> None:
        raise mine

    with pytest.raises(FileNotFoundError) as caught:
        data.add(tmp_path / "a.csv", progress=fail)
    assert caught.value is mine
    assert mine.__cause__ is cause
    assert mine.__context__ is None
    assert data.datasets() == []


def test_threads_that_store_the_same_data_at_once_agree(context: ToolContext, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    for number in range(15):
        (source / str(number)).write_text(str(number))
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work() -> None:
        data = DVCData(context)
        try:
            start.wait()
            data.add(source)
            data.push()
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert len(DVCData(context).history()) == 1
    assert DVCData(context).verify().ok
