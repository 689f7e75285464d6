"""Ctrl-C: at once while a command starts, in order while work is under way.

Libraries swallow a KeyboardInterrupt that meets them while they are imported, so starting up
leaves the process without one, and work looks again after every step.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 130
MESSAGE = "stopped; what is finished is kept, the same command continues"

WAITS = "stopping after this step; Ctrl-C once more stops at once"

_asked = False
_pressed = False


def leave_at_once() -> None:
    """From here on Ctrl-C ends the process with one line: nothing has begun yet."""
    _install(_leave)


@contextmanager
def in_order() -> Iterator[None]:
    """Inside, Ctrl-C is a KeyboardInterrupt: workers are ended and the terminal is restored."""
    _install(_stop)
    try:
        yield
        check()
    finally:
        # A second Ctrl-C must not disturb the clearing up after the first.
        _install(signal.SIG_IGN if _asked else _leave)


@contextmanager
def between_steps() -> Iterator[None]:
    """Inside, a first Ctrl-C only makes `pressed` true, a second one is a KeyboardInterrupt.

    For work whose steps must not be broken off in their middle.
    """
    global _pressed  # noqa: PLW0603  # a signal handler has nowhere else to leave word
    _pressed = False
    _install(_press)
    try:
        yield
        if _pressed:
            raise KeyboardInterrupt
    finally:
        _install(signal.SIG_IGN if _asked or _pressed else _leave)


def pressed() -> bool:
    """Whether Ctrl-C was pressed inside `between_steps`."""
    return _pressed


def check() -> None:
    """Raise the KeyboardInterrupt that a library may have swallowed."""
    if _asked:
        raise KeyboardInterrupt


def _install(handler: signal._HANDLER) -> None:
    # A process that was started with Ctrl-C ignored (nohup, a shell's `&`) leaves it so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, f"\nbench: {MESSAGE}\n".encode())
    os._exit(CODE)


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603  # a signal handler has nowhere else to leave word
    _asked = True
    raise KeyboardInterrupt


def _press(number: int, frame: FrameType | None) -> None:
    global _pressed  # noqa: PLW0603  # as above
    if _pressed:
        _stop(number, frame)
    _pressed = True
    os.write(2, f"\nbench: {WAITS}\n".encode())
