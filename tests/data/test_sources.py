"""Where data comes from, and how it gets into place; the server is on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN, FashionMNIST
from torchvision.datasets.imagenet import ARCHIVE_META

from bench.api import find_dataset
from bench.data.sources import SOURCES, Source, fetch
from bench.errors import BenchError
from bench.files.download import Remote
from tests.data import copies
from tests.web import Web, serve


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as web:
        yield web


def packed(folder: Path) -> bytes:
    """A .tar.gz of what lies in a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, str(path.relative_to(folder)))
    return buffer.getvalue()


def served(web: Web, name: str, content: bytes, file: str) -> Source:
    """A source of `name` with one file, whose content the server has."""
    web.pages[file] = content
    remote = Remote(file, (web.url(file),), len(content), md5=hashlib.md5(content).hexdigest())
    return replace(SOURCES[name], files=(remote,))


def everything(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def test_checksums_are_those_that_torchvision_publishes() -> None:
    ours = {remote.name: remote.md5 for source in SOURCES.values() for remote in source.files}
    theirs = {CIFAR10.filename: CIFAR10.tgz_md5, CIFAR100.filename: CIFAR100.tgz_md5}
    theirs |= {name: md5 for _, name, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])}
    theirs |= {ARCHIVE_META[key][0]: ARCHIVE_META[key][1] for key in ("val", "devkit")}
    assert {name: ours[name] for name in theirs} == theirs
    for name, published in (("mnist", MNIST), ("fashionmnist", FashionMNIST)):
        found = {remote.name: remote.md5 for remote in SOURCES[name].files}
        assert found == dict(published.resources)


def test_every_source_says_what_vouches_for_it_and_under_which_terms() -> None:
    for source in SOURCES.values():
        assert source.licence
        assert source.page.startswith("http")
        assert all(len(remote.md5) == 32 for remote in source.files)
        assert all(remote.urls for remote in source.files) != bool(source.manual)
        assert source.name.removesuffix("-c") in {find_dataset(source.name.removesuffix("-c")).name}


def test_an_archive_comes_unpacked_and_leaves_nothing_else(web: Web, tmp_path: Path) -> None:
    copies.cifar10(tmp_path / "copy")
    source = served(web, "cifar10", packed(tmp_path / "copy"), "cifar-10-python.tar.gz")
    root = tmp_path / "data"
    assert fetch(source, root)
    assert everything(tmp_path / "copy") == [n for n in everything(root) if n != ".downloads"]
    assert not fetch(source, root)
    assert len(web.asked) == 1


def test_packed_idx_files_come_unpacked(web: Web, tmp_path: Path) -> None:
    copies.mnist(tmp_path / "copy")
    remotes = []
    for path in (tmp_path / "copy" / "MNIST" / "raw").iterdir():
        content = gzip.compress(path.read_bytes())
        web.pages[f"{path.name}.gz"] = content
        md5 = hashlib.md5(content).hexdigest()
        remotes.append(Remote(f"{path.name}.gz", (web.url(f"{path.name}.gz"),), md5=md5))
    fetch(replace(SOURCES["mnist"], files=tuple(remotes)), tmp_path / "data")
    assert everything(tmp_path / "copy") == [
        name for name in everything(tmp_path / "data") if name != ".downloads"
    ]


def test_plain_files_are_taken_from_the_user(web: Web, tmp_path: Path) -> None:
    copies.svhn(tmp_path / "mine")
    files = tuple(
        Remote(p.name, (), md5=hashlib.md5(p.read_bytes()).hexdigest())
        for p in sorted((tmp_path / "mine").iterdir())
    )
    source = replace(SOURCES["svhn"], files=files)
    fetch(source, tmp_path / "data", sorted((tmp_path / "mine").iterdir()))
    assert everything(tmp_path / "data") == everything(tmp_path / "mine")
    assert not web.asked


def test_a_file_of_the_user_that_is_another_one(tmp_path: Path) -> None:
    mine = tmp_path / "cifar-10-python.tar.gz"
    mine.write_bytes(b"<html>sign in")
    with pytest.raises(BenchError, match="it is a web page"):
        fetch(SOURCES["cifar10"], tmp_path / "data", [mine])
    mine.write_bytes(b"something else")
    with pytest.raises(BenchError, match="14 bytes, not 170,498,071"):
        fetch(SOURCES["cifar10"], tmp_path / "data", [mine])
    assert not (tmp_path / "data").exists()


def test_what_needs_a_browser_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"in a browser\. Get ILSVRC2012_img_val\.tar from https"):
        fetch(SOURCES["imagenet"], tmp_path)


def test_an_archive_of_something_else_changes_nothing(web: Web, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "other.txt").write_text("x")
    source = served(web, "cifar10", packed(tmp_path / "copy"), "cifar-10-python.tar.gz")
    root = tmp_path / "data"
    with pytest.raises(BenchError, match="does not hold cifar10: no cifar-10-batches-py"):
        fetch(source, root)
    assert everything(root) == [".downloads", ".downloads/cifar-10-python.tar.gz"]


def test_an_archive_that_leads_out_changes_nothing(web: Web, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    source = served(web, "cifar10", buffer.getvalue(), "cifar-10-python.tar.gz")
    root = tmp_path / "deep" / "data"
    with pytest.raises(BenchError, match="leads out of the folder"):
        fetch(source, root)
    assert not list(tmp_path.rglob("evil"))
    assert everything(root) == [".downloads", ".downloads/cifar-10-python.tar.gz"]


def test_a_copy_that_is_not_whole_is_completed(web: Web, tmp_path: Path) -> None:
    copies.cifar10(tmp_path / "copy")
    source = served(web, "cifar10", packed(tmp_path / "copy"), "cifar-10-python.tar.gz")
    root = tmp_path / "data"
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_text("half of it")
    (folder / "mine.txt").write_text("kept")
    fetch(source, root)
    assert (folder / "data_batch_1").stat().st_size > 1000
    assert (folder / "mine.txt").read_text() == "kept"
