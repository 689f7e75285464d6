"""AID-Purifier against the authors' numbers, and the paper's form in closed form."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.auxiliary import Joint
from attacks.gradients import Blind
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Traits
from bench.models.nets.aid import CodeDiscriminator, Discriminator, OnClassifier, pooled
from bench.models.nets.wideresnet import WideResNet
from bench.training import avmixup
from bench.training.fit import Fit, _start
from bench.training.losses import ascend
from defenses.aid import AID, purify
from tests.reference import facts_of, tensors_of

VARIANTS = ("cifar", "svhn")
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def classifier() -> WideResNet:
    name = "wrn_tiny_robustbench"
    network = WideResNet(**json.loads(facts_of(name)["config"]))
    network.load_state_dict(tensors_of(name, "sd/"))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def golden() -> Tensors:
    return tensors_of("aid")


def settings(variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facts_of("aid")["variants"])[variant]
    return found


def discriminator(variant: str, classifier: WideResNet, golden: Tensors) -> CodeDiscriminator:
    facts = settings(variant)
    depth = facts["after_concat_depth"]
    last = {name.partition(".")[0]: name for name in classifier.features(golden["x"][:1])}
    made = CodeDiscriminator(
        taps=list(last.values()),
        widths=[16, 16, 32, 64],
        used=[i for i in range(4) if not facts[f"layer{i + 1}_off"]],
        width=16,
        branch=facts["before_concat_depth"] + 1,
        trunk=[32, 16, 8][:depth],
    )
    prefix = f"{variant}/disc/"
    made.load_state_dict({k.removeprefix(prefix): v for k, v in golden.items() if prefix in k})
    return made.eval().requires_grad_(False)


def code(variant: str, classifier: WideResNet, golden: Tensors, scale: float = 1) -> AID:
    made = discriminator(variant, classifier, golden)
    made.fc.weight.data *= scale
    made.fc.bias.data *= scale
    network = Network(OnClassifier(classifier, made), "discriminator")
    return AID(
        network, 1, eps=settings(variant)["defense_eps"], step=0.25, steps=10, probability=True
    )


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    """99 % of the pixels within `tolerance`: a sign at a zero gradient may fall either way."""
    return ((ours - theirs).abs() <= tolerance).float().mean().item() >= 0.99


def test_the_taps_are_pooled_maps_of_the_classifier(
    classifier: WideResNet, golden: Tensors
) -> None:
    taps = discriminator("cifar", classifier, golden).taps
    assert taps[0] == "conv1"
    for i, h in enumerate(pooled(classifier, golden["x"], taps), 1):
        assert (h - golden[f"taps/{i}"]).abs().max() < 1e-5
    assert (classifier(golden["x"]) - golden["logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_discriminator(variant: str, classifier: WideResNet, golden: Tensors) -> None:
    aid = code(variant, classifier, golden)
    x = golden["x"].clone().requires_grad_()
    logit = aid.network(x)
    assert (logit - golden[f"{variant}/logit"]).abs().max() < 1e-5
    assert (logit.sigmoid() - golden[f"{variant}/out"]).abs().max() < 1e-5
    (g,) = torch.autograd.grad(logit.sigmoid().sum(), x)
    wanted = golden[f"{variant}/grad_sum_out"]
    assert (g - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_purification(variant: str, classifier: WideResNet, golden: Tensors) -> None:
    aid = code(variant, classifier, golden)
    x = golden["x"]
    assert same(aid(x), golden[f"{variant}/purified_10"])
    aid.steps = 1
    assert same(aid(x), golden[f"{variant}/purified_1"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_attacks_pass_the_gradient_on_unchanged(
    variant: str, classifier: WideResNet, golden: Tensors
) -> None:
    aid = code(variant, classifier, golden)
    aid.traits = Traits(exact=False, direction=True)
    defense = Defense(Network(classifier, "classifier"), [aid])
    x = golden["x"].clone().requires_grad_()
    logits = defense.logits(x)
    assert (logits - golden[f"{variant}/logits_purified_10"]).abs().max() < 1e-3
    (g,) = torch.autograd.grad(F.cross_entropy(logits, golden["y"], reduction="sum"), x)
    wanted = golden[f"{variant}/bpda_identity_grad_ce"]
    assert (g - wanted).norm() < 1e-3 * wanted.norm()


def test_a_saturated_probability_holds_the_image_only_in_the_code(
    classifier: WideResNet, golden: Tensors
) -> None:
    aid = code("cifar", classifier, golden, golden["cifar/saturated/scale"].item())
    x, stuck = golden["x"], golden["cifar/saturated/out"].flatten() == 1
    assert stuck.any()
    purified = aid(x)
    assert same(purified, golden["cifar/saturated/purified_10"])
    assert torch.equal(purified[stuck], x[stuck])
    aid.probability = False
    assert ((aid(x) - x).abs().amax((1, 2, 3)) > 0.9 * aid.eps).all()


@pytest.mark.parametrize("steps", [1, 5])
def test_the_joint_attack_follows_our_direction(
    steps: int, classifier: WideResNet, golden: Tensors
) -> None:
    """Ascend CE - lambda BCE(D, clean) by our direction: eps 8/255, step 1/255, lambda .5."""
    aid, x, y = code("svhn", classifier, golden), golden["x"], golden["y"]

    def both(z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(classifier(z), y, reduction="sum"), z)
        return g + 0.5 * aid.direction(z)

    attacked = purify(both, x, 8 / 255, 1 / 255, steps)
    assert same(attacked, golden[f"svhn/joint_adv_{steps}"])


@pytest.mark.parametrize("steps", [1, 5])
def test_the_authors_joint_attack_is_ours_at_a_third(
    steps: int, classifier: WideResNet, golden: Tensors
) -> None:
    """Their CE - lambda BCE at lambda 1/2 is (1 - w) CE - w BCE at w = 1/3, but for its length."""
    aid = code("svhn", classifier, golden)
    aid.traits = Traits(exact=False, direction=True)
    defense = Defense(Network(classifier, "classifier"), [aid])
    attack = PGD(Joint(Blind(), 1 / 3), steps, step=1 / 8)
    found = attack(defense, golden["x"], golden["y"], ThreatModel("linf", 8 / 255)).x_adv
    assert same(found, golden[f"svhn/joint_adv_{steps}"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_step_of_the_published_training(
    variant: str, classifier: WideResNet, golden: Tensors
) -> None:
    facts, prefix = settings(variant), f"{variant}/train/"
    kept = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    x, y = golden["x"], golden["y"]
    attacked = ascend(
        classifier,
        x,
        kept["start"] - x,
        lambda logits: F.cross_entropy(logits, y),
        eps=facts["training_eps"],
        steps=facts["training_step"],
        size=facts["training_step_size"],
    )
    close = (attacked - x - kept["delta"]).abs() < 1e-5
    assert close.float().mean() > 0.98
    v, u = avmixup.vertex(x, kept["delta"], facts["gamma"]), kept["u"].flatten()
    mixed = avmixup.between(x, v, u)
    assert (mixed - kept["x_mixed"]).abs().max() < 1e-6
    assert torch.equal(u, kept["target"].flatten())
    made = discriminator(variant, classifier, golden).train().requires_grad_()
    plan = Fit(1, lr=0.01, optimizer="momentum", weight_decay=2e-4, schedule="constant")
    state = _start(made, plan)
    logit = made(pooled(classifier, mixed, made.taps))
    assert (logit.sigmoid() - kept["out"]).abs().max() < 1e-4
    made.load_state_dict(discriminator(variant, classifier, golden).state_dict())
    loss = avmixup.verdict(made, pooled(classifier, mixed, made.taps), u)
    assert abs(loss.item() - kept["loss"].item()) < 1e-4
    torch.autograd.backward(loss)
    state.optimizer.step()
    after = made.state_dict()
    changed = {k.removeprefix("after/"): v for k, v in kept.items() if k.startswith("after/")}
    assert changed
    for key, value in changed.items():
        assert (after[key] - value).abs().max() < 1e-5, key


class Tinted(nn.Module):
    """A classifier whose one map is the image."""

    def features(self, x: Tensor) -> Tensors:
        return {"image": x}


def paper(eps: float = 0.1, steps: int = 10) -> AID:
    """Logit of an adversarial image: how much red it holds, less green."""
    made = Discriminator(["image"], [3], width=2, branch=1, trunk=(2,))
    weight = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    layers = [part for part in made.modules() if isinstance(part, nn.Linear)]
    values = (weight, torch.eye(2), torch.tensor([[1.0, -1.0]]))
    for layer, value in zip(layers, values, strict=True):
        layer.weight.data = value
        layer.bias.data.zero_()
    network = Network(OnClassifier(Tinted(), made), "discriminator")
    return AID(network, made.clean, eps=eps, step=0.25, steps=steps)


def test_the_papers_form_descends_the_probability_of_being_adversarial() -> None:
    x = torch.tensor([0.5, 0.5, 0.5]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert torch.allclose(paper(steps=1)(x), x + torch.tensor([-0.025, 0.025, 0]).view(3, 1, 1))
    assert torch.allclose(paper()(x), x + torch.tensor([-0.1, 0.1, 0]).view(3, 1, 1))
    dark = torch.full((1, 3, 4, 4), 0.05)
    assert paper()(dark).min() == 0


def test_the_direction_is_the_gradient_of_log_p_clean() -> None:
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    logit = x[:, 0].mean((1, 2)) - x[:, 1].mean((1, 2))
    wanted = logit.sigmoid().view(2, 1, 1, 1) / 16 * torch.tensor([-1.0, 1, 0]).view(3, 1, 1)
    assert torch.allclose(paper().direction(x), wanted.expand_as(x))


def test_images_do_not_see_their_batch_mates(classifier: WideResNet, golden: Tensors) -> None:
    aid = code("cifar", classifier, golden)
    x = golden["x"]
    assert same(torch.cat([aid(image[None]) for image in x]), aid(x), 1e-6)


def test_labels_of_the_two_forms_are_opposite() -> None:
    """D1: the paper's logit says adversarial, the code's says clean."""
    clean, maps = torch.ones(2), [torch.zeros(2, 2)]
    ours = Discriminator(["a"], [2], 2, 1, (2,))
    theirs = CodeDiscriminator(["a"], [2], [0], width=2, branch=1, trunk=(2,)).eval()
    ours.last.bias.data.fill_(-3)
    theirs.fc.bias.data.fill_(3)
    for module in (ours, theirs):
        assert avmixup.verdict(module, maps, clean) < 0.1
        assert avmixup.verdict(module, maps, 1 - clean) > 1
