"""Pickles made to do harm: nothing of them runs, they cost little, and each is one line."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.models.foreign.states import read_state
from bench.models.zoo.weights import find
from tests.models.foreign.harm import handmade, refused, text, whole

pytestmark = pytest.mark.usefixtures("flag")


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
    numbers = [b"".join(whole(n) for n in part) for part in (size, stride)]
    old = b"K\x00K\x04\x85q"
    assert entries[name].count(old) == 1
    before, _, after = entries[name].partition(old)
    stop = after.index(b"K\x01\x85")
    content = before + whole(offset) + b"(" + numbers[0] + b"tq" + after[:1]
    content += b"(" + numbers[1] + b"t" + after[stop + 3 :]
    entries[name] = content
    with zipfile.ZipFile(path, "w") as file:
        for entry, value in entries.items():
            file.writestr(entry, value)
    return path


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


def test_pickles_are_followed_without_the_library_that_runs_them() -> None:
    """Nothing that reads somebody's weights unpickles or loads them with torch."""
    folder = Path(sys.modules[BenchError.__module__].__file__ or "").parent
    readers = [path for part in ("models", "files") for path in (folder / part).rglob("*.py")]
    assert {"pickles.py", "states.py", "networks.py"} <= {path.name for path in readers}
    for path in readers:
        assert not re.search(r"\btorch\.load\(|import pickle$|Unpickler", path.read_text(), re.M), (
            path
        )
