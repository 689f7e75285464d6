"""Entries of published weights: what they say, and what becomes of a file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from bench.api import find_classifier
from bench.errors import BenchError
from bench.measure import build
from bench.measure.weights_used import known_weights
from bench.models.foreign import layouts
from bench.models.foreign.discriminators import discriminator, published_parts
from bench.models.nets import make
from bench.models.nets.edm import EDMPrecond
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.normalised import Normalised
from bench.models.zoo import published
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find, manifest, own
from defenses.denoise import ONLY
from tests.cli.test_cli import bench, one_line
from tests.layouts import hollow
from tests.models.foreign.test_discriminators import TAPS, classifier
from tests.models.foreign.test_discriminators import published as aid_file
from tests.models.foreign.test_foreign import Harm
from tests.reference import GOLDEN, tensors_of

__all__ = ["classifier"]

T7, LIST, EDM = "ckpt_wrn_meliketoy_legacy.t7", "ckpt_ncsnv2_list.pth", "ckpt_edm_persistence.pkl"
# The layout that each entry's file has.
LAYOUT = {
    **dict.fromkeys(("ncsnv2-cifar10", "ncsnv2-cifar10-ema"), "ncsnv2_cifar10"),
    **{"adp-wrn-cifar10": "wrn28_10_adp", "adp-wrn-cifar100": "wrn28_10_adp_cifar100"},
    **dict.fromkeys(("adp-conv-mnist", "adp-conv-fashionmnist"), "adp_simpleConv_28x28"),
    **{"adp-mlp-mnist": "adp_simpleMLP_28x28", "edm-cifar10": "edm_ddpmpp_cifar10"},
    "edm-baseline-cifar10": "edm_baseline_vp_cifar10",
    "guided-imagenet": "guided_diffusion_imagenet256_uncond",
    "resnet20-cifar10": "resnet20_akamaster",
    **{"pixelcnnpp-cifar10": "pixelcnnpp_cifar10", "ebm-cifar10": "ebm_igebm"},
    **{f"aid-{kind}-cifar10": "aid_wrn34_10_cifar10" for kind in ("natural", "trades", "lee")},
    **{"aid-madry-cifar10": "aid_wrn34_10_cifar10", "aid-madry-svhn": "aid_wrn34_10_svhn"},
    **{"nrp-imagenet": "nrp", "nrp-resg-imagenet": "nrp_resg"},
    "jem-cifar10": "jem_wrn28_10_cifar10",
    "soap-resnet-cifar10": "soap_resnet_cifar10",
    "aid-discriminator-cifar10": "aid_discriminator_cifar10",
    "aid-discriminator-svhn": "aid_discriminator_svhn",
}
WITHOUT_LAYOUT = {
    *("score-sde-cifar10", "aid-madry-cifar100", "aid-discriminator-cifar100"),
    *("diffpure-wrn70-cifar10", "edm-cond-cifar10", "igebm-cifar10"),
    *("torchvision-resnet50", "torchvision-resnet152", "torchvision-wide-resnet50-2"),
    *(f"cohen-{noise}-cifar10" for noise in ("012", "025", "050", "100")),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tiny(name: str, **changes: Any) -> published.PublishedFile:
    return replace(published.find(name), arguments={}, sha256="", bytes=0, **changes)


# --- the list ----------------------------------------------------------------------------------


def test_every_entry_says_where_it_is_from_and_no_checksum_is_made_up() -> None:
    for entry in published.entries():
        assert entry.page.startswith("https://")
        assert entry.licence
        assert entry.title
        assert entry.part in ("", "raw", "ema")
        assert all(url.startswith("https://") for url in entry.urls)
        assert len(entry.sha256) in (0, 64)
        assert (entry.bytes > 0) == bool(entry.sha256)
        assert published.find(entry.name) is published.find(f"weights/{entry.name}")
    with pytest.raises(BenchError, match="did you mean 'edm-cifar10'"):
        published.find("edm-cifar")


def test_names_are_those_that_plugins_ask_for() -> None:
    """But for those of one data set, and a denoiser that stands in for another by --weights."""
    alternatives = {"edm-vp", *ONLY}
    known = {*known_weights("digits"), *known_weights("cifar10"), "aid-code-madry"}
    known |= alternatives
    for name, setting in (("cohen", "sigma"), ("torchvision", "network")):
        plugin = find_classifier(name)
        for choice in get_args(plugin.hints[setting]):
            known.update(plugin.weights({setting: choice}))
    assert {entry.weights for entry in published.entries()} <= known


@pytest.mark.parametrize("name", sorted(LAYOUT))
def test_an_entry_is_its_published_layout(name: str) -> None:
    entry = published.find(name)
    tensors = hollow(LAYOUT[name])
    if not entry.network:
        assert set(published_parts(tensors, name)) < set(tensors)
        return
    state = {k: v for k, v in tensors.items() if not k.startswith("sub_block1.")}
    if "sigmas" in state:
        state["sigmas"] = torch.linspace(50, 0.01, 232)
    found = layouts.recognise(_unwrapped(state), name)
    assert found.network == entry.network
    assert {k: found.arguments[k] for k in entry.arguments} == entry.arguments


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("model."): value for key, value in state.items()}


def test_every_entry_has_a_layout_or_is_known_to_have_none() -> None:
    assert {entry.name for entry in published.entries()} == set(LAYOUT) | WITHOUT_LAYOUT


def test_missing_weights_say_how_to_fetch_or_train_them() -> None:
    with pytest.raises(BenchError) as caught:
        find("cifar10", "edm-ddpmpp")
    says = str(caught.value)
    assert "bench fetch weights/edm-cifar10;" in says
    assert "bench train edm-ddpmpp --dataset cifar10" in says
    with pytest.raises(
        BenchError, match=r"weights/ncsnv2-cifar10 --from FILE \(from https://drive"
    ):
        find("cifar10", "score-ncsnv2")


# --- conversion --------------------------------------------------------------------------------


def test_a_wideresnet_becomes_a_normalised_classifier(home: Path) -> None:
    path = published.fetch(tiny("adp-wrn-cifar10"), GOLDEN / T7)
    assert path == home / "weights" / "cifar10" / "natural.safetensors"
    found = find("cifar10", "natural")
    facts = found.metadata
    assert facts["original_sha256"] == hashlib.sha256((GOLDEN / T7).read_bytes()).hexdigest()
    assert facts["licence"] == "MIT"
    assert facts["source"] == "https://github.com/meliketoy/wide-resnet.pytorch"
    assert facts["merit"].startswith("reported: 95.19 %")
    assert facts["command"] == "bench fetch weights/adp-wrn-cifar10"
    golden, made = tensors_of("ckpt_wrn_meliketoy"), rebuild(found)
    assert isinstance(made, Normalised)
    out = made(golden["x_normalised"] * made.std + made.mean)
    assert (out - golden["logits"]).abs().max() < 1e-4
    assert manifest("cifar10") == {}
    assert "natural" in json.loads((path.parent / "manifest.json").read_text())
    assert published.fetch(tiny("adp-wrn-cifar10")) == path  # it is there
    before = path.read_bytes()
    path.unlink()
    published.fetch(tiny("adp-wrn-cifar10"), GOLDEN / T7)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "part"), [("ncsnv2-cifar10", "raw"), ("ncsnv2-cifar10-ema", "ema")]
)
def test_raw_and_averaged_weights_of_one_file(name: str, part: str, tmp_path: Path) -> None:
    golden = tensors_of("ckpt_ncsnv2_list")
    published.fetch(tiny(name), GOLDEN / LIST)
    made = rebuild(find("cifar10", "score-ncsnv2"))
    assert isinstance(made, NCSNv2)
    made.unit = False
    out = made(golden["x"], golden["labels"])
    assert (out - golden[f"out_{part}_weights"]).abs().max() < 2e-4
    other = "ncsnv2-cifar10" if part == "ema" else "ncsnv2-cifar10-ema"
    with pytest.raises(BenchError, match="other weights are named 'score-ncsnv2'"):
        published.fetch(tiny(other), GOLDEN / LIST)


def test_edm_becomes_a_denoiser() -> None:
    published.fetch(tiny("edm-cifar10"), GOLDEN / EDM)
    golden, made = tensors_of("ckpt_edm_persistence"), rebuild(find("cifar10", "edm-ddpmpp"))
    assert isinstance(made, EDMPrecond)
    out = made(golden["x"], golden["sigma"])
    assert (out - golden["denoised"]).abs().max() < 1e-4 * golden["denoised"].abs().max()


def test_pixelcnn_of_a_dataparallel_and_aids_classifier_with_its_unused_block(
    tmp_path: Path,
) -> None:
    sizes = {"nr_resnet": 1, "nr_filters": 4, "nr_logistic_mix": 2}
    state = make("pixelcnnpp", sizes).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "pcnn.pth")
    published.fetch(tiny("pixelcnnpp-cifar10"), tmp_path / "pcnn.pth")
    back = rebuild(find("cifar10", "pixelcnn")).state_dict()
    assert all(torch.equal(back[key], value) for key, value in state.items())
    wrn = make("wideresnet", {"depth": 10, "widen": 1}).state_dict()
    extra = {k.replace("block1", "sub_block1"): v for k, v in wrn.items() if k.startswith("block1")}
    torch.save(wrn | extra, tmp_path / "model-madry-epoch_last.pt")
    published.fetch(tiny("aid-madry-cifar10"), tmp_path / "model-madry-epoch_last.pt")
    assert rebuild(find("cifar10", "madry")).state_dict().keys() == wrn.keys()


def test_a_large_natural_classifier_brings_its_own_normalisation(tmp_path: Path) -> None:
    """That of DiffPure's authors, whose class subtracts a mean that is in no tensor."""
    wrn = make("wideresnet", {"depth": 10, "widen": 1, "dropout": 0.3})
    torch.save({f"module.{k}": v for k, v in wrn.state_dict().items()}, tmp_path / "weights.pt")
    published.fetch(tiny("diffpure-wrn70-cifar10"), tmp_path / "weights.pt")
    made = build.classifier("wrn70", build.context("cifar10"))
    assert isinstance(made, Normalised)
    mean, std = layouts.NORMALISATIONS["cifar10-dm"] or ((), ())
    x = torch.rand(2, 3, 32, 32)
    centred = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(made(x), wrn.eval()(centred))


