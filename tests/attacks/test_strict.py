"""The searches of the group `strict`, their starts and their controls, where the best is known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.catalog import STRICT
from attacks.gradients import Blind, Eot, Exact, Slope
from attacks.noise import Noise as Uniform
from attacks.pgd import PGD, Strongest
from attacks.square import Steady
from attacks.steps import Auto
from attacks.strict import apgd_strict, losses_of, pgd_strict
from attacks.transfer import Static, StaticBase, Transfer, transfer
from bench import api
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Network, Purifier, Traits
from bench.compute import once, rng
from bench.errors import BenchError
from bench.measure import build
from bench.measure.judge import evaluate
from bench.spec import Part, Settings, parse_part
from bench.threat import KNOWN
from tests.attacks.test_pgd import climb
from tests.tiny import SHAPE, Affine, Levels, Linear, Luck, Noise, images, labels, linear, smooth

LINF = ThreatModel("linf", 0.1)
UNDRAWN = ("clean", "transfer:source=same", "transfer:source=other")
"""Made without any draw of the defense."""
SEARCHES: dict[str, Attack] = {
    "pgd": pgd_strict(steps=20, eot=2, restarts=1, select=2),
    "apgd": apgd_strict(steps=20, eot=2, restarts=1, select=2, losses="ce+margin"),
    "apgd dlr-t": apgd_strict(steps=20, eot=2, restarts=4, select=2),
}


class Masked(Purifier):
    """Rounds to many levels and calls the gradient of that exact: it is zero everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 64).round() / 64


DRAWN: list[Tensor] = []


