"""What is planned in network calls is what is counted, or at least that much where it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attacks.catalog import ALL, CERTIFIED, EXTENDED, LIBRARY, PROTOCOL, RESUBMIT, STRICT, TRANSFER
from bench import api
from bench.api import Context, Plugin
from bench.api.attacked import Attack
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense, Purifier, Traits
from bench.measure import build
from bench.measure.judge import evaluate
from bench.plan import cost, plan
from bench.plan.request import Request
from bench.results.archive import open_results
from bench.results.store import Cell
from bench.spec import Part, parse_defense, parse_part
from tests.tiny import images, labels, smooth

RECORDS = Path(__file__).parents[2] / "leaderboards" / "records"
SHAPE = (1, 8, 8)
CLASSES = 10
DRAWS = 2
# Every run takes all of its steps, so that counts are exact.
FULL = "sigma={sigma},steps=2,runs=2,rule={rule},stop=none"
NOISY = f"adp:{FULL.format(sigma=0.1, rule='adaptive')}"
QUIET = f"adp:{FULL.format(sigma=0, rule='fixed')}"
VOTED = f"{NOISY},vote=3"
EARLY = "adp:sigma=0.1,steps=3,runs=1,tau=0.02,detect=0.5"
# They end early on images that fall; against luck they ask again. What is held is not asked twice.
AT_MOST = (
    *("square", "rays", "autoattack", "deepfool", "gradient-error"),
    *("bpda-eot:protocol=hill", "pgd-surrogate:protocol=hill"),
    *(parse_part(text).name for text in RESUBMIT),
)
SETTINGS = (
    *("bpda:keep=loss,steps=3", "pgd-exact:keep=loss,steps=2,eot=2,restarts=2"),
    *("bpda:keep=best,steps=3", "bpda-eot:restarts=2,steps=2,eot=3", "classifier-pgd:restarts=2"),
    *("joint-score:at=x,steps=3", "joint-score:restarts=2,steps=3,eot=2"),
    *("joint-full:at=x,steps=3,eot=2", "pgd-exact:keep=best,steps=2,eot=2"),
    *("spsa:runs=0,steps=2", "square:runs=0,queries=20", "corruption:kinds=fog,severities=1+2"),
    *("autoattack:attacks=standard,steps=3", "autoattack:attacks=apgd-dlr,gradient=exact,steps=3"),
    *("apgd:steps=3,eot=2,restarts=2,gradient=exact", "apgd:loss=dlr-t,steps=2,keep=best"),
    *("mim:gradient=blind,steps=3", "mim:gradient=exact,steps=2,eot=2", "certify:rule=predict"),
    *("apgd:steps=3,eot=2,start=base", "pgd-exact:start=base,steps=2,eot=2,keep=best"),
    "pgd:protocol=strict,steps=2,eot=2,restarts=2",
    "apgd:protocol=strict,steps=2,eot=2,losses=ce+dlr-t,start=base",
    *("auxiliary:at=x,steps=3,lambdas=0.2+1", "auxiliary:lambdas=0,steps=2,eot=3"),
    *("stadv:gradient=exact,steps=2,eot=3", "stadv:gradient=blind,steps=2"),
    *("deepfool:gradient=blind,steps=3", "autoattack:gradient=blind,steps=3"),
    *("fgsm:gradient=exact", "vmi-fgsm:gradient=exact,steps=2,neighbours=2,eot=2"),
)
LEAST_DISTANCE = ("cw", "cw:gradient=exact,steps=2,searches=3,eot=2", "cw:gradient=blind,steps=3")
"""In l2 only."""


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A score network of one convolution, and a source of transfer."""

    def score(weights: Any, *what: Any) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Conv2d(1, 1, 3, padding=1)

    def source(context: Context) -> nn.Module:
        return smooth(CLASSES, SHAPE, seed=9).module

    monkeypatch.setattr("defenses.adp.rebuild_as", score)
    monkeypatch.setattr("attacks.transfer.find_classifier", lambda name: Plugin(name, source))


def context() -> Context:
    def nothing(name: str = "") -> Any:
        return None

    return Context("digits", SHAPE, CLASSES, torch.device("cpu"), nothing, nothing)


