"""Networks of one's own class: `@file:PATH#module:Class`."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.api import Context
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.models.foreign import own_class
from bench.models.foreign.layouts import NORMALISATIONS

CODE = """
from torch import nn, rand
from beside import WIDTH

class Net(nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(768, width), nn.ReLU())
        self.features = nn.Linear(width, 8)

    def forward(self, x):
        return self.features(self.net(x))

def narrow():
    return Net(2)

class Needy(Net):
    def __init__(self, depth):
        super().__init__()

def text():
    return "a network"

def forked():
    rand(1)
    return Net()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module, one that it imports, and weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "ownnet.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("WIDTH = 4\n")
    (tmp_path / "ownbroken.py").write_text("import nothing_of_that_name\n")
    torch.manual_seed(0)
    torch.save(network("Net").state_dict(), tmp_path / "net.pt")
    yield tmp_path
    for name in ("ownnet", "beside", "ownbroken"):
        sys.modules.pop(name, None)


def network(name: str) -> nn.Module:
    return own_class.built(f"ownnet:{name}")


@pytest.fixture
def context() -> Context:
    return build.context("patches")


def test_a_class_of_ones_own_reads_the_tensors_of_the_file(context: Context) -> None:
    """Names that begin as those of wrappers do (`net.`) are the class's own."""
    made = build.classifier("file:net.pt#ownnet:Net", context)
    saved = torch.load("net.pt", weights_only=True)
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, saved[name])
    assert not made.training
    assert not any(p.requires_grad for p in made.parameters())
    x = torch.rand(2, 3, 16, 16)
    plain = made(x)
    layer = NORMALISATIONS["cifar10"]
    assert layer
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in layer)
    changed = build.classifier("file:net.pt#ownnet:Net,cifar10", context)
    assert torch.allclose(changed(x), made((x - mean) / std), atol=1e-5)
    assert not torch.allclose(changed(x), plain)
    # A layer that is called `features` gives no maps to an add-on.
    base = build.behind("file:net.pt#ownnet:Net", context).base
    assert base
    assert base.taps() == ()


def test_its_code_is_part_of_what_was_measured(folder: Path, context: Context) -> None:
    spec = "none@file:net.pt#ownnet:Net"
    before = weights_used.weights_used(spec, None, context)
    assert set(before) == {"file:net.pt", "code of ownnet:Net"}
    (folder / "ownnet.py").write_text(f"# A comment.\n{CODE}")
    assert weights_used.weights_used(spec, None, context) == before
    (folder / "beside.py").write_text("WIDTH = 2 + 2\n")
    with pytest.raises(BenchError, match="code of 'ownnet' changed since it was imported"):
        weights_used.weights_used(spec, None, context)
    for name in ("ownnet", "beside"):
        sys.modules.pop(name)
    after = weights_used.weights_used(spec, None, context)
    assert after["code of ownnet:Net"] != before["code of ownnet:Net"]
    assert after["file:net.pt"] == before["file:net.pt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ownnet:Nett", "unknown class 'ownnet:Nett'; did you mean 'ownnet:Net'"),
        ("nowhere:Net", "cannot import 'nowhere': there is no such module in .* or on PYTHONPATH"),
        ("ownbroken:Net", "cannot import 'ownbroken': .*nothing_of_that_name"),
        ("ownnet:Needy", "cannot be built without arguments .*depth"),
        ("ownnet:text", "ownnet:text gives a str, no torch.nn.Module"),
        ("ownnet:narrow", "do not fit Net: 'net.1.weight' is"),
        ("ownnet:Net,cifar11", "'#cifar11' is no normalisation"),
    ],
)
def test_what_is_no_class_for_the_file_is_one_line(
    context: Context, name: str, message: str
) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        build.classifier(f"file:net.pt#{name}", context)
    assert "\n" not in str(caught.value)


def test_without_a_class_the_message_says_how_to_name_it(context: Context) -> None:
    with pytest.raises(BenchError, match=r"no layout known here .*none@file:net\.pt#mynet:Net"):
        build.classifier("file:net.pt", context)


class Harm:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("harm"),))


def test_the_file_is_read_and_never_run(folder: Path, context: Context) -> None:
    torch.save({"net": Harm()}, folder / "evil.pt")
    (folder / "evil.pkl").write_bytes(pickle.dumps(Harm()))
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(BenchError, match=r"could run code|cannot read"):
            build.classifier(f"file:{name}#ownnet:Net", context)
    assert not (folder / "harm").exists()


def test_building_moves_no_random_number() -> None:
    state = torch.random.get_rng_state()
    network("forked")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_only_a_module_from_here_leaves_the_folder_on_the_path(folder: Path) -> None:
    own_class.imported("json")
    assert str(folder) not in sys.path[-1:] or "ownnet" in sys.modules
    sys.path[:] = [path for path in sys.path if path != str(folder)]
    own_class.imported("json")
    assert str(folder) not in sys.path
    sys.modules.pop("ownnet")
    own_class.imported("ownnet")
    assert sys.path[-1] == str(folder)
