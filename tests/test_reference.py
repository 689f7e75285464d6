"""No golden file lies there unused: each is named in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference import GOLDEN

TESTS = sorted(Path(__file__).parent.rglob("*.py"))
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)


@pytest.mark.parametrize(
    "path", [p for p in sorted(GOLDEN.rglob("*")) if p.is_file()], ids=lambda path: path.stem
)
def test_every_reference_file_is_named_in_a_test(path: Path) -> None:
    assert path.stem in SOURCES