def purifiers(text: str) -> tuple[list[Part], list[Purifier]]:
    """The resolved parts of a defense, and what they build."""
    parts, made = [], []
    for part in parse_defense(text).parts:
        plugin = api.find_defense(part.name)
        settings: dict[str, Any] = dict(plugin.resolve(part, "digits").settings)
        purifier: Purifier = plugin.made(context(), settings)
        purifier.traits = plugin.traits(settings)
        parts.append(Part(part.name, tuple(settings.items())))
        made.append(purifier)
    return parts, made


def planned_and_counted(defended: str, attacked: str) -> tuple[cost.Cost, cost.Ways]:
    parts, made = purifiers(defended)
    traits = Traits.merge(purifier.traits for purifier in made)
    plugin = api.find_attack(parse_part(attacked).name)
    part = plugin.resolve(parse_part(attacked), "digits", "quick")
    settings: dict[str, Any] = dict(part.settings)
    attack: Attack = plugin.factory(*[context()] * plugin.uses_dataset, **settings)
    norm = "linf" if "linf" in plugin.norms else "l2"
    threat = ThreatModel.parse(plugin.within(settings, f"{norm}:0.02"))
    x = images(4, SHAPE)
    # Labels are the classifier's own, so that most images stand for long.
    y = labels(Defense(smooth(CLASSES, SHAPE)), x)
    defense = Defense(smooth(CLASSES, SHAPE), made)
    evaluate(defense, attack, x, y, threat, draws=DRAWS, key="cost")
    return cost.estimate(parts, traits, part, DRAWS), per_image(defense.calls(), len(x))


def per_image(calls: cost.Ways, images: int) -> cost.Ways:
    """What was counted, as it is planned: by network, none that nobody asked."""
    found = {name: (f / images, b / images) for name, (f, b) in calls.items()}
    return {name: ways for name, ways in found.items() if any(ways)}


def bounded(counted: cost.Ways, planned: cost.Cost) -> bool:
    """Whether no network was asked more than its bound."""
    for name, ways in counted.items():
        most, luck = (ways_of.get(name, (0, 0)) for ways_of in (planned.networks, planned.luck))
        if any(way > a + b for way, a, b in zip(ways, most, luck, strict=True)):
            return False
    return True


def sensible(defended: str, attacked: str) -> bool:
    parts = [parse_part(text) for text in defended.split("+")]
    found = [(api.find_defense(p.name), p) for p in parts]
    traits = Traits.merge(f.traits(dict(f.resolve(p, "digits").settings)) for f, p in found)
    plugin = api.find_attack(parse_part(attacked).name)
    settings = dict(plugin.resolve(parse_part(attacked), "digits", "quick").settings)
    return not plugin.skip(settings, traits)


PAIRS = [
    (defended, attacked)
    for defended in (QUIET, NOISY, VOTED, "none")
    for attacked in dict.fromkeys(
        (
            *(*ALL, *EXTENDED, *PROTOCOL, *CERTIFIED, *LIBRARY, *STRICT),
            *(*RESUBMIT, *SETTINGS, *LEAST_DISTANCE),
        )
    )
    if sensible(defended, attacked)
]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(("defended", "attacked"), PAIRS)
def test_planned_calls_are_the_counted_ones(defended: str, attacked: str) -> None:
    planned, counted = planned_and_counted(defended, attacked)
    if parse_part(attacked).name in AT_MOST:
        assert bounded(counted, planned)
    else:
        assert counted == planned.networks
        assert not planned.luck


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("attacked", [*ALL, *PROTOCOL[:-1]])
def test_a_purifier_that_may_stop_early_asks_at_most_what_is_planned(attacked: str) -> None:
    planned, counted = planned_and_counted(EARLY, attacked)
    assert bounded(counted, planned)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    "attacked",
    [
        "apgd:loss=dlr-t,aim=malt,steps=2,eot=2",
        "apgd:protocol=strict,losses=dlr-t,aim=malt,steps=2",
    ],
)
def test_malt_asks_a_gradient_of_each_wrong_class_and_plans_those_of_many(attacked: str) -> None:
    planned, counted = planned_and_counted(NOISY, attacked)
    assert bounded(counted, planned)
    without, _ = planned_and_counted(NOISY, attacked.replace("malt", "likeliest"))
    assert counted["classifier"][1] > without.networks["classifier"][1]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("stack", [f"jpeg+{NOISY}", f"{NOISY}+jpeg", f"{QUIET}+{NOISY}"])
