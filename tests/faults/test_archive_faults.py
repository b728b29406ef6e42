"""Exports, imports, renames and clones that are killed at every step, run out of disk, or read bad files."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import ArchiveError, WorkspaceManager
from mlops.workspace import archive
from mlops.workspace.unpacking import Reader
from tests.workspace.populated import archive_of_everything

# Steps at which one operation is killed: spread evenly over all of them, the first and the last included.
KILLS = 8

# Forks a child per step, which counts what it does to the file system and kills itself at that step.
DRIVER = """
import json, os, shutil, signal, sqlite3, sys
from pathlib import Path

everything, work, operation, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
from mlops import WorkspaceManager
from mlops.workspace import links, renaming, transfer, travelling, unpacking
import pyarrow
from mlops.workspace import tools
for tool in tools.registered():
    tools.adapter_class(tool)

STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "shutil.copyfile",
         "open", "sqlite3.connect", "fcntl.flock", "os.utime"}

def act(base):
    manager = WorkspaceManager(base)
    if operation == "export":
        manager.export_workspace("churn", base.parent / "out.tar.zst")
    elif operation == "import":
        manager.import_workspace(everything, force=True)
    elif operation == "rename":
        manager.rename_workspace("churn", "retention")
    elif operation == "clone":
        manager.clone_workspace("churn", "copy")

