"""A data set that is not what everybody takes it for is an error that says what it should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from bench.api.images import Dataset, DatasetInfo, Images, Rows
from bench.errors import BenchError
from bench.measure import build, weights_used

INFO = DatasetInfo("toy", "Toys", (1, 4, 4), ("a", "b", "c"), "linf:0.1")
WHOLE = Images(torch.rand(6, 1, 4, 4), torch.arange(6) % 3, torch.arange(6))
CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "grey levels": (lambda: replace(WHOLE, x=WHOLE.x * 255), "from 0 to 1"),
    "negative": (lambda: replace(WHOLE, x=WHOLE.x - 0.5), "from 0 to 1"),
    "not a number": (lambda: replace(WHOLE, x=WHOLE.x / 0 * 0), "from 0 to 1"),
    "bytes": (lambda: replace(WHOLE, x=(WHOLE.x * 255).byte()), "torch.uint8"),
    "double": (lambda: replace(WHOLE, x=WHOLE.x.double()), "torch.float64"),
    "no channel": (lambda: replace(WHOLE, x=WHOLE.x[:, 0]), r"not torch.float32 .*, 1, 4, 4"),
    "three channels": (lambda: replace(WHOLE, x=WHOLE.x.repeat(1, 3, 1, 1)), ", 3, 4, 4"),
    "too few images": (lambda: replace(WHOLE, x=WHOLE.x[:4]), "not as many"),
    "too few blocks": (lambda: replace(WHOLE, block=WHOLE.block[:4]), "not as many"),
    "labels from 1": (lambda: replace(WHOLE, y=WHOLE.y + 1), "outside of 0 to 2"),
    "no label": (lambda: replace(WHOLE, y=WHOLE.y - 1), "outside of 0 to 2"),
    "short labels": (lambda: replace(WHOLE, y=WHOLE.y.int()), "labels are torch.int32"),
    "shares": (lambda: replace(WHOLE, y=torch.eye(6).long()), r"\(6, 6\)"),
    "blocks": (lambda: replace(WHOLE, block=WHOLE.block.float()), "blocks are torch.float32"),
    "nothing": (lambda: None, "NoneType"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_loaded_is_checked(case: str) -> None:
    function, words = CASES[case]
    dataset = Dataset(INFO, lambda split: function())
    told = f"data set 'toy', test: .*{words}"
    with pytest.raises(BenchError, match=told):
        dataset.take("test", range(4))
    with pytest.raises(BenchError, match=told):
        dataset.images("test")


def test_rows_are_checked_as_they_are_read() -> None:
    rows = Rows(WHOLE.y, WHOLE.block, lambda index: WHOLE.x[list(index)] * 255)
    with pytest.raises(BenchError, match="from 0 to 1"):
        Dataset(INFO, lambda split: rows).take("test", [1])


def test_what_is_right_passes() -> None:
    dataset = Dataset(INFO, lambda split: WHOLE)
    assert torch.equal(dataset.take("test", [3, 1]).x, WHOLE.x[[3, 1]])
    assert len(dataset.images("test")) == 6


def digests(x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a data set with these images, all at once and by rows."""
    rows = Rows(WHOLE.y, WHOLE.block, lambda index: x[list(index)])
    found = []
    for held in (replace(WHOLE, x=x), rows):
        made = Dataset(INFO, partial(same, held))
        monkeypatch.setattr(build, "dataset", partial(given, made))
        found.append(weights_used._images.__wrapped__("toy", ""))
    return found


def given(made: Dataset, name: str) -> Dataset:
    return made


def same(held: Images | Rows, split: str) -> Images | Rows:
    return held


def test_exchanged_images_are_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their digest is among what a measurement is kept under."""
    before = digests(WHOLE.x, monkeypatch)
    assert digests(WHOLE.x.clone(), monkeypatch) == before
    after = digests(WHOLE.x / 2, monkeypatch)
    assert after[0] != before[0]
    assert after[1] != before[1]