@pytest.mark.parametrize("attacked", ["bpda-eot", "pgd-exact:keep=best,steps=3", "joint-score"])
def test_a_stack_costs_what_its_parts_do(stack: str, attacked: str) -> None:
    planned, counted = planned_and_counted(stack, attacked)
    assert counted == planned.networks


@pytest.mark.usefixtures("toys")
def test_a_vote_of_copies_costs_as_many_times_one() -> None:
    one, many = (planned_and_counted(f"{NOISY},vote={k}", "clean")[0] for k in (1, 12))
    assert many.networks == {name: (12 * f, 12 * b) for name, (f, b) in one.networks.items()}


@pytest.mark.usefixtures("toys")
def test_luck_is_planned_and_orders_nothing() -> None:
    """Every query at its worst: `confirm` more of its kind, then `confirm` predictions."""
    planned, _ = planned_and_counted(NOISY, "square:queries=20,runs=1,confirm=3")
    per_run = 1 + 2 * 2
    assert planned.unlucky == 21 * (3 * 1 + 3 * 2) * per_run
    assert planned.forward == (21 + 2 * 3 * 2 + DRAWS * 2) * per_run
    # Every look of Hill's, the first and those after four steps, may have to be verified.
    hill = "bpda-eot:protocol=hill,steps=4,eot=2,verify=6"
    assert planned_and_counted(NOISY, hill)[0].unlucky == 5 * 6 * per_run
    assert not planned_and_counted(QUIET, hill)[0].luck


