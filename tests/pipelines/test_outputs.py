from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlops.errors import DataIntegrityError, DataNotFoundError
from mlops.pipelines.outputs import OutputStore, StoredOutput, describe
from mlops.workspace.tools import ToolContext

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([5, 6], name="key"))


@pytest.fixture
def store(context: ToolContext) -> OutputStore:
    return OutputStore(context.workspace)


class Own:
    def __init__(self, value: int) -> None:
        self.value = value


@pytest.mark.parametrize(
    ("value", "suffix", "kind", "name"),
    [
        (None, "json", "file", "NoneType"),
        ({"a": [1, 2.5, True, None, "é"]}, "json", "file", "dict"),
        ({"loss": 0.1, "n": 3}, "json", "metrics", "dict"),
        ({1: 2}, "pkl", "file", "dict"),
        ((1, 2), "pkl", "file", "tuple"),
        (float("nan"), "pkl", "file", "float"),
        ("text", "txt", "file", "str"),
        ("\ud800", "pkl", "file", "str"),
        ("<html></html>", "html", "report", "str"),
        (b"\0\1", "bin", "file", "bytes"),
        (list(range(20_000)), "pkl", "file", "list"),
        (np.arange(3), "pkl", "data", "numpy.ndarray"),
        (FRAME, "pkl", "data", "pandas.DataFrame"),
        (LinearRegression(), "pkl", "model", "sklearn.linear_model._base.LinearRegression"),
        (lambda: 3, "pkl", "file", "builtins.function"),
    ],
)
def test_a_value_comes_back_as_it_was(
    store: OutputStore, value: Any, suffix: str, kind: str, name: str
) -> None:
    stored = store.put(value)
    assert stored is not None
    assert (stored.format, stored.kind) == (suffix, kind)
    assert stored.type == name or name == "builtins.function"
    assert StoredOutput.from_text(stored.to_text()) == stored
    assert describe(value) == stored
    back = store.get(stored)
    assert type(back) is type(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(back, value)
    elif callable(value):
        assert back() == 3
    elif isinstance(value, (np.ndarray, LinearRegression)):
        assert repr(back) == repr(value)
    else:
        assert repr(back) == repr(value)


def test_equal_values_are_stored_once(store: OutputStore) -> None:
    first, second = store.put(FRAME), store.put(FRAME.copy())
    assert first == second
    assert len([path for path in store.root.rglob("*") if path.is_file()]) == 1


def test_what_cannot_be_stored_says_so_and_leaves_nothing(store: OutputStore) -> None:
    assert store.put(threading.Lock()) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_damage_is_noticed_and_repaired(store: OutputStore) -> None:
    stored = store.put({"a": 1})
    assert stored is not None
    store.path(stored).write_text(store.path(stored).read_text().replace("1", "2"))
    assert not store.is_intact(stored)
    with pytest.raises(DataIntegrityError, match="missing or damaged") as caught:
        store.get(stored)
    assert caught.value.workspace == "churn"
    store.put({"a": 1})
    assert store.get(stored) == {"a": 1}


def test_a_value_is_found_by_its_digest(store: OutputStore) -> None:
    stored = store.put([1, 2])
    assert stored is not None
    assert store.find(f"output:{stored.digest}") == [1, 2]
    for nonsense in ("0" * 64, "../../x", ""):
        with pytest.raises(DataNotFoundError):
            store.find(nonsense)


def test_a_path_counts_by_what_it_names(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.csv", tmp_path / "folder"
    folder.mkdir()

    def identity(path: Path) -> str:
        found = describe(path)
        assert found is not None
        return found.identity

    seen = {identity(file), identity(folder)}
    file.write_text("1")
    (folder / "x").write_text("1")
    seen |= {identity(file), identity(folder)}
    file.write_text("2")
    (folder / "x").rename(folder / "y")
    seen |= {identity(file), identity(folder)}
    assert len(seen) == 6
    assert identity(file) == identity(file)