def test_a_resnet_behind_a_normalisation_layer_without_tensors(tmp_path: Path) -> None:
    """Cohen et al.'s: `Sequential(normalisation, network)` under torchvision's names of parts."""
    resnet = make("resnet-projected", {"blocks": [2, 2, 2], "width": 4}).eval()
    theirs = {
        f"1.{key}".replace(".shortcut.", ".downsample.").replace("1.linear.", "1.fc."): value
        for key, value in resnet.state_dict().items()
    }
    file = {"epoch": 90, "arch": "cifar_resnet110", "state_dict": theirs}
    torch.save(file, tmp_path / "checkpoint.pth.tar")
    published.fetch(tiny("cohen-050-cifar10"), tmp_path / "checkpoint.pth.tar")
    made = build.classifier("cohen:sigma=0.50", build.context("cifar10"))
    mean, std = layouts.NORMALISATIONS["cifar10"] or ((), ())
    x = torch.rand(2, 3, 32, 32)
    centred = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(made(x), resnet(centred))


def test_a_discriminator_keeps_its_copy_and_never_touches_the_classifier(
    classifier: Any, tmp_path: Path
) -> None:
    aid_file(tmp_path / "madry.pt", classifier, "cifar")
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    published.fetch(tiny("aid-discriminator-cifar10"), tmp_path / "madry.pt")
    found = find("cifar10", "aid-code-madry")
    made = discriminator(found, classifier, TAPS, "cifar10", "code")
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())
    assert not any(key.startswith("net") for key in made.state_dict())
    classifier.get_parameter("conv1.weight").data += 1e-3
    with pytest.raises(BenchError, match="belong to another classifier"):
        discriminator(found, classifier, TAPS, "cifar10", "code")
    torch.save(classifier.state_dict(), tmp_path / "wrn.pt")
    (own("svhn") / "aid-code-madry.safetensors").unlink(missing_ok=True)
    with pytest.raises(BenchError, match="is no discriminator of AID-Purifier"):
        published.fetch(tiny("aid-discriminator-svhn"), tmp_path / "wrn.pt")


