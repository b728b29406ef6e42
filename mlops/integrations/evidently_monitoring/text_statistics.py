"""What can be counted in a text of any language without a dictionary or a model.

Each statistic becomes a numerical column ``<column>: <statistic>`` that is compared like any other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

# A mark that ends a sentence, in Latin, Greek, Arabic, Indic and East Asian writing.
_SENTENCE_END: Final = re.compile("[.!?\u2026\u3002\uff01\uff1f\u061f\u0964]+|\n+")
_WORD: Final = re.compile(r"\w+")
STATISTICS: Final = (
    "length",
    "words",
    "sentences",
    "word length",
    "distinct words",
    "non-letters",
    "known words",
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of the reference's texts.

    Args:
        all: Every word.
        shared: Those in at least two texts.
        texts: The texts. One of them knows its words from the others only, as a new text does; or the
            reference would know all of its own words and every batch fewer.
    """

    all: frozenset[str]
    shared: frozenset[str]
    texts: frozenset[str]

    @classmethod
    def of(cls, texts: Collection[str]) -> Vocabulary:
        """Collect the words of texts."""
        counts = Counter(word for text in texts for word in set(_words(text)))
        shared = frozenset(word for word, count in counts.items() if count > 1)
        return cls(frozenset(counts), shared, frozenset(texts))

    def known_to(self, text: str) -> frozenset[str]:
        """Return the words a text shares with others if they occur in it."""
        return self.shared if text in self.texts else self.all


def series_name(column: str, statistic: str) -> str:
    """Return the name under which a statistic of a text column is compared."""
    return f"{column}: {statistic}"


def describe(values: pd.Series, vocabulary: Vocabulary) -> dict[str, pd.Series]:
    """Return the statistics of texts by name, float64, NaN where a text is missing or has no such number.

    Args:
        values: Texts and missing values.
        vocabulary: The reference's words.

    Returns:
        ``length`` in characters; ``words``; ``sentences``; ``word length``, the mean in characters;
        ``distinct words``, their share of the words, low for repetitive text; ``non-letters``, their share of
        the characters that are no white space; ``known words``, the share of words the reference has, too.
    """
    import numpy as np
    import pandas as pd

    missing = values.isna().to_numpy()
    table = np.full((len(values), len(STATISTICS)), np.nan)
    for row, text in enumerate(values):
        if not missing[row]:
            table[row] = _describe(str(text), vocabulary.known_to(text))
    return {name: pd.Series(table[:, i], index=values.index) for i, name in enumerate(STATISTICS)}


def _describe(text: str, known: frozenset[str]) -> tuple[float, ...]:
    words, visible = _words(text), "".join(text.split())
    sentences = sum(1 for part in _SENTENCE_END.split(text) if part.strip())
    count, nan = len(words), float("nan")
    return (
        len(text),
        count,
        sentences,
        sum(map(len, words)) / count if count else nan,
        len(set(words)) / count if count else nan,
        1 - sum(map(str.isalpha, visible)) / len(visible) if visible else nan,
        sum(word in known for word in words) / count if count else nan,
    )


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