class Watched(Purifier):
    """Adds noise; every number that it drew is in DRAWN, since its own lists are put back."""

    traits = Traits(random=True, direction=True, surrogate=True, runs=2)

    def __init__(self) -> None:
        super().__init__()
        DRAWN.clear()

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        DRAWN.append(noise.flatten())
        return x + 0.05 * noise

    def surrogate(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def direction(self, x: Tensor) -> Tensor:
        return 0.5 - x


def made(text: str, **more: str | float) -> Attack:
    """A registered attack that needs no weights, at the preset `quick`."""
    plugin = api.find_attack(parse_part(text).name)
    asked = Part(plugin.name, (*parse_part(text).settings, *more.items()))
    settings: dict[str, Any] = dict(plugin.resolve(asked, "digits", "quick").settings)
    attack: Attack = plugin.factory(*[None] * plugin.uses_dataset, **settings)
    return attack


@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_strict_searches_reach_the_optimum_of_a_linear_classifier(name: str) -> None:
    defense, threat = Defense(linear(), [Noise(0.01)]), ThreatModel("linf", 0.15)
    x = images()
    y = labels(defense, x)
    torch.manual_seed(0)
    attacked = SEARCHES[name](defense, x, y, threat)
    torch.testing.assert_close(attacked.x_adv, x + 0.15 * climb(defense, y).sign())


def test_targeted_dlr_is_one_of_the_losses() -> None:
    defense = Defense(smooth())
    x = images(32)
    y = labels(defense, x)
    right = {}
    for losses in ("dlr-t", "ce+margin+dlr-t"):
        torch.manual_seed(0)
        attack = apgd_strict(steps=10, eot=1, restarts=4, losses=losses, start="own")
        right[losses] = defense.predict(attack(defense, x, y, LINF).x_adv) == y
    assert (right["ce+margin+dlr-t"] <= right["dlr-t"]).all()
    assert right["dlr-t"].float().mean() < 0.5


def test_a_part_without_a_gradient_is_gone_past_and_the_record_says_so() -> None:
    turned, said = Affine(0.9 * torch.eye(16)), {}
    stacks: dict[str, list[Purifier]] = {
        **{"none": [], "rounded": [Levels(33)]},
        **{"turned": [turned], "both": [Levels(33), turned]},
    }
    for name, purifiers in stacks.items():
        defense = Defense(linear(), purifiers)
        x = images()
        y = labels(defense, defense.purify(x))
        torch.manual_seed(0)
        attacked = SEARCHES["pgd"](defense, x, y, ThreatModel("linf", 0.25))
        assert (defense.predict(attacked.x_adv) != y).all()
        said[name] = attacked.gradient
    assert said == {"none": "exact", "rounded": "bpda", "turned": "exact", "both": "bpda+exact"}


def test_a_start_at_the_static_bases_points_breaks_what_masks_its_gradient() -> None:
    defense, threat = Defense(linear(), [Masked()]), ThreatModel("linf", 0.25)
    x = images(16)
    y = labels(defense, defense.purify(x))
    own = PGD(Eot(Exact(), 1), 10)
    torch.manual_seed(0)
    assert torch.equal(own(defense, x, y, threat).x_adv, x)
    based = replace(own, start=StaticBase())(defense, x, y, threat)
    assert (defense.predict(based.x_adv) != y).all()
    assert based.trace is not None
    assert not based.trace.grad_norm.any()


def test_a_start_at_the_base_is_where_transfer_from_the_base_ends() -> None:
    assert transfer(build.context("digits"), source="base") == Static(StaticBase())


def test_points_of_the_static_base_are_the_same_whatever_stands_in_front() -> None:
    x, network = images(16), smooth()
    y = labels(Defense(network), x)
    found = []
    stacks: list[list[Purifier]] = [[Noise(0.3)], [Levels(3)], [Luck(0.5), Noise(0.1)]]
    for key, purifiers in enumerate(stacks):
        defense = Defense(network, purifiers)
        before = defense.calls()
        with rng.work(f"cell {key}"), rng.stream("attack"):
            following = torch.random.get_rng_state()
            found.append(Static(StaticBase())(defense, x, y, LINF).x_adv)
            assert torch.equal(torch.random.get_rng_state(), following)
        assert defense.calls() == before
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    bare = Defense(network)
    blind = PGD(Blind(), 40, random_start=True)(bare, x, y, LINF).x_adv
    assert (bare.predict(found[0]) == y).sum() <= (bare.predict(blind) == y).sum()


def test_from_the_static_base_to_itself_nothing_is_transferred() -> None:
    plugin = api.find_attack("transfer")

    def skip(source: str, traits: Traits) -> str | None:
        asked = parse_part(f"transfer:source={source}")
        return plugin.skip(dict(plugin.resolve(asked, "digits").settings), traits)

    assert "no purifier" in str(skip("base", Traits(identity=True)))
    assert skip("base", Traits()) is None
    assert skip("other", Traits(identity=True)) is None
    settings: Settings = dict(plugin.resolve(parse_part("transfer:source=base"), "digits").settings)
    assert plugin.weights(settings) == ()


def test_what_is_wrong_already_is_not_given_up_for_one_search() -> None:
    """A step of a whole ball leaves the class 1 that the image is in, and gets it right again."""
    weight = torch.zeros(2, *SHAPE)
    weight[0] = 1
    defense = Defense(Network(Linear(weight, torch.tensor([0.0, 0.1])), "classifier"))
    x, y = torch.full((1, *SHAPE), 0.5), torch.zeros(1, dtype=torch.long)

    class Back(Blind):
        def __call__(self, *given: Any, **more: Any) -> Slope:
            slope = super().__call__(*given, **more)
            return slope._replace(gradient=-slope.gradient)

    assert defense.predict(x).tolist() == [1]
    search = PGD(Back(), steps=1, step=1.0)
    assert defense.predict(search(defense, x, y, LINF).x_adv).tolist() == [0]
    assert torch.equal(Strongest((search,))(defense, x, y, LINF).x_adv, x)


def test_fresh_draws_choose_between_searches() -> None:
    defense = Defense(linear(), [Noise(0.01)])
    x = images(16)
    y = labels(defense, x)
    still, moving = PGD(Blind(), 2, 0.0), PGD(Blind(), 8, rule=Auto(), step=2.0)
    alone = Strongest((moving,))(defense, x, y, LINF).x_adv
    for order in ((still, moving), (moving, still)):
        attacked = Strongest(order)(defense, x, y, LINF)
        assert torch.equal(attacked.x_adv, alone)
        assert attacked.trace is not None
        assert attacked.trace.loss.shape == (order[0].steps + 1, 16)


@pytest.mark.parametrize("text", [text for text in STRICT if text not in UNDRAWN])
def test_no_attackers_draw_is_a_judges_draw(text: str) -> None:
    """Not in gradients, in choosing between points, nor in queries."""
    few = {"steps": 2} if "steps" in api.find_attack(parse_part(text).name).defaults else {}
    defense = Defense(smooth(), [Watched()])
    x = images(4)
    evaluate(defense, made(text, **few), x, labels(defense, x), LINF, draws=3, key="cell")
    variants = 4 if text == "noise" else 1
    drawn = [set(part.tolist()) for part in DRAWN]
    judged = set().union(*drawn[-3 * variants :])
    attacked = set().union(*drawn[: -3 * variants])
    assert len(judged) == 3 * 2 * x.numel()
    assert bool(attacked) == (text not in ("noise", "classifier-pgd", "transfer:source=base"))
    assert not attacked & judged


def test_luck_neither_ends_nor_misleads_the_strict_square() -> None:
    """The classifier cannot be broken at this eps; one draw in three looks broken."""
    shape = (1, 8, 8)
    defense = Defense(linear(3, shape), [Luck(1 / 3)])
    x = images(6, shape)
    y = labels(defense, x)
    torch.manual_seed(0)
    before = defense.classifier.forwards
    attacked = Steady(queries=20, passes=5)(defense, x, y, ThreatModel("linf", 1e-4))
    assert defense.classifier.forwards - before == 21 * 5 * len(x)
    assert attacked.queries is not None
    assert attacked.queries.tolist() == [21] * 6


def test_the_strict_square_breaks_a_linear_classifier_and_goes_on() -> None:
    shape = (1, 8, 8)
    for threat in (ThreatModel("linf", 0.25), ThreatModel("l2", 1.5)):
        defense = Defense(linear(3, shape))
        x = images(8, shape)
        y = labels(defense, x)
        torch.manual_seed(0)
        attacked = Steady(queries=300, passes=20)(defense, x, y, threat)
        assert threat.contains(attacked.x_adv, x).all()
        assert (defense.predict(attacked.x_adv) != y).all()
        assert attacked.queries is not None
        assert attacked.queries.tolist() == [301] * 8


def test_noise_is_uniform_in_the_ball_and_every_draw_is_scored() -> None:
    defense, x = Defense(smooth()), torch.full((64, 1, 4, 4), 0.5)
    outcome = evaluate(defense, Uniform(5), x, labels(defense, x), LINF, draws=2, key="noise")
    moved = outcome.attacked.x_adv - x
    assert outcome.correct.shape == (5, 2, 64)
    assert outcome.attacked.variants == ("draw 1", "draw 2", "draw 3", "draw 4", "draw 5")
    assert float(moved.abs().max()) <= 0.1
    assert float(moved.mean()) == pytest.approx(0, abs=0.004)
    assert float(moved.abs().mean()) == pytest.approx(0.05, abs=0.002)
    assert len(set(moved.flatten().tolist())) > 4000


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "text",
    [
        *("noise", "classifier-pgd", "bpda", "joint-full", "square", "autoattack"),
        *("pgd:protocol=strict", "apgd:protocol=strict", "square:protocol=strict"),
        "transfer:source=base",
    ],
)
def test_within_a_ball_of_radius_zero_nothing_changes(text: str, norm: str) -> None:
    few: dict[str, str | float] = {"queries": 5} if text.startswith("square") else {}
    if text == "autoattack":
        few = {"queries": 5, "steps": 3, "attacks": "apgd-ce+square"}
    shape = (1, 8, 8)
    defense, x = Defense(smooth(shape=shape), [Affine(0.9 * torch.eye(64))]), images(5, shape)
    y = labels(defense, x)
    y[0] = (y[0] + 1) % 5
    outcome = evaluate(defense, made(text, **few), x, y, ThreatModel(norm, 0.0), key="zero")
    clean = evaluate(defense, made("clean"), x, y, ThreatModel.parse("none"), key="clean")
    points = outcome.attacked.x_adv
    torch.testing.assert_close(points, x.expand_as(points), atol=1e-7, rtol=0)
    assert (outcome.correct == clean.correct).all()


