"""PixelDefend: the authors' decoding, the greedy rule by brute force, thresholds, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Context, find_classifier, find_dataset, find_defense
from bench.api.context import Weights
from bench.api.images import DatasetInfo
from bench.api.purifier import Network
from bench.errors import BenchError
from bench.models.nets import logistic
from bench.models.nets.logistic import to_level
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.models.zoo.weights import save
from bench.plan.plan import make
from bench.plan.request import Request
from bench.spec import parse_part
from defenses.pixeldefend import PixelDefend, greedy, pixel_bits
from tests.models.nets.test_golden import golden
from tests.reference import tensors_of


def context(channels: int = 1, folder: Path | None = None, side: int = 8) -> Context:
    def weights(name: str) -> Weights:
        assert folder is not None
        from bench.models.zoo.weights import read

        return read(folder / f"{name}.safetensors", name)

    return Context(
        "digits", (channels, side, side), 2, torch.device("cpu"), weights, lambda: torch.zeros(0)
    )


def tiny(channels: int = 1, levels: int = 5, seed: int = 0) -> PixelCNNpp:
    torch.manual_seed(seed)
    network = PixelCNNpp(
        nr_resnet=1, nr_filters=4, nr_logistic_mix=2, input_channels=channels, levels=levels
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.7)
    return network.eval().requires_grad_(False)


def built(
    eps: float, threshold: float = 0.0, code: bool = False, channels: int = 1, levels: int = 5
) -> PixelDefend:
    return PixelDefend(context(channels), tiny(channels, levels), eps, threshold, code)


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    return tensors_of("pixeldefend")


def chw(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2)


def test_the_authors_log_weights_and_cross_entropy(authors: dict[str, Tensor]) -> None:
    params = chw(authors["params_patch"]).double()
    level = to_level((chw(authors["x_patch"]) + 1) / 2, 256)
    ours = logistic.bin_log_weights(params, level, 256).permute(0, 3, 4, 1, 2)
    theirs = authors["logits256"]
    # Their shares are differences of float32 sigmoids, whose rounding is up to .6 % of the 1e-5
    # at which the density takes over: 1e-3 holds where the weight is well above that.
    clear = theirs > math.log(1e-4)
    assert clear.float().mean() > 0.3
    torch.testing.assert_close(ours[clear], theirs[clear], atol=1e-3, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=6e-3, rtol=0)
    bits = pixel_bits(params, level, 256)
    expected = authors["xent_nats"].mean(3) / math.log(2)
    torch.testing.assert_close(bits, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "eps", "threshold"), [("eps8", 8, 0.0), ("eps16_adaptive", 16, 3.0)]
)
def test_the_authors_purified_images(
    authors: dict[str, Tensor], name: str, eps: int, threshold: float
) -> None:
    _, state, config = golden("pixelcnnpp_tiny")
    del config["size"]
    prior = PixelCNNpp(**config)
    prior.load_state_dict(state)
    purifier = PixelDefend(context(3), prior, eps / 255, threshold, code=True)
    x = chw(authors["input_uint8"]).float() / 255
    purified = (purifier(x) * 255).round().to(torch.uint8)
    expected = chw(authors[f"{name}/purified_uint8"])
    assert (purified == expected).float().mean() >= 0.99
    assert (purified.int() - chw(authors["input_uint8"]).int()).abs().max() <= eps
    assert not torch.equal(purified, chw(authors["input_uint8"]))


def joint(params: Tensor, colour: tuple[int, ...], levels: int) -> float:
    level = torch.tensor(colour).view(1, 3, 1)
    return logistic.log_likelihood(params[:, :, None], level, levels).exp().item()


def test_each_channel_maximises_its_conditional_given_the_channels_before() -> None:
    """Against the table of all colours: p(r), p(g | r), p(b | r, g) by summing it."""
    levels = 5
    for seed in range(20):
        torch.manual_seed(seed)
        params = 2 * torch.randn(1, 20).double()
        table = torch.tensor(
            [joint(params, colour, levels) for colour in product(range(levels), repeat=3)]
        ).view(levels, levels, levels)
        near = torch.randint(0, levels, (1, 3))
        chosen: list[int] = []
        for c in range(3):
            given: Tensor = table[tuple(chosen)] if chosen else table
            marginal = given.flatten(1).sum(1) if given.dim() > 1 else given
            lowest, highest = max(int(near[0, c]) - 1, 0), min(int(near[0, c]) + 1, levels - 1)
            chosen.append(lowest + int(marginal[lowest : highest + 1].argmax()))
        ours = greedy(params, near, torch.ones(1, dtype=torch.long), 1, levels=levels, code=False)
        assert ours[0].tolist() == chosen


def test_the_window_is_per_image_and_ends_with_the_range() -> None:
    params = torch.tensor([[0.0, 50.0, 0.0]]).double().expand(3, 3)  # one logistic far above
    near, window = torch.tensor([[1], [1], [3]]), torch.tensor([0, 2, 2])
    chosen = greedy(params, near, window, 2, levels=5, code=False)
    assert chosen[:, 0].tolist() == [1, 3, 4]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("code", [False, True])
def test_images_stay_near_on_the_grid_and_apart(channels: int, code: bool) -> None:
    purifier = built(0.25, threshold=1.0, code=code, channels=channels)
    torch.manual_seed(1)
    x = torch.rand(5, channels, 8, 8)
    out = purifier(x)
    assert out.dtype == x.dtype
    torch.testing.assert_close(out * 4, (out * 4).round())
    rounded = (x * 4).round() / 4
    assert (out - rounded).abs().max() <= 0.25 + 1e-6
    assert not torch.equal(out, rounded)
    alone = torch.cat([purifier(image) for image in torch.split(x, 1)])
    assert torch.equal(alone, out)


def test_decoding_is_likelier_than_the_input_under_the_model() -> None:
    purifier = built(0.25)
    torch.manual_seed(1)
    x = torch.rand(6, 1, 8, 8).double()
    before, after = purifier.bits(x), purifier.bits(purifier(x))
    assert after.mean() < before.mean()


def test_the_article_spares_whole_images_and_the_code_single_pixels() -> None:
    torch.manual_seed(1)
    x = torch.rand(6, 1, 8, 8)
    grid = (x * 4).round() / 4
    bits = built(0.25).bits(x.double()).flatten()
    cut = float(bits.median())
    whole = built(0.25, threshold=cut)
    out = whole(x)
    spared = bits <= cut
    assert 0 < spared.sum() < 6
    assert torch.equal(out[spared], grid[spared])
    torch.testing.assert_close(out[~spared], built(0.25)(x)[~spared])
    assert whole.decoder.forwards == int((~spared).sum())
    assert whole.bits.forwards == 6

    pixel = built(0.25, threshold=1.0, code=True)
    windows = pixel.windows(x.double())
    assert set(windows.flatten().tolist()) == {0, 1}
    moved = (pixel(x) != grid).any(1)
    assert moved.any()
    assert not (moved & (windows == 0)).any()


def test_a_prediction_counts_one_decoding() -> None:
    plugin = find_defense("pixeldefend")
    x = torch.rand(3, 1, 8, 8)
    for typed in ("pixeldefend", "pixeldefend:threshold=2", "pixeldefend:variant=code"):
        settings = dict(plugin.resolve(parse_part(typed), "digits").settings)
        threshold = float(settings["threshold"]) or (3.0 if settings["variant"] == "code" else 0)
        purifier = built(0.25, threshold, code=settings["variant"] == "code")
        purifier(x)
        networks = {m.name: m.forwards for m in purifier.modules() if isinstance(m, Network)}
        most = {name: 3 * int(str(n)) for name, n in plugin.calls(settings).items()}
        assert all(networks[name] <= most[name] for name in most)
        assert networks["pixelcnn"] == most["pixelcnn"]


def made(folder: Path, channels: int = 1, **typed: Any) -> PixelDefend:
    import json

    network = tiny()
    facts = {
        "network": "pixelcnnpp",
        "arguments": json.dumps(
            {
                "nr_resnet": 1,
                "nr_filters": 4,
                "nr_logistic_mix": 2,
                "input_channels": 1,
                "levels": 5,
            }
        ),
    }
    save(folder / "pixelcnn.safetensors", network.state_dict(), facts)
    factory = find_defense("pixeldefend").factory
    purifier = factory(context(channels, folder), **typed)
    assert isinstance(purifier, PixelDefend)
    return purifier


def test_gray_and_colour_fit_and_two_channels_do_not() -> None:
    plugin = find_defense("pixeldefend")
    info = find_dataset("cifar10").info
    assert info is not None
    behind = find_classifier("natural")
    reasons = [plugin.misfit({}, behind, replace(info, shape=(c, 32, 32))) for c in (1, 2, 3)]
    assert [bool(reason) for reason in reasons] == [False, True, False]


def test_levels_come_from_the_weights(tmp_path: Path) -> None:
    assert made(tmp_path, eps=0.5).reach == 2
    assert made(tmp_path, eps=0.25, variant="code").threshold == 3.0


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="3 channels"):
        made(tmp_path, channels=3)
    with pytest.raises(BenchError, match=r"less than one of the 5 grey levels .*0\.25 and more"):
        made(tmp_path, eps=0.2)
    for eps in ("0", "1/256"):
        asked = Request([f"pixeldefend:eps={eps}"], ["clean"], "digits")
        with pytest.raises(BenchError, match=r"less than one grey level.*1/255 and more"):
            make(asked)
    odd = DatasetInfo("odd", "odd", (1, 10, 8), ("a", "b"), "linf:0.1")
    plugin = find_defense("pixeldefend")
    reason = plugin.misfit({}, find_classifier("natural"), odd)
    assert reason is not None
    assert "sides in fours" in reason
