"""Ours beside what people would use instead: the same network, images and budget, in one run.

`make bench-compare`. What each way finds is held against what ours found; a table comes last.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api.ball import ThreatModel
from bench.compute import rng
from bench.measure import build
from bench.measure.judge import evaluate
from bench.measure.shard import Shard, ShardWork, begun
from bench.models.nets.pixelcnnpp import PixelCNNpp
from bench.models.nets.pixelcnnpp_decode import decode, decode_plainly
from bench.models.zoo import robustbench
from bench.models.zoo.networks import rebuild_as
from bench.plan.plan import make
from bench.plan.request import Request
from tests.benchmarks import naive

EPS = {"patches": 8 / 255, "digits": 0.125}
SIGMA, STEPS, LAM, DELTA = 0.09, 10, 0.05, 1e-3
BOUNDS = (1e-5, 0.1)
CODE = f"adp:variant=code,sigma={SIGMA},stop=none,alpha_max=0.1"
FOUND: dict[str, Any] = {}
"""What ours found, by group."""


@cache
def shard(defense: str, attack: str, dataset: str = "patches") -> ShardWork:
    """The first 32 images of a data set with a warm defense and attack."""
    asked = Request([defense], [attack], dataset, preset="paper", images=32, controls=[])
    return begun(make(asked)[0].cells[0].cell, 0, build.context(dataset))


@cache
def plain(classifier: str, dataset: str = "patches") -> nn.Module:
    """The network as a script would load it: no layout, no door, parameters that want gradients."""
    made = build.classifier(classifier, build.context(dataset)).eval().requires_grad_()
    return made.to(memory_format=torch.contiguous_format)


def weights(name: str, dataset: str = "patches") -> nn.Module:
    """A prior as a script would load it."""
    purifiers = {"score": CODE, "edm": "scoreopt-o"}
    context = build.context(dataset)
    defense = build.defense(f"{purifiers[name]}@natural", context)
    (network,) = [net for net in defense.networks() if net.name != "classifier"]
    return network.module


def ours(work: ShardWork, dataset: str = "patches", draws: int = 1) -> Tensor:
    """Our verdicts, bool [B]: attacked, checked and judged."""
    threat = ThreatModel("linf", EPS[dataset])
    given = (work.defense, work.attack, work.shard.x, work.shard.y, threat)
    verdicts: Tensor = evaluate(*given, draws=draws, key=work.key).correct[0, 0]
    return verdicts


def stands(network: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
    """The verdicts of a bare network, bool [B]."""
    with torch.no_grad():
        verdicts: Tensor = network(x_adv).argmax(1) == y
    return verdicts


def agree(group: str, who: str, verdicts: Tensor, most: int = 0) -> None:
    """At most so many of the verdicts are not ours."""
    if who == "ours":
        FOUND[group] = verdicts
    differ = int((FOUND[group] != verdicts).sum())
    assert differ <= most, f"{differ} verdicts of {who} are others than ours"


def first(images: int) -> Tensor:
    """So many of 32 images, bool [32]."""
    return torch.arange(32) < images


def timed(benchmark: Any, work: Callable[[], Tensor], rounds: int) -> Tensor:
    found: Tensor = benchmark.pedantic(work, rounds=rounds, warmup_rounds=0)
    return found


def renamed(*given: Any, log_path: None = None, **more: Any) -> Any:
    """AutoAttack as PyPI has it, under the names of arguments by which RobustBench calls it."""
    from pyautoattack import AutoAttack

    run = AutoAttack(*given, **more).run_standard_evaluation

    def renamed_run(x: Tensor, y: Tensor, bs: int, state_path: None = None) -> Any:
        return run(x, y, batch_size=bs, state_path=state_path)[0]

    return SimpleNamespace(run_standard_evaluation=renamed_run)


@pytest.mark.benchmark(group="AutoAttack standard, none@madry of digits")
@pytest.mark.parametrize("who", ["ours", "robustbench"])
def test_autoattack(benchmark: Any, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = shard("none@madry", "autoattack", "digits")
    x, y = work.shard.x, work.shard.y
    library = robustbench.load()

    def theirs() -> Tensor:
        with contextlib.redirect_stdout(io.StringIO()):
            _, robust = library.benchmark(
                plain("madry", "digits"), len(x), "cifar10", "Linf", eps=EPS["digits"]
            )
        return first(round(robust * len(x)))

    module = library.benchmark.__globals__
    monkeypatch.setitem(module, "load_clean_dataset", lambda *_: (x, y))
    monkeypatch.setitem(module, "AutoAttack", renamed)
    way = partial(ours, work, "digits") if who == "ours" else theirs
    found = timed(benchmark, way, rounds=2)
    # One number comes back: how many images stand.
    agree("autoattack", who, first(int(found.sum())))


@pytest.mark.benchmark(group="PGD, 40 steps, none@madry of patches")
@pytest.mark.parametrize("who", ["ours", "torchattacks", "foolbox"])
def test_pgd(benchmark: Any, who: str) -> None:
    work = shard("none@madry", "classifier-pgd:random_start=false")
    x, y, eps, network = work.shard.x, work.shard.y, EPS["patches"], plain("madry")

    def theirs() -> Tensor:
        if who == "torchattacks":
            from torchattacks import PGD

            return stands(network, PGD(network, eps, eps / 4, 40, random_start=False)(x, y), y)
        import foolbox
        from foolbox.models.pytorch import PyTorchModel

        model = PyTorchModel(network, bounds=(0, 1), device="cpu")
        attack = foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=40, random_start=False)
        return stands(network, attack(model, x, y, epsilons=[eps])[1][0], y)

    found = timed(benchmark, partial(ours, work) if who == "ours" else theirs, rounds=5)
    agree("pgd", who, found)


@pytest.mark.benchmark(group="Square, 500 queries, none@madry of patches")
@pytest.mark.parametrize("who", ["ours", "torchattacks"])
def test_square(benchmark: Any, who: str) -> None:
    work = shard("none@madry", "square:queries=500")
    x, y, network = work.shard.x, work.shard.y, plain("madry")

    def theirs() -> Tensor:
        from torchattacks import Square

        return stands(network, Square(network, eps=EPS["patches"], n_queries=500)(x, y), y)

    found = timed(benchmark, partial(ours, work) if who == "ours" else theirs, rounds=3)
    agree("square", who, found, most=2)  # two random searches


@pytest.mark.benchmark(group="ADP's code under its BPDA+EOT, 2 steps of 15 draws, {images} images")
@pytest.mark.parametrize("images", [4, 32])
@pytest.mark.parametrize("who", ["ours", "authors' loop"])
def test_adp(benchmark: Any, who: str, images: int) -> None:
    benchmark.group = benchmark.group.format(images=images)
    work = shard(CODE, "bpda-eot:protocol=adp,steps=2,eot=15")
    x, y = work.shard.x[:images], work.shard.y[:images]
    threat = ThreatModel("linf", EPS["patches"])
    score, network = weights("score"), plain("natural")
    purify = naive.adp_code(score, SIGMA, STEPS, lam=LAM, delta=DELTA, bounds=BOUNDS)

    def attacked() -> Tensor:
        with rng.seeded("compare"):
            if who == "ours":
                return work.attack(work.defense, x.clone(), y.clone(), threat).x_adv
            return naive.bpda_votes(network, purify, x, y, eps=threat.eps, steps=2, eot=15)

    found = timed(benchmark, attacked, rounds=3)
    if who == "ours":
        FOUND[f"adp {images}"] = found
    # The same noise for each replicate, so the same pixels, but for rounding where a vote is tied.
    same = (found - FOUND[f"adp {images}"]).abs() < 1e-6
    assert same.float().mean() > 0.99


@pytest.mark.benchmark(group="ScoreOpt-O under Hill's protocol, 2 steps of 15 draws, 30 verify")
@pytest.mark.parametrize("who", ["ours", "authors' loop"])
def test_scoreopt(benchmark: Any, who: str) -> None:
    spec = "scoreopt-o:variant=code,steps=5,lr=0.04,t_min=0.1,t_max=0.25"
    work = shard(spec, "bpda-eot:protocol=hill,steps=2,eot=15,verify=30")
    x, y = work.shard.x, work.shard.y
    threat = ThreatModel("linf", EPS["patches"])
    purify = naive.scoreopt_o(weights("edm"), 5, 0.04, (0.1, 0.25))
    network = plain("natural")

    def standing() -> Tensor:
        with rng.work("compare"), rng.stream("attack"):
            if who == "ours":
                found = work.attack(work.defense, x.clone(), y.clone(), threat).protocol
                assert found is not None
                return found
            batch = partial(naive.hill, network, purify, eps=threat.eps, steps=2, eot=15, verify=30)
            return torch.cat([batch(x[n : n + 8], y[n : n + 8]) for n in range(0, len(x), 8)])

    agree("scoreopt", who, timed(benchmark, standing, rounds=1), most=4)  # other random numbers


@pytest.mark.benchmark(group="gradient through ADP's 10 fixed steps, 32 patches")
@pytest.mark.parametrize("who", ["ours", "plain autograd"])
def test_exact_gradient(benchmark: Any, who: str) -> None:
    work = shard("adp:sigma=0", "clean")
    x, score = work.shard.x, weights("score")
    upstream = torch.linspace(-1, 1, x.numel()).view_as(x)

    def gradient() -> Tensor:
        point = x.clone().requires_grad_()
        with torch.enable_grad():
            if who == "ours":
                z = work.defense.purify(point)
            else:
                z = naive.by_autograd(score, point, alpha=0.03, steps=10)
        return torch.autograd.grad(z, point, upstream)[0]

    found = timed(benchmark, gradient, rounds=5)
    if who == "ours":
        FOUND["gradient"] = found
    gap = (found - FOUND["gradient"]).norm() / FOUND["gradient"].norm()
    assert gap < 1e-2, gap


@pytest.mark.benchmark(group="PixelCNN++ of digits, the first 32 of 256 positions, 16 images")
@pytest.mark.parametrize("who", ["ours", "plain decoding"])
def test_pixelcnn(benchmark: Any, who: str) -> None:
    context = build.context("digits")
    network = rebuild_as(context.weights("pixelcnn"), "a PixelCNN++", PixelCNNpp).double().eval()
    x = 2 * digits().x[:16].double() - 1

    def choose(params: Tensor, i: int, j: int) -> Tensor:
        return x[:, :, i, j] + 0.1 * params[:, :1].sign()

    way = decode if who == "ours" else decode_plainly
    found = timed(benchmark, partial(way, network, x, choose, 32), rounds=2)
    agree("pixelcnn", who, found)


def digits() -> Shard:
    """The first images of digits."""
    return shard("none@madry", "autoattack", "digits").shard
