"""Pickles whose tree costs more than the file holds."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest
import torch

from tests.models.foreign.harm import handmade, refused, text, whole

pytestmark = pytest.mark.usefixtures("flag")


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
    keys = b"".join(whole(i * prime) + b"N" for i in range(1, 40_000))
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
