"""Numbers from raw verdicts; nothing here runs a network (docs/semantics.md, "What is scored")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.archive import MACHINE
from bench.results.store import Cell, Record, shards_of
from bench.stats import Floats, Ints

Bools = NDArray[np.bool_]
RADII = (0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Where a curve of certified accuracy is read, l2 in pixel units."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Every verdict on one complete cell.

    verdicts: bool [V,M,N] for V variants (1 without), M judge draws, N images.
    protocol: the attack's own verdict, bool [N], where it gave one. index, label, block: [N].
    """

    cell: Cell
    variants: tuple[str, ...]
    verdicts: Bools
    protocol: Bools | None
    index: Ints
    label: Ints
    block: Ints
    weights: Mapping[str, str]
    records: tuple[Record, ...]

    @property
    def draws(self) -> int:
        """M, the judge's fresh predictions of each image."""
        return int(self.verdicts.shape[1])

    @property
    def images(self) -> int:
        """N."""
        return int(self.verdicts.shape[2])


@dataclass(frozen=True)
class Gap:
    """Why a cell has no number, in words for the reader of a board."""

    reason: str


@dataclass(frozen=True)
class Spent:
    """Network calls per image, attack and judge together; one prediction alone; by network.

    prediction: its forwards; followed_back: its backwards (of purifiers that follow gradients).
    queries: deployed predictions per image that the attack asked. seconds: CPU seconds per
    image, None where several machines took part.
    """

    forwards: float
    backwards: float
    prediction: float
    followed_back: float
    networks: Mapping[str, tuple[float, float]]
    queries: float | None
    seconds: float | None


def assemble(cell: Cell, images: int, records: Iterable[Record]) -> Measured | Gap:
    """The shards of the first `images` images of a cell as one measurement, or why there is none.

    Never a number from fewer images than asked, nor from two sets of weights.
    """
    shards = shards_of(images)
    by_shard: dict[int, Record] = {}
    weights: set[tuple[tuple[str, str], ...]] = set()
    for record in records:
        if record.shard < shards:
            by_shard.setdefault(record.shard, record)
            weights.add(tuple(sorted(record.weights.items())))
    if len(by_shard) < shards:
        return Gap(f"incomplete: {len(by_shard)} of {shards} shards")
    if len(weights) > 1:
        return Gap(f"records of {len(weights)} sets of weights; run it again")
    found = tuple(by_shard[shard] for shard in range(shards))
    there = [image for record in found for image in record.index]
    if len(there) != images:
        return Gap(f"incomplete: {len(there)} of {images} images")
    if len(set(there)) < images:
        return Gap("an image occurs in two shards; run it again")
    if len({(record.draws, record.variants, bool(record.protocol)) for record in found}) > 1:
        return Gap("shards differ in draws or variants; run it again")
    head = found[0]
    shape = (max(1, len(head.variants)), head.draws)
    return Measured(
        cell=cell,
        variants=head.variants,
        verdicts=np.concatenate([_bits(r.correct).reshape(*shape, -1) for r in found], axis=2),
        protocol=np.concatenate([_bits([r.protocol])[0] for r in found]) if head.protocol else None,
        index=np.concatenate([np.array(r.index, dtype=np.int64) for r in found]),
        label=np.concatenate([np.array(r.label, dtype=np.int64) for r in found]),
        block=np.concatenate([np.array(r.block, dtype=np.int64) for r in found]),
        weights=dict(head.weights),
        records=found,
    )


def accuracy(measured: Measured) -> Floats:
    """Headline, per image [N]: mean correctness over variants and judge draws."""
    mean: Floats = measured.verdicts.mean(axis=(0, 1), dtype=np.float64)
    return mean


def rounded(measured: Measured) -> Floats | None:
    """`accuracy` of the attacked images rounded to 8 bits [N], where every shard stored it."""
    if not all(record.rounded for record in measured.records):
        return None
    means = [_bits(record.rounded).mean(axis=0, dtype=np.float64) for record in measured.records]
    found: Floats = np.concatenate(means)
    return found


def vote(measured: Measured) -> Floats:
    """Per image [N]: 1 where more than half of the draws are right, meaned over variants.

    A draw that is wrong has no class in the records, so this bounds a plurality vote from below.
    """
    share: Floats = (measured.verdicts.mean(axis=1) > 0.5).mean(axis=0, dtype=np.float64)
    return share


def worst_of(measured: Measured, k: int) -> Floats:
    """Per image [N]: the chance that k of the draws, taken at random, are all right.

    Unbiased for k fresh draws when k <= M: C(right,k)/C(M,k), the estimator of Chen et al. 2021.
    """
    right = measured.verdicts.sum(axis=1)
    chance: Floats = np.ones(right.shape, dtype=np.float64)
    for step in range(k):
        chance *= np.clip(right - step, 0, None) / (measured.draws - step)
    mean: Floats = chance.mean(axis=0)
    return mean


def k_of(draws: int) -> int:
    """The K of worst-of-K: half of the draws; 0 (no such figure) for one draw."""
    return draws // 2


