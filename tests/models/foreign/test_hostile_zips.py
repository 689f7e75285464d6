"""Checkpoints whose zip file is made to do harm, and paths that are no files."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find
from tests.models.foreign.harm import refused
from tests.reference import GOLDEN

pytestmark = pytest.mark.usefixtures("flag")


def zipped(path: Path, change: Callable[[zipfile.ZipFile], None], **options: Any) -> Path:
    """A whole checkpoint, written again with something added."""
    torch.save({"a": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in entries.items():
            file.writestr(name, content)
        change(file)
    return path


def link(file: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("a/data/9")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(info, "/etc/passwd")


def again(file: zipfile.ZipFile) -> None:
    name = next(n for n in file.namelist() if n.endswith("data.pkl"))
    file.writestr(name, pickle.dumps({}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.writestr("../../evil", "x"), r"the entry '\.\./\.\./evil'"),
        (lambda file: file.writestr("/etc/evil", "x"), "the entry '/etc/evil'"),
        (lambda file: file.writestr("a\\..\\evil", "x"), "the entry"),
        (link, "the entry 'a/data/9'"),
        (again, "two entries of one name"),
        (lambda file: file.writestr("b/data.pkl", pickle.dumps({})), "without the pickle"),
    ],
)
def test_odd_entries(change: Callable[[zipfile.ZipFile], None], says: str, tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.pt", change), says)
    assert not (tmp_path.parent / "evil").exists()


def test_compressed_entries_are_not_inflated(tmp_path: Path) -> None:
    def bomb(file: zipfile.ZipFile) -> None:
        file.writestr("a/data/9", bytes(50_000_000))

    path = zipped(tmp_path / "a.pt", bomb, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, "a compressed zip file")


def test_entries_that_lie_over_each_other(tmp_path: Path) -> None:
    """Many names for the same bytes: what they declare is more than the file holds."""
    path = zipped(tmp_path / "a.pt", lambda file: file.writestr("a/data/9", bytes(100_000)))
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, length, start = struct.unpack("<HII", content[end + 10 : end + 20])
    directory = content[start : start + length]
    last = directory[directory.rindex(b"PK\x01\x02") :]
    more = b"".join(last.replace(b"a/data/9", b"a/dat%c/9" % (65 + i)) for i in range(20))
    head = struct.pack("<HHII", count + 20, count + 20, length + len(more), start)
    path.write_bytes(content[:end] + more + content[end : end + 8] + head + content[end + 20 :])
    refused(path, "declare more than it holds|damaged")


# --- what is no file ---------------------------------------------------------------------------


def test_links_to_devices_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "round.pt").symlink_to(tmp_path / "round.pt")
    for name in ("zero", "pipe", "folder", "round"):
        path = tmp_path / f"{name}.pt"
        for weights, override in ((f"file:{path}", None), ("any", path)):
            with pytest.raises(BenchError) as caught:
                find("cifar10", weights, override)
            assert "\n" not in str(caught.value)


def test_a_link_to_a_whole_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "net.pth").symlink_to(GOLDEN / "ckpt_ncsnv2_list.pth")
    assert rebuild(find("cifar10", "any", tmp_path / "net.pth"))
