"""Points scored again: those that a run stored, and those that an outsider submits.

Everything is read and checked before anything is scored. The draws are of a stream of their own,
seeded from the file's sha256, so that nobody can have made points for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacks import submitted
from bench.api import Context
from bench.api.ball import ThreatModel
from bench.api.purifier import Defense
from bench.compute import rng
from bench.data import points
from bench.data.points import SUFFIXES, Points
from bench.data.subsets import Subset
from bench.errors import BenchError, nearest
from bench.measure import build, weights_used
from bench.measure.judge import judge, judge_rounded
from bench.measure.shard import subset_here
from bench.measure.worker import Setup, within_memory
from bench.plan import plan
from bench.plan.request import Request, defense_groups, find_info
from bench.results.store import SHARD, Cell, Plan, Planned, Record, Store
from bench.spec import NO_ATTACK, parse_part, split_list
from bench.stats import Comparison, Floats, Ints, compare
from bench.threat import CERTIFIED, KNOWN, MARKERS, OWN, RESUBMIT

STREAM = "verify"
DATASET = "patches"


@dataclass(frozen=True)
class VerifyRequest:
    """What a user typed. Empty texts and zero: what the files say, else the data set's default."""

    paths: Sequence[Path]
    defense: str = ""
    dataset: str = ""
    subset: str = ""
    threat: str = ""
    draws: int = 0
    seed: int = 0


@dataclass(frozen=True)
class ScoredClaim:
    """One thing to score: the shards of one cell that a run stored, or one submitted file.

    defense: resolved. index: the images of each file. records: those beside stored files.
    """

    defense: str
    threat: ThreatModel
    subset: Subset
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    index: tuple[tuple[int, ...], ...]
    cell: Cell | None = None
    records: tuple[Record, ...] = ()

    @property
    def images(self) -> tuple[int, ...]:
        """Every image, file by file."""
        return tuple(image for part in self.index for image in part)

    @property
    def name(self) -> str:
        """The attack that stored points are of, or the submitted file."""
        return self.cell.attack if self.cell else str(self.files[0])


@dataclass(frozen=True, eq=False)
class Scored:
    """Per-image correctness [N] of a claim, as it is and in 8 bits; as recorded, where it was.

    other_weights: the record was made with other weights than today's. random: of the defense.
    """

    claim: ScoredClaim
    draws: int
    block: Ints
    values: Floats
    rounded: Floats
    recorded: Floats | None = None
    other_weights: bool = False
    random: bool = True

    @property
    def coarser(self) -> Comparison:
        """Accuracy in 8 bits minus accuracy, on the same draws."""
        return compare(self.rounded, self.values, self.block)

    @property
    def moved(self) -> Comparison | None:
        """Accuracy on fresh draws minus the recorded one."""
        return None if self.recorded is None else compare(self.values, self.recorded, self.block)

    @property
    def contradicted(self) -> int:
        """Images that a deterministic defense judges otherwise than its record says."""
        if self.random or self.recorded is None:
            return 0
        return int((~np.isclose(self.values, self.recorded)).sum())


def claims(request: VerifyRequest) -> list[ScoredClaim]:
    """Everything that there is to score, each point of it checked.

    Raises:
        BenchError: a file that is none of points, or a point that is no attack within its threat.
    """
    files = list(dict.fromkeys(_files(request.paths)))
    dataset = request.dataset or points.described(files[0]).get("dataset", DATASET)
    find_info(dataset)
    asked = _resolved(request.defense, dataset) if request.defense else ""
    found: dict[str, ScoredClaim] = {}
    for path in files:
        claim = _claim(path, request, dataset, asked)
        key = claim.cell.digest if claim.cell else str(path)
        before = found.get(key)
        if before and (twice := set(before.images) & set(claim.images)):
            raise BenchError(f"{path}: another file of the same cell has image {min(twice)} too")
        found[key] = _joined(before, claim) if before else claim
    return list(found.values())


