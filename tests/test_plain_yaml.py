from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlops import plain_yaml

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
    st.datetimes(),
    st.dates(),
    st.sampled_from(
        ["null", "~", "yes", "0o17", "1:30", "2026-11-22", "<<", "=", "", " x", "- a", "a: b", "1e3"]
    ),
)
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_SCALARS, inner))


@given(_VALUES)
def test_what_was_dumped_is_read_as_pyyaml_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert plain_yaml.load(text) == yaml.safe_load(text)
    assert plain_yaml.load(text.encode()) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: &x [1, 2]\nb: *x\n",
        "base: &b {k: 1}\nall:\n  <<: *b\n  l: 2\n",
        "!!set {a, b}\n",
        "a: !!str 7\nb: !!binary aGk=\n",
        "a: 1\na: 2\n",
        "? [1, 2]\n: pair\n",
        "[" * 80 + "]" * 80,
        "a: 12:30:45\nb: 0x1F\nc: .inf\nd: 2026-01-02T03:04:05Z\ne: ! 7\n",
    ],
)
def test_what_is_unusual_is_read_as_pyyaml_reads_it(text: str) -> None:
    try:
        expected = yaml.safe_load(text)
    except yaml.YAMLError as error:
        with pytest.raises(type(error)):
            plain_yaml.load(text)
    else:
        assert plain_yaml.load(text) == expected


@pytest.mark.parametrize("text", ["a: [1", "\x00", "!!python/object/apply:os.system [id]", "&a [*a]: 1"])
def test_what_is_wrong_or_dangerous_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    with pytest.raises(yaml.YAMLError):
        plain_yaml.load(text)


def test_what_contains_itself_is_read() -> None:
    found = plain_yaml.load("&a [1, *a]")
    assert found[0] == 1
    assert found[1] is found
