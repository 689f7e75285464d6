"""The library's sign methods: as the library runs them, and never astray."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.fgsm import Library, bim, fgsm, jitter, vmi_fgsm
from attacks.gradients import Bpda
from attacks.pgd import PGD
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.measure.judge import evaluate
from tests.tiny import Levels, Linear, Noise, images, labels, linear, smooth

THREAT = ThreatModel("linf", 0.05)
EACH = [
    (fgsm(), "FGSM", {}),
    (bim(steps=3), "BIM", {"alpha": 0.0125, "steps": 3}),
    (vmi_fgsm(steps=3, neighbours=2), "VMIFGSM", {"alpha": 0.005, "steps": 3, "N": 2}),
    (jitter(steps=3), "Jitter", {"alpha": 0.0125, "steps": 3}),
]


@pytest.mark.parametrize(("attack", "name", "settings"), EACH, ids=[name for _, name, _ in EACH])
def test_they_are_the_librarys_attacks(
    attack: Library, name: str, settings: dict[str, Any]
) -> None:
    import torchattacks

    defense = Defense(smooth())
    x = images()
    y = labels(defense, x)
    torch.manual_seed(0)
    found = attack(defense, x, y, THREAT).x_adv
    torch.manual_seed(0)
    torch.manual_seed(int(torch.randint(2**31, ())))
    theirs = getattr(torchattacks, name)(defense.classifier.module, eps=0.05, **settings)
    torch.testing.assert_close(found, theirs(x, y).detach())
    assert (found != x).any()


@pytest.mark.parametrize("attack", [fgsm(), bim(), vmi_fgsm()])
def test_a_linear_classifier_falls_where_the_ball_reaches_its_boundary(attack: Library) -> None:
    defense = Defense(linear(2))
    x = images(32)
    y = labels(defense, x)
    weight = defense.classifier.module.get_parameter("weight").detach()
    logits = defense.classifier(x)
    gap = (logits[:, 0] - logits[:, 1]).abs()
    breakable = gap < 0.05 * (weight[0] - weight[1]).abs().sum()
    outcome = evaluate(defense, attack, x, y, THREAT)
    assert torch.equal(outcome.correct[0, 0], ~breakable)
    assert 0 < breakable.sum() < 32


def test_jitter_breaks_what_large_logits_mask() -> None:
    """At logits times 10,000 the cross-entropy has no gradient left in float32."""
    large = linear(3)
    large.module.get_parameter("weight").data *= 1e4
    defense = Defense(large)
    x = images(32)
    y = labels(defense, x)
    threat = ThreatModel("linf", 0.3)
    masked = evaluate(defense, fgsm(), x, y, threat).correct.float().mean()
    assert masked > 0.5
    assert evaluate(defense, jitter(), x, y, threat).correct.float().mean() < 0.25


def test_bim_through_a_purifier_without_a_gradient_is_bpda() -> None:
    defense = Defense(smooth(), [Levels(64)])
    x = images()
    y = labels(defense, x)
    wanted = PGD(Bpda(), steps=10)(defense, x, y, THREAT).x_adv
    assert torch.allclose(bim()(defense, x, y, THREAT).x_adv, wanted, atol=1e-6)


def test_a_random_defense_shows_its_mean_logits() -> None:
    """The mean over many draws of a linear model with noise is the model's own gradient."""
    defense = Defense(linear(2), [Noise(0.3)])
    bare = Defense(defense.classifier)
    x = images()
    y = labels(bare, x)
    wanted = fgsm()(bare, x, y, THREAT).x_adv
    assert torch.allclose(fgsm(eot=8)(defense, x, y, THREAT).x_adv, wanted, atol=1e-6)
    before = defense.classifier.forwards
    fgsm(eot=8)(defense, x, y, THREAT)
    assert defense.classifier.forwards - before == 8 * len(x)


class Picky(Purifier):
    """Refuses what is no image."""

    traits = Traits(exact=False)

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all()
        assert ((x >= 0) & (x <= 1)).all()
        return x


@pytest.mark.parametrize("attack", [fgsm(), bim(), vmi_fgsm(), jitter()])
def test_purifiers_are_shown_images_only(attack: Library) -> None:
    """VMI-FGSM looks beyond [0,1], and divides by gradients that may be zero."""
    x = images(8).round()
    for classifier in (smooth(), linear(2)):
        if isinstance(classifier.module, Linear):
            classifier.module.weight.data.zero_()
            classifier.module.bias.data = torch.tensor([1.0, 0.0])
        defense = Defense(classifier, [Picky()])
        found = attack(defense, x, labels(defense, x), THREAT).x_adv
        assert found.isfinite().all()
        assert THREAT.contains(found, x).all()


def test_the_library_is_read_only_where_it_runs() -> None:
    code = (
        "import sys; from bench.api.discover import load\n"
        "from bench.plan.plan import Request, make\n"
        "load()\n"
        "make(Request(['median'], ['library'], 'digits', controls=[]))\n"
        "sys.exit('torchattacks' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