def test_guided_diffusion_becomes_a_denoiser_of_its_own_size(tmp_path: Path) -> None:
    sizes = {"model_channels": 32}
    state = make("guided", sizes).state_dict()
    bare = {key.removeprefix("model."): value for key, value in state.items()}
    torch.save(bare, tmp_path / "256x256_diffusion_uncond.pt")
    published.fetch(tiny("guided-imagenet"), tmp_path / "256x256_diffusion_uncond.pt")
    made = rebuild(find("imagenet", "guided"))
    assert getattr(made, "side", None) == 256
    assert all(torch.equal(v, state[k]) for k, v in made.state_dict().items())


# --- what is refused ---------------------------------------------------------------------------


def test_a_file_of_another_network_size_or_sum_is_refused(tmp_path: Path, home: Path) -> None:
    cases = [
        (tiny("edm-cifar10"), GOLDEN / T7, "network 'wideresnet-meliketoy'; edm-cifar10 is"),
        (published.find("edm-cifar10"), GOLDEN / EDM, "img_resolution=16; edm-cifar10 has"),
        (tiny("ncsnv2-cifar10-ema"), GOLDEN / T7, r"without averaged weights \(part=ema\)"),
        (published.find("guided-imagenet"), GOLDEN / EDM, "bytes, not 2,211,383,297"),
        (replace(tiny("edm-cifar10"), sha256="0" * 64), GOLDEN / EDM, "sha256 .* not 000000"),
    ]
    for entry, source, says in cases:
        with pytest.raises(BenchError, match=says) as caught:
            published.fetch(entry, source)
        assert "\n" not in str(caught.value)
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>too many requests</html>")
    with pytest.raises(BenchError, match="it is a web page"):
        published.fetch(tiny("edm-cifar10"), tmp_path / "page.pt")
    assert not list(home.rglob("*.safetensors"))


