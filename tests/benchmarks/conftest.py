"""The table of a comparison: CPU seconds of each way, and how many times ours they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tabulate import tabulate

OURS = "ours"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table under pytest's own."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = {}
    for bench in (b for b in session.benchmarks if b.stats.data) if session else ():
        groups.setdefault(bench.group, {})[bench.params["who"]] = bench.stats.min
    rows = [
        (group, who, f"{seconds:.3f}", f"{seconds / ways[OURS]:.2f}")
        for group, ways in groups.items()
        if OURS in ways
        for who, seconds in ways.items()
    ]
    if rows:
        head = ("work", "by", "CPU s", "times ours")
        terminalreporter.write_line(tabulate(rows, head, tablefmt="github", disable_numparse=True))