def run(base, stop):
    # Returns the number of steps, or None if the child was killed.
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        steps = 0
        def hook(event, arguments):
            nonlocal steps
            if event in STEPS and not (event == "open" and isinstance(arguments[0], int)):
                steps += 1
                if steps == stop:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        act(base)
        os.write(writing, str(steps).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    answer = os.read(reading, 100)
    os.close(reading)
    assert os.WIFSIGNALED(status) or status == 0, status
    return int(answer) if answer else None

def facts(base, name):
    # What the project has, by whatever name.
    root = base / name
    with sqlite3.connect(root / "mlflow" / "mlflow.db") as database:
        models = [n for (n,) in database.execute("SELECT name FROM registered_models")]
        (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
        locations = {a for (a,) in database.execute("SELECT artifact_uri FROM runs")}
    database.close()
    tags = sorted(p.name for kind in ("models", "bentos") for p in (root / "models" / kind).iterdir())
    refs = sorted({end.partition(":")[2].partition(".")[0] for link in links.logged(
        WorkspaceManager(base).get_workspace(name))[0] for end in (link.source, link.target)
        if end.startswith(("model:", "bento:"))})
    objects = len([p for p in (root / "dvc" / ".dvc" / "cache").rglob("*") if p.is_file()])
    checks = (root / "monitoring" / "history.jsonl").read_text().count("\\n")
    return {"name": name, "models": models, "runs": runs, "tags": tags, "refs": refs, "objects": objects,
            "checks": checks, "notes": (root / "outputs" / "notes.md").read_text(),
            "here": all(location.startswith(root.as_uri()) for location in locations),
            "pending": renaming.pending(root)}

def after(base):
    manager = WorkspaceManager(base)
    left = [w.project_name for w in manager.list_workspaces()]
    trash = sorted((base / ".mlops" / "trash").glob("*")) if (base / ".mlops" / "trash").exists() else []
    result = {"left": left, "trash": len(trash), "out": (base.parent / "out.tar.zst").exists()}
    if result["out"]:
        unpacking.Reader(base.parent / "out.tar.zst", "test").extract(Path(os.path.join(base.parent, "look")))
    if operation == "rename":
        (name,) = left
        manager.get_or_create_workspace(name)
        for tool in ("mlflow",):
            context = renaming.context_of(manager, manager.get_workspace(name))
            tools.create(tool, context).ensure()
    if operation == "import" and not left:
        manager.restore_workspace("churn")
    names = [w.project_name for w in manager.list_workspaces()]
    if operation == "import":
        for name in names:
            tools.create("mlflow", renaming.context_of(manager, manager.get_workspace(name))).ensure()
    if operation == "clone" and "copy" in names:
        tools.create("mlflow", renaming.context_of(manager, manager.get_workspace("copy"))).ensure()
    result["facts"] = [facts(base, name) for name in names]
    # And the operation can be done again.
    if operation == "rename" and names == ["retention"]:
        manager.rename_workspace("retention", "churn")
    if operation == "clone" and "copy" in names:
        manager.delete_workspace("copy", force=True, purge=True)
    act(base)
    staging = base / ".mlops" / "staging" / "workspaces"
    result["staged"] = os.listdir(staging) if staging.exists() else []
    result["partial"] = [p.name for p in base.parent.glob(".*")]
    return result

def prepare(name):
    base = work / name / "base"
    (base / ".mlops").mkdir(parents=True)
    (base.parent / "look").mkdir()
    WorkspaceManager(base).import_workspace(everything)
    return base

total = run(prepare("whole"), 0)
points = sorted({1 + round(i * (total - 1) / (kills - 1)) for i in range(kills)})
for point in points:
    base = prepare(f"at-{point}")
    killed = run(base, point) is None
    print(json.dumps({"point": point, "total": total, "killed": killed, **after(base)}), flush=True)
    shutil.rmtree(base.parent)
"""


@pytest.fixture
def everything(shared_cache: Path, clean_environment: None) -> Path:
    return archive_of_everything(shared_cache)


@pytest.mark.parametrize("operation", ["export", "import", "rename", "clone"])
def test_a_kill_at_any_step_loses_nothing(operation: str, everything: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(everything), str(tmp_path), operation, str(KILLS)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) >= KILLS - 1
    # The number of steps differs a little from one time to the next.
    assert sum(result["killed"] for result in results) >= KILLS - 2
    for result in results:
        for facts in result["facts"]:
            name = facts["name"]
            assert facts == {
                "name": name,
                "models": [f"{name}.classifier"],
                "runs": 2,
                "tags": [f"{name}.classifier"] * 2,
                "refs": [name],
                "objects": 1,
                "checks": 1,
                "notes": "of the user",
                "here": True,
                "pending": False,
            }, result
        names = [facts["name"] for facts in result["facts"]]
        if operation == "rename":
            assert names in (["churn"], ["retention"])
        elif operation == "clone":
            assert names in (["churn"], ["churn", "copy"])
        else:
            assert names == ["churn"]
        assert result["staged"] == result["partial"] == []


def test_a_truncated_archive_is_refused(everything: Path, tmp_path: Path, base: Path) -> None:
    manager = WorkspaceManager(base)
    content = everything.read_bytes()
    path = tmp_path / "cut.tar.zst"
    for size in (0, 1, 4, 100, len(content) // 3, len(content) // 2, len(content) - 5000):
        path.write_bytes(content[:size])
        with pytest.raises(ArchiveError) as caught:
            manager.import_workspace(path)
        assert caught.value.hint
    assert manager.list_workspaces() == []


def test_a_flipped_bit_is_found_or_harmless(everything: Path, tmp_path: Path, base: Path) -> None:
    manager = WorkspaceManager(base)
    content = everything.read_bytes()
    whole = Reader(everything, "test").manifest()
    path = tmp_path / "flipped.tar.zst"
    generator = random.Random(0)  # noqa: S311
    refused = 0
    for _ in range(30):
        at = generator.randrange(len(content))
        path.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << generator.randrange(8)]) + content[at + 1 :]
        )
        target = tmp_path / f"x-{generator.random()}"
        target.mkdir()
        try:
            assert Reader(path, "import_workspace").extract(target) == whole
        except ArchiveError as error:
            assert error.hint
            refused += 1
    assert refused > 25
    assert manager.list_workspaces() == []


LIMITED = """
import resource, signal, sys
from mlops import MLOpsError, WorkspaceManager
import pyarrow, mlops.workspace.transfer
from mlops.workspace import tools
for tool in tools.registered():
    tools.adapter_class(tool)
base, operation, archive, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
manager = WorkspaceManager(base)
# Without the signal a write beyond the limit fails as one on a full disk does.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    if operation == "export":
        manager.export_workspace("churn", archive)
    elif operation == "import":
        manager.import_workspace(archive, project_name="copy")
    else:
        manager.clone_workspace("churn", "copy")
except MLOpsError as error:
    print(type(error).__name__, error.operation, "|", error.hint)
"""


@pytest.mark.parametrize("operation", ["export", "import", "clone"])
@pytest.mark.parametrize("limit", [1_000, 200_000])
def test_a_full_disk_changes_nothing(
    operation: str, limit: int, everything: Path, base: Path, tmp_path: Path
) -> None:
    manager = WorkspaceManager(base)
    workspace = manager.import_workspace(everything)
    (workspace.outputs_path / "large").write_bytes(os.urandom(1_000_000))
    target = tmp_path / "out.tar.zst"
    if operation == "export":
        target.write_text("former")
    else:
        manager.export_workspace("churn", target)
    before = target.read_bytes()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(base), operation, str(target), str(limit)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    error, _, rest = done.stdout.partition(" ")
    assert error in ("ArchiveError", "IntegrationError", "IntegrationUnavailableError"), done.stdout
    assert rest.startswith(f"{operation}_workspace | ")
    assert len(rest) > 30
    assert target.read_bytes() == before
    assert [w.project_name for w in manager.list_workspaces()] == ["churn"]
    assert os.listdir(base / ".mlops" / "staging" / "workspaces") == []
    assert list(tmp_path.glob(".*")) == []


def test_an_archive_says_which_versions_wrote_it(everything: Path) -> None:
    manifest = Reader(everything, "test").manifest()
    assert {"mlops-workspaces", "mlflow", "dvc", "bentoml", "evidently"} <= set(manifest.versions)
    assert all(manifest.versions.values())
    assert archive.FORMAT_VERSION == 1
