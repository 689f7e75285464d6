"""The published boards still say what the same commands would measure today."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import api
from bench.results.archive import SUFFIX, Archive
from bench.results.request import Plan
from bench.spec import parse_defense, parse_part

FOLDER = Path(__file__).parents[1] / "leaderboards" / "records"
PLANS = [
    pytest.param(plan, id=f"{plan.dataset}-{plan.name}")
    for path in sorted(FOLDER.glob(f"*{SUFFIX}"))
    for archive in [Archive(path)]
    for dataset in archive.datasets()
    for plan in archive.plans(dataset)
]


@pytest.mark.parametrize("plan", PLANS)
def test_names_of_attacks_mean_the_same_settings(plan: Plan) -> None:
    for planned in plan.cells:
        part = parse_part(planned.attack)
        plugin = api.find_attack(part.name)
        resolved = plugin.resolve(part, plan.dataset, plan.preset)
        assert str(resolved) == planned.cell.attack, planned.attack
        assert plugin.facts(dict(resolved.settings)) == plan.attacks[planned.cell.attack]


@pytest.mark.parametrize("plan", PLANS)
def test_names_of_defenses_mean_the_same_settings(plan: Plan) -> None:
    for label, stored in {(p.defense, p.cell.defense) for p in plan.cells}:
        spec = parse_defense(label)
        parts = [
            api.find_defense(part.name).resolve(part, plan.dataset, plan.preset)
            for part in spec.parts
        ]
        behind = api.find_classifier(spec.classifier.name)
        classifier = behind.resolve(spec.classifier, plan.dataset, plan.preset)
        assert f"{'+'.join(map(str, parts))}@{classifier}" == stored, label
