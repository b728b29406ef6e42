from __future__ import annotations

import json
import linecache
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlops import (
    DataIntegrityError,
    IntegrationUnavailableError,
    MLOpsClient,
    Pipeline,
    PipelineError,
    PipelineVersionError,
    Project,
    VersionedPipeline,
    WorkspaceManager,
    step,
)
from mlops.files import write_atomic
from mlops.pipelines.comparison import VersionComparison

FACTOR = 2


def load() -> list[int]:
    return [1, 2, 3]


def clean(load: list[int]) -> list[int]:
    return [value for value in load if value > 1]


def train(load: list[int], rate: float = 0.5) -> float:
    return sum(load) * rate


def trainer(text: str) -> Callable[..., Any]:
    """Return a function named ``train`` with this body."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(f"def train(load, rate=0.5):\n    return {text}", space)  # noqa: S102
    made: Callable[..., Any] = space["train"]
    return made


def is_small(load: list[int]) -> bool:
    return len(load) < 10


def pipeline_of(client: MLOpsClient, *steps: Callable[..., Any], **options: Any) -> Pipeline:
    pipeline = client.create_pipeline("training", **options)
    for each in steps:
        pipeline.add_step(each)
    return pipeline


def names(pipeline: Pipeline) -> list[str]:
    return [version.version for version in pipeline.list_versions()]


def what(comparison: VersionComparison) -> dict[str, tuple[str, ...]]:
    return {change.name: change.what for change in comparison.modified}


def test_a_version_is_saved_found_and_listed_in_the_order_of_its_numbers(client: MLOpsClient) -> None:
    pipeline = pipeline_of(client, load, train)
    for number in ("v1.10.0", "v1.2.0", "v1.0.0", "v2.0.0-rc.1", "v2.0.0"):
        pipeline.save_version(number, metadata={"author": "ada"})
        assert pipeline.version == number
    assert names(pipeline) == ["v1.0.0", "v1.2.0", "v1.10.0", "v2.0.0-rc.1", "v2.0.0"]
    found = client.create_pipeline("training").get_version("v1.2.0")
    assert found.metadata == {"author": "ada"}
    assert [each.name for each in found.steps] == ["load", "train"]
    assert "sum(load) * rate" in "".join(found.steps[1].sources.values())
    assert found.created_at.tzinfo is not None
    assert pipeline.get_version("1.2").version == "v1.2.0"
    with pytest.raises(PipelineVersionError, match=r"no version 'v9\.0'") as missing:
        pipeline.get_version("v9.0")
    assert "v1.10.0" in str(missing.value.hint)
    assert client.create_pipeline("other").list_versions() == []


@pytest.mark.parametrize(
    "name",
    ["../../../evil", "latest", "", "v1/2", "1.0\n", " 1.0", "1.0 ", ".", "v", "1!2", "1." * 40, "\u0661.2"],
)
def test_bad_version_names_are_refused_before_anything_is_written(client: MLOpsClient, name: str) -> None:
    pipeline = pipeline_of(client, load)
    before = sorted(client.workspace_path.rglob("*"))
    with pytest.raises(PipelineVersionError, match="cannot be named") as refused:
        pipeline.save_version(name)
    assert (refused.value.operation, refused.value.workspace) == ("save_version", "churn")
    with pytest.raises(PipelineVersionError, match="cannot be named"):
        pipeline.version = name
    with pytest.raises(PipelineVersionError, match="cannot be named"):
        client.create_pipeline("training", version=name)
    assert sorted(client.workspace_path.rglob("*")) == before
    assert pipeline.version is None


def test_a_saved_version_never_changes(client: MLOpsClient) -> None:
    pipeline = pipeline_of(client, load, train)
    first = pipeline.save_version("v1.0.0", {"a": 1})
    assert pipeline.save_version("v1.0.0") == pipeline.save_version("1.0", {"a": 1}) == first
    with pytest.raises(PipelineVersionError, match="other metadata"):
        pipeline.save_version("v1.0.0", {"a": 2})
    pipeline.add_step(clean)
    with pytest.raises(PipelineVersionError, match="added clean"):
        pipeline.save_version("V1.0")
    assert pipeline.get_version("v1.0.0") == first


def test_what_cannot_be_saved_is_refused_by_name(client: MLOpsClient, tmp_path: Path) -> None:
    handle = (tmp_path / "log").open("w")

    def write(load: list[int]) -> None:
        handle.write(str(load))

    pipeline = pipeline_of(client, load, write)
    with handle, pytest.raises(PipelineVersionError, match="the step 'write'"):
        pipeline.save_version("v1")
    with pytest.raises(PipelineVersionError, match="the parameter 'rate'"):
        pipeline_of(client, load, train, params={"rate": threading.Lock()}).save_version("v1")
    with pytest.raises(PipelineVersionError, match="metadata"):
        pipeline_of(client, load).save_version("v1", {"at": object()})
    with pytest.raises(PipelineVersionError, match="needs a name"):
        pipeline_of(client, load).save_version()
    with pytest.raises(PipelineError, match="no steps"):
        pipeline_of(client).save_version("v1")
    with pytest.raises(PipelineError, match="no project"):
        Pipeline("alone").add_step(load).save_version("v1")
    assert names(pipeline) == []


def test_steps_are_compared(client: MLOpsClient) -> None:
    pipeline_of(client, load, train).save_version("v1.0.0")
    same = pipeline_of(client, load, train).compare_with("v1.0.0")
    assert (same.identical, same.order_changed, same.summary()) == (True, False, "nothing changed")

    changed = pipeline_of(client, load, clean, step(trainer("max(load)"), retry=2))
    comparison = changed.compare_with("v1.0.0")
    assert (comparison.added, comparison.removed) == (("clean",), ())
    assert what(comparison) == {"train": ("code", "retry")}
    assert comparison.modified[0].values == {"retry": ("0", "2")}
    assert not comparison.order_changed
    changed.save_version("v2.0.0")
    back = changed.compare_with("v2.0.0", "v1.0.0")
    guarded = pipeline_of(client, load, step(train, when=is_small)).compare_with("v1.0.0")
    assert what(guarded) == {"train": ("when",)}
    assert "+    return len(load) < 10" in guarded.modified[0].diff
    assert (back.added, back.removed, back.before, back.after) == ((), ("clean",), "v2.0.0", "v1.0.0")


def test_a_changed_helper_or_constant_is_a_change_of_the_step(
    client: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(load: list[int]) -> int:
        return helper(load) * FACTOR

    pipeline_of(client, load, total).save_version("v1")
    monkeypatch.setitem(globals(), "FACTOR", 3)
    comparison = pipeline_of(client, load, total).compare_with("v1")
    assert what(comparison) == {"total": ("code",)}
    assert "-FACTOR = 2" in comparison.modified[0].diff
    assert "+FACTOR = 3" in comparison.modified[0].diff
    monkeypatch.setitem(globals(), "FACTOR", 2)
    monkeypatch.setitem(globals(), "helper", other_helper)
    comparison = pipeline_of(client, load, total).compare_with("v1")
    assert "-    return sum(values)" in comparison.modified[0].diff
    assert "+    return max(values)" in comparison.modified[0].diff


def test_code_that_moved_to_another_module_is_compared_line_by_line(
    client: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_module(name: str, factor: int) -> Callable[..., Any]:
        space: dict[str, Any] = {"__name__": name}
        text = f"def total(load):\n    doubled = load * 2\n    return {factor} * sum(doubled)\n"
        lines = text.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, f"<{name}>", (len(text), None, lines, f"<{name}>"))
        exec(compile(text, f"<{name}>", "exec"), space)  # noqa: S102
        made: Callable[..., Any] = space["total"]
        return made

    pipeline_of(client, load, in_module("__main__", 2)).save_version("v1")
    assert pipeline_of(client, load, in_module("training", 2)).compare_with("v1").identical
    (change,) = pipeline_of(client, load, in_module("training", 3)).compare_with("v1").modified
    changed = [line for line in change.diff.splitlines() if line[0] in "+-"]
    assert changed == [
        "--- training.total",
        "+++ training.total",
        "-    return 2 * sum(doubled)",
        "+    return 3 * sum(doubled)",
    ]


def helper(values: list[int]) -> int:
    return sum(values)


def other_helper(values: list[int]) -> int:
    return max(values)


def test_only_a_real_change_of_order_is_one(client: MLOpsClient) -> None:
    def first() -> int:
        return 1

    def second() -> int:
        return 2

    def third(first: int, second: int) -> int:
        return first + second

    pipeline_of(client, first, second, third).save_version("v1")
    # Added in another order that cannot be run in, so it is run in one that can.
    swapped = pipeline_of(client, second, first, third).compare_with("v1")
    assert swapped.order_changed
    assert len(swapped.reordered) == 1
    assert swapped.order == (("first", "second", "third"), ("second", "first", "third"))
    inserted = pipeline_of(client, load, first, second, third).compare_with("v1")
    assert (inserted.added, inserted.order_changed) == (("load",), False)


def test_parameters_and_data_versions_are_compared(client: MLOpsClient, tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_text("a\n1\n")
    one = client.dvc_add(data)
    pipeline_of(client, load, train, params={"rate": 0.1}).save_version("v1")
    data.write_text("a\n1\n2\n")
    two = client.dvc_add(data)
    comparison = pipeline_of(client, load, train, params={"rate": 0.2}).compare_with("v1")
    assert comparison.params == {"rate": ("0.1", "0.2")}
    assert comparison.data == {one.name: (one.md5, two.md5)}
    assert (comparison.modified, comparison.identical) == ((), False)

    def read(path: Path) -> str:
        return path.read_text()

    pipeline_of(client, read, params={"path": data}).save_version("v2")
    data.write_text("changed")
    (change,) = pipeline_of(client, read, params={"path": data}).compare_with("v2").params.values()
    assert change[0] != change[1]


def test_a_comparison_is_displayed(client: MLOpsClient, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline_of(client, load, train, params={"rate": 0.1}).save_version("v1.0.0")
    pipeline = pipeline_of(client, load, clean, step(helper_train, name="train"), params={"rate": 0.2})
    pipeline.display_comparison("v1.0.0")
    shown = capsys.readouterr().out
    assert "v1.0.0 → as it is now" in shown
    for text in ("step clean", "added", "parameter rate", "0.1", "0.2", "-    return sum(load) * rate"):
        assert text in shown
    pipeline.save_version("v2.0.0")
    # A pipeline that was only opened to look at it is the version it is of.
    client.create_pipeline("training", version="v2.0.0").display_comparison("v1.0.0")
    assert "v1.0.0 → v2.0.0" in capsys.readouterr().out
    pipeline.display_comparison("v2.0.0")
    assert "Nothing changed." in capsys.readouterr().out


def helper_train(load: list[int], rate: float = 0.5) -> float:
    return max(load) * rate


def test_a_checkout_runs_what_was_saved(client: MLOpsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def total(load: list[int], scale: int) -> int:
        return helper(load) * FACTOR * scale

    pipeline_of(client, load, total, params={"scale": 10}).save_version("v1.0.0")
    pipeline = pipeline_of(client, load, clean, train)
    pipeline.save_version("v2.0.0")
    monkeypatch.setitem(globals(), "FACTOR", 1000)
    monkeypatch.setitem(globals(), "helper", other_helper)
    restored = pipeline.checkout("v1.0.0")
    assert (restored.version, restored.params) == ("v1.0.0", {"scale": 10})
    run = restored.run()
    assert run.outputs["total"] == 120
    assert run.version == "v1.0.0"
    assert [each.name for each in pipeline.steps] == ["load", "clean", "train"]
    assert restored.compare_with("v1.0.0").identical
    assert restored.save_version("v1.0.1").steps == restored.get_version("v1.0.0").steps


@step(name="doubled", cache=True, retry=1)
def doubled(load: list[int]) -> list[int]:
    return [2 * value for value in load]


def test_decorated_steps_and_order_are_restored(client: MLOpsClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(values: list[int]) -> int:
        return len(values)

    pipeline_of(client, load, doubled, count).save_version("v1")
    monkeypatch.setitem(globals(), "doubled", step(lambda load: [], name="doubled"))
    restored = client.create_pipeline("training").checkout("v1")
    assert [(s.name, s.cache, s.retry) for s in restored.steps][1] == ("doubled", True, 1)
    assert restored.run().outputs["count"] == 3
    assert restored.run().steps["doubled"].cached


CODE = """
import sys
from mlops import MLOpsClient
sys.path.insert(0, sys.argv[2])
with MLOpsClient("churn", base_path=sys.argv[1]) as client:
    pipeline = client.create_pipeline("training")
    {code}
