"""Published containers against the golden files: the same tensors, the same outputs."""

from __future__ import annotations

import json
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.api.context import Weights
from bench.errors import BenchError
from bench.measure import build
from bench.models.foreign import layouts
from bench.models.foreign.states import Choice, read_state
from bench.models.nets import make
from bench.models.nets.edm import EDMPrecond, VPPrecond
from bench.models.nets.ncsnv2 import NCSNv2
from bench.models.nets.normalised import Normalised
from bench.models.zoo.networks import rebuild
from bench.models.zoo.weights import find
from tests.reference import GOLDEN, facts_of, tensors_of

T7, LIST, EDM = "ckpt_wrn_meliketoy_legacy.t7", "ckpt_ncsnv2_list.pth", "ckpt_edm_persistence.pkl"


def at(path: Path, dataset: str = "cifar10") -> Weights:
    return find(dataset, "any", path)


# --- golden files ------------------------------------------------------------------------------


def test_a_pickled_wideresnet_of_the_older_container() -> None:
    golden = tensors_of("ckpt_wrn_meliketoy")
    state = read_state(at(GOLDEN / T7))
    assert state.kind == "Wide_ResNet"
    assert torch.equal(state.tensors["conv1.weight"], golden["conv1_weight"])
    assert torch.equal(state.tensors["linear.bias"], golden["linear_bias"])
    made = rebuild(at(GOLDEN / T7))
    assert isinstance(made, Normalised)  # as the publisher does on CIFAR-10
    x = golden["x_normalised"]
    assert (made.network(x) - golden["logits"]).abs().max() < 1e-4
    raw = x * made.std + made.mean
    assert (made(raw) - golden["logits"]).abs().max() < 1e-4


def test_a_list_has_raw_weights_and_averaged_ones() -> None:
    golden = tensors_of("ckpt_ncsnv2_list")
    levels = json.loads(facts_of("ckpt_ncsnv2_list")["config"])
    raw = rebuild(at(GOLDEN / LIST))
    assert isinstance(raw, NCSNv2)
    assert raw.sigmas[0] == levels["sigma_begin"]
    out = raw(golden["x"])
    raw.unit = False
    assert (raw(golden["x"], golden["labels"]) - golden["out_raw_weights"]).abs().max() < 2e-4
    assert torch.allclose(out / raw.sigmas[golden["labels"]], raw(golden["x"], golden["labels"]))
    averaged = layouts.recognise(read_state(at(GOLDEN / LIST), "ema"), "here")
    network = make(averaged.network, {**averaged.arguments, "unit": False})
    network.load_state_dict(averaged.tensors)
    out = network(golden["x"], golden["labels"])
    assert (out - golden["out_ema_weights"]).abs().max() < 2e-4
    assert not torch.allclose(golden["out_ema_weights"], golden["out_raw_weights"], atol=1e-2)


def test_edm_comes_out_of_its_pickle_and_no_source_is_read() -> None:
    golden = tensors_of("ckpt_edm_persistence")
    state = read_state(at(GOLDEN / EDM))
    assert state.kind == "EDMPrecond"
    wanted = {k.removeprefix("sd/model."): v for k, v in golden.items() if k.startswith("sd/")}
    assert state.tensors.keys() == wanted.keys()
    assert all(torch.equal(state.tensors[k], v) for k, v in wanted.items())
    made = rebuild(at(GOLDEN / EDM))
    assert isinstance(made, EDMPrecond)
    out = made(golden["x"], golden["sigma"])
    assert (out - golden["denoised"]).abs().max() < 1e-4 * golden["denoised"].abs().max()
    sizes = json.loads(facts_of("ckpt_edm_persistence")["config"])
    found = layouts.recognise(state, "here").arguments
    assert {k: found[k] for k in found if k in sizes} == {k: sizes[k] for k in sizes if k in found}


# --- the same network in every container -------------------------------------------------------


def network() -> nn.Module:
    torch.manual_seed(0)
    return make("wideresnet-meliketoy", {"depth": 10, "widen": 1, "classes": 3}).eval()


def older(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, older])
@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel])
@pytest.mark.parametrize("key", ["net", "state_dict", ""])
def test_modules_and_state_dicts_in_both_containers(
    save: Any, wrap: Any, key: str, tmp_path: Path
) -> None:
    made = network()
    content = wrap(made) if key != "state_dict" else wrap(made).state_dict()
    save({key: content, "epoch": 3, "acc": torch.tensor(1.0)} if key else content, tmp_path / "a")
    state = read_state(at(tmp_path / "a")).tensors
    assert state.keys() == made.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in made.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_every_plain_type_and_shared_and_strided_tensors(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    base = torch.arange(24).reshape(2, 3, 4).to(dtype)
    state = {
        **{"a": base, "b": base[1], "c": base.permute(2, 0, 1), "d": base[0, 0, :2]},
        **{"empty": base[:0], "number": base[1, 1, 1], "flag": torch.tensor([True, False])},
    }
    for save in (torch.save, older):
        save(state, tmp_path / "a")
        back = read_state(at(tmp_path / "a")).tensors
        assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in state.items())


