"""What wrappers and other versions of torch do to the names in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.errors import BenchError
from bench.models.zoo import weights as zoo
from bench.models.zoo.networks import rebuild
from tests.models.foreign.files import published, tiny

pytestmark = pytest.mark.usefixtures("home")
WRAPPERS = ("_orig_mod.", "module.", "model.", "_fsdp_wrapped_module.", "network.", "net.")


@given(st.lists(st.sampled_from(WRAPPERS), max_size=4), st.booleans())
def test_wrappers_in_any_combination(tmp_path_factory: Any, wraps: list[str], old: bool) -> None:
    network, prefix = tiny(), "".join(wraps)
    state = {prefix + k: v for k, v in network.state_dict().items()}
    if old:  # torch before 0.4.1 did not count batches
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        assert len(state) < len(network.state_dict())
    path = tmp_path_factory.mktemp("wrapped") / "net.pt"
    torch.save(state, path)
    made = rebuild(zoo.find("svhn", f"file:{path}"))
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(made(x), network(x), atol=0, rtol=0)


def test_wrappers_around_a_part_of_a_network(tmp_path: Path) -> None:
    network = tiny()
    network.add_module("block1", nn.DataParallel(network.get_submodule("block1")))
    path = published(tmp_path / "net.pt", network)
    x = torch.rand(1, 3, 32, 32)
    made = rebuild(zoo.find("svhn", f"file:{path}"))
    torch.testing.assert_close(made(x), network(x), atol=0, rtol=0)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_two_keys_that_become_one_name_are_an_error(tmp_path: Path, suffix: str) -> None:
    state = tiny().state_dict()
    state["module.fc.bias"] = state["fc.bias"] + 1
    path = tmp_path / f"net.{suffix}"
    if suffix == "pt":
        torch.save(state, path)
    else:
        zoo.save(path, state, {})
    with pytest.raises(
        BenchError, match=r"net\..*'fc.bias' and 'module.fc.bias' are both 'fc.bias"
    ):
        rebuild(zoo.find("svhn", f"file:{path}"))


@pytest.mark.parametrize("key", ["block1.layer.0.bn1.running_mean", "fc.bias"])
def test_nothing_else_may_be_missing(tmp_path: Path, key: str) -> None:
    state = tiny().state_dict()
    del state[key]
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(BenchError, match=rf"'{key}' is missing"):
        rebuild(zoo.find("svhn", f"file:{tmp_path / 'net.pt'}"))
