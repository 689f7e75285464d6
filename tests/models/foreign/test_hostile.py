"""Files made to do harm: nothing of them runs, they cost little, and each is one line."""

from __future__ import annotations

import io
import os
import pickle
import resource
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.models.foreign.states import read_state
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find
from tests.reference import GOLDEN

LIMIT_S, LIMIT_BYTES = 20.0, 300 * 2**20
"""CPU time and growth of the process that any small file may cost."""


@pytest.fixture(autouse=True)
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that harm would write; nothing may have written it in the end."""
    path = tmp_path / "harm"
    monkeypatch.chdir(tmp_path)
    yield path
    assert not path.exists(), "the file's code ran"


def refused(path: Path, says: str = ".") -> str:
    """The one line that a file ends in, within the limits."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BenchError, match=says) as caught:
        rebuild(find("cifar10", "any", path))
    line = str(caught.value)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 600
    assert time.process_time() - start < LIMIT_S
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < LIMIT_BYTES
    return line


class Reduces:
    """Pickles as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def harms(flag: Path) -> dict[str, Any]:
    """What would write the flag, were it unpickled."""
    code = f"open({str(flag)!r}, 'w').close()"
    return {
        "os.system": Reduces(os.system, (f"touch {flag}",)),
        "eval": Reduces(eval, (code,)),
        "exec": Reduces(exec, (code,)),
        "getattr": Reduces(getattr, (Reduces(__import__, ("os",)), "system")),
        "nested": Reduces(dict, ([(1, [{"deep": Reduces(eval, (code,))}])],)),
        "popen": Reduces(subprocess.Popen, (["touch", str(flag)],)),
        "again": Reduces(pickle.loads, (pickle.dumps(Reduces(eval, (code,))),)),
        "state": Reduces(list, (), {"x": Reduces(eval, (code,))}),
        "items": Reduces(list, (), None, iter([Reduces(eval, (code,))])),
        "pairs": Reduces(dict, (), None, None, iter([("a", Reduces(eval, (code,)))])),
    }


def edm(content: Any, path: Path) -> None:
    """A bare pickle, as EDM's."""
    path.write_bytes(pickle.dumps({"ema": content}, 4))


def older(content: Any, path: Path) -> None:
    torch.save({"net": content}, path, _use_new_zipfile_serialization=False)


def newer(content: Any, path: Path) -> None:
    torch.save([content, 1, 2], path)


@pytest.mark.parametrize("save", [edm, older, newer])
@pytest.mark.parametrize("harm", list(harms(Path("x"))))
def test_calls_are_refused_by_name(
    save: Callable[[Any, Path], None], harm: str, flag: Path, tmp_path: Path
) -> None:
    save(harms(flag)[harm], tmp_path / "evil.pt")
    says = refused(tmp_path / "evil.pt", "wants to call")
    assert "which was not done" in says


def handmade(path: Path, *operations: bytes) -> Path:
    path.write_bytes(b"\x80\x02" + b"".join(operations) + b".")
    return path


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


STORED = b"ctorch.storage\n_load_from_bytes\n"


