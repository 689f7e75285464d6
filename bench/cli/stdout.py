"""stdout is a command's own answer: what plug-ins and libraries print goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def others_to_stderr() -> Iterator[None]:
    """Inside, nothing reaches stdout, whether Python prints it or a library below."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()  # what was kept back inside, while 1 is still stderr
        os.dup2(ours, 1)
        os.close(ours)