@pytest.mark.parametrize("purifier", [Noise(0.05), Levels(9), Affine(0.8 * torch.eye(16))])
@pytest.mark.parametrize("name", [*SEARCHES])
def test_without_a_bound_nothing_is_robust(name: str, purifier: Purifier) -> None:
    defense = Defense(smooth(), [purifier])
    x = images(32)
    y = labels(defense, x)
    outcome = evaluate(defense, SEARCHES[name], x, y, ThreatModel("linf", 1.0), draws=2, key="all")
    assert float(outcome.correct.float().mean()) < 0.02


def test_losses_are_names_joined_by_plus() -> None:
    assert losses_of("margin+ce") == ("margin", "ce")
    with pytest.raises(BenchError, match="did you mean 'margin'"):
        losses_of("ce+margn")
    with pytest.raises(BenchError, match="names one twice"):
        api.find_attack("apgd:protocol=strict").resolve(
            parse_part("apgd:protocol=strict,losses=ce+ce"), "patches"
        )


def test_known_randomness_is_the_judges_own() -> None:
    """The runs of the judge are those that the attack looked through, number by number."""
    defense = Defense(smooth(), [Watched()])
    x = images(4)
    threat = ThreatModel.parse("known:linf:8/255")
    evaluate(defense, made("known-randomness"), x, labels(defense, x), threat, key="cell")
    assert len(DRAWN) == 11 + 1
    assert all(torch.equal(drawn, DRAWN[-1]) for drawn in DRAWN)


