"""The tests that docs/semantics.md names behind its rules exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_semantics_name_exists() -> None:
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    missing = [f"{p}::{n}" for p, n in named if f"def {n}(" not in (ROOT / p).read_text("utf-8")]
    assert missing == []