@pytest.mark.parametrize(
    ("operations", "says"),
    [
        ((b"cos\nsystem\n", text("id"), b"\x85R"), "wants to call os.system"),
        ((b"(", text("id"), b"ios\nsystem\n"), "wants to call os.system"),
        ((b"(cos\nsystem\n", text("id"), b"o"), "wants to call os.system"),
        ((b"cos\nsystem\n", text("id"), b"\x85\x81"), "wants to call os.system"),
        ((b"cos\nsystem\n)", b"}", text("a"), b"K\x01s\x92"), "with keywords"),
        # BUILD on a class, a name or a number would set attributes of what exists.
        ((b"cbuiltins\ndict\n}", text("__setstate__"), b"K\x01sb"), "its own values"),
        ((b"K\x01}b",), "its own values"),
        ((b"ctorch\nTensor\n}", text("x"), b"K\x01sb"), "its own values"),
        # Appending and setting items of what is no list or dictionary.
        ((b"cos\nenviron\n", text("PATH"), b"K\x01s"), "its own values"),
        ((b"cos\nenviron\n(K\x01K\x02e",), "its own values"),
        # The result of a call as a function; names that are no texts; extension registry.
        ((STORED, b"C\x01x\x85R", text("id"), b"\x85R"), "else than a name"),
        ((b"K\x01K\x02\x93",), "no texts"),
        ((b"\x82\x01",), "EXT1"),
        ((text("os"), text("system"), b"\x93", text("id"), b"\x85R"), "wants to call os.system"),
        ((text("os\nx\x1b[2J"), text("y"), b"\x93)R"), "wants to call"),
        # Instances are data; their class stays a name.
        ((b"csubprocess\nPopen\n)\x81}b",), "hold no state dict"),
        ((b"cos\nsystem\n",), "hold no state dict"),
        # Broken machines: no value, marks that do not match, a memo that has nothing.
        ((b"R",), "damaged"),
        ((b"0",), "damaged"),
        ((b"(0",), "damaged"),
        ((b"u",), "damaged"),
        ((b"h\x07",), "damaged"),
        ((b"}(K\x01u",), "damaged"),
        ((b"(K\x01K\x02",), "damaged"),
    ],
)
def test_operations_that_holding_tensors_never_needs(
    operations: tuple[bytes, ...], says: str, tmp_path: Path
) -> None:
    refused(handmade(tmp_path / "evil.pkl", *operations), says)


def test_the_source_text_of_a_class_is_never_read(flag: Path, tmp_path: Path) -> None:
    """EDM's pickles carry source that a plain unpickler executes."""
    state: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    described = {
        **{"type": "class", "version": 6, "class_name": "EDMPrecond", "state": state},
        "module_src": f"open({str(flag)!r}, 'w')\nclass EDMPrecond: pass\n",
    }
    call = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    inside = pickle.dumps(described, 2)[2:-1]
    path = handmade(tmp_path / "net.pkl", b"}", text("ema"), call, inside, b"\x85Rs")
    refused(path, "hold no state dict")


@pytest.mark.parametrize("save", [torch.save, older])
def test_a_storage_that_is_a_hostile_pickle(save: Any, flag: Path, tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save(harms(flag)["os.system"], inner)
    boxed = Reduces(torch.storage._load_from_bytes, (inner.getvalue(),))
    tensor = Reduces(torch._utils._rebuild_tensor_v2, (boxed, 0, (1,), (1,), False, {}))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"ema": {"a": tensor}}, 4))
    refused(tmp_path / "evil.pkl", "wants to call")


def box(content: bytes) -> Any:
    return Reduces(torch.storage._load_from_bytes, (content,))


def test_storages_within_storages_end_at_once(tmp_path: Path) -> None:
    content = b""
    for _ in range(30):
        content = pickle.dumps(box(content), 4)
    tensor = Reduces(torch._utils._rebuild_tensor_v2, (box(content), 0, (1,), (1,), False, {}))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"a": tensor}, 4))
    refused(tmp_path / "evil.pkl", "a storage inside of a storage")


# --- bombs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operations",
    [
        (b"\x8e" + struct.pack("<Q", 2**60),),  # BINBYTES8 of an exabyte
        (b"\x8e" + struct.pack("<Q", 2**34), b"x"),
        (b"X" + struct.pack("<I", 2**32 - 1), b"x"),
        (b"\x8b" + struct.pack("<I", 2**31 - 1), b"x"),  # a number of 2 GB
        (b"\x95" + struct.pack("<Q", 2**62), b"N"),  # a frame
        (b"Nr" + struct.pack("<I", 2**32 - 1), b"0"),  # a memo of four billion places
        (b"I" + b"9" * 100_000 + b"\n",),
    ],
)
def test_declared_sizes_cost_nothing(operations: tuple[bytes, ...], tmp_path: Path) -> None:
    refused(handmade(tmp_path / "evil.pkl", *operations), "cannot read|hold no state dict")


