from __future__ import annotations

from pathlib import Path

import pytest

from mlops import jsonlines


def values(path: Path) -> list[object]:
    return [line.value for line in jsonlines.read(path)]


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert values(path) == []
    jsonlines.append(path, [{"a": 1}, {"b": "ü\n\u2028"}])
    jsonlines.append(path, [])
    jsonlines.append(path, [{"c": None}])
    assert values(path) == [{"a": 1}, {"b": "ü\n\u2028"}, {"c": None}]
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("cut", [1, 5, 70_000, 140_000])
def test_a_line_cut_short_is_not_read_and_is_removed_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.jsonl"
    jsonlines.append(path, [{"a": 1}])
    whole = path.read_bytes()
    path.write_bytes(whole + jsonlines.encode({"b": "x" * 140_000})[:cut])
    assert values(path) == [{"a": 1}]
    jsonlines.append(path, [{"c": 3}])
    assert path.read_bytes() == whole + b'{"c":3}\n'


def test_a_file_that_is_one_unfinished_line_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a"')
    jsonlines.append(path, [{"b": 2}])
    assert path.read_bytes() == b'{"b":2}\n'


def test_damaged_lines_are_told_by_number_and_hide_no_others(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\nnonsense\n[1]\n\xff\xfe\n{"b":2}\n')
    lines = list(jsonlines.read(path))
    assert [line.number for line in lines if line.value is None] == [2, 3, 4]
    assert all(line.error for line in lines if line.value is None)
    assert [line.value for line in lines if line.value] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": {1, 2}}, {"a": Path("x")}])
def test_what_is_not_plain_json_is_refused_before_anything_is_written(
    tmp_path: Path, value: dict[str, object]
) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises((TypeError, ValueError)):
        jsonlines.append(path, [{"fine": 1}, value])
    assert not path.exists()
