"""The examples of docs/python.md, as printed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import bench

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def test_the_examples_print_what_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(
        str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8"
    )
    assert (failed, tried > 10) == (0, True)


def test_the_page_names_what_is_public() -> None:
    first = PAGE.read_text().split("\n\n")[1]
    assert all(f"`{name}`" in first for name in bench.__all__)
