from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attacks.autoattack import AutoAttack, names_of
from attacks.library import View
from bench.api import find_attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Traits
from bench.compute import rng
from bench.errors import BenchError
from bench.measure.judge import evaluate
from tests.tiny import Affine, Levels, Luck, Noise, images, labels, linear, smooth

SHORT = AutoAttack(steps=10, targets=2, queries=20, random_steps=10, eot=4)


def test_breaks_what_can_be_broken_and_nothing_else() -> None:
    defense = Defense(linear(4))
    x = images(32)
    y = labels(defense, x)
    weight = defense.classifier.module.get_parameter("weight").detach()
    logits = defense.classifier(x)
    others = torch.arange(4)
    # The closed form: class j wins somewhere in the ball if the gap is under eps |w_j - w_y|_1.
    gap = logits.gather(1, y.unsqueeze(1)) - logits
    reach = 0.05 * (weight.unsqueeze(0) - weight[y].unsqueeze(1)).abs().sum(2)
    breakable = ((gap < reach) & (others != y.unsqueeze(1))).any(1)
    threat = ThreatModel("linf", 0.05)
    # Three classes are wrong, however many are to be aimed at.
    outcome = evaluate(defense, AutoAttack(steps=20, targets=9, queries=50), x, y, threat)
    assert torch.equal(outcome.correct[0, 0], ~breakable)
    assert 0 < breakable.sum() < 32


def test_a_blind_one_sees_the_bare_classifier_alone() -> None:
    """The same points as on it, and the purifier, which is random, is never asked."""

    class Never(Noise):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("a blind attack asked the purifier")

    bare, defense = Defense(smooth()), Defense(smooth(), [Never(0.1)])
    x, threat = images(), ThreatModel("linf", 0.1)
    y = labels(bare, x)
    found = []
    for attack, on in ((replace(SHORT, gradient="blind"), defense), (SHORT, bare)):
        torch.manual_seed(0)
        found.append(attack(on, x, y, threat).x_adv)
    assert torch.equal(*found)
    assert not torch.equal(found[0], x)


@pytest.mark.parametrize(
    ("attack", "fewest"),
    [("apgd-ce", 2), ("apgd-dlr", 3), ("apgd-t", 4), ("fab-t", 2), ("square", 2)],
)
def test_a_loss_runs_from_as_many_classes_on_as_it_reads(attack: str, fewest: int) -> None:
    """DLR divides by the first logit minus the third; aimed at a class, also by the fourth."""
    for classes in {2, fewest - 1, fewest} - {1}:
        defense, x = Defense(linear(classes)), images(8)
        y = labels(defense, x)
        found = AutoAttack(attack, steps=10, queries=50)(defense, x, y, ThreatModel("linf", 0.5))
        assert torch.equal(found.x_adv, x) == (classes < fewest)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_runs_as_the_library_does_with_its_own_settings(norm: str) -> None:
    from pyautoattack import AutoAttack as Library

    shape = (1, 8, 8)
    defense, threat = Defense(smooth(12, shape), [Levels(9)]), ThreatModel(norm, 0.06)
    x = images(4, shape)
    y = labels(defense, defense.purify(x))
    torch.manual_seed(0)
    ours = AutoAttack(targets=2, queries=50)(defense, x, y, threat).x_adv
    torch.manual_seed(0)
    seed = int(torch.randint(2**31, ()))
    model = View(defense)
    norms = {"linf": "Linf", "l2": "L2"}
    library = Library(model, norm=norms[norm], eps=0.06, seed=seed, version="standard")
    library.apgd_targeted.n_target_classes = library.fab.n_target_classes = 2
    library.square.n_queries = 50
    library.logger.disabled = True
    theirs = library.run_standard_evaluation(x, y, batch_size=4)[0]
    library.logger.disabled = False
    torch.testing.assert_close(ours, threat.project(theirs, x))


def test_within_l1_it_restarts_as_often_as_the_library() -> None:
    from pyautoattack import AutoAttack as Library
    from pyautoattack.autopgd_base import APGDAttack

    defense, threat, x = Defense(smooth(12)), ThreatModel("l1", 0.2), images(64)
    y = labels(defense, x)
    torch.manual_seed(0)
    ours = AutoAttack("apgd-ce", steps=5)(defense, x, y, threat).x_adv
    torch.manual_seed(0)
    seed = int(torch.randint(2**31, ()))
    asked = {"norm": "L1", "eps": threat.eps, "seed": seed}
    usual = Library(View(defense), version="standard", **asked).apgd
    ways = {"n_restarts": usual.n_restarts, "use_largereps": usual.use_largereps}
    apgd = APGDAttack(View(defense), n_iter=5, **asked, **ways)
    torch.testing.assert_close(ours, threat.project(apgd.perturb(x, y), x))