def score(claim: ScoredClaim, request: VerifyRequest, setup: Setup) -> Scored:
    """Fresh predictions of every point of a claim, and of what 8 bits leave of it.

    Raises:
        BenchError: weights that are missing or damaged, or a file that has changed meanwhile.
    """
    dataset = claim.subset.dataset
    context = build.context(dataset, setup.here(), dict(setup.weights))
    draws = request.draws or plan.draws_of(dataset, claim.defense, str(claim.threat))
    asked = replace(request, draws=draws)

    def work() -> list[tuple[Tensor, Tensor]]:
        defense = build.defense(claim.defense, context)
        return [
            judged
            for n in range(len(claim.files))
            for judged in _verdicts(claim, n, defense, context, asked)
        ]

    found = zip(*within_memory(setup, claim.defense, work), strict=True)
    values, rounded = (
        torch.cat(parts, dim=2).double().mean(dim=(0, 1)).cpu().numpy() for parts in found
    )
    blocks = dict(zip(claim.subset.index, claim.subset.block, strict=True))
    block = np.array([blocks[image] for image in claim.images], dtype=np.int64)
    scored = Scored(claim, draws, block, values, rounded)
    if claim.cell is None or not claim.records or claim.cell.defense != claim.defense:
        return scored
    today = weights_used.weights_used(claim.defense, None, context)
    others = any(dict(r.weights) | today != dict(r.weights) for r in claim.records)
    recorded = np.concatenate([_accuracy(record) for record in claim.records])
    random = build.defense(claim.defense, context).random
    return replace(scored, recorded=recorded, other_weights=others, random=random)


def require_read(found: Sequence[ScoredClaim], weights: Sequence[tuple[str, str]]) -> None:
    """Refuse weights that nothing of what is scored reads.

    Raises:
        BenchError: such a name, with the nearest that is read.
    """
    read = {
        name
        for claim in found
        for name in weights_used.weights_used(
            claim.defense, None, claim.subset.dataset, dict(weights)
        )
    }
    for name, _ in weights:
        if name not in read:
            raise BenchError(
                f"--weights {name}: nothing here reads it{nearest(name, read)} "
                f"(read: {', '.join(sorted(read)) or 'none'})"
            )


def gather(claim: ScoredClaim) -> bytes:
    """The points of a claim as one file, which the attack `submitted` takes.

    Raises:
        BenchError: they are corrupted, moved or unchanged images, which no ball holds.
    """
    found = [_again(claim, n)[0] for n in range(len(claim.files))]
    if claim.threat.norm in (*MARKERS, *OWN) or any(each.variants for each in found):
        kinds = "corrupted, moved or unchanged images"
        raise BenchError(f"{claim.name}: {kinds} are no attack within a ball")
    labels = dict(zip(claim.subset.index, claim.subset.label, strict=True))
    x_adv = torch.cat([each.x_adv[0] for each in found])
    label = [labels[image] for image in claim.images]
    return points.pack_submission(claim.subset, x_adv, claim.images, label)


def check_submissions(made: Plan) -> None:
    """Check every point of every submission in a plan, before anything is measured.

    Raises:
        BenchError: what a file holds is not within the plan's threat, or not all that it scores.
    """
    context = build.context(made.dataset)
    for text in dict.fromkeys(planned.cell.attack for planned in made.cells):
        part = parse_part(text)
        if part.name != submitted.NAME:
            continue
        subset = subset_here(made.dataset, made.subset)
        path = Path(str(dict(part.settings)["file"])).expanduser()
        _checked(path, subset, ThreatModel.parse(made.threat))
        attack = build.attack(part, context)
        assert isinstance(attack, submitted.Submitted)
        attack.at(subset.split, subset.index[: made.images])


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        if not inside:
            raise BenchError(f"there are no points ({', '.join(SUFFIXES)}) in {path}")
        yield from inside


def _resolved(text: str, dataset: str) -> str:
    """A typed defense with its settings for a data set; one that fits it."""
    if len(split_list([text])) != 1 or text in defense_groups():
        raise BenchError(f"--defense '{text}': points are scored on one defense at a time")
    made, _ = plan.make(Request([text], (NO_ATTACK,), dataset, controls=[]))
    return made.cells[0].cell.defense