@pytest.mark.parametrize("nest", [b"\x85", b"]a", b"(l"])
def test_deep_nesting(nest: bytes, tmp_path: Path) -> None:
    start = {b"\x85": b")", b"]a": b"", b"(l": b"]"}[nest]
    depth = 100_000
    body = b"]" * depth + b"a" * (depth - 1) if nest == b"]a" else start + nest * depth
    says = "hold no state dict|cannot read"
    refused(handmade(tmp_path / "list.pkl", body), says)
    refused(handmade(tmp_path / "key.pkl", b"}", body, b"Ks" if nest == b"(l" else b"K\x01s"), says)


def test_billion_laughs_of_lists_and_of_modules(tmp_path: Path) -> None:
    laugh = b"]q\x00" + b"".join(b"0](" + b"h%c" % i * 20 + b"eq%c" % (i + 1) for i in range(60))
    refused(handmade(tmp_path / "lists.pkl", laugh), "hold no state dict")
    body = b"cnet\nModule\n)\x81}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
    body += text("_modules") + b"}ubq\x00"
    for i in range(45):
        children = b"".join(text(f"m{k}") + b"h%c" % i for k in range(10))
        body += b"0cnet\nModule\n)\x81}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
        body += text("_modules") + b"}(" + children + b"uubq%c" % (i + 1)
    refused(handmade(tmp_path / "modules.pkl", body), "of more modules than a network has")


def test_a_module_inside_of_itself(tmp_path: Path) -> None:
    head = b"cnet\nModule\n)\x81q\x00}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
    body = head + text("_modules") + b"}" + text("a") + b"h\x00sub"
    refused(handmade(tmp_path / "evil.pkl", body), "something else than modules")


def test_more_operations_than_any_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.files.pickles.MOST_OPERATIONS", 10_000)
    refused(handmade(tmp_path / "evil.pkl", b"N0" * 10_000), "more than 10,000 operations")


def tensor(path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Path:
    """A whole file whose one tensor claims that shape on four numbers."""
    torch.save({"a": torch.arange(4.0)}, path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    name = next(n for n in entries if n.endswith("data.pkl"))
    numbers = [b"".join(_whole(n) for n in part) for part in (size, stride)]
    old = b"K\x00K\x04\x85q"
    assert entries[name].count(old) == 1
    before, _, after = entries[name].partition(old)
    stop = after.index(b"K\x01\x85")
    content = before + _whole(offset) + b"(" + numbers[0] + b"tq" + after[:1]
    content += b"(" + numbers[1] + b"t" + after[stop + 3 :]
    entries[name] = content
    with zipfile.ZipFile(path, "w") as file:
        for entry, value in entries.items():
            file.writestr(entry, value)
    return path


def _whole(number: int) -> bytes:
    length = max((number.bit_length() + 8) // 8, 1)
    return b"\x8a" + bytes([length]) + number.to_bytes(length, "little", signed=True)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (1, 3), 0),
        ((4,), (1,), 1),
        ((2**40,), (0,), 0),  # one number, a terabyte of times
        ((2**20, 2**20), (0, 0), 0),
        ((-1,), (1,), 0),
        ((4,), (-1,), 3),
        ((2**70,), (1,), 0),
        ((2,), (1,), -1),
        ((1,) * 40, (1,) * 40, 0),
        ((2, 2), (1,), 0),
    ],
)
def test_tensors_beyond_their_storage(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    assert read_state(find("cifar10", "any", tensor(tmp_path / "a.pt", (2, 2), (2, 1)))).tensors
    refused(tensor(tmp_path / "a.pt", size, stride, offset), "damaged")


def test_one_storage_a_thousand_times(tmp_path: Path) -> None:
    shared = torch.zeros(100_000)
    torch.save({f"a{i}": shared for i in range(1000)}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "larger than itself")


def test_sizes_that_would_build_a_giant(tmp_path: Path) -> None:
    """Shapes ask for a network that no memory holds: without numbers, or with few."""
    for width in (2**40, 2**20):
        state = {
            **{"layer1.0.bn1.weight": torch.zeros(1), "conv1.bias": torch.zeros(1)},
            "layer1.0.conv1.weight": torch.zeros(width, 0 if width > 2**30 else 1),
            **{"linear.weight": torch.zeros(10, 1), "conv1.weight": torch.zeros(1, 3)},
        }
        torch.save(state, tmp_path / "a.pt")
        refused(tmp_path / "a.pt", r"larger than they are|cannot be built")


# --- zip files ---------------------------------------------------------------------------------


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


def test_pickles_are_followed_without_the_library_that_runs_them() -> None:
    """No module of the zoo unpickles, and none of its readers imports what it does not need."""
    zoo = Path(sys.modules[BenchError.__module__].__file__ or "").parent / "zoo"
    for path in zoo.glob("*.py"):
        source = path.read_text()
        assert "torch.load(" not in source
        assert "import pickle\n" not in source
        assert "Unpickler" not in source


# --- trees that cost more than they hold -------------------------------------------------------


def doubled(start: bytes, times: int) -> bytes:
    """Pairs of pairs of pairs: as a text they double each time."""
    return start + b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(times))


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"