@pytest.mark.parametrize("steps", [1, 4])
def test_few_steps_within_l1_are_all_in_the_ball_itself(steps: int) -> None:
    """The library's larger balls would leave less than one of them."""
    defense, threat, x = Defense(smooth()), ThreatModel("l1", 0.3), images(8)
    y = labels(defense, x)
    found = AutoAttack("apgd-ce+apgd-t", steps=steps)(defense, x, y, threat).x_adv
    assert threat.contains(found, x).all()


def test_apgd_plans_its_step_sizes_for_the_steps_it_has() -> None:
    from pyautoattack.autopgd_base import APGDAttack

    defense, threat = Defense(smooth()), ThreatModel("l2", 0.2)
    x = images(16)
    y = labels(defense, x)
    torch.manual_seed(0)
    ours = AutoAttack("apgd-ce", steps=12)(defense, x, y, threat).x_adv
    torch.manual_seed(0)
    seed = int(torch.randint(2**31, ()))
    search = APGDAttack(View(defense), n_iter=12, norm="L2", eps=0.2, seed=seed)
    torch.testing.assert_close(ours, threat.project(search.perturb(x, y), x))
    assert (ours != x).any()


def test_an_image_broken_only_by_luck_is_not_counted_broken() -> None:
    defense, threat = Defense(linear(3), [Luck(0.4)]), ThreatModel("linf", 1e-4)
    x = images(32)
    y = labels(defense, x)
    clean = [defense.predict(x) == y for _ in range(32)]
    outcome = evaluate(defense, SHORT, x, y, threat, draws=32, key="cell")
    difference = outcome.correct.float().mean() - torch.stack(clean).float().mean()
    assert abs(float(difference)) < 0.06


def test_luck_does_not_end_the_attack_on_what_can_be_broken() -> None:
    defense, threat = Defense(linear(3), [Luck(0.3)]), ThreatModel("linf", 0.3)
    x = images(32)
    y = labels(defense, x)
    bare = Defense(defense.classifier)
    attack = AutoAttack(random_steps=20, eot=6, confirm=6)
    with rng.work("cell"), rng.stream("attack"):
        x_adv = attack(defense, x, y, threat).x_adv
    assert (bare.predict(x_adv) != y).float().mean() > 0.9


def test_sees_through_what_has_no_gradient() -> None:
    defense, threat = Defense(linear(4), [Levels(16)]), ThreatModel("linf", 0.3)
    x = images()
    y = labels(defense, defense.purify(x))
    x_adv = AutoAttack("apgd-ce", steps=10)(defense, x, y, threat).x_adv
    assert (defense.predict(x_adv) != y).all()


def test_the_exact_view_differentiates_the_purifier() -> None:
    matrix = torch.diag(torch.linspace(-1, 1, 16))
    defense = Defense(smooth(), [Affine(matrix)])
    x = images().requires_grad_()
    gradients = []
    for view in (View(defense), View(defense, "exact")):
        gradients.append(torch.autograd.grad(view(x)[:, 0].sum(), x)[0].flatten(1))
    torch.testing.assert_close(gradients[1], gradients[0] @ matrix)


def test_is_silent_leaves_no_file_and_keeps_the_random_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("DEBUG", logger="auto-attack")
    torch.manual_seed(3)
    torch.randint(2**31, ())
    expected = torch.rand(4)
    x = images()
    for defense in (Defense(smooth(), [Levels(9)]), Defense(smooth(), [Noise(0.1)])):
        y = labels(defense, x)
        points = []
        for clock in (1.0, 2.0):
            monkeypatch.setattr(time, "time", lambda value=clock: value)
            torch.manual_seed(3)
            points.append(SHORT(defense, x, y, ThreatModel("linf", 0.02)).x_adv)
            assert torch.equal(torch.rand(4), expected)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert torch.equal(points[0], points[1])
    trace = sys.gettrace()
    SHORT(Defense(smooth()), x, y, ThreatModel("linf", 0.02))
    assert sys.gettrace() is trace
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not list(tmp_path.iterdir())


def test_unknown_parts_are_named() -> None:
    assert names_of("standard") == ("apgd-ce", "apgd-t", "fab-t", "square")
    with pytest.raises(BenchError, match="did you mean 'apgd-ce'"):
        names_of("apgd-c+square")
    with pytest.raises(BenchError, match="twice"):
        names_of("square+square")


@pytest.mark.parametrize("name", ["autoattack", "autoattack:protocol=resubmit"])
def test_no_figure_is_of_an_exact_gradient_that_there_is_not(name: str) -> None:
    """It would be BPDA's under another name."""
    plugin = find_attack(name)
    for gradient, exact in product(("bpda", "exact", "blind"), (True, False)):
        settings = {**plugin.defaults, "gradient": gradient}
        reason = plugin.skip(settings, Traits(random=True, exact=exact))
        assert (reason is None) == (exact or gradient != "exact")
