"""Reading one large JSON object piece by piece: its lists are iterated, never held whole.

The standard library's parser does the parsing, one member or one item of a list at a time, so the layout of
the file does not matter: it may have been formatted anew by another program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

_BLOCK: Final = 1 << 16
_DELIMITERS: Final = tuple(" \t\r\n,]}")
_DECODER: Final = json.JSONDecoder()


def members(stream: TextIO) -> Iterator[tuple[str, Any]]:
    """Yield key and value of an object's members; a list is given as an iterator of its items.

    An iterator is good until the next member is asked for, which skips what is left of it.

    Args:
        stream: Text that holds one JSON object and nothing else.

    Raises:
        json.JSONDecodeError: It is no JSON object, or ends in the middle.
    """
    scanner = _Scanner(stream)
    scanner.take("{")
    if scanner.peek() == "}":
        scanner.take("}")
    else:
        while True:
            key = scanner.value()
            if not isinstance(key, str):
                raise scanner.error("Expected a key")
            scanner.take(":")
            if scanner.peek() == "[":
                items = _items(scanner)
                yield key, items
                for _ in items:
                    pass
            else:
                yield key, scanner.value()
            if scanner.take(",}") == "}":
                break
    if scanner.peek():
        raise scanner.error("Extra data")


def _items(scanner: _Scanner) -> Iterator[Any]:
    scanner.take("[")
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        yield scanner.value()
        if scanner.take(",]") == "]":
            return


class _Scanner:
    """A window that moves over the text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._behind = 0

    def peek(self) -> str:
        """Return the next character that is no white space, or "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self._at += 1
            if not self._read():
                return ""

    def take(self, expected: str) -> str:
        """Step over the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in expected:
            raise self.error(f"Expected {' or '.join(map(repr, expected))}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Step over the next value and return it."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._read():
                    raise self.error(error.msg) from error
                continue
            # What the window has of a number can be a number too.
            if (
                self._text[end : end + 1] in _DELIMITERS
                or not isinstance(value, int | float)
                or not self._read()
            ):
                self._at = end
                return value

    def error(self, message: str) -> json.JSONDecodeError:
        """Return an error that counts characters from the start of the file."""
        error = json.JSONDecodeError(message, "", 0)
        error.args = (f"{message}: character {self._behind + self._at}",)
        return error

    def _read(self) -> bool:
        # As much again as is waiting, so that a large value is not parsed from its start once per block.
        block = self._stream.read(max(_BLOCK, len(self._text) - self._at))
        if not block:
            return False
        self._behind += self._at
        self._text = self._text[self._at :] + block
        self._at = 0
        return True