def test_who_knows_the_randomness_breaks_what_chance_alone_defends() -> None:
    """An image that is turned over by chance: over both sides the gradients cancel."""
    defense, threat = Defense(linear(), [Luck(0.5)]), ThreatModel("linf", 0.3)
    x = images(64)
    y = labels(defense, x)
    blind = PGD(Eot(Exact("margin"), 200), 5)
    fresh = evaluate(defense, blind, x, y, threat, draws=8, key="cell")
    replayed, follower = replace(threat, aside=KNOWN), made("known-randomness", loss="margin")
    known = evaluate(defense, follower, x, y, replayed, key="cell")
    assert float(fresh.correct.float().mean()) > 0.4
    assert not known.correct.any()
    assert known.attacked.gradient == "exact"


def test_points_of_a_bare_network_are_made_once() -> None:
    """The same as made afresh: of a source for every defense, of the static base for its own."""
    context = build.context("digits")
    first, second = (build.defense(spec, context) for spec in ("median", "wiener"))
    x = images(4, (1, 16, 16))
    y = labels(first, x)
    source = transfer(context, steps=2)
    assert isinstance(source, Transfer)
    base = Static(StaticBase(steps=2))
    for attack, other, network in (
        (source, second, source.network.classifier.module),
        (base, first, first.classifier.module),
    ):
        found, asked = attack(first, x, y, LINF).x_adv, counted(network)
        again = attack(other, x, y, LINF).x_adv
        assert torch.equal(again, found)
        again.zero_()  # a copy
        assert torch.equal(attack(other, x, y, LINF).x_adv, found)
        assert not asked
        assert not torch.equal(attack(other, x, (y + 1) % 10, LINF).x_adv, found)
        assert asked
        once._kept.clear()
        assert torch.equal(attack(second, x, y, LINF).x_adv, found)


def counted(network: nn.Module) -> list[None]:
    """An entry for each time that it is asked from now on."""
    asked: list[None] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        asked.append(None)

    network.register_forward_pre_hook(note)
    return asked


def test_what_is_kept_of_a_network_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "MOST", 4 * 100)
    network, made = nn.Identity(), []

    def make(key: int) -> Tensor:
        made.append(key)
        return torch.full((40,), float(key))

    for key in (1, 2, 1, 3, 1, 2):
        assert once.once(network, key, partial(make, key))[0] == key
    assert made == [1, 2, 3, 2]
