"""Downloads from a server on this machine: whole or absent, whatever the server does."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import BenchError
from bench.files.download import Remote, download, verify
from tests.web import Web, serve

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        web.pages["file"] = CONTENT
        yield web


def remote(*urls: str, **changes: Any) -> Remote:
    known = {"bytes": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest()}
    return Remote("file.bin", urls, **{**known, **changes})


def test_a_file_comes_whole_once_and_is_verified(web: Web, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    wanted = remote(web.url("file"), sha256=hashlib.sha256(CONTENT).hexdigest())
    path = download(wanted, tmp_path / "new", lambda *step: said.append(step))
    assert path.read_bytes() == CONTENT
    assert said[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert download(wanted, tmp_path / "new") == path
    assert len(web.asked) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_download_that_is_cut_short_continues_where_it_ended(web: Web, tmp_path: Path) -> None:
    web.cut, web.cuts = 3000, 2
    path = download(remote(web.url("file")), tmp_path, wait=0)
    assert path.read_bytes() == CONTENT
    assert [part for _, part in web.asked] == ["", "bytes=3000-", "bytes=6000-"]


def test_another_process_continues_it_too(web: Web, tmp_path: Path) -> None:
    web.cut, web.cuts = 1000, 4
    with pytest.raises(BenchError, match="ended after 4,000 of 10,240 bytes"):
        download(remote(web.url("file")), tmp_path, wait=0)
    assert not (tmp_path / "file.bin").exists()
    assert download(remote(web.url("file")), tmp_path).read_bytes() == CONTENT
    assert web.asked[-1] == ("file", "bytes=4000-")


def test_a_server_without_ranges_begins_again(web: Web, tmp_path: Path) -> None:
    web.ranges, web.cut, web.cuts = False, 3000, 1
    assert download(remote(web.url("file")), tmp_path, wait=0).read_bytes() == CONTENT


def test_without_a_checksum_no_part_is_continued(web: Web, tmp_path: Path) -> None:
    web.cut, web.cuts = 3000, 1
    path = download(remote(web.url("file"), md5=""), tmp_path, wait=0)
    assert path.read_bytes() == CONTENT
    assert [part for _, part in web.asked] == ["", ""]


def test_a_damaged_part_is_thrown_away(web: Web, tmp_path: Path) -> None:
    (tmp_path / ".file.bin.part").write_bytes(b"x" * 100)
    assert download(remote(web.url("file")), tmp_path, wait=0).read_bytes() == CONTENT
    (tmp_path / "file.bin").unlink()
    (tmp_path / ".file.bin.part").write_bytes(b"x" * 20_000)
    assert download(remote(web.url("file")), tmp_path, wait=0).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "start", [b"<!DOCTYPE html>", b"\n  <html lang=en>", b"\xef\xbb\xbf<HTML>"]
)
@pytest.mark.parametrize("known", [{}, {"bytes": 0, "md5": ""}])
def test_a_web_page_is_refused_by_name(
    start: bytes, known: dict[str, Any], web: Web, tmp_path: Path
) -> None:
    web.pages["page"] = start + b"<title>Sign in</title>"
    with pytest.raises(BenchError, match="page: a web page came instead"):
        download(remote(web.url("page"), **known), tmp_path, wait=0)
    assert not (tmp_path / "file.bin").exists()
    assert len(web.asked) == 1


def test_mirrors_are_tried_in_order(web: Web, tmp_path: Path) -> None:
    web.pages["other"] = b"y" * len(CONTENT)
    web.pages["short"] = CONTENT[:-1]
    web.status["down"] = 503
    urls = [web.url(path) for path in ("gone", "short", "other", "down")]
    with pytest.raises(BenchError) as failed:
        download(remote("file:///etc/hostname", *urls), tmp_path, wait=0)
    for reason in (
        "hostname: not an http address",
        "gone: HTTP 404",
        "short: it has 10,239 bytes, not 10,240",
        "other: md5 ",
        "down: HTTP 503",
    ):
        assert reason in str(failed.value)
    assert not (tmp_path / "file.bin").exists()
    assert [path for path, _ in web.asked].count("gone") == 1
    assert [path for path, _ in web.asked].count("other") == 1
    assert [path for path, _ in web.asked].count("down") == 4
    path = download(remote(*urls, web.url("file")), tmp_path, wait=0)
    assert path.read_bytes() == CONTENT


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="refused"):
        download(remote("http://127.0.0.1:9/file"), tmp_path, wait=0)
    with pytest.raises(BenchError, match="no address"):
        download(remote(), tmp_path)


def test_more_than_was_announced_stops(web: Web, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="it has 10,240 bytes, not 5"):
        download(remote(web.url("file"), bytes=5), tmp_path, wait=0)


def test_a_file_that_is_there_and_is_another_one(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(BenchError, match=r"is not the published file.bin: md5 .*; remove it"):
        download(remote(web.url("file")), tmp_path)
    (tmp_path / "file.bin").write_bytes(b"<html>")
    with pytest.raises(BenchError, match="it is a web page"):
        verify(tmp_path / "file.bin", remote(bytes=0, md5=""))


def test_two_processes_do_not_write_one_part(web: Web, tmp_path: Path) -> None:
    with (tmp_path / ".file.bin.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BenchError, match="another process is fetching"):
            download(remote(web.url("file")), tmp_path)
    assert not web.asked


def test_a_full_disk_is_known_before(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(BenchError, match=r"no room for file\.bin"):
        download(remote(web.url("file")), tmp_path)
