"""Archives that mean harm unpack nothing outside their folder, and say why."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.files import archives as module
from bench.files.archives import gunzip, merge, unpack

Change = Callable[[tarfile.TarInfo], None]


def tar(path: Path, *members: tuple[str, bytes, Change | None]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content, change in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_plain_files_and_folders(suffix: str, tmp_path: Path) -> None:
    path, out = tmp_path / f"a{suffix}", tmp_path / "out"
    files = {"set/a.txt": b"one", "./set/deep/b.bin": b"two"}
    if suffix == ".zip":
        zipped(path, ("set/", b"", 0o40755), *((n, c, 0o100777) for n, c in files.items()))
    else:
        tar(path, *((n, c, lambda info: setattr(info, "mode", 0o4777)) for n, c in files.items()))
    unpack(path, out)
    assert below(out) == {"set/a.txt": b"one", "set/deep/b.bin": b"two"}
    assert not (out / "set" / "a.txt").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


OUTSIDE = ("../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "c:out.txt", "..")


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    for path in (
        tar(tmp_path / "a.tar", (name, b"x", None)),
        zipped(tmp_path / "a.zip", (name, b"x", 0o100644)),
    ):
        before = below(tmp_path)
        with pytest.raises(BenchError, match="leads out of the folder"):
            unpack(path, out)
        assert below(tmp_path) == before


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc"

    path = tar(tmp_path / "a.tar", ("link", b"", change), ("link/passwd", b"x", None))
    with pytest.raises(BenchError, match="'link' is a link or a device"):
        unpack(path, tmp_path / "out")
    assert not below(tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("link", b"/etc/passwd", 0o120777))
    with pytest.raises(BenchError, match="'link' is a link or a device"):
        unpack(path, tmp_path / "out")
    assert not below(tmp_path / "out")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE", 1000)
    zeros = bytes(3_000_000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(zeros))
    for path in (
        zipped(tmp_path / "a.zip", ("zeros", zeros, 0o100644)),
        tar(tmp_path / "a.tar.gz", ("zeros", zeros, None)),
    ):
        with pytest.raises(BenchError, match="far more than its size"):
            unpack(path, tmp_path / path.suffix)
    with pytest.raises(BenchError, match="far more than its size"):
        gunzip(tmp_path / "a.gz", tmp_path / "a")


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "w.zip", ("a", bytes(range(256)) * 9, 0o100644)).read_bytes()
    contents = {"a.zip": whole[:-30], "b.zip": b"<html>", "a.tar": b"<html>", "b.tar.gz": b"\x1f"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BenchError, match=f"{name} cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / f"out-{name}")
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"x" * 100)[:-10])
    with pytest.raises(BenchError, match=r"c\.gz cannot be unpacked"):
        gunzip(tmp_path / "c.gz", tmp_path / "c")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("a", b"1", None), ("./a", b"2", None))
    with pytest.raises(BenchError, match="two members"):
        unpack(path, tmp_path / "out")


def test_merging_keeps_what_it_does_not_replace(tmp_path: Path) -> None:
    for name, content in {"new/a/x": "1", "new/b/y": "2", "old/a/x": "0", "old/a/z": "3"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    merge(tmp_path / "new", tmp_path / "old")
    assert below(tmp_path / "old") == {"a/x": b"1", "a/z": b"3", "b/y": b"2"}
