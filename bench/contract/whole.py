"""Every check of one plug-in, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from bench import api
from bench.contract.asked import Check, kinds, stacked
from bench.contract.attacks import check_attack
from bench.contract.classifiers import check_classifier
from bench.contract.common import run
from bench.contract.defenses import check_defense
from bench.errors import BenchError
from bench.measure import build, weights_used
from bench.plan.plan import make
from bench.plan.request import Request, find_info
from bench.spec import NO_PURIFIER, DefenseSpec, Part, parse_defense, parse_part
from bench.threat import Threat

CHECKS: dict[str, Callable[[Part, api.Context], list[Check]]] = {
    "defense": check_defense,
    "attack": check_attack,
    "classifier": check_classifier,
}


def whole(name: str, dataset: str, overrides: Mapping[str, str]) -> list[Check]:
    """Run the contract on what `bench.contract.require` let pass."""
    context = build.context(dataset, weights_override=overrides)
    if stacked(name):
        results = _on_classifier(parse_defense(name), context)
        return [*results, run("bench run", partial(_runs, name, "all", dataset, overrides))]
    part = parse_part(name)
    found = kinds(part.name)
    results = [result for kind in found for result in CHECKS[kind](part, context)]
    asked = {"defense": (name, "all"), "classifier": (f"{NO_PURIFIER}@{name}", "all")}
    for kind in found:
        defense, attack = asked.get(kind, ("all", name))
        results.append(run("bench run", partial(_runs, defense, attack, dataset, overrides)))
    return results


def _runs(defense: str, attack: str, dataset: str, overrides: Mapping[str, str]) -> str:
    """What `bench run` does before it measures: plan, look weight files up, build."""
    ball = _ball(parse_part(attack).name, dataset)
    request = Request([defense], [attack], dataset, ball, controls=[], weights=[*overrides])
    made, _ = make(request, here=True)
    if defense == "all":  # which need weights of their own; the attack is built above
        return f"{len(made.cells)} cells planned"
    for cell in (planned.cell for planned in made.cells):
        weights_used.weights_used(cell.defense, cell.attack, dataset, overrides)
    weights_used.buildable({planned.cell.defense for planned in made.cells}, dataset, overrides)
    return f"{len(made.cells)} cells planned, all weights read"


def _ball(attack: str, dataset: str) -> str:
    """The first ball of a data set that an attack of that name can attack; else the default."""
    if attack not in api.names("attack", patterns=True):
        return ""
    info, norms = find_info(dataset), api.find_attack(attack).norms
    balls = [text for text in (info.threat, *info.threats) if Threat.parse(text).norm in norms]
    return next(iter(balls), "")


def _on_classifier(spec: DefenseSpec, context: api.Context) -> list[Check]:
    classifier = api.find_classifier(spec.classifier.name)
    context = build.behind(spec.classifier, context)
    for part in spec.parts:
        plugin = api.find_defense(part.name)
        settings = dict(plugin.resolve(part, context.dataset).settings)
        if reason := plugin.misfit(settings, classifier, build.dataset(context.dataset).info):
            raise BenchError(f"{part}@{spec.classifier}: {reason}")
    return [result for part in spec.parts for result in check_defense(part, context)]
