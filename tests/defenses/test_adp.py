"""ADP against the authors' numbers, closed forms and plain autograd."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.api import find_defense
from bench.api.purifier import Network, Traits, chunk_size
from bench.models.nets.ncsnv2 import NCSNv2
from bench.spec import parse_part
from defenses.adp import ADP
from defenses.adp_walk import StepRule, grid, purify, walk
from tests.reference import facts_of, tensors_of

CODE = StepRule(negative="min", inverse_grid=True)


@pytest.fixture(scope="module")
def score() -> NCSNv2:
    network = NCSNv2(**json.loads(facts_of("ncsnv2_tiny")["config"]))
    network.load_state_dict(tensors_of("ncsnv2_tiny", "sd/"))
    return network.eval().requires_grad_(False)


def rule(base: StepRule, **changes: object) -> StepRule:
    return StepRule(**{**base.__dict__, **changes})


def sizes(held: list[Tensor]) -> Tensor:
    return torch.stack([alpha.flatten() for alpha in held])


def check_alpha(held: list[Tensor], expected: Tensor) -> None:
    assert torch.equal(sizes(held) == 0, expected == 0)
    torch.testing.assert_close(sizes(held), expected, rtol=1e-2, atol=0)


# --- the authors' code (golden) ----------------------------------------------------------------


def test_code_variant_reproduces_run_a(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    defense = ADP(Network(score, "score"), CODE, 0.25)
    start = defense.start(data["x"], data["runA/noise"])
    first, second, last = data["runA/images_0_1_last"]
    torch.testing.assert_close(start, first, rtol=0, atol=1e-6)
    held: list[Tensor] = []
    trail: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        end = walk(score, start, CODE, trail, held)
    check_alpha(held, data["runA/alpha"])
    torch.testing.assert_close(trail[1][0], second, rtol=0, atol=2e-3)
    torch.testing.assert_close(end, last, rtol=0, atol=2e-3)
    torch.testing.assert_close(end, data["runA/final_float64_run"].float(), rtol=0, atol=2e-3)


def test_code_variant_couples_stopped_images_to_their_batch(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    held: list[Tensor] = []
    chosen, start = rule(CODE, tau=0.008), grid(data["runB/x"])
    end = purify(score, start, chosen, held)
    check_alpha(held, data["runB/alpha"])
    torch.testing.assert_close(end, data["runB/images_0_1_last"][2], rtol=0, atol=2e-3)
    for i, steps in enumerate(data["runB/alone_nsteps"].tolist()):
        alone: list[Tensor] = []
        single = purify(score, start[i : i + 1], chosen, alone)
        assert sum(bool(alpha.any()) for alpha in alone) == steps
        gap = (single - end[i : i + 1]).abs().max()
        assert abs(gap - data["runB/alone_vs_batch_final_maxdiff"][i]) < 1e-3


def test_code_variant_without_stopping(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    held: list[Tensor] = []
    end = purify(score, grid(data["runB/x"]), rule(CODE, tau=0.0), held)
    check_alpha(held, data["runC/alpha"])
    torch.testing.assert_close(end, data["runC/final"], rtol=0, atol=2e-3)


def test_code_variant_returns_the_start_when_all_stop_at_once(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    end = purify(score, grid(data["runB/x"]), rule(CODE, tau=0.2))
    torch.testing.assert_close(end, data["runD/returned"], rtol=0, atol=1e-6)


def test_detection_lowers_the_noise(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    held: list[Tensor] = []
    defense = ADP(Network(score, "score"), CODE, 0.25, detect=35.0, low=0.2)
    norm = defense.score_norm(data["runE/x"]).flatten()
    torch.testing.assert_close(norm, data["runE/score_norm"], rtol=1e-4, atol=0)
    end = purify(score, defense.start(data["runE/x"], data["runE/noise"]), CODE, held)
    check_alpha(held, data["runE/alpha"])
    torch.testing.assert_close(end, data["runE/final"], rtol=0, atol=2e-3)


# --- the exact gradient ------------------------------------------------------------------------


def classifier(data: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    def logits(x: Tensor) -> Tensor:
        for layer in ("c1", "c2"):
            weight, bias = data[f"clf/{layer}.weight"], data[f"clf/{layer}.bias"]
            x = F.relu(F.conv2d(x, weight.to(x), bias.to(x), stride=2, padding=1))
        return F.linear(x.mean((2, 3)), data["clf/fc.weight"].to(x), data["clf/fc.bias"].to(x))

    return logits


def cw(logits: Tensor, y: Tensor) -> Tensor:
    own = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - own


def ce(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


@pytest.mark.parametrize(("name", "loss"), [("ce", ce), ("cw", cw)])
def test_exact_gradient_reproduces_the_published_one(
    score: NCSNv2, name: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    data = tensors_of("adp_exact_gradient")
    logits = classifier(tensors_of("adp_attacks"))
    gradients = []
    for draw, noise in enumerate(data["noise"]):
        x = data["x"].clone().requires_grad_()
        held: list[Tensor] = []
        # The published re-implementation: a fixed displacement, and no grid map at the start.
        shift = (x + 0.25 * noise).clamp(0, 1) - x
        purified = purify(score, x + shift.detach(), CODE, held)
        out = logits(purified)
        losses = loss(out, data["y"])
        (gradient,) = torch.autograd.grad(losses.sum(), x)
        gradients.append(gradient)
        torch.testing.assert_close(out, data["logits"][draw], rtol=0, atol=1e-3)
        torch.testing.assert_close(losses, data[f"{name}/loss"][draw], rtol=0, atol=2e-3)
        torch.testing.assert_close(sizes(held), data["alpha"][draw], rtol=1e-2, atol=0)
        if not draw:
            torch.testing.assert_close(purified, data["purified_draw1"], rtol=0, atol=1e-3)
    for mine, theirs in (
        (gradients[0], data[f"{name}/grad_draw1"]),
        (torch.stack(gradients).mean(0), data[f"{name}/grad_mean3"]),
    ):
        assert (mine - theirs).abs().max() <= 1e-2 * theirs.abs().max()
        assert (mine.sign() == theirs.sign()).float().mean() >= 0.995


RULES = {
    "adaptive": StepRule(alpha_max=0.3, lam=0.2),
    "fixed": StepRule(adaptive=False, alpha=0.05),
    "norm": StepRule(stop="norm", tau=6.0),
    "unclipped": StepRule(clip=False, negative="paper", stop="none"),
    "code": rule(CODE, lam=0.2),
}


@pytest.mark.parametrize("chosen", RULES.values(), ids=RULES)
def test_reverse_walk_equals_autograd_with_held_steps(chosen: StepRule) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 2, 3, padding=1))
    network = network.double().requires_grad_(False)
    x = torch.rand(70, 2, 6, 6, dtype=torch.double, requires_grad=True)
    held: list[Tensor] = []
    end = purify(network, x, chosen, held)
    assert any(alpha.any() for alpha in held)
    v = torch.randn_like(end)
    (mine,) = torch.autograd.grad(end, x, v)
    plain = x
    for alpha in held:
        if not alpha.any():
            break
        plain = chosen.update(plain, network(plain), alpha)
    (theirs,) = torch.autograd.grad(plain, x, v)
    torch.testing.assert_close(end, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_exact_gradient_stores_images_only_and_recomputes_each_step_once() -> None:
    network = Network(nn.Conv2d(1, 1, 3, padding=1), "score")
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    x = torch.rand(40, 1, 4, 4, requires_grad=True)
    fixed = StepRule(adaptive=False, steps=7)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        end = purify(network, x, fixed)
    assert sorted(saved) == sorted([x.numel(), 40] * 7)
    assert (network.forwards, network.backwards) == (7 * 40, 0)
    torch.autograd.grad(end.sum(), x)
    assert (network.forwards, network.backwards) == (14 * 40, 7 * 40)


def test_nothing_is_stored_without_a_gradient() -> None:
    network = Network(nn.Conv2d(1, 1, 3, padding=1), "score")
    with torch.no_grad():
        end = ADP(network, StepRule(), 0.1)(torch.rand(3, 1, 4, 4))
    assert not end.requires_grad
    assert network.forwards == 2 * 10 * 3


def test_chunks_change_nothing() -> None:
    torch.manual_seed(0)
    network = Network(nn.Conv2d(1, 1, 3, padding=1), "score")
    x = torch.rand(100, 1, 5, 5, requires_grad=True)
    results = []
    for chunk in (32, 64, 128):
        with chunk_size(chunk):
            end = purify(network, x, StepRule(lam=0.3))
            results.append((end, torch.autograd.grad(end.sum(), x)[0]))
    for end, gradient in results[1:]:
        torch.testing.assert_close(end, results[0][0], rtol=0, atol=1e-6)
        torch.testing.assert_close(gradient, results[0][1], rtol=0, atol=1e-5)


# --- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.05, 0.2, 0.8])
def test_adaptive_step_of_a_gaussian_is_lambda_sigma(width: float) -> None:
    """s(x) = -(x - mu)/sigma (Eq. 14) gives alpha = lambda * sigma (Eq. 16) for every image."""
    mu = torch.rand(1, 3, 4, 4, dtype=torch.double)
    x = torch.rand(5, 3, 4, 4, dtype=torch.double)
    held: list[Tensor] = []
    end = purify(lambda z: -(z - mu) / width, x, StepRule(steps=4, lam=0.1, stop="none"), held)
    torch.testing.assert_close(sizes(held), torch.full((4, 5), 0.1 * width).double())
    torch.testing.assert_close(end - mu, (x - mu) * 0.9**4)


@pytest.mark.parametrize(
    ("width", "negative", "expected"),
    [
        *((5.0, negative, 0.1) for negative in ("max", "min", "paper")),
        (1e-5, "max", 1e-5),
        (-5.0, "paper", -0.1),
    ],
)
def test_the_step_is_bounded(width: float, negative: str, expected: float) -> None:
    """lambda * sigma would be far above alpha_max, or below alpha_min."""
    x = torch.rand(3, 1, 4, 4, dtype=torch.double)
    chosen = StepRule(lam=0.1, delta=1e-6, negative=negative)

    def score(z: Tensor) -> Tensor:
        return -(z - 0.5) / width

    size = chosen.step_size(score, x, score(x)).flatten()
    torch.testing.assert_close(size, torch.full((3,), expected).double())


def test_purification_converges_to_the_mode() -> None:
    mu = 0.3
    x = torch.rand(4, 1, 4, 4)
    end = purify(lambda z: -(z - mu) / 0.5, x, StepRule(steps=300, lam=0.2, tau=0.0))
    torch.testing.assert_close(end, torch.full_like(x, mu), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("negative", "expected"), [("max", 0.1), ("min", 1e-5), ("paper", -0.02)])
def test_negative_estimates(negative: str, expected: float) -> None:
    held: list[Tensor] = []
    chosen = StepRule(steps=1, negative=negative, stop="none", clip=False)
    purify(lambda z: z / 0.4, torch.rand(3, 1, 4, 4, dtype=torch.double), chosen, held)
    torch.testing.assert_close(sizes(held), torch.full((1, 3), expected).double())


def test_stopping_by_the_norm_of_the_score() -> None:
    """Algorithm 1: the first step is always taken, then an image stops below tau."""
    x = torch.tensor([0.9, 0.51]).view(2, 1, 1, 1).double()
    held: list[Tensor] = []
    purify(lambda z: 0.5 - z, x, StepRule(steps=3, stop="norm", tau=0.02), held)
    assert (sizes(held) > 0).tolist() == [[True, True], [True, False], [True, False]]


def test_a_zero_score_leaves_images_alone() -> None:
    x = torch.rand(2, 1, 3, 3)
    for negative in ("max", "min", "paper"):
        end = purify(torch.zeros_like, x, StepRule(negative=negative, stop="none"))
        assert torch.equal(end, x)


def test_paper_variant_is_per_image_and_leaves_stopped_images_alone(score: NCSNv2) -> None:
    data = tensors_of("adp_steps")
    held: list[Tensor] = []
    x, chosen = data["runB/x"], StepRule(tau=0.008)
    together = purify(score, x, chosen, held)
    alone = torch.cat([purify(score, image[None], chosen) for image in x])
    # Only the rounding of the estimate of Eq. 18 depends on the batch.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    stopped = sizes(held)[0] == 0
    assert stopped.tolist() == [False, True, True, False]
    assert torch.equal(together[stopped], x[stopped])


# --- the plug-in -------------------------------------------------------------------------------


def traits(text: str) -> Traits:
    plugin = find_defense("adp")
    return plugin.traits(dict(plugin.resolve(parse_part(text), "").settings))


def test_without_noise_it_is_deterministic_and_runs_once() -> None:
    assert traits("adp:sigma=0") == Traits(
        random=False, exact=True, direction=True, one_step=True, runs=1
    )
    assert traits("adp:runs=4") == Traits(
        random=True, exact=True, direction=True, one_step=True, runs=4
    )


def test_black_and_white_pixels_keep_their_gradient() -> None:
    """A score that pulls to grey, s = 1/2 - x: one step of alpha is x + alpha (1/2 - x)."""

    class Grey(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 - x

    chosen = StepRule(adaptive=False, alpha=0.1, steps=1, stop="none")
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1).requires_grad_()
    ADP(Network(Grey(), "score"), chosen, 0.0)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.9))


def test_noise_is_clipped_as_the_text_says_or_not_as_in_algorithm_1() -> None:
    network = Network(nn.Identity(), "score")
    x = torch.full((2, 1, 2, 2), 0.9)
    assert ADP(network, StepRule(), 1.0).start(x, torch.ones_like(x)).max() == 1
    assert ADP(network, StepRule(clip=False), 1.0).start(x, torch.ones_like(x)).max() > 1.5
    assert ADP(network, StepRule(clip=False), 1.0)(x).max() <= 1


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("adp", 20),
        ("adp:rule=fixed", 10),
        ("adp:steps=3,detect=30", 7),
        ("adp:sigma=0,detect=30", 20),
    ],
)
def test_declared_calls(text: str, calls: int) -> None:
    plugin = find_defense("adp")
    assert plugin.calls(dict(plugin.resolve(parse_part(text), "").settings)) == {"score": calls}


def test_weights_follow_the_network() -> None:
    plugin = find_defense("adp")
    for text, weights in (("adp", "score"), ("adp:network=ncsnv2", "score-ncsnv2")):
        assert plugin.weights(dict(plugin.resolve(parse_part(text), "").settings)) == (weights,)
