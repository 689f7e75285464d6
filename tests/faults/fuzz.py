"""Damaged and hostile files for every reader: made from whole ones, by a seed, within bounds.

    python -m tests.faults.fuzz FAMILY CASES          all readers of a family
    python -m tests.faults.fuzz READER CASE CASE+1    one case again (a range of cases)

Prints one JSON object: reader -> what came of its cases.
"""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError

SECONDS, BYTES = 20, 1 << 30
"""What one case may take: of time, and of address space beside what whole files took."""
LONGEST = 1_000
"""Characters of a message."""


@dataclass(frozen=True)
class Reader:
    """Something that reads files of others.

    whole(folder): whole files as bytes. read(path): raises BenchError for what it does not take.
    file: the name that such a file has. packed: unwraps and wraps compressed bytes, so that what
    lies inside is damaged too. named: whether the message has to name the file.
    """

    family: str
    file: str
    whole: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    packed: tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]] | None = None
    named: bool = True


class Hang(BaseException):
    """A case took longer than it may."""


def cases(reader: Reader, wholes: list[bytes], name: str, number: int) -> bytes:
    """Case `number` of a reader: the same bytes each time."""
    rng = random.Random(f"{name}/{number}")
    content = rng.choice(wholes)
    if reader.packed and rng.random() < 0.6:
        unwrap, wrap = reader.packed
        return wrap(mutated(unwrap(content), rng))
    return mutated(content, rng)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Damaged in one to three ways."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(WAYS)(content, rng)
    return content[:MOST]


MOST = 4 << 20


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def splice(content: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    into = rng.randrange(len(content) + 1)
    part = content[start : min(end, start + rng.choice((1, 8, 100, 10_000)))]
    return content[:into] + part + content[into + rng.choice((0, len(part))) :]


def grow(content: bytes, rng: random.Random) -> bytes:
    """Make numbers large: digits of a text, or bytes that may be a size."""
    digits = list(re.finditer(rb"\d+", content[:200_000]))
    if digits and rng.random() < 0.5:
        found = rng.choice(digits)
        number = rng.choice(
            (b"-1", b"0", b"9" * 10, b"9" * 20, b"9" * 5_000, b"1e999", b"4294967295", b"0.5")
        )
        return content[: found.start()] + number + content[found.end() :]
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice((2 ** (8 * size) - 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 0))
    at = rng.randrange(len(content) + 1)
    return content[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]


def nest(content: bytes, rng: random.Random) -> bytes:
    opening, closing = rng.choice(
        (b"[ ]", b"( )", b'{"a": }', b"{ }", b"]) e", b"(l a", b") \x85", b"- ")
        + ((b"N2\x86 ",) if rng.random() < 0.5 else ())
    ).split(b" ", 1)
    times = rng.choice((3, 60, 2_000, 100_000))
    at, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:at] + opening * times + content[at:end] + closing * times + content[end:]


def repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    end = start + rng.choice((1, 4, 40, 400))
    return content[:end] + content[start:end] * rng.choice((2, 100, 3_000)) + content[end:]


def retype(content: bytes, rng: random.Random) -> bytes:
    """Put a value of another type where a text has one."""
    values = list(re.finditer(rb'"[^"]{0,60}"|\b\d[\d.]*\b|\bnull\b|\btrue\b|\bfalse\b', content))
    if not values:
        return flip(content, rng)
    other = (b"null", b"[]", b"{}", b"true", b'"a"', b"-3", b"1.5", b"[1, 2]", b'[["a"]]', b"NaN")
    found = rng.choice(values)
    return content[: found.start()] + rng.choice(other) + content[found.end() :]


def empty(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\0" * 600, b"\xff\xfe", b"\n", b"<!doctype html>", content[::-1]))


WAYS = (
    *(truncate, flip, flip, flip, splice, splice, grow, grow, grow, nest, repeat, retype, retype),
    empty,
)


@contextmanager
def bounded(extra: int) -> Iterator[None]:
    """No more address space than now and `extra` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(reader: Reader, path: Path) -> str:
    """What came of a file: `read`, `refused`, or what should not have."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        reader.read(path)
    except BenchError as error:
        line = str(error)
        if "\n" in line or len(line) > LONGEST or not line.isprintable():
            return f"a message that is no line: {line[:200]!r}"
        if reader.named and path.name not in line:
            return f"a message that does not name the file: {line[:300]}"
        return "refused"
    except Hang:
        return f"more than {SECONDS} s"
    except BaseException as error:
        frames = _frames(error)
        return f"{type(error).__name__}: {str(error)[:200]} ({' < '.join(frames[-3:])})"
    finally:
        signal.alarm(0)
    return "read"


def _alarm(signum: int, frame: Any) -> None:
    raise Hang


def _frames(error: BaseException) -> list[str]:
    trace, found = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found


def run(name: str, reader: Reader, numbers: range) -> dict[str, Any]:
    """All cases of a reader; failures by case."""
    failures: dict[str, str] = {}
    count = {"read": 0, "refused": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wholes = reader.whole(folder)
        path = folder / reader.file
        for whole in wholes:
            path.write_bytes(whole)
            reader.read(path)
        with bounded(BYTES):
            for number in numbers:
                path.write_bytes(cases(reader, wholes, name, number))
                start = time.process_time()
                came = outcome(reader, path)
                slowest = max(slowest, time.process_time() - start)
                if came in count:
                    count[came] += 1
                else:
                    failures[str(number)] = came
    return {"cases": len(numbers), **count, "slowest": round(slowest, 2), "failures": failures}


def main(arguments: list[str]) -> None:
    from tests.faults.readers import READERS

    first = arguments[0]
    if first in READERS:
        numbers = range(int(arguments[1]), int(arguments[2]))
        found = {first: run(first, READERS[first], numbers)}
    else:
        chosen = {name: reader for name, reader in READERS.items() if reader.family == first}
        found = {name: run(name, r, range(int(arguments[1]))) for name, r in chosen.items()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
