"""From what was asked to cells and skips; every skip has its reason. No weights are read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attacks.catalog import BOARDS, IMAGES
from bench import api
from bench.api import AttackPlugin, DefensePlugin, Plugin, Same, owned
from bench.api.images import DatasetInfo
from bench.data.subsets import load_subset
from bench.errors import BenchError
from bench.facts import About
from bench.plan import cost
from bench.plan.request import (
    Request,
    check,
    command,
    defense_groups,
    find_attack,
    find_info,
    groups,
    labels,
)
from bench.results.store import SHARD, Cell, Plan, Planned, Skip, shards_of
from bench.spec import (
    DEFAULT_CLASSIFIER,
    NO_PURIFIER,
    DefenseSpec,
    Part,
    parse_defense,
    parse_part,
    split_list,
)
from bench.threat import CERTIFIED, MARKERS, Threat

if TYPE_CHECKING:
    from bench.api.purifier import Traits

JUDGE_VERSION = 1


@dataclass(frozen=True)
class AskedRow:
    """A defense with its resolved settings; `named` when it was typed and not in a group.

    misfit: why it cannot stand on its classifier or data set; nothing where it can.
    """

    label: str
    spec: DefenseSpec
    traits: Traits
    named: bool = False
    control: bool = False
    misfit: str = ""


@dataclass(frozen=True)
class Column:
    """An attack with its resolved settings; `named` when it was typed and not in a group."""

    label: str
    part: Part
    plugin: AttackPlugin
    named: bool


@dataclass
class Draft:
    """A plan in the making, with the cost of each cell beside it."""

    cells: list[Planned] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    costs: list[cost.Cost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: list[Skip] = field(default_factory=list)
    """What cannot be measured on this machine, since a file that the attack reads is not here."""


def make(request: Request, *, here: bool = False) -> tuple[Plan, Draft]:
    """Expand groups, add the static bases and the controls, resolve, and check every pair.

    here: what an attack of a group reads and is not here is skipped too (`bench run` does so).

    Raises:
        BenchError: an unknown name, key or value; an attack that was named and that none of the
            defenses can have, or, with `here`, whose files are missing.
    """
    info, threat, subset = check(request)
    draft = Draft(notes=[f"{info.name}: {info.split}"] if info.split else [])
    available = len(load_subset(info.name, subset).index)
    images = _images(request.images, available, draft.notes)
    if not request.images and info.embedded:
        images = _affordable(request, available, draft.notes)
    columns, rows = list(_columns(request, info)), list(_rows(request, info))
    given = {text.partition("=")[0] for text in request.weights}
    _require_some(rows, columns, threat)
    for row in rows:
        for column in columns:
            reason = _skip(row, column, threat, columns)
            lacking = None if reason else _lacking(row, column, info.name, given)
            if lacking:
                draft.absent.append(Skip(row.label, column.label, lacking, absent=True))
                if here and column.named:
                    raise BenchError(f"{column.label}: {lacking}")
                reason = lacking if here else None
            if reason:
                draft.skips.append(Skip(row.label, column.label, reason, absent=bool(lacking)))
                continue
            for seed in range(request.seeds):
                cell = _cell(row, column, threat, (info.name, subset, seed))
                _add(draft, row, column, cell, draws(info, row.traits, cell.threat, request.draws))
    asked = {planned.cell.attack for planned in draft.cells}
    plan = Plan(
        dataset=info.name,
        subset=subset,
        threat=str(threat),
        preset=request.preset,
        images=images,
        cells=tuple(draft.cells),
        skips=tuple(draft.skips),
        command=command(request),
        attacks={
            str(c.part): c.plugin.facts(dict(c.part.settings))
            for c in columns
            if str(c.part) in asked
        },
        group=_board_of(columns),
        about=about(planned.cell for planned in draft.cells),
    )
    return plan, draft


def controls(info: DatasetInfo) -> list[str]:
    """The cheap filters that stand beside purifiers on a data set, where none are named."""
    classifier = api.find_classifier(DEFAULT_CLASSIFIER)
    found = [(c, dict(c.resolve(Part(c.name), info.name).settings)) for c in api.controls()]
    return [c.name for c, settings in found if c.misfit(settings, classifier, info) is None]


def draws(info: DatasetInfo, traits: Traits, threat: str, asked: int = 0) -> int:
    """M, the judge's fresh predictions: 1 where nothing is random, and for what attacks nothing.

    That is corruptions, proofs and diagnostics.

    asked: in place of the data set's number; 0 for that.
    """
    found = Threat.parse(threat)
    once = found.norm in ("corruption", CERTIFIED) or bool(found.aside)
    return (asked or info.draws) if traits.random and not once else 1


def draws_of(dataset: str, defense: str, threat: str, asked: int = 0) -> int:
    """M of a cell, from its names alone."""
    spec = parse_defense(defense)
    found = [(api.find_defense(part.name), part) for part in spec.parts]
    plugins = [(f, dict(f.resolve(part, dataset).settings)) for f, part in found]
    behind = api.find_classifier(spec.classifier.name)
    traits = _traits(plugins, behind.is_random(behind.chosen(spec.classifier, dataset)))
    return draws(find_info(dataset), traits, threat, asked)


def _traits(plugins: Sequence[tuple[DefensePlugin, dict[str, Any]]], on_random: bool) -> Traits:
    """Of a stack on a classifier, which may be what is random."""
    from bench.api.purifier import Traits

    traits = Traits.merge(plugin.traits(settings) for plugin, settings in plugins)
    return replace(traits, random=traits.random or on_random)


def _images(asked: int, available: int, notes: list[str]) -> int:
    """Whole shards, or the whole subset: its last shard holds what is left."""
    if asked > available:
        raise BenchError(f"the subset holds {available} images, {asked} were asked for")
    rounded = min(shards_of(asked or available) * SHARD, available)
    if asked and rounded != asked:
        notes.append(f"{asked} images rounded up to {rounded}: whole shards of {SHARD}")
    return rounded


def _affordable(request: Request, available: int, notes: list[str]) -> int:
    """The images of a group that takes fewer than the subset has, where none were asked for."""
    asked = [text for text in split_list(request.attacks) if (text, request.preset) in IMAGES]
    fewest = min((IMAGES[group, request.preset] for group in asked), default=available)
    if fewest < available:
        notes.append(
            f"{', '.join(asked)}, preset {request.preset}: {fewest} of {available} images; "
            f"--images {available} takes all"
        )
    return min(fewest, available)


def _rows(request: Request, info: DatasetInfo) -> Iterator[AskedRow]:
    known = defense_groups()
    typed = [
        _row(label, info, request.preset, named=text not in known)
        for text, label in labels(request.defenses, known)
    ]
    if not typed:
        raise BenchError("name at least one defense: --defense adp")
    purified = dict.fromkeys(_classifier(row) for row in typed if not row.traits.identity)
    filters = controls(info) if request.controls is None else request.controls
    bases = [_row(f"{NO_PURIFIER}@{_classifier(row)}", info, request.preset) for row in typed]
    added = [
        _row(f"{text}@{classifier}", info, request.preset, control=True)
        for text in filters
        for classifier in purified
    ]
    # A control that was also typed keeps its typed label, and stays a control.
    controlled = {str(row.spec) for row in added}
    seen: set[str] = set()
    for row in (*typed, *bases, *added):
        if str(row.spec) not in seen:
            seen.add(str(row.spec))
            yield replace(row, control=str(row.spec) in controlled)


def _classifier(row: AskedRow) -> str:
    return row.label.partition("@")[2]


def _row(
    text: str, info: DatasetInfo, preset: str, named: bool = False, control: bool = False
) -> AskedRow:
    spec = parse_defense(text)
    asked = [(api.find_defense(part.name), part) for part in spec.parts]
    for plugin, part in asked:
        plugin.require_busy(part, info.name, preset)
    parts = tuple(plugin.resolve(part, info.name, preset) for plugin, part in asked)
    behind = api.find_classifier(spec.classifier.name)
    behind.require_busy(spec.classifier, info.name)
    classifier = behind.resolve(spec.classifier, info.name)
    on_random = behind.is_random(dict(classifier.settings))
    plugins = [(api.find_defense(part.name), dict(part.settings)) for part in parts]
    misfits = [
        reason
        for plugin, s in plugins
        if (reason := plugin.misfit(s, behind, info) or plugin.unvotable(s, on_random))
    ]
    if misfits and named:
        raise BenchError(f"{spec}: {misfits[0]}")
    traits = _traits(plugins, on_random)
    reason = misfits[0] if misfits else ""
    return AskedRow(str(spec), DefenseSpec(parts, classifier), traits, named, control, reason)


def _columns(request: Request, info: DatasetInfo) -> Iterator[Column]:
    seen: set[str] = set()
    for text, label in labels(request.attacks, groups()):
        plugin = find_attack(parse_part(label).name)
        part = plugin.resolve(parse_part(label), info.name, request.preset)
        if str(part) not in seen:
            seen.add(str(part))
            yield Column(label, part, plugin, named=text not in groups())
    if not seen:
        raise BenchError("name at least one attack: --attacks all")


def _board_of(columns: Sequence[Column]) -> str:
    """The group of `BOARDS`, where anything that only it asks for was asked for."""
    asked = {column.label for column in columns}
    return next((group for group, own in BOARDS.items() if asked.intersection(own)), "")


def about(cells: Iterable[Cell]) -> dict[str, dict[str, About]]:
    """What the plug-ins of these cells are in words, by kind and name."""
    cells = list(cells)
    specs = [parse_defense(text) for text in dict.fromkeys(cell.defense for cell in cells)]
    attacks = dict.fromkeys(parse_part(cell.attack).name for cell in cells)
    plugins: list[Plugin] = [api.find_defense(part.name) for spec in specs for part in spec.parts]
    plugins += [api.find_classifier(spec.classifier.name) for spec in specs]
    plugins += [find_attack(name) for name in attacks]
    found: dict[str, dict[str, About]] = {}
    for plugin in plugins:
        found.setdefault(plugin.kind, {})[plugin.name] = plugin.about
    return found


def _skip(row: AskedRow, column: Column, threat: Threat, columns: Iterable[Column]) -> str | None:
    """Why there is no such cell, when these columns were asked for."""
    if row.misfit:
        return row.misfit
    norms = column.plugin.norms
    if not set(norms) & {threat.norm, *MARKERS}:
        return f"{column.part.name} attacks {', '.join(norms)}, not {threat.norm}"
    reason = column.plugin.skip(dict(column.part.settings), row.traits)
    return _repeated(reason, column, columns) if isinstance(reason, Same) else reason


def _repeated(reason: Same, column: Column, columns: Iterable[Column]) -> str | None:
    """Which of these columns does what `column` does; nothing where none does."""
    twins = {each.part.name for each in columns if _as_asked(column, each, reason.apart)}
    name = next((name for name in reason.of if name in twins), None)
    return f"{reason.why}: duplicate of {name}" if name else None


def _as_asked(column: Column, other: Column, apart: Collection[str]) -> bool:
    """Whether `other` has every setting of `column`, or lacks it where `column` is at its default.

    apart: settings that are not looked at.
    """
    theirs = {**column.plugin.defaults, **dict(other.part.settings)}
    return all(theirs[key] == value for key, value in column.part.settings if key not in apart)


def _require_some(rows: Sequence[AskedRow], columns: Sequence[Column], threat: Threat) -> None:
    """Refuse an attack that was named and that no defense can have: of the named ones, if any."""
    asked = [row for row in rows if row.named] or rows
    for column in (column for column in columns if column.named):
        reasons = {row.label: _skip(row, column, threat, columns) for row in asked}
        if all(reasons.values()):
            told = [f"against {label}: {reason}" for label, reason in reasons.items()]
            more = f"; and {len(told) - 2} more" if len(told) > 2 else ""
            raise BenchError(f"{column.label} {'; '.join(told[:2])}{more}")


def _lacking(row: AskedRow, column: Column, dataset: str, given: Collection[str]) -> str | None:
    """Which data or weights an attack reads that are not here; nothing where all are.

    given: names of weights that come from files of the user's.
    """
    from bench.models.zoo import weights as zoo
    from bench.models.zoo.entries import how_to_get

    settings = dict(column.part.settings)
    names = (owned(name, row.spec.classifier) for name in column.plugin.weights(settings))
    for name in names:
        if name not in given and not zoo.here(dataset, name):
            # Published with the plan: no folder of this machine.
            return f"no weights '{name}' for data set '{dataset}'; {how_to_get(dataset, name)}"
    return column.plugin.absent(settings, dataset)


def _cell(row: AskedRow, column: Column, threat: Threat, where: tuple[str, str, int]) -> Cell:
    dataset, subset, seed = where
    within = column.plugin.within(dict(column.part.settings), str(threat))
    return Cell(
        dataset=dataset,
        subset=subset,
        defense=str(row.spec),
        attack=str(column.part),
        threat=str(Threat.parse(within)),
        seed=seed,
        versions=versions(dataset, row.spec, column.plugin.name),
    )


def versions(dataset: str, defense: DefenseSpec, attack: str) -> str:
    """`name=version` of the judge and of every plug-in that takes part."""
    plugins = [
        api.find_dataset(dataset),
        *(api.find_defense(part.name) for part in defense.parts),
        api.find_classifier(defense.classifier.name),
        api.find_attack(attack),
    ]
    return ",".join([f"judge={JUDGE_VERSION}", *(f"{p.name}={p.version}" for p in plugins)])


def _add(draft: Draft, row: AskedRow, column: Column, cell: Cell, judged: int) -> None:
    draft.cells.append(Planned(cell, row.label, column.label, row.control))
    draft.costs.append(cost.estimate(row.spec.parts, row.traits, column.part, judged))
