"""Rows of text as columns that repeat little: each word once, then where it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict


class Packed(TypedDict):
    """Rows of text. words: those of each field; rows: for each field the place of every row's word.

    A negative number -k repeats the place before it k times more.
    """

    fields: list[str]
    words: list[list[str]]
    rows: list[list[int]]


def pack(rows: Sequence[Mapping[str, str]], fields: Sequence[str]) -> Packed:
    """The `fields` of `rows`, ready for JSON; `unpack` of the page's data.js reads it."""
    columns = [_column([row[name] for row in rows]) for name in fields]
    return {
        "fields": list(fields),
        "words": [words for words, _ in columns],
        "rows": [places for _, places in columns],
    }


def _column(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The words, the most frequent ones first, since their places are the shortest."""
    words = [word for word, _ in Counter(texts).most_common()]
    known = {word: place for place, word in enumerate(words)}
    places: list[int] = []
    before = -1
    for text in texts:
        place = known[text]
        if place != before:
            places.append(place)
        elif places[-1] < 0:
            places[-1] -= 1
        else:
            places.append(-1)
        before = place
    return words, places