def test_what_takes_a_browser_says_where(home: Path) -> None:
    with pytest.raises(BenchError) as caught:
        published.fetch("weights/ncsnv2-cifar10")
    says = str(caught.value)
    assert "no address answers without a browser" in says
    assert "drive.google.com" in says
    assert "bench fetch weights/ncsnv2-cifar10 --from FILE" in says
    assert not home.exists()


def test_a_download_is_converted_and_removed(home: Path, tmp_path: Path) -> None:
    import http.server
    import threading
    from functools import partial

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    served = partial(Quiet, directory=str(GOLDEN))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{EDM}"
        entry = replace(tiny("edm-cifar10"), urls=(url,), file=EDM)
        seen: list[int] = []
        path = published.fetch(entry, None, lambda name, done, total: seen.append(done))
        server.shutdown()
    assert seen[-1] == os.path.getsize(GOLDEN / EDM)
    assert find("cifar10", "edm-ddpmpp").metadata["source"] == url
    left = {p.name for p in home.rglob("*") if p.is_file()}
    assert left == {path.name, "manifest.json"}


def test_converted_weights_are_used_like_trained_ones(tmp_path: Path) -> None:
    published.fetch(replace(tiny("ncsnv2-cifar10"), dataset="patches"), GOLDEN / LIST)
    build.dataset.cache_clear()
    context = build.context("patches")
    assert context.weights("score-ncsnv2").metadata["entry"] == "ncsnv2-cifar10"
    purifier = build.purifier("adp:network=ncsnv2,steps=1,runs=1", context)
    x = torch.rand(2, 3, 16, 16)
    assert purifier(x).shape == x.shape


def test_the_command_takes_a_published_file(tmp_path: Path) -> None:
    """`--weights NAME=FILE`, recognised by what is in it; the record holds its sha256."""
    asked = ["--defense", "adp:network=ncsnv2,steps=1,runs=1", "--attacks", "clean"]
    where = ["--dataset", "patches", "--images", "32", "--control", "off", "--preset", "quick"]
    files = ["--weights", f"score-ncsnv2={GOLDEN / LIST}", "--results", str(tmp_path / "results")]
    ran = bench("run", *asked, *where, *files, BENCH_HOME=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    records = "".join(path.read_text() for path in (tmp_path / "results").rglob("*.json"))
    assert hashlib.sha256((GOLDEN / LIST).read_bytes()).hexdigest() in records
    torch.save([Harm(tmp_path / "harm")], tmp_path / "evil.pth")
    files = ["--weights", f"score-ncsnv2={tmp_path / 'evil.pth'}", "--results", str(tmp_path / "r")]
    ran = bench("run", *asked, *where, *files, BENCH_HOME=str(tmp_path))
    assert "wants to call __builtin__.getattr" in one_line(ran)
    assert not (tmp_path / "harm").exists()


@pytest.mark.slow
def test_fetch_and_doctor_at_true_size(tmp_path: Path) -> None:
    """The energy of Hill et al. is small enough to be made here at its published width."""
    state = make("ebm", {}).state_dict()
    torch.save(state, tmp_path / "ebm.pth")
    fetch = ("fetch", "weights/ebm-cifar10", "--from", str(tmp_path / "ebm.pth"))
    made = bench(*fetch, BENCH_HOME=str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert "weights/cifar10/ebm-igebm.safetensors" in made.stdout
    wrong = ("fetch", "weights/adp-wrn-cifar10", "--from", str(GOLDEN / T7))
    assert "with depth=10; adp-wrn-cifar10 has depth=28" in one_line(
        bench(*wrong, BENCH_HOME=str(tmp_path))
    )
    seen = bench("doctor", "--dataset", "cifar10", "--json", BENCH_HOME=str(tmp_path))
    data = json.loads(seen.stdout)["datasets"]["cifar10"]
    assert "bench fetch cifar10" in data["missing"]["images"]
    published_here = [e["name"] for e in data["published"] if e["here"]]
    assert published_here == ["weights/ebm-cifar10"]
    back = rebuild(find("cifar10", "ebm-igebm", tmp_path / "weights/cifar10/ebm-igebm.safetensors"))
    assert all(torch.equal(v, state[k]) for k, v in back.state_dict().items())
