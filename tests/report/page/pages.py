"""Pages to open: a small one with everything on it, in real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np

from bench.facts import About
from bench.report.page import render
from bench.results.store import Store
from tests.factories import THREAT, cell, fill, plan, planned, records, verdicts

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FEW = "first-32"
SMALL = f"{FEW},{THREAT},quick,32"
"""The key of the second board of `store`."""
HOSTILE = (
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    '"><svg onload="window.hacked=1">',
    "javascript:window.hacked=1",
    "<!--<script>",
    "{{ 7 * 7 }}",
)


ABOUT = {
    "defense": {
        "adp": About(
            "Steps along a score.", "Yoon et al. 2021", "https://arxiv.org/abs/2106.06041"
        ),
        "aid": About("Signs.", "<b>Hwang</b> et al. 2021"),
        "jpeg": About("Compression."),
    },
    "classifier": {"natural": About("Trained on clean images.", "Zagoruyko & Komodakis 2016")},
    "attack": {"bpda": About("<i>Past</i> the purifier.", "Athalye et al. 2018")},
}
"""What the plans of `store` say in words."""


def store(root: Path) -> Store:
    """patches: a board of four rows and one of two; digits: one of two."""
    made = fill(root)
    two_rows(made, "patches", ("adp@natural", "none@natural"))
    two_rows(made, "digits", ("aid@madry", "none@madry"))
    return made


def two_rows(made: Store, dataset: str, names: tuple[str, ...]) -> None:
    """A board of these rows under two attacks, one of which loses its gradient."""
    asked = []
    for row, name in enumerate(names):
        for column, attack in enumerate(("clean", "bpda", "square")):
            item = planned(cell(name, attack, dataset=dataset, subset=FEW))
            asked.append(item)
            bits = verdicts(np.full(32, (0.9, 0.6, 0.3)[column]), seed=10 * row + column)
            zeros = {"zero_gradients": [1.0] * 32} if attack == "bpda" else None
            for record in records(item.cell, bits, trace=zeros):
                made.write(item, record)
    made.write_plan(plan(asked, 32, dataset=dataset, subset=FEW, about=ABOUT))


def hostile(root: Path) -> Store:
    """A board whose rows, columns and commands are attempts to run something."""
    made = Store(root)
    asked = [planned(cell(name, attack)) for name in HOSTILE for attack in ("clean", HOSTILE[0])]
    for place, item in enumerate(asked):
        for record in records(item.cell, verdicts([0.5] * 32, seed=place)):
            made.write(item, record)
    made.write_plan(plan(asked, 32, command=HOSTILE[1]))
    return made


def write(path: Path, made: Store, *datasets: str) -> Path:
    """The page of these data sets as a file."""
    path.write_text(render(made, datasets), encoding="utf-8")
    return path


@dataclass
class Tab:
    """A page in the browser, and what went wrong on it: errors, messages, addresses asked for."""

    page: Any
    path: Path
    trouble: list[str] = field(default_factory=list)

    def go(self, **state: str) -> None:
        """Open the page at a state of its address, from nothing."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.path.as_uri()}#{urlencode(state, quote_via=quote)}")

    def follow(self, link: Any) -> None:
        """Click a link within the page, and wait until the page shows its address."""
        address = link.evaluate("link => link.hash")
        link.click()
        self.page.wait_for_function("address => drawn === address", arg=address)

    def back(self) -> None:
        """Go back to the address before, and wait until the page shows it."""
        left = self.page.evaluate("drawn")
        self.page.go_back()
        self.page.wait_for_function("left => drawn !== left", arg=left)

    def shown(self, selector: str) -> Any:
        """Elements of the board that is shown."""
        return self.page.locator(f".board.shown {selector}")

    def names(self) -> list[str]:
        """The rows of the board that is shown, from the top."""
        rows = self.shown(".main > tbody > tr[data-row]:not([hidden])")
        found: list[str] = rows.evaluate_all("rows => rows.map(row => row.dataset.row)")
        return found


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        made = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def tab(chromium: Any, path: Path, **options: Any) -> Iterator[Tab]:
    """A fresh page, opened from the file system; it must end without errors or requests."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    made = Tab(context.new_page(), path)
    made.page.on("pageerror", lambda error: made.trouble.append(str(error)))
    made.page.on("console", lambda message: made.trouble.append(message.text))
    made.page.on("dialog", lambda dialog: made.trouble.append(dialog.message))
    made.page.on("request", lambda request: _asked(made, request.url))
    try:
        made.go()
        yield made
        assert made.trouble == []
    finally:
        context.close()


def _asked(made: Tab, url: str) -> None:
    if not url.startswith((made.path.as_uri(), "about:", "blob:")):
        made.trouble.append(url)