def worst_case(columns: Sequence[Measured]) -> tuple[Floats, Ints]:
    """Per image of one seed: correctness under its own worst attack [N], and which column it is.

    The attack is chosen on the first half of the draws and scored on the second; with one draw it
    is the minimum. Ties go to the attack with the lower mean over images, on the first half too.
    Few draws choose badly: where the choice scores above the lowest column, that attack stands for
    every image with all its draws, so that no headline is above a figure beside it.
    """
    firsts, seconds = zip(*(_halves(column) for column in columns), strict=True)
    order = sorted(range(len(columns)), key=lambda place: float(firsts[place].mean()))
    chosen = np.array(order)[np.stack([firsts[place] for place in order]).argmin(axis=0)]
    picked = np.stack(seconds)[chosen, np.arange(len(chosen))]
    whole = [accuracy(column) for column in columns]
    single = min(range(len(columns)), key=lambda place: float(whole[place].mean()))
    if whole[single].mean() < picked.mean():
        return whole[single], np.full_like(chosen, single)
    return picked, chosen


@dataclass(frozen=True, eq=False)
class Tries:
    """Of an attack whose candidates were tried again: the images that survived, bool as float [N].

    clean: at as many tries of the image itself. steps: of the search; tries: at each.
    """

    robust: Floats
    clean: Floats
    steps: int
    tries: int


def resubmitted(measured: Measured) -> Tries | None:
    """What resubmission found, where the records hold it and say the same numbers."""
    found = [record.resubmit for record in measured.records]
    numbers = {(*each["steps"], *each["tries"]) if each else () for each in found}
    if len(numbers) > 1 or not found[0]:
        return None
    steps, tries = numbers.pop()
    robust, clean = (
        np.concatenate([np.array(each[name]) == steps * tries for each in found]).astype(np.float64)
        for name in ("attacked", "untouched")
    )
    return Tries(robust, clean, steps, tries)


def by_variant(measured: Measured) -> dict[str, Floats]:
    """Per variant `kind/severity`, then per `kind` and per `severity S`: correctness [N]."""
    means = measured.verdicts.mean(axis=1, dtype=np.float64)
    groups: dict[str, list[Floats]] = {name: [means[v]] for v, name in enumerate(measured.variants)}
    for place, name in enumerate(measured.variants):
        kind, _, severity = name.partition("/")
        if severity:
            groups.setdefault(kind, []).append(means[place])
            groups.setdefault(f"severity {severity}", []).append(means[place])
    return {name: np.mean(group, axis=0) for name, group in groups.items()}


def certified(measured: Measured, radii: Sequence[float] = RADII) -> dict[float, Floats]:
    """Per radius up to the largest found: the right class and proven that far [N]; often empty."""
    if not all(record.certificate for record in measured.records):
        return {}
    found = np.concatenate([record.certificate["radius"] for record in measured.records])
    right = measured.verdicts[0, 0]
    reached = (radius for radius in radii if radius <= found.max())
    return {radius: (right & (found >= radius)).astype(np.float64) for radius in reached}


def cost(seeds: Sequence[Measured]) -> Spent:
    """What the cells of one (defense, attack) cost per image, averaged over seeds."""
    records = [record for measured in seeds for record in measured.records]
    images = sum(len(record.index) for record in records)
    judged = sum(_predictions(record) for record in records)
    networks: dict[str, tuple[float, float]] = {}
    predicted, followed = 0, 0
    for record in records:
        for name, phases in record.calls.items():
            forward, backward = (sum(calls[way] for calls in phases.values()) for way in (0, 1))
            before = networks.get(name, (0.0, 0.0))
            networks[name] = (before[0] + forward / images, before[1] + backward / images)
            judging = phases.get("judge", (0, 0))
            predicted, followed = predicted + judging[0], followed + judging[1]
    queries = [float(np.mean(r.queries)) for r in records if r.queries]
    seconds = [float(r.timing["seconds"]) for r in records if "seconds" in r.timing]
    machines = {_machine(record) for record in records}
    timed = len(seconds) == len(records) and len(machines) == 1
    return Spent(
        forwards=sum(forward for forward, _ in networks.values()),
        backwards=sum(backward for _, backward in networks.values()),
        prediction=predicted / judged,
        followed_back=followed / judged,
        networks=networks,
        queries=float(np.mean(queries)) if len(queries) == len(records) else None,
        seconds=sum(seconds) / images if timed else None,
    )


def _predictions(record: Record) -> int:
    """How many predictions the judge made."""
    if not record.resubmit:
        return len(record.index) * record.draws * max(1, len(record.variants))
    most = record.resubmit["steps"][0] * record.resubmit["tries"][0]
    return sum(
        min(n + 1, most) for name in ("attacked", "untouched") for n in record.resubmit[name]
    )


def _machine(record: Record) -> tuple[str, ...]:
    precision = record.timing.get("precision", "float32")
    return (*(str(record.timing.get(key)) for key in MACHINE), str(precision))


def _halves(measured: Measured) -> tuple[Floats, Floats]:
    draws = measured.verdicts.mean(axis=0, dtype=np.float64)
    if len(draws) == 1:
        return draws[0], draws[0]
    half = len(draws) // 2
    return draws[:half].mean(axis=0), draws[half:].mean(axis=0)


def _bits(rows: Sequence[str]) -> Bools:
    flat = np.frombuffer("".join(rows).encode(), dtype=np.uint8) == ord("1")
    bits: Bools = flat.reshape(len(rows), -1)
    return bits
