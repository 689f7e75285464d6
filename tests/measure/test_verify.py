"""Stored and submitted points scored again: the same figure, fresh draws, and on the board."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import cli
from bench.boards.board import Board
from bench.boards.flags import flags
from bench.boards.gather import boards
from bench.boards.worst import worst
from bench.cli.verify import _notes
from bench.errors import BenchError
from bench.measure import build, probe, runner, weights_used, worker
from bench.measure.executors.fleet import Fleet
from bench.measure.runner import Summary
from bench.measure.shard import subset_here
from bench.measure.verify import (
    Scored,
    ScoredClaim,
    VerifyRequest,
    check_submissions,
    claims,
    gather,
    score,
)
from bench.measure.worker import Setup
from bench.plan.plan import make
from bench.plan.request import Request
from bench.results.checkup import complaints
from bench.results.store import Store

DEFENSE = "gaussian:runs=2"
SUBSET = subset_here("digits", "512")


def measure(store: Store, *attacks: str, save: bool = False) -> Summary:
    """`bench run` on 32 images of digits; the base classifier comes along."""
    asked = Request([DEFENSE], attacks, "digits", images=32, controls=[], preset="quick")
    plan, _ = make(asked)
    check_submissions(plan)
    summary = Summary()

    def today(defense: str, attack: str) -> dict[str, str]:
        return weights_used.weights_used(defense, attack, "digits")

    tasks = runner.pending(plan, store, today, summary, Setup(), save=save)
    store.write_plan(plan)
    return runner.run(tasks, store, Fleet(), summary)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Clean, a weak attack, and a strong one that stands on no board of its own."""
    found = Store(tmp_path_factory.mktemp("results"))
    attacks = ("clean", "classifier-pgd:steps=1,random_start=false", "bpda-eot:steps=5,eot=2")
    assert measure(found, *attacks, save=True).failures == []
    return found


def scored(*paths: Path, **asked: Any) -> list[Scored]:
    request = VerifyRequest(paths, **asked)
    return [score(claim, request, Setup()) for claim in claims(request)]


def one(found: list[Scored], defense: str, attack: str) -> Scored:
    (scored,) = (
        each
        for each in found
        if each.claim.defense.startswith(defense) and each.claim.name.startswith(attack)
    )
    return scored


def points_of(store: Store, attack: str) -> Path:
    """The file of the points that an attack made for the defense."""
    (file,) = (
        store.points(record.cell, 0)
        for record in store.records("digits")
        if record.cell.attack.startswith(attack) and record.cell.defense.startswith("gaussian")
    )
    return file


def submission(path: Path, x_adv: Tensor, **more: Any) -> Path:
    np.savez(path, x_adv=x_adv.numpy(), index=np.array(SUBSET.index[: len(x_adv)]), **more)
    return path


def strong(store: Store) -> Tensor:
    request = VerifyRequest([points_of(store, "bpda-eot")])
    (claim,) = claims(request)
    from bench.data.points import read

    return read(claim.files[0], "digits", build.dataset("digits").info.shape).x_adv[0]


def test_a_deterministic_defense_scores_what_its_record_says(store: Store) -> None:
    found = scored(store.root / "digits" / "points")
    assert len(found) == 6
    for each in found:
        assert each.recorded is not None
        if each.claim.defense == "none@natural":
            assert np.array_equal(each.values, each.recorded)
            assert each.draws == 1
    pgd = one(found, "none", "classifier-pgd")
    assert 0 < pgd.values.mean() < 1


def test_a_record_that_was_edited_with_its_checksum_contradicts_its_points(
    store: Store, tmp_path: Path
) -> None:
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)
    for path, record in copy.files("digits"):
        path.write_text(replace(record, correct=("1" * 32,) * len(record.correct)).to_json())
    assert not list(complaints(copy.root))  # its points are those that it names
    before = scored(store.root / "digits" / "points")
    after = scored(copy.root / "digits" / "points")
    assert all(each.contradicted == 0 for each in before)
    for each in after:
        wrong = 0 if each.claim.defense.startswith("gaussian") else int((each.values < 1).sum())
        assert each.contradicted == wrong
    pgd = one(after, "none", "classifier-pgd")
    assert any("judged otherwise than recorded" in note for note in _notes(pgd))


def test_a_random_defense_gets_fresh_draws_of_the_same_points(store: Store) -> None:
    (found,) = scored(points_of(store, "bpda-eot"), draws=30)
    assert found.recorded is not None
    assert found.draws == 30
    assert not np.array_equal(found.values, found.recorded)
    moved = found.moved
    assert moved is not None
    assert moved.difference.low < 0 < moved.difference.high