class Still(Purifier):
    """Random in name, with a stand-in; it and the stand-in call no network."""

    traits = Traits(random=True, exact=False, surrogate=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def surrogate(self, x: torch.Tensor) -> torch.Tensor:
        return x


LIBRARYS = ("standard", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square", "apgd-ce+square")


@pytest.mark.parametrize(
    ("attacked", "defended"),
    [
        *((f"autoattack:attacks={a},steps=6,targets=3,queries=9", []) for a in LIBRARYS),
        ("autoattack:random_steps=4,eot=3,confirm=2", [Still()]),
        ("square:queries=9,runs=1,confirm=2", []),
        ("square:queries=9,runs=1,confirm=2", [Still()]),
    ],
)
def test_an_image_that_stands_to_the_end_costs_all_that_is_planned(
    attacked: str, defended: list[Purifier]
) -> None:
    plugin = api.find_attack(parse_part(attacked).name)
    settings: dict[str, Any] = dict(plugin.resolve(parse_part(attacked), "digits").settings)
    defense = Defense(smooth(CLASSES, SHAPE), defended)
    x = images(1, SHAPE)
    y = labels(defense, x)
    before = defense.classifier.forwards, defense.classifier.backwards
    attack: Attack = plugin.factory(**settings)
    attack(defense, x, y, ThreatModel("linf", 1e-5))
    runs = plugin.cost(settings, Traits.merge(purifier.traits for purifier in defended))
    assert defense.classifier.forwards - before[0] == runs.plain + runs.bpda
    assert defense.classifier.backwards - before[1] == runs.bpda


@pytest.mark.parametrize("name", ["bpda-eot:protocol=hill", "pgd-surrogate:protocol=hill"])
def test_hills_protocol_costs_what_is_planned_where_nothing_falls(name: str) -> None:
    """Only a verification that breaks an image is left over, and what refutes luck."""
    plugin = api.find_attack(name)
    settings: dict[str, Any] = dict(plugin.resolve(parse_part(name), "digits", "quick").settings)
    defense = Defense(smooth(CLASSES, SHAPE), [Still()])
    x = images(4, SHAPE)
    y = labels(defense, x)
    before = defense.classifier.forwards, defense.classifier.backwards
    attack: Attack = plugin.factory(**settings)
    attack(defense, x, y, ThreatModel("linf", 1e-5))
    forwards = (defense.classifier.forwards - before[0]) / len(x)
    backwards = (defense.classifier.backwards - before[1]) / len(x)
    runs = plugin.cost(settings, Still.traits)
    looked = runs.bpda + runs.surrogate
    assert forwards == runs.plain - int(settings["verify"]) + looked + runs.classified
    assert backwards == looked


# --- the embedded data: their networks, every defense, every attack ------------------------------

SHORT = {
    "adp": "adp:steps=2,runs=2,stop=none",
    "scoreopt-o": "scoreopt-o:steps=2,runs=2",
    "scoreopt-n": "scoreopt-n:steps=1,rounds=2,loss=sr",
    "aid": "aid:steps=2",
    "pixeldefend": "pixeldefend:eps=0.0625",
    "diffpure": "diffpure:steps=2,runs=2",
    "gdmp": "gdmp:steps=2,rounds=2,runs=2",
    "gradual": "gradual:forward=20x2,steps=2,attack_forward=20,attack_steps=1,runs=2",
    "langevin": "langevin:steps=2,runs=2",
    "denoise": "denoise:runs=2",
    "smoothing": "smoothing:runs=2@noisy",
    "gaussian": "gaussian:runs=2",
}
MORE = ("pgd-surrogate", "bpda-surrogate", "one-step-unrolling")
"""Beside `all`: what only some defenses can be attacked by."""
BRIEF = {
    "spsa": "spsa:steps=2,samples=2",
    "square": "square:queries=3,confirm=1",
    "autoattack": "autoattack:attacks=apgd-ce,steps=2,random_steps=2,eot=2,confirm=1",
    "corruption": "corruption:kinds=fog,severities=1",
    **{name: f"{name}:steps=2,eot=2" for name in ("bpda-eot", "joint-score", "joint-full")},
    **{name: f"{name}:steps=2,eot=2" for name in ("pgd-exact", *MORE)},
    **{name: f"{name}:steps=2" for name in ("bpda", "classifier-pgd")},
    **{name: f"{name},steps=2" for name in TRANSFER},
}
SLOW = "pixeldefend"
"""Decodes pixel by pixel: one look and one gradient say it all."""


@pytest.mark.parametrize("name", [n for n in api.names("defense") if n != "none"])
def test_every_defense_and_attack_costs_what_is_planned(name: str) -> None:
    labels = [*ALL, *MORE] if name != SLOW else ["clean", "bpda"]
    attacks = [BRIEF.get(label, label) for label in labels]
    request = Request([SHORT.get(name, name)], ("clean",), "digits", preset="quick", controls=[])
    for attacked in attacks:
        asked = replace(request, attacks=(attacked,))
        if attacked == "clean" or sensible(request.defenses[0].partition("@")[0], attacked):
            made, draft = plan.make(asked)
            counted = measured(made.cells[0].cell)
            if parse_part(attacked).name in AT_MOST:
                assert bounded(counted, draft.costs[0]), attacked
            else:
                assert counted == draft.costs[0].networks, attacked


def measured(cell: Cell) -> cost.Ways:
    """What one image of a cell asks, as a worker would measure them."""
    context = build.context(cell.dataset)
    defense = build.defense(cell.defense, context)
    test = build.dataset(cell.dataset).images("test")
    x, y = test.x[:1], test.y[:1]
    before = defense.calls()
    draws = plan.draws_of(cell.dataset, cell.defense, cell.threat)
    attack, threat = build.attack(cell.attack, context), ThreatModel.parse(cell.threat)
    evaluate(defense, attack, x, y, threat, draws=draws, key="cost")
    after = defense.calls()
    spent = {n: (after[n][0] - f, after[n][1] - b) for n, (f, b) in before.items()}
    return per_image(spent, len(x))


@pytest.mark.parametrize("dataset", ["digits", "patches"])
def test_every_published_record_counts_what_is_planned(dataset: str) -> None:
    """Thousands of shards of whole images: what a board cost was known before."""
    planned: dict[Cell, cost.Cost] = {}
    for record in open_results(RECORDS / f"{dataset}.jsonl.xz").records(dataset):
        cell = record.cell
        if cell not in planned:
            planned[cell] = estimated(cell, record.draws)
        calls = {
            name: (sum(f for f, _ in phases.values()), sum(b for _, b in phases.values()))
            for name, phases in record.calls.items()
        }
        counted = per_image(calls, len(record.index))
        if parse_part(cell.attack).name in AT_MOST:
            assert bounded(counted, planned[cell]), cell
        else:
            assert counted == planned[cell].networks, cell
    assert len(planned) > 100


def estimated(cell: Cell, draws: int) -> cost.Cost:
    parts = [
        api.find_defense(part.name).resolve(part, cell.dataset)
        for part in parse_defense(cell.defense).parts
    ]
    traits = [api.find_defense(p.name).traits(dict(p.settings)) for p in parts]
    attack = parse_part(cell.attack)
    resolved = api.find_attack(attack.name).resolve(attack, cell.dataset)
    return cost.estimate(parts, Traits.merge(traits), resolved, draws)