def test_parameters_as_torch_wrote_them_before_0_4(tmp_path: Path) -> None:
    """Python 2's OrderedDict, Parameter(data, requires_grad) and the first _rebuild_tensor."""
    storage = "ctorch\nFloatStorage\n"
    reference = f"((S'storage'\n{storage}S'7'\nS'cuda:0'\nI4\nNtQ"
    tensor = f"ctorch._utils\n_rebuild_tensor\n{reference}I0\n(I2\nI2\nt(I2\nI1\nttR"
    parameter = f"ctorch.nn.parameter\nParameter\n({tensor}I00\ntR"
    pairs = f"ccollections\nOrderedDict\n((l(lS'weight'\na{parameter}aatR"
    root = f"\x80\x02{pairs}.".encode("latin1")
    heads = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(head, 2) for head in heads] + [root, pickle.dumps(["7"], 2)]
    numbers = (4).to_bytes(8, "little") + torch.arange(4.0).numpy().tobytes()
    (tmp_path / "old.t7").write_bytes(b"".join(parts) + numbers)
    state = read_state(at(tmp_path / "old.t7")).tensors
    assert state["weight"].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_score_sde_averages_stand_under_the_names_of_the_parameters(tmp_path: Path) -> None:
    from tests.score_sde import NCSNpp, checkpoint

    torch.manual_seed(0)
    made, averages = NCSNpp(width=8, blocks=2), NCSNpp(width=8, blocks=2)
    torch.save(checkpoint(made, averages), tmp_path / "checkpoint_8.pth")
    x, t = torch.rand(2, 3, 32, 32), torch.tensor([3.0, 700.0])
    cases: list[tuple[Choice, NCSNpp]] = [("", averages), ("ema", averages), ("raw", made)]
    for part, network in cases:
        found = layouts.recognise(read_state(at(tmp_path / "checkpoint_8.pth"), part), "here")
        assert found.network == "edm-vp"
        ours = make(found.network, found.arguments).eval()
        ours.load_state_dict(found.tensors)
        torch.testing.assert_close(
            ours.get_submodule("model")(x, t), network(x, t), atol=2e-5, rtol=1e-4
        )
    assert isinstance(rebuild(at(tmp_path / "checkpoint_8.pth")), VPPrecond)
    wrong = checkpoint(made, averages)
    wrong["ema"]["shadow_params"] = wrong["ema"]["shadow_params"][1:]
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(BenchError, match="averages are not those of its network"):
        read_state(at(tmp_path / "wrong.pth"))


# --- damaged files are one line ----------------------------------------------------------------


@pytest.mark.parametrize("name", [T7, LIST, EDM])
def test_no_cut_of_a_file_is_read(name: str, tmp_path: Path) -> None:
    content = (GOLDEN / name).read_bytes()
    for share in (0.01, 0.3, 0.7, 0.95, 0.999):
        cut = tmp_path / "cut.pt"
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(BenchError, match=r"cannot read weights|hold no state dict") as caught:
            read_state(at(cut))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [T7, LIST, EDM])
def test_flipped_bytes_never_end_in_a_traceback(name: str, tmp_path: Path) -> None:
    content = bytearray((GOLDEN / name).read_bytes())
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        broken = bytearray(content)
        for place in torch.randint(min(len(content), 40_000), (20,), generator=generator).tolist():
            broken[place] ^= 0x55
        (tmp_path / "broken.pt").write_bytes(broken)
        with suppress(BenchError):  # nothing else may be raised; some flips are in numbers
            rebuild(at(tmp_path / "broken.pt"))


def test_sums_of_a_zip_file_are_checked(tmp_path: Path) -> None:
    torch.save({"a": torch.full((1000,), 1.5)}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(
        content.replace(b"\x00\x00\xc0\x3f" * 4, b"\x00\x00\xc0\x40" * 4, 1)
    )
    with pytest.raises(BenchError, match=r"damaged .*CRC"):
        read_state(at(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.zeros(1)], "hold no state dict"),
        ([], "hold no state dict"),
        ({"state_dict": [1, 2]}, "hold no state dict"),
        ("text", "hold no state dict"),
    ],
)
def test_files_of_something_else(content: Any, says: str, tmp_path: Path) -> None:
    for save in (torch.save, older):
        save(content, tmp_path / "a.pt")
        with pytest.raises(BenchError, match=says):
            read_state(at(tmp_path / "a.pt"))


def test_averages_that_are_not_there(tmp_path: Path) -> None:
    for content in ({"a": torch.zeros(1)}, [{"a": torch.zeros(1)}, {}, 1, 2]):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(BenchError, match=r"without averaged weights \(part=ema\)"):
            read_state(at(tmp_path / "a.pt"), "ema")


def test_other_zip_files_are_no_checkpoints(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("readme.txt", "no tensors")
    with pytest.raises(BenchError, match="without the pickle of a checkpoint"):
        read_state(at(tmp_path / "a.pt"))


def test_a_published_file_in_place_of_any_weights(tmp_path: Path) -> None:
    """`--weights score-ncsnv2=FILE` and `@file:FILE` recognise what a file holds."""
    (tmp_path / "raw.pth").write_bytes((GOLDEN / LIST).read_bytes())
    context = build.context("patches", weights_override={"score-ncsnv2": tmp_path / "raw.pth"})
    purifier = build.purifier("adp:network=ncsnv2,steps=2,runs=1", context)
    x = torch.rand(2, 3, 16, 16)
    assert purifier(x).shape == x.shape
    with pytest.raises(BenchError, match="hold a NCSNv2; here an EDM denoiser is needed"):
        build.purifier(
            "denoise", build.context("patches", weights_override={"edm": tmp_path / "raw.pth"})
        )
