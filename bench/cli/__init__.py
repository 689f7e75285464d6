"""The command `bench`: one small file per subcommand, imported when it is used."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from bench.cli import interrupt
from bench.errors import BenchError, plain

PATIENCE = 10.0
"""Seconds in which threads of plug-ins may end after the command has."""


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2, Ctrl-C is 130."""
    interrupt.leave_at_once()
    try:
        from bench.cli.group import invoke

        code = invoke()
    except BenchError as error:
        code = _fail(str(error), 2)
    except KeyboardInterrupt as stopped:
        code = _fail(str(stopped) or interrupt.MESSAGE, interrupt.CODE)
    except BrokenPipeError:
        # The reader of the output (head, less) has left; what follows is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("BENCH_DEBUG"):
            raise
        code = _fail(f"{type(error).__name__}: {error} (BENCH_DEBUG=1 shows where)", 2)
    _leave(code)


def _leave(code: int) -> None:
    """End the process; threads that a plug-in left running are waited for, but not for ever."""
    main = threading.main_thread()
    if any(not thread.daemon and thread is not main for thread in threading.enumerate()):
        with suppress(OSError):
            sys.stdout.flush()
        late = threading.Timer(PATIENCE, os._exit, (code,))
        late.daemon = True
        late.start()
    sys.exit(code)


def _fail(text: str, code: int) -> int:
    print(f"bench: {plain(text, 4000)}", file=sys.stderr)
    return code
