"""A file from the network, whole or absent; `bench fetch` is the only command that asks for one.

Mirrors are tried in order. A download that was cut short is continued (HTTP Range) where a checksum
will vouch for the whole; size and checksum are verified before the file gets its name; a web page
that came in its place is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import BenchError

TRIES = 4
"""Attempts at one address; each continues where the last one ended."""
TIMEOUT = 60.0
"""Seconds without an answer."""
BLOCK = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP errors that a later attempt may not meet."""

Progress = Callable[[str, int, int], None]
"""(name, bytes so far, bytes in all or 0)."""


@dataclass(frozen=True)
class Remote:
    """A published file: its name, where it is, and what vouches for it.

    bytes is 0 and a checksum empty where it is not publicly known; it is never made up.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int = 0
    sha256: str = ""
    md5: str = ""


class _Passing(Exception):  # noqa: N818
    """This attempt failed; another one may not."""


class _Final(Exception):  # noqa: N818
    """This address has not got the file."""


def quiet(name: str, done: int, total: int) -> None:
    """No progress."""


def download(
    remote: Remote, folder: Path, progress: Progress = quiet, *, wait: float = 1.0
) -> Path:
    """The file in `folder`, fetched unless it is there and verified.

    wait: seconds before the second attempt at an address, doubled each time.

    Raises:
        BenchError: no address has it (and why, for each), the disk is full, or another process
            is fetching it; the part that was fetched stays for the next time.
    """
    target = folder / remote.name
    if target.is_file():
        verify(target, remote, "; remove it")
        return target
    if not remote.urls:
        raise BenchError(f"{remote.name} has no address that answers without a browser")
    reasons = []
    with _part(remote, folder, progress) as part:
        for url in remote.urls:
            try:
                part.whole(url, wait)
            except _Final as failure:
                reasons.append(f"{url}: {failure}")
                continue
            except OSError as error:
                raise BenchError(f"cannot write {part.path}: {error.strerror or error}") from None
            part.path.replace(target)
            return target
    raise BenchError(f"cannot fetch {remote.name}: {'; '.join(reasons)}")


def verify(path: Path, remote: Remote, hint: str = "") -> None:
    """Raise BenchError unless the file is, as far as it is known, the published one (+ `hint`)."""
    try:
        with path.open("rb") as file:
            reason = _differs(file, remote)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    if reason:
        raise BenchError(f"{path} is not the published {remote.name}: {reason}{hint}")


def is_page(content: bytes) -> bool:
    """Whether a file's first bytes are those of a web page."""
    start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<!-- "))


def _differs(file: io.BufferedIOBase, remote: Remote) -> str:
    """What tells a file from the published one, or nothing."""
    file.seek(0)
    if is_page(file.read(512)):
        return "it is a web page"
    size = file.seek(0, os.SEEK_END)
    if remote.bytes and size != remote.bytes:
        return f"{size:,} bytes, not {remote.bytes:,}"
    for name, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected:
            file.seek(0)
            found = hashlib.file_digest(file, name).hexdigest()
            if found != expected:
                return f"{name} {found[:12]}, not {expected[:12]}"
    return ""


@contextmanager
def _part(remote: Remote, folder: Path, progress: Progress) -> Iterator[_Part]:
    """The part that is being fetched, by this process alone."""
    path = folder / f".{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"another process is fetching {path}") from None
        yield _Part(remote, path, file, progress)


@dataclass
class _Part:
    """What has come of a file so far; writing always appends."""

    remote: Remote
    path: Path
    file: io.BufferedRandom
    progress: Progress

    def whole(self, url: str, wait: float) -> None:
        """Fetch the rest from one address, in a few attempts, and verify it."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise _Final("not an http address")
        reason, ours = "", not self.file.seek(0, os.SEEK_END)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(wait * 2 ** (attempt - 1))
            # Without a checksum nothing would tell a patchwork of two files from one.
            if not (self.remote.sha256 or self.remote.md5):
                self.file.truncate(0)
            try:
                self._attempt(url)
            except _Passing as failure:
                reason = str(failure)
                continue
            self.file.flush()
            os.fsync(self.file.fileno())
            if not (reason := _differs(self.file, self.remote)):
                return
            self.file.truncate(0)
            if ours:
                break  # nothing of it came from an earlier attempt of others: it is another file
            ours = True
        raise _Final(reason)

    def _attempt(self, url: str) -> None:
        have, size = self.file.seek(0, os.SEEK_END), self.remote.bytes
        if size and have == size:
            return
        if size and have > size:
            have = self.file.truncate(0)
        headers = {"User-Agent": "purifybench", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                self._receive(answer, have)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.file.truncate(0)
                raise _Passing("the server does not continue the part") from None
            kind = _Passing if error.code in PASSING else _Final
            raise kind(f"HTTP {error.code} {error.reason}") from None
        except (urllib.error.URLError, http.client.HTTPException, *_CUT) as error:
            reason = getattr(error, "reason", "") or error or type(error).__name__
            raise _Passing(" ".join(str(reason).split())) from None

    def _receive(self, answer: http.client.HTTPResponse, have: int) -> None:
        """Append the answer, or begin again where it is no continuation."""
        continued = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if continued and not (answer.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
            raise _Final("it sent another part than was asked for")
        done, length = have if continued else 0, int(answer.headers["Content-Length"] or 0)
        name, size = self.remote.name, self.remote.bytes
        total = done + length if length else size
        block = answer.read(BLOCK)
        if not done and is_page(block):
            raise _Final("a web page came instead (a log-in or a confirmation?)")
        if size and total != size:
            raise _Final(f"it has {total:,} bytes, not {size:,}")
        if shutil.disk_usage(self.path.parent).free < total - done:
            raise BenchError(f"no room for {name} in {self.path.parent}: {total - done:,} bytes")
        self.file.truncate(done)
        while block:
            self.file.write(block)
            done += len(block)
            if size and done > size:
                raise _Final(f"more than {size:,} bytes came")
            self.progress(name, done, total)
            block = answer.read(BLOCK)
        if total and done < total:
            raise _Passing(f"it ended after {done:,} of {total:,} bytes")


_CUT = (ConnectionError, TimeoutError, ssl.SSLError)
