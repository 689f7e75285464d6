"""FreqPure against the authors' numbers: the exchange, whole purifications, the gradient."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import BenchError
from defenses.freqpure import FreqPure, disc, exchange
from defenses.schedule import level
from tests.reference import Classifier, facts_of, tensors_of

GOLDEN = tensors_of("freqpure")
CHAINS = json.loads(facts_of("freqpure")["chains"])
CUTS = json.loads(facts_of("freqpure")["fft_settings"])
INDEX = {round(level(t), 9): t for t in range(1000)}


def prior(x: Tensor, a: float) -> Tensor:
    """The noise model of the golden file."""
    t = INDEX[round(a, 9)]
    h = F.conv2d(x, GOLDEN["eps/conv.weight"], GOLDEN["eps/conv.bias"], padding=1)
    return math.sqrt(t / (t + 300)) * x + 0.2 * h.tanh()


def purifier(chain: Mapping[str, object]) -> FreqPure:
    lengths = [int(n) for n in str(chain["mt"]).split(",")]
    counts = [int(n) for n in str(chain["st"]).split(",")]
    return FreqPure(
        None,
        list(zip(lengths, counts, strict=True)),
        amplitude=float(str(chain["DA"])),
        phase=float(str(chain["DP"])),
        delta=None,
        reference=int(str(chain["fns"])),
        eta=1.0 if chain["meth"] == "ddpm" else 0.0,
        prior=prior,
    )


def drawing(monkeypatch: pytest.MonkeyPatch, stored: Tensor) -> None:
    draws: Iterator[Tensor] = iter(stored)
    monkeypatch.setattr(torch, "randn_like", lambda x: next(draws))


@pytest.mark.parametrize("image", ["even", "odd"])
@pytest.mark.parametrize("cut", CUTS)
def test_the_exchange_of_spectra(image: str, cut: str) -> None:
    est, ref = (2 * GOLDEN[f"fft/{image}/{k}"][None] / 255 - 1 for k in ("est", "ref"))
    out = exchange(est, ref, CUTS[cut]["amplitude_cut"], CUTS[cut]["phase_cut"], None)
    stored = GOLDEN[f"fft/{image}/{cut}/out"]
    torch.testing.assert_close((out[0] + 1) / 2, stored, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["a10_p10_t50", "a3_p3_t50", "a6_p4_t200"])
def test_the_exchange_with_a_reconstruction(name: str) -> None:
    amplitude, phase, t = (int(part[1:]) for part in name.split("_"))
    chain = {"mt": "50", "st": "5", "DA": amplitude, "DP": phase, "fns": t, "meth": "ddpm"}
    noise, given = GOLDEN[f"exchange/{name}/noise"][0], 2 * GOLDEN["x"] - 1
    out = purifier(chain).exchanged(GOLDEN["exchange/est"], given, noise)
    torch.testing.assert_close(out, GOLDEN[f"exchange/{name}/out"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", ["c1", "c2", "c4"])
def test_whole_purifications(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, GOLDEN[f"{name}/noise"])
    out = purifier(CHAINS[name])(GOLDEN["x"])
    torch.testing.assert_close(out, GOLDEN[f"{name}/purified"], atol=1e-4, rtol=0)
    logits = Classifier("freqpure")(out)
    torch.testing.assert_close(logits, GOLDEN[f"{name}/logits"], atol=1e-4, rtol=1e-4)


def test_the_gradient_goes_through_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, GOLDEN["g/noise"])
    x = GOLDEN["x"].clone().requires_grad_()
    logits = Classifier("freqpure")(purifier(CHAINS["g"])(x))
    torch.testing.assert_close(logits, GOLDEN["g/logits"], atol=1e-4, rtol=1e-4)
    (g,) = torch.autograd.grad(F.cross_entropy(logits, GOLDEN["g/y"], reduction="sum"), x)
    inside = (x > 0) & (x < 1)  # where theirs passes one on
    stored, g = GOLDEN["g/grad"][inside], g[inside]
    assert (g - stored).abs().max() <= 1e-3 * stored.abs().max()
    assert (g.sign() == stored.sign()).float().mean() > 0.99


def test_projected_phases_stay_near_and_whole_ones_are_replaced() -> None:
    torch.manual_seed(0)
    est, ref = torch.rand(2, 1, 3, 16, 16) * 1.6 - 0.8
    whole = exchange(est, ref, 100, 100, None)
    torch.testing.assert_close(whole, ref, atol=1e-5, rtol=0)
    torch.testing.assert_close(exchange(est, ref, 100, 100, 0.0), ref, atol=1e-5, rtol=0)
    torch.testing.assert_close(exchange(est, ref, -1, 100, 4.0), est, atol=1e-5, rtol=0)
    some = exchange(est, ref, 100, 100, 0.3)
    assert (some - ref).abs().mean() < (exchange(est, ref, 100, 100, 1.0) - ref).abs().mean()


def test_the_disc_counts_cells_from_the_lower_middle() -> None:
    assert disc(torch.zeros(1, 1, 6, 6), 0).nonzero().tolist() == [[3, 3]]
    assert disc(torch.zeros(1, 1, 5, 5), 0).nonzero().tolist() == [[3, 3]]
    assert not disc(torch.zeros(1, 1, 6, 6), -1).any()
    assert disc(torch.zeros(1, 1, 6, 6), 100).all()


def test_something_has_to_predict_noise() -> None:
    with pytest.raises(BenchError, match="neither a denoiser nor a prior"):
        FreqPure(None, [(5, 5)], amplitude=1, phase=1, delta=None)