@pytest.mark.parametrize("place", ["key", "type", "address", "name"])
def test_nested_texts_are_never_written_out(place: str, tmp_path: Path) -> None:
    """A pickle of 200 bytes whose storage has a key of 2**40 parts."""
    bomb = doubled(text("a"), 40)
    parts = {"key": text("0"), "type": FLOATS, "address": text("cpu"), "tag": text("storage")}
    parts |= {place: bomb}
    storage = b"(" + parts["tag"] + parts["type"] + parts["key"] + parts["address"] + b"K\x04tQ"
    tensor = b"(" + storage + b"K\x00K\x04\x85K\x01\x85\x89NtR"
    key = bomb if place == "name" else text("conv1.weight")
    refused(handmade(tmp_path / "evil.pkl", b"}", key, REBUILD, tensor, b"s"))
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    head = magic + pickle.dumps({"little_endian": True}, 2)
    root, keys = b"\x80\x02}" + key + REBUILD + tensor + b"s.", b"\x80\x02](" + bomb + b"e."
    (tmp_path / "evil.pth").write_bytes(head + root + keys)
    refused(tmp_path / "evil.pth", "damaged|of tensors")


def test_whole_numbers_of_one_hash(tmp_path: Path) -> None:
    """640 kB of keys (and places of the memo) that all fall on one place of a table."""
    prime = 2**61 - 1
    keys = b"".join(_whole(i * prime) + b"N" for i in range(1, 40_000))
    refused(handmade(tmp_path / "evil.pkl", b"}(", keys, b"u"), "hold no state dict")
    puts = b"".join(b"p%d\n" % (i * prime) for i in range(1, 30_000))
    refused(handmade(tmp_path / "evil.pkl", b"N", puts), "damaged")


def test_a_key_of_a_million_digits(tmp_path: Path) -> None:
    huge = b"\x8b" + struct.pack("<I", 500_000) + b"\x01" * 500_000
    refused(handmade(tmp_path / "evil.pkl", b"}", huge, b"Ns"), "hold no state dict")


def test_one_list_made_into_a_dictionary_again_and_again(tmp_path: Path) -> None:
    pairs = b"](" + b"NN\x86" * 20_000 + b"e\x85q\x00"
    again = b"ccollections\nOrderedDict\nq\x010" + b"h\x01h\x00R0" * 20_000
    refused(handmade(tmp_path / "evil.pkl", pairs, again), "operations")


def test_settings_that_ask_for_a_giant_are_refused(tmp_path: Path) -> None:
    from bench.compute.tensor_file import packed

    for arguments in ('{"depth": 100000}', '{"widen": 100000}', "[" * 100_000, '{"depth": "x"}'):
        facts = {"network": "wideresnet", "arguments": arguments}
        content = packed({"a": torch.zeros(4)}, facts)
        (tmp_path / "a.safetensors").write_bytes(content)
        refused(tmp_path / "a.safetensors")
