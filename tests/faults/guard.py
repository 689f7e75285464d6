"""A hard limit of time, so that a hang is a failure of its test and not of the whole suite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """What happens inside ends in time, or the test fails."""

    def over(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it hangs: not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
