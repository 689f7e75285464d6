"""A local worker's own side, and how its answers come over the pipe."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bench.errors import BenchError, told
from bench.measure.executors.fleet import Work

T = TypeVar("T")
R = TypeVar("R")

READY, RESULT, REFUSED, RAISED = "ready", "result", "refused", "raised"
"""What an answer is: it can begin; of a task; why it will never begin; what ended it."""
HEAD = 8
"""Bytes that say how long an answer is."""


def serve(work: Work[T, R], place: int, tasks: Connection, answers: Connection) -> None:
    """Do one task after the other, until there are no more or the parent is gone, however it went.

    What plug-ins print goes to stderr: stdout is the command's answer.
    """
    threading.Thread(target=_follow, daemon=True).start()
    with suppress(OSError):
        os.dup2(2, 1)
    try:
        work.start(place)
    except BenchError as error:
        _send(answers, REFUSED, str(error))
        return
    except BaseException as error:
        _send(answers, RAISED, told(error))
        return
    _send(answers, READY)
    while True:
        try:
            task = tasks.recv()
        except EOFError:
            return
        try:
            result = work.measure(task)
        except BaseException as error:
            _send(answers, RAISED, told(error))
            return
        _send(answers, RESULT, result)


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(pipe: Connection, kind: str, said: object = None) -> None:
    message = pickle.dumps((kind, said))
    rest = memoryview(len(message).to_bytes(HEAD, "big") + message)
    try:
        while rest:
            rest = rest[os.write(pipe.fileno(), rest) :]
    except OSError:
        os._exit(1)  # nobody reads answers any more


class Answers:
    """The parent's end of the pipe: it never waits for the rest of an answer that does not come.

    over: no more can come.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.over = False
        self._read = bytearray()
        os.set_blocking(pipe.fileno(), False)

    def take(self) -> tuple[str, Any] | None:
        """The next answer, if all of it is here."""
        while not self.over:
            try:
                piece = os.read(self.pipe.fileno(), 2**20)
            except BlockingIOError:
                break
            self._read += piece
            self.over = not piece
        end = HEAD + int.from_bytes(self._read[:HEAD], "big")
        if len(self._read) < max(end, HEAD + 1):
            return None
        try:
            kind, said = pickle.loads(self._read[HEAD:end])
        except Exception as error:
            return RAISED, told(error)
        del self._read[:end]
        return str(kind), said
