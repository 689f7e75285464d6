"""Checkpoints: where they are looked for, and what happens to broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.api.context import Weights
from bench.errors import BenchError
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import fit_into, rebuild

FACTS = {"network": "cnn", "arguments": json.dumps({"width": 2, "classes": 3, "channels": 1})}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Empty homes of the user's own and of the packaged weights of a data set `toy`."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(zoo, "packaged", lambda dataset: tmp_path / "packaged" / dataset)
    return tmp_path / "home" / "weights" / "toy", tmp_path / "packaged" / "toy"


def write(folder: Path, name: str, value: float) -> Weights:
    return zoo.save(folder / f"{name}.safetensors", {"a": torch.full((2,), value)}, {"v": "1"})


def test_order_of_search(places: tuple[Path, Path], tmp_path: Path) -> None:
    own, packaged = places
    write(packaged, "net", 1.0)
    zoo.write_manifest("toy")
    assert zoo.find("toy", "net").path == packaged / "net.safetensors"
    write(own, "net", 2.0)
    assert zoo.find("toy", "net").path == own / "net.safetensors"
    other = write(tmp_path, "other", 3.0)
    found = zoo.find("toy", "net", other.path)
    assert found == Weights("net", other.path, other.sha256, {"v": "1", "dataset": "toy"})
    assert zoo.load_state(found)["a"].tolist() == [3.0, 3.0]


def test_missing_weights_say_how_to_get_them(places: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="give the file: --weights net=FILE"):
        zoo.find("toy", "net")
    with pytest.raises(BenchError, match="does not exist"):
        zoo.find("toy", "net", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><html></html>", "a web page"),
        (b"PK\x03\x04 and so on", "a pickled checkpoint"),
        (b"\x80\x02}q", "a pickled checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=kind):
        zoo.read(path)


@given(keep=st.floats(0.0, 1.0, exclude_max=True))
def test_every_truncation_is_noticed(tmp_path_factory: pytest.TempPathFactory, keep: float) -> None:
    path = tmp_path_factory.mktemp("w") / "net.safetensors"
    write(path.parent, "net", 1.0)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(BenchError, match="not a whole safetensors file"):
        zoo.read(path)


def test_a_changed_packaged_file_is_refused(places: tuple[Path, Path]) -> None:
    _, packaged = places
    write(packaged, "net", 1.0)
    zoo.write_manifest("toy")
    path = packaged / "net.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BenchError, match="were changed"):
        zoo.find("toy", "net")
    (packaged / "manifest.json").write_text("{")
    with pytest.raises(BenchError, match="not readable JSON"):
        zoo.find("toy", "net")
    (packaged / "manifest.json").unlink()
    with pytest.raises(BenchError, match="were changed"):
        zoo.find("toy", "net")


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    facts = {key: key * 3 for key in "hgfedcba"}
    tensors = {key: torch.arange(3.0) for key in "xyz"}
    first = zoo.save(tmp_path / "1.safetensors", tensors, facts)
    reverse = dict(reversed(list(facts.items())))
    second = zoo.save(tmp_path / "2.safetensors", dict(reversed(tensors.items())), reverse)
    assert first.sha256 == second.sha256
    assert second.metadata == facts


@pytest.mark.parametrize(
    ("state", "first"),
    [
        ({"weight": torch.zeros(2, 3)}, "'bias' is missing"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"'bias' is \[3\] where .* \[2\]"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "gain": torch.zeros(1)},
            "'gain' is not part",
        ),
    ],
)
def test_the_first_key_that_does_not_fit_is_named(
    tmp_path: Path, state: dict[str, torch.Tensor], first: str
) -> None:
    weights = zoo.save(tmp_path / "linear.safetensors", state, {})
    with pytest.raises(BenchError, match=first):
        fit_into(nn.Linear(3, 2), zoo.load_state(weights), str(weights.path))


def test_an_unwritable_place_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="cannot write"):
        write(tmp_path / "file", "net", 1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_network_comes_back_from_its_file_alone(tmp_path: Path) -> None:
    from bench.models.nets import make
    from bench.models.nets.normalised import Normalised

    network = make("cnn", json.loads(FACTS["arguments"])).eval()
    facts = FACTS | {"normalisation": json.dumps({"mean": [0.3], "std": [0.5]})}
    weights = zoo.save(tmp_path / "cnn.safetensors", network.state_dict(), facts)
    back = rebuild(weights)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(back(x), Normalised(network, [0.3], [0.5])(x))
    assert not back.training
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_a_file_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no layout known here"):
        rebuild(write(tmp_path, "net", 1.0))
