"""Names and shapes of every network against the published checkpoints (tests/golden/layouts)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from bench.models.nets import make

LAYOUTS = Path(__file__).parents[2] / "golden" / "layouts"


class Layout(NamedTuple):
    """A published layout, our network, its arguments, keys that nothing uses, our prefix."""

    file: str
    network: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 (never written)
    unused: tuple[str, ...] = ()
    prefix: str = ""


# Overlapping parts of the classifier, which AID-Purifier's checkpoints carry.
COPIES = ("net1.", "net2.", "net3.", "net4.")
COUNTERS = "num_batches_tracked"
# One line per file of tests/golden/layouts. Constructor defaults are the published sizes.
TABLE = [
    Layout("wrn28_10_robustbench", "wideresnet"),
    Layout("wrn34_10_robustbench", "wideresnet", {"depth": 34}),
    Layout("aid_wrn34_10_cifar10", "wideresnet", {"depth": 34}, ("sub_block1.",)),
    Layout("aid_wrn34_10_svhn", "wideresnet", {"depth": 34}, ("sub_block1.",)),
    Layout("wrn28_10_meliketoy", "wideresnet-meliketoy"),
    Layout("wrn28_10_adp", "wideresnet-meliketoy"),
    Layout("wrn28_10_adp_cifar100", "wideresnet-meliketoy", {"classes": 100}),
    Layout("wrn70_16_dm", "wideresnet-dm"),
    Layout("jem_wrn28_10_cifar10", "jem"),
    Layout("nrp", "nrp"),
    Layout("nrp_resg", "nrp-resg"),
    Layout("soap_resnet_cifar10", "soap-resnet"),
    Layout("soap_resnet_rot_cifar10", "soap-resnet-rotation"),
    Layout("soap_cae_28x28", "soap-autoencoder"),
    Layout("soap_wrn28_10_cifar10", "wideresnet-meliketoy"),
    Layout("resnet20_akamaster", "resnet"),
    Layout("adp_simpleConv_28x28", "adp-simple-conv"),
    Layout("adp_simpleMLP_28x28", "adp-simple-mlp"),
    Layout("aid_discriminator_cifar10", "aid-code", {}, COPIES),
    Layout("aid_discriminator_svhn", "aid-code", {"branch": 1, "trunk": (2048, 1024)}, COPIES),
    Layout("ncsnv2_cifar10", "ncsnv2"),
    Layout("ebm_igebm", "ebm"),
    Layout("edm_ddpmpp_cifar10", "edm-ddpmpp"),
    Layout("edm_baseline_vp_cifar10", "edm-vp"),
    Layout("ncsnv2_28x28", "ncsnv2", {"ngf": 64, "num_classes": 110, "channels": 1}),
    Layout("guided_diffusion_imagenet256_uncond", "guided", prefix="model."),
    Layout("pixelcnnpp_cifar10", "pixelcnnpp"),
    Layout("pixelcnnpp_28x28", "pixelcnnpp", {"nr_filters": 40, "input_channels": 1}),
]


@pytest.mark.parametrize("layout", TABLE, ids=lambda layout: layout.file)
def test_full_size_layouts(layout: Layout) -> None:
    tensors = json.loads((LAYOUTS / f"{layout.file}.json").read_text())["tensors"]
    used = {k: t for k, t in tensors.items() if not k.startswith(layout.unused)}
    wanted = {layout.prefix + k: t for k, t in used.items()}
    assert not layout.unused or len(wanted) < len(tensors)
    with torch.device("meta"):
        made = make(layout.network, layout.arguments)
    state = made.state_dict()
    if not any(key.endswith(COUNTERS) for key in wanted):  # older than the counters
        state = {k: v for k, v in state.items() if not k.endswith(COUNTERS)}
    assert {k: [*v.shape] for k, v in state.items()} == {k: t["shape"] for k, t in wanted.items()}
    assert {k: str(v.dtype) for k, v in state.items()} == {
        k: f"torch.{t['dtype']}" for k, t in wanted.items()
    }
    parameters = {k for k, _ in made.named_parameters()}
    assert parameters == {k for k, t in wanted.items() if t["kind"] == "param"}


def test_every_layout_file_has_its_line() -> None:
    assert sorted(path.stem for path in LAYOUTS.glob("*.json")) == sorted(
        {layout.file for layout in TABLE}
    )
