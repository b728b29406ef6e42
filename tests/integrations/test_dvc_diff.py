from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mlops.errors import DataIntegrityError, DataNotFoundError
from mlops.integrations.dvc_data import DVCData, TableDiff
from mlops.workspace.tools import ToolContext


@pytest.fixture
def data(context: ToolContext) -> DVCData:
    return DVCData(context)


def compare(data: DVCData, source: Path, before: str, after: str) -> TableDiff:
    source.write_text(before)
    first = data.add(source)
    source.write_text(after)
    (table,) = data.diff(first, data.add(source)).tables
    return table


def test_files_added_removed_and_changed(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "images"
    (source / "deep").mkdir(parents=True)
    for name in ("same", "gone", "deep/changed"):
        (source / name).write_text(name)
    first = data.add(source)
    (source / "gone").unlink()
    (source / "deep" / "changed").write_text("otherwise")
    (source / "new ä").write_text("new")
    second = data.add(source)
    found = data.diff(first.md5[:8], source)
    assert (found.added, found.removed, found.changed) == (("new ä",), ("gone",), ("deep/changed",))
    assert (found.before.md5, found.after.md5, found.same) == (first.md5, second.md5, False)
    assert found.tables == ()
    assert data.diff(second, source).same
    assert json.loads(json.dumps(found.to_dict()))["added"] == ["new ä"]


def test_rows_are_compared_by_content_wherever_they_are(data: DVCData, tmp_path: Path) -> None:
    table = compare(
        data,
        tmp_path / "train.csv",
        "id,name,score\n1,a,0.5\n2,b,\n2,b,\n3,c,1.5\n",
        "name,id,score\nc,3,1.5\nb,2,\na,1,0.25\nz,9,9\n",
    )
    assert (table.file, table.rows_before, table.rows_after) == ("train.csv", 4, 4)
    # One of the two equal rows is gone, one row has another score, one is new.
    assert (table.rows_added, table.rows_removed) == (2, 2)
    assert (table.columns_added, table.columns_removed, table.retyped) == ((), (), ())


def test_columns_added_removed_and_retyped(data: DVCData, tmp_path: Path) -> None:
    table = compare(data, tmp_path / "a.csv", "id,old,n\n1,x,1\n2,y,2\n", "id,n,new\n1,1.0,p\n2,2.5,q\n")
    assert (table.columns_added, table.columns_removed) == (("new",), ("old",))
    assert [(c.name, c.before, c.after) for c in table.retyped] == [("n", "int64", "double")]
    # A number is the same number in another type.
    assert (table.rows_added, table.rows_removed) == (1, 1)
    assert table.to_dict()["retyped"] == {"n": ["int64", "double"]}


def test_nothing_in_common_is_all_rows(data: DVCData, tmp_path: Path) -> None:
    table = compare(data, tmp_path / "a.csv", "a\n1\n2\n", "b\n1\n")
    assert (table.rows_added, table.rows_removed) == (1, 2)


def test_numbers_that_become_text_are_compared_as_text(data: DVCData, tmp_path: Path) -> None:
    table = compare(data, tmp_path / "a.csv", "a\n1\n2\n", "a\n1\nx\n")
    assert table.retyped[0].after == "string"
    assert (table.rows_added, table.rows_removed) == (1, 1)


def test_json_lines_with_nested_values(data: DVCData, tmp_path: Path) -> None:
    lines = [{"id": 1, "tags": ["a", "b"], "at": {"x": 1}}, {"id": 2, "tags": [], "at": None}]
    before = "".join(json.dumps(line) + "\n" for line in lines)
    lines[0]["tags"] = ["a"]
    after = "".join(json.dumps(line) + "\n" for line in [*lines, lines[1]])
    table = compare(data, tmp_path / "a.jsonl", before, after)
    assert (table.rows_before, table.rows_after, table.rows_added, table.rows_removed) == (2, 3, 2, 1)


def test_parquet_of_every_common_type(data: DVCData, tmp_path: Path) -> None:
    import datetime as dt

    columns = {
        "int": pa.array([1, None, 3]),
        "float": pa.array([1.5, None, float("nan")]),
        "zero": pa.array([0.0, -0.0, 1.0]),
        "text": pa.array(["a", None, "ü"]),
        "flag": pa.array([True, None, False]),
        "day": pa.array([dt.date(2026, 1, 1), None, dt.date(2026, 1, 2)]),
        "at": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
        "took": pa.array([dt.timedelta(seconds=1), None, None], pa.duration("ms")),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "raw": pa.array([b"\xff", None, b""]),
        "many": pa.array([[1, 2], None, []]),
        "price": pa.array([Decimal("1.10"), Decimal("2.00"), None]),
    }
    source = tmp_path / "a.parquet"
    table = pa.table(columns)
    parquet.write_table(table, source)
    first = data.add(source)
    turned = table.take([2, 1, 0])
    parquet.write_table(pa.concat_tables([turned, turned.slice(0, 1)]), source, compression="gzip")
    (found,) = data.diff(first, data.add(source)).tables
    assert found.error is None
    assert (found.rows_added, found.rows_removed, found.retyped) == (1, 0, ())


def test_a_file_that_is_no_table_is_said_to_be_none(data: DVCData, tmp_path: Path) -> None:
    found = compare(data, tmp_path / "a.csv", "a,b\n1,2\n", "a,b\n1,2,3\n")
    assert "cannot be read as a table" in str(found.error)
    assert found.rows_after == 0
    assert "cannot be read" in str(compare(data, tmp_path / "b.jsonl", '{"a": 1}\n', "{").error)
    assert compare(data, tmp_path / "c.csv", "a,a\n1,2\n", "a,a\n1,3\n").rows_added == 1


def test_content_is_fetched_and_its_loss_named(data: DVCData, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "a.csv").write_text("a\n1\n")
    first = data.add(source)
    (source / "a.csv").write_text("a\n2\n")
    second = data.add(source)
    data.push()
    shutil.rmtree(data.context.workspace.dvc_path / ".dvc" / "cache")
    assert data.diff(first, second).tables[0].rows_added == 1
    shutil.rmtree(data.context.workspace.dvc_path / ".dvc" / "cache")
    shutil.rmtree(data.context.workspace.dvc_path / "remote")
    with pytest.raises(DataIntegrityError, match="the file list of external:") as caught:
        data.diff(first, second)
    assert caught.value.operation == "diff"
    with pytest.raises(DataNotFoundError):
        data.diff(first, "nothing")


def test_a_file_can_be_compared_with_a_directory(
    make_context: Callable[..., ToolContext], tmp_path: Path
) -> None:
    data = DVCData(make_context("other"))
    file, folder = tmp_path / "x.csv", tmp_path / "folder"
    file.write_text("a\n")
    folder.mkdir()
    (folder / "x.csv").write_text("a\n")
    data.add(file)
    data.add(folder)
    found = data.diff(file, folder)
    assert (found.added, len(found.removed), found.changed) == (("x.csv",), 1, ())