def _claim(path: Path, request: VerifyRequest, dataset: str, asked: str) -> ScoredClaim:
    about = points.described(path)
    info = find_info(dataset)
    subset = subset_here(dataset, request.subset or about.get("subset", info.subset))
    claimed = points.origin(path, about)
    cell, shard = claimed if claimed else (None, 0)
    threat = ThreatModel.parse(request.threat or (cell.threat if cell else info.threat))
    if request.threat and threat.norm in MARKERS and threat.norm != CERTIFIED:
        raise BenchError(f"threat '{threat}' is not a ball; write a norm and an eps: {info.threat}")
    if threat.norm == CERTIFIED:
        raise BenchError(f"{path}: a certificate is a proof; there is nothing to score")
    if threat.aside == KNOWN:
        raise BenchError(f"{path}: points for randomness that was known; fresh draws say nothing")
    if not asked and cell is None:
        raise BenchError(f"{path} does not say what it attacks: name it, --defense adp")
    if threat.aside == RESUBMIT:
        raise BenchError(f"{path}: one of many candidates that were tried; alone it says nothing")
    found, index = _checked(path, subset, threat)
    defense = asked or str(cell and cell.defense)
    claim = ScoredClaim(defense, threat, subset, (path,), (found.sha256,), (index,), cell)
    record = _record(path, cell, shard) if cell else None
    if record is None:
        return claim
    if record.points != found.sha256:
        raise BenchError(
            f"{path}: sha256 {found.sha256[:12]} is not the one of its record "
            f"({record.points[:12] or 'which names none'})"
        )
    if record.index != index:
        raise BenchError(f"{path}: not the images of its record")
    return replace(claim, records=(record,))


def _checked(path: Path, subset: Subset, threat: ThreatModel) -> tuple[Points, tuple[int, ...]]:
    """The points of a file and which images they are of; refused where any is no attack."""
    source = build.dataset(subset.dataset)
    found = points.read(path, source.info.name, source.info.shape, len(subset))
    index = points.place(found, subset)
    images = source.take(subset.split, index)
    points.check(found, index, images.x, images.y, threat)
    return found, index


def _joined(one: ScoredClaim, other: ScoredClaim) -> ScoredClaim:
    """Two files of one cell; a figure is only recorded where all have their record."""
    both = one.records + other.records if one.records and other.records else ()
    files = (one.files + other.files, one.sha256 + other.sha256, one.index + other.index)
    return replace(one, files=files[0], sha256=files[1], index=files[2], records=both)


def _record(path: Path, cell: Cell, shard: int) -> Record | None:
    """The record beside stored points, while they lie where a run put them."""
    place = path.resolve().parents
    if len(place) < 4 or (place[0].name, place[1].name) != (cell.digest, "points"):
        return None
    return Store(place[3]).read(Planned(cell, "", ""), shard)


def _again(claim: ScoredClaim, n: int) -> tuple[Points, tuple[int, ...]]:
    """File number n, as it was when it was checked."""
    subset, path = claim.subset, claim.files[n]
    shape = find_info(subset.dataset).shape
    found = points.read(path, subset.dataset, shape, len(subset))
    if found.sha256 != claim.sha256[n]:
        raise BenchError(f"{path} was changed while it was scored")
    return found, claim.index[n]


def _verdicts(
    claim: ScoredClaim, n: int, defense: Defense, context: Context, asked: VerifyRequest
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of file number n, by 32 images: verdicts [V,M,B] as it is, and in 8 bits."""
    found, index = _again(claim, n)
    labels = build.dataset(claim.subset.dataset).take(claim.subset.split, index).y
    for start in range(0, len(found), SHARD):
        rows = slice(start, start + SHARD)
        x, y = found.x_adv[:, rows].to(context.device), labels[rows].to(context.device)
        key = f"{STREAM}/{asked.seed}/{found.sha256}/{start}"
        with rng.work(key), rng.drawn_on_cpu(context.device):
            correct = judge(defense, x, y, asked.draws, STREAM)
            yield correct, judge_rounded(defense, x, y, correct, STREAM)


def _accuracy(record: Record) -> Floats:
    """Per image: the mean of a record's verdicts."""
    rows = np.array([[bit == "1" for bit in row] for row in record.correct])
    mean: Floats = rows.mean(axis=0, dtype=np.float64)
    return mean