def test_no_draw_of_an_attacker_or_judge_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every noise that any of them saw is compared, not the seeds."""
    seen: list[int] = []
    drawn = torch.randn_like

    def spied(x: Tensor, **more: Any) -> Tensor:
        noise = drawn(x, **more)
        seen.append(hash(noise.numpy().tobytes()))
        return noise

    def noises(action: Any) -> set[int]:
        seen.clear()
        action()
        return set(seen)

    monkeypatch.setattr(torch, "randn_like", spied)
    for asked in ("require", "require_unchanged"):  # they score nothing
        monkeypatch.setattr(probe, asked, lambda *given: None)
    store = Store(tmp_path / "results")
    run = noises(lambda: measure(store, "bpda-eot:steps=2,eot=2", save=True))
    file = points_of(store, "bpda-eot")
    first, same, other = (noises(lambda s=s: scored(file, seed=s)) for s in (0, 0, 1))
    assert len(run) == 2 + 4  # what 8 bits leave is judged on the same draws
    assert len(first) == 4
    assert first == same
    assert not first & run
    assert not other & (run | first)
    # The judge of a submission draws for the file, too: a submission is a file of its own.
    mine = tmp_path / "mine.npz"
    submission(mine, strong(store))
    judged = noises(lambda: measure(store, f"submitted:file={mine}"))
    another_process()
    submission(mine, strong(store), label=np.array(SUBSET.label[:32]))
    again = noises(lambda: measure(store, f"submitted:file={mine}"))
    assert len(judged) == len(again) == 4
    assert not judged & again
    assert not (judged | again) & (run | first | other)


def test_points_that_are_moved_elsewhere_have_no_old_figure(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "here.safetensors"
    shutil.copyfile(points_of(store, "bpda-eot"), file)
    (found,) = scored(file)
    assert found.recorded is None
    assert found.claim.defense.startswith("gaussian:")
    (other,) = scored(file, defense="none")
    assert other.claim.defense == "none@natural"
    with pytest.raises(BenchError, match=r"outside linf:0\.05: distance 0\.125"):
        claims(VerifyRequest([file], threat="linf:0.05"))


def test_points_that_are_not_those_of_the_record_are_refused(store: Store, tmp_path: Path) -> None:
    copied = Store(tmp_path / "results")
    shutil.copytree(store.root, copied.root)
    file = points_of(copied, "bpda-eot")
    file.write_bytes(file.read_bytes().replace(b'"split": "test"', b'"split":"test" '))
    with pytest.raises(BenchError, match="is not the one of its record"):
        claims(VerifyRequest([file]))


def test_a_file_that_changes_while_it_is_scored_gives_no_figure(
    store: Store, tmp_path: Path
) -> None:
    file = submission(tmp_path / "a.npz", strong(store))
    request = VerifyRequest([file], DEFENSE, "digits")
    (claim,) = claims(request)
    submission(file, strong(store) * 0.99)
    with pytest.raises(BenchError, match="was changed while it was scored"):
        score(claim, request, Setup())


def test_what_cannot_be_scored_is_said(store: Store, tmp_path: Path) -> None:
    file = submission(tmp_path / "a.npz", strong(store))
    for asked, says in (
        (VerifyRequest([file], dataset="digits"), "does not say what it attacks"),
        (VerifyRequest([file], "none,adp", "digits"), "one defense at a time"),
        (VerifyRequest([file], "nnoe", "digits"), "did you mean 'none'"),
        (VerifyRequest([file], "none", "patches"), r"must be \[N, 3, 16, 16\]"),
        (VerifyRequest([file], "none", "digits", threat="certified"), "nothing to score"),
        (VerifyRequest([file], "none", "digits", threat="corruption"), "is not a ball"),
        (
            VerifyRequest([points_of(store, "clean")], subset="validation"),
            "points of test images, not va",
        ),
        (VerifyRequest([tmp_path / "nowhere.npz"], "none", "digits"), "cannot read"),
        (VerifyRequest([store.root / "digits" / "plans"], "none", "digits"), "there are no points"),
    ):
        with pytest.raises(BenchError, match=says):
            claims(asked)
    two = shutil.copyfile(points_of(store, "bpda-eot"), tmp_path / "two.safetensors")
    with pytest.raises(BenchError, match="another file of the same cell has image"):
        claims(VerifyRequest([points_of(store, "bpda-eot"), two]))


def test_what_would_be_lost_or_ignored_is_refused(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = shutil.copyfile(points_of(store, "bpda-eot"), tmp_path / "mine.safetensors")
    before = mine.read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.interrupt, "leave_at_once", lambda: None)
    for option, value, says in (
        ("--out", mine.name, "is what is scored"),
        ("--weights", f"natrual={mine.name}", "did you mean 'natural'"),
    ):
        monkeypatch.setattr(sys, "argv", ["bench", "verify", mine.name, option, value])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code == 2
        assert says in capsys.readouterr().err
        assert mine.read_bytes() == before


def board_of(store: Store) -> Board:
    (board,) = boards(store, "digits")
    return board


def headline(board: Board) -> float:
    row = next(row for row in board.rows if row.label.startswith("gaussian"))
    found = worst(board, row)
    assert found is not None
    assert found.missing == ()
    return found.figure.value


def test_a_submission_that_is_stronger_lowers_the_worst_case(store: Store, tmp_path: Path) -> None:
    results = Store(tmp_path / "results")
    measure(results, "clean", "classifier-pgd:steps=1,random_start=false")
    before = headline(board_of(results))
    given = submission(tmp_path / "mine.npy.npz", strong(store))
    (claim,) = claims(VerifyRequest([given], DEFENSE, "digits"))
    file = tmp_path / "mine.safetensors"
    file.write_bytes(gather(claim))
    assert measure(results, f"submitted:file={file}").failures == []
    board = board_of(results)
    assert f"submitted:file={file}" in board.columns
    assert headline(board) < before - 0.2
    records = [r for r in results.records("digits") if r.cell.attack.startswith("submitted")]
    (claimed,) = claims(VerifyRequest([file], DEFENSE, "digits"))
    assert {r.weights[f"file:{file}"] for r in records} == set(claimed.sha256)
    notes = [flag for flag in flags(board) if flag.attack.startswith("submitted")]
    assert {flag.kind for flag in notes} == {"note"}


def test_a_submission_is_checked_before_anything_is_measured(store: Store, tmp_path: Path) -> None:
    results, x_adv = Store(tmp_path / "results"), strong(store)
    far = x_adv.clone()
    far[3] = 1 - far[3]
    for points, more, says in (
        (far, {}, rf"image {SUBSET.index[3]} \(row 3\) is outside linf:0\.125: distance"),
        (x_adv[:20], {}, "has 20 images and lacks image"),
        (x_adv, {"label": np.array(SUBSET.label[:32]) + 1}, "the data set says"),
    ):
        file = submission(tmp_path / "bad.npz", points, **more)
        with pytest.raises(BenchError, match=says):
            measure(results, f"submitted:file={file}")
    np.save(tmp_path / "bare.npy", x_adv.numpy())
    with pytest.raises(BenchError, match=r"bench verify .*bare\.npy --out FILE writes one"):
        measure(results, f"submitted:file={tmp_path / 'bare.npy'}")
    (unchanged,) = claims(VerifyRequest([points_of(store, "clean")]))
    with pytest.raises(BenchError, match="no attack within a ball"):
        gather(unchanged)
    assert not results.root.exists()


def test_a_submission_that_is_replaced_is_measured_again(store: Store, tmp_path: Path) -> None:
    results, x_adv = Store(tmp_path / "results"), strong(store)
    file = submission(tmp_path / "mine.npz", x_adv)
    measure(results, f"submitted:file={file}")
    assert measure(results, f"submitted:file={file}").kept == 2
    another_process()
    submission(file, x_adv.clamp(max=0.99))
    summary = measure(results, f"submitted:file={file}")
    assert (summary.stale, summary.measured) == (2, 2)


def another_process() -> None:
    """Let go of what a worker reads once."""
    build.forget()
    worker._pinned.cache_clear()


def claim_of(path: Path) -> ScoredClaim:
    (claim,) = claims(VerifyRequest([path], DEFENSE, "digits"))
    return claim


def test_bytes_and_the_order_of_the_subset_are_enough(store: Store, tmp_path: Path) -> None:
    levels = (strong(store) * 255).floor().to(torch.uint8).numpy()
    clean = build.dataset("digits").take("test", SUBSET.index[:32]).x
    low = ((clean - 0.125).clamp(0) * 255).ceil().to(torch.uint8).numpy()
    np.save(tmp_path / "mine.npy", np.maximum(levels, low))
    claim = claim_of(tmp_path / "mine.npy")
    assert claim.images == SUBSET.index[:32]
    (found,) = scored(tmp_path / "mine.npy", defense=DEFENSE, dataset="digits")
    assert np.array_equal(found.values, found.rounded)