"""


def in_process(base: Path, code: str, modules: Path) -> str:
    command = [sys.executable, "-c", CODE.format(code=code), str(base), str(modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_runs_it_after_the_sources_changed(
    base: Path, client: MLOpsClient, tmp_path: Path
) -> None:
    modules = tmp_path / "code"
    modules.mkdir()
    (modules / "common.py").write_text("SCALE = 10\ndef scaled(x):\n    return x * SCALE\n")
    (modules / "project_steps.py").write_text(
        "import common\nfrom mlops import step\n"
        "@step\ndef make():\n    return 4\n"
        "def use(make):\n    return common.scaled(make)\n"
    )
    save = "import project_steps as p; pipeline.add_step(p.make).add_step(p.use).save_version('v1')"
    in_process(base, save, modules)
    (modules / "common.py").write_text("SCALE = 7\ndef scaled(x):\n    return x + SCALE\n")
    call = (
        "from mlops.pipelines.source import code_hash\n"
        "    steps = pipeline.checkout('v1').steps\n"
        "    same = [code_hash(s.fn) for s in steps] == [s.code for s in pipeline.get_version('v1').steps]\n"
        "    print(steps[1](steps[0]()), same)"
    )
    # With today's code imported too, and without any.
    assert in_process(base, f"import project_steps; {call}", modules) == "40 True"
    (modules / "common.py").unlink()
    (modules / "project_steps.py").unlink()
    assert in_process(base, call, modules) == "40 True"
    pipeline = client.create_pipeline("training")
    run = pipeline.checkout("v1").run()
    assert (run.outputs["use"], run.version) == (40, "v1")
    tags = client.tracking.get_run(run.run_id)["tags"]
    assert tags["mlops.pipeline_definition"] == pipeline.get_version("v1").definition


def test_code_that_cannot_be_stored_has_to_be_the_same_today(
    base: Path, client: MLOpsClient, tmp_path: Path
) -> None:
    modules = tmp_path / "code"
    modules.mkdir()
    path = modules / "locked_steps.py"
    text = "import threading\nLOCK = threading.Lock()\ndef make():\n    with LOCK:\n        return 4\n"
    path.write_text(text)
    in_process(base, "import locked_steps as p; pipeline.add_step(p.make).save_version('v1')", modules)
    assert client.create_pipeline("training").get_version("v1").steps[0].by_reference
    run = "print(pipeline.checkout('v1').steps[0]())"
    assert in_process(base, run, modules) == "4"
    path.write_text(text.replace("return 4", "return 555"))
    refused = (
        "import mlops\n"
        "    try: pipeline.checkout('v1')\n"
        "    except mlops.PipelineVersionError as error: print(error, error.details['diff'])"
    )
    said = in_process(base, refused, modules)
    assert "The step 'make' of 'training' v1 is not what was saved: locked_steps.make changed" in said
    assert "-        return 4\n+        return 555" in said


def test_another_python_takes_todays_steps_if_their_source_is_the_same(client: MLOpsClient) -> None:
    pipeline_of(client, load, train).save_version("v1")
    path = client.workspace_path / "pipelines" / "versions" / "training" / "v1.json"
    content = json.loads(path.read_text())
    for each in content["steps"]:
        each["code"] = "0" * 64
    path.write_text(json.dumps(content | {"python": "3.9", "definition": "0" * 64}))
    same = pipeline_of(client, load, train, version="v1")
    assert same.compare_with("v1").identical
    assert same.checkout("v1").run().outputs["train"] == 3.0
    assert same.run().version == "v1"
    with pytest.raises(PipelineVersionError, match=r"saved with Python 3\.9"):
        client.create_pipeline("training").checkout("v1")
    with pytest.raises(PipelineVersionError, match=r"'train' .* is not what was saved: .*train changed"):
        pipeline_of(client, load, step(helper_train, name="train")).checkout("v1")


def test_every_run_records_the_version_it_ran(client: MLOpsClient) -> None:
    def tag(run_id: str) -> str | None:
        found = client.tracking.get_run(run_id)["tags"].get("mlops.pipeline_version")
        return None if found is None else str(found)

    assert tag(pipeline_of(client, load, train).run().run_id) is None
    pipeline = pipeline_of(client, load, train)
    pipeline.save_version("v1.0.0")
    run = pipeline.run()
    assert (tag(run.run_id), run.version) == ("v1.0.0", "v1.0.0")
    # The same pipeline made anew is still that version; a changed one is not, whatever it is called.
    assert tag(pipeline_of(client, load, train).run().run_id) == "v1.0.0"
    changed = pipeline.add_step(clean).run()
    assert str(tag(changed.run_id)).startswith("v1.0.0+modified.")
    assert tag(pipeline_of(client, load, clean, version="v3.0").run().run_id) == "v3.0"
    links = [(link.source, link.target) for link in client.tracking.links()]
    assert ("pipeline:training@v1.0.0", f"run:{run.run_id}") in links
    assert ("pipeline:training@v1.0.0", f"run:{changed.run_id}") not in links


def test_a_damaged_version_is_reported(client: MLOpsClient) -> None:
    pipeline = pipeline_of(client, load, train)
    pipeline.save_version("v1")
    directory = client.workspace_path / "pipelines" / "versions" / "training"
    (directory / "v1.pkl").write_bytes(b"other")
    with pytest.raises(DataIntegrityError, match=r"v1\.pkl"):
        pipeline.checkout("v1")
    (directory / "v1.json").write_text("{}")
    with pytest.raises(DataIntegrityError, match=r"v1\.json"):
        pipeline.list_versions()


def test_a_save_that_fails_half_way_leaves_no_version(
    client: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str | bytes) -> None:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        write_atomic(path, content)

    pipeline = pipeline_of(client, load, train)
    with monkeypatch.context() as patched:
        patched.setattr("mlops.pipelines.versions.write_atomic", full)
        with pytest.raises(OSError, match="No space"):
            pipeline.save_version("v1")
    assert (names(pipeline), pipeline.version) == ([], None)
    pipeline.save_version("v1")
    assert pipeline.checkout("v1").run().outputs["train"] == 3.0


def test_of_two_savers_at_once_one_wins_and_the_other_is_told(client: MLOpsClient) -> None:
    pipelines = [pipeline_of(client, load, train, params={"rate": rate / 10}) for rate in range(8)]

    def save(pipeline: Pipeline) -> str:
        try:
            pipeline.save_version("v1")
        except PipelineVersionError:
            return "refused"
        return "saved"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(save, pipelines)) == ["refused"] * 7 + ["saved"]
    assert names(pipelines[0]) == ["v1"]


def test_versions_travel_with_the_project(base: Path, client: MLOpsClient, tmp_path: Path) -> None:
    pipeline_of(client, load, train, params={"rate": 2.0}).save_version("v1.0.0", {"a": 1})
    client.close()
    manager = WorkspaceManager(base)
    archive = tmp_path / "churn.tar.zst"
    manager.export_workspace("churn", archive)
    manager.clone_workspace("churn", "clone")
    manager.rename_workspace("churn", "renamed")
    manager.import_workspace(archive, project_name="imported")
    for name in ("clone", "renamed", "imported"):
        with MLOpsClient(name, base_path=base) as opened:
            run = opened.create_pipeline("training").checkout("v1.0.0").run()
            assert (run.outputs["train"], run.version) == (12.0, "v1.0.0")
            assert len(opened.list_runs("training")) == 1


def test_projects_keep_their_versions_apart(base: Path) -> None:
    one, other = (Project(name, projects_dir=base) for name in ("one", "other"))
    one.create_pipeline("training").add_step(load).save_version("v1")
    assert other.create_pipeline("training").list_versions() == []
    with pytest.raises(PipelineVersionError):
        other.create_pipeline("training").checkout("v1")


def test_a_versioned_pipeline_takes_its_project_by_assignment(base: Path) -> None:
    one, other = (Project(name, projects_dir=base) for name in ("one", "other"))
    versioned = VersionedPipeline("training")
    versioned.version = "v1.0.0"
    versioned.add_step(load)
    with pytest.raises(PipelineError, match="no project"):
        versioned.run()
    versioned.runs_dir = one.runs_dir
    with pytest.raises(PipelineError, match="cannot have its runs in"):
        versioned.metadata_store = other.metadata_store
    with pytest.raises(PipelineError, match="cannot be recorded in"):
        versioned.metadata_store = "sqlite:///elsewhere.db"  # type: ignore[assignment]
    versioned.metadata_store = one.metadata_store
    assert versioned.runs_dir == one.runs_dir
    with pytest.raises(PipelineError, match="cannot have its runs in"):
        versioned.runs_dir = base / "elsewhere"
    versioned.save_version()
    assert versioned.run().version == "v1.0.0"
    assert isinstance(versioned.checkout("v1.0.0"), VersionedPipeline)
    assert ([len(p.list_runs()) for p in (one, other)], one.get_pipelines()) == ([1, 0], ["training"])


def test_the_data_of_a_version_is_linked_and_kept(base: Path) -> None:
    client = MLOpsClient("churn", base_path=base)
    data = Path("train.csv")
    data.write_text("a\n1\n")
    first = client.dvc_add(data)
    pipeline_of(client, load).save_version("v1.0.0")
    data.write_text("a\n2\n")
    second = client.dvc_add(data)
    data.write_text("a\n3\n")
    client.dvc_add(data)
    (client.workspace_path / "links.jsonl").unlink(missing_ok=True)
    chain = client.trace(first.md5)
    assert "churn/pipeline:training@v1.0.0" in {str(node.ref) for node in chain.nodes}
    result = client.data.gc(dry_run=True)
    assert [version.md5 for version in result.versions] == [second.md5]
    damaged = client.workspace_path / "pipelines" / "versions" / "training" / "v1.0.0.json"
    damaged.write_text("nonsense")
    with pytest.raises(IntegrationUnavailableError, match="links of pipelines cannot be read"):
        client.data.gc(dry_run=True)
