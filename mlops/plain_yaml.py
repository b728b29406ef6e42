"""Reading YAML files of plain values: with LibYAML where it is there, and without detours."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

_STANDARD: Final = "tag:yaml.org,2002:"
_TEXT, _MAPPING, _SEQUENCE = (_STANDARD + kind for kind in ("str", "map", "seq"))
_SCALARS: Final = frozenset(_STANDARD + kind for kind in ("null", "bool", "int", "float", "timestamp"))
# What is nested deeper is left to PyYAML, which also knows what to say of something that contains itself.
_MOST_LEVELS: Final = 50


def load(text: str | bytes) -> Any:
    """Return what a document says, like ``yaml.safe_load``.

    Args:
        text: One document.

    Raises:
        yaml.YAMLError: It is not valid.
    """
    import yaml

    return yaml.load(text, Loader=_loader())  # noqa: S506 - a safe loader


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """A safe loader that is twice as fast on what has no anchors, tags or merge keys."""

        def construct_document(self, node: Any) -> Any:
            try:
                return self._plain(node, 0)
            except LookupError:
                return super().construct_document(node)

        def _plain(self, node: Any, level: int) -> Any:
            """Return a node's value; LookupError if it is anything unusual."""
            tag = node.tag
            if tag == _TEXT:
                return node.value
            if tag in _SCALARS:
                return self.yaml_constructors[tag](self, node)
            if level > _MOST_LEVELS or tag not in (_MAPPING, _SEQUENCE):
                raise LookupError(tag)
            if tag == _SEQUENCE:
                return [self._plain(each, level + 1) for each in node.value]
            values = {}
            for key, value in node.value:
                if key.tag != _TEXT and key.tag not in _SCALARS:
                    raise LookupError(key.tag)
                values[self._plain(key, 0)] = self._plain(value, level + 1)
            return values

    return Loader
