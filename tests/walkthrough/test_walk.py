"""Images on their way: what a run attacks and judges, and the states between."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api.chain import chain
from bench.api.purifier import repeat
from bench.api.watch import on_the_way
from bench.compute import rng
from bench.data.points import read
from bench.errors import BenchError
from bench.measure.judge import judge
from bench.measure.shard import begun
from bench.measure.worker import Saved, Setup, Task, context_of, measure
from bench.models.nets.normalised import has_features
from bench.results.store import Planned, Store
from bench.walkthrough import mine
from bench.walkthrough.information import information
from bench.walkthrough.regions import regions
from bench.walkthrough.scores import score_norms
from bench.walkthrough.strips import amplified, strips
from bench.walkthrough.trajectory import embed, trajectories
from bench.walkthrough.walk import Scene, Walk, Wanted, conditions, scenes, walk
from defenses.adp import ADP
from defenses.schedule import run
from tests.tiny import images

SETUP = Setup()
ADP_SHORT = "adp:steps=3,runs=2,rule=fixed"
WANTED = Wanted((ADP_SHORT,), ("bpda:steps=2",), "digits", preset="quick")


@cache
def walked() -> tuple[Scene, Walk]:
    (scene,) = scenes(WANTED)
    return scene, walk(scene, 0, SETUP, None)


def quiet(text: str) -> None:
    del text


def test_states_of_a_chain_are_seen_as_images_and_only_steps_count() -> None:
    x = images(3)

    def move(state: Tensor, rows: slice) -> Tensor:
        del rows
        return state + 0.25

    def stay(state: Tensor, rows: slice) -> Tensor:
        del rows
        return state.clone()

    with on_the_way(slice(1, 3)) as seen:
        end = run([stay, move, stay, move], x)
    assert [len(state) for state in seen] == [2, 2, 2]
    for state, shift in zip(seen, (0, 0.125, 0.25), strict=True):
        assert torch.allclose(state, (x[1:] + shift).clamp(0, 1))
    assert torch.equal(seen[-1], end[1:])
    with torch.enable_grad(), on_the_way(slice(0, 3)) as nothing:
        chain([move], x.clone().requires_grad_())
    assert nothing == []


def test_states_of_adp_are_its_noise_and_its_steps() -> None:
    _, done = walked()
    (part,) = done.defense.purifiers
    assert isinstance(part, ADP)
    assert len(done.states) == 4
    noised, *steps = done.states
    for before, after in zip((noised, *steps), steps, strict=False):
        here = before.clamp(0, 1)
        with torch.no_grad():
            expected = (here + part.rule.alpha * part.score(here)).clamp(0, 1)
        assert torch.allclose(after, expected, atol=1e-5)


def test_a_walk_has_the_points_and_the_first_verdicts_of_a_run(tmp_path: Path) -> None:
    scene, done = walked()
    planned = Planned(scene.cell, scene.defense, scene.attack)
    saved = measure(Task(planned, 0, "quick", save=True))
    assert isinstance(saved, Saved)
    (tmp_path / "points.safetensors").write_bytes(saved.points)
    points = read(tmp_path / "points.safetensors", "digits", (1, 16, 16))
    assert torch.equal(points.x_adv[0], done.points)
    right = "".join("1" if right else "0" for right in done.decided == done.shard.y)
    assert right == saved.record.correct[0]
    store = Store(tmp_path)
    store.write(planned, saved.record, saved.points)
    again = walk(scene, 0, SETUP, store)
    assert again.stored
    assert not done.stored
    assert torch.equal(again.points, done.points)
    assert torch.equal(again.states[-1], done.states[-1])
    store.points(scene.cell, 0).write_bytes(saved.points[:-4] + b"\0\0\0\0")
    with pytest.raises(BenchError, match="sha256"):
        walk(scene, 0, SETUP, store)
    other = replace(saved.record, weights={"score": "0" * 64})
    store.write(planned, other, saved.points)
    assert not walk(scene, 0, SETUP, store).stored


def test_the_shown_run_is_the_first_of_the_judges_first_prediction() -> None:
    scene, done = walked()
    work = begun(scene.cell, 0, context_of(scene.cell, SETUP))
    with rng.work(work.key), torch.no_grad():
        with rng.stream("judge", 0):
            purified = work.defense.purify(repeat(done.points, 2))
        verdicts = judge(work.defense, done.points[None], done.shard.y, 1)
    assert torch.equal(purified[: len(done.points)], done.states[-1])
    assert torch.equal(verdicts[0, 0], done.decided == done.shard.y)


def test_a_strip_is_one_image_of_the_walk() -> None:
    _, done = walked()
    made = strips(WANTED, 5, 2, SETUP, quiet)
    (strip,) = made.strips
    names = [frame.name for frame in strip.frames]
    assert names[0::2] == ["clean", "attacked", "purified"]
    assert names[3] == "step 1/4"
    clean, change, attacked, first, last = (frame.image for frame in strip.frames)
    assert np.array_equal(clean, done.shard.x[5].numpy())
    assert np.array_equal(attacked, done.points[5].numpy())
    assert np.array_equal(first, done.states[0][5].numpy())
    assert np.array_equal(last, done.states[-1][5].numpy())
    factor = float(names[1].rpartition(" ")[2])
    assert np.allclose(change, 0.5 + factor * (attacked - clean), atol=1e-4)
    assert strip.right == bool(done.decided[5] == done.shard.y[5])
    assert "image 5 of subset 512" in made.caption
    assert "linf:0.125" in made.caption


def test_amplification_is_a_round_factor_that_fits() -> None:
    for eps, factor in ((8 / 255, 10), (0.125, 2), (0.05, 10), (0.5, 1), (1.0, 0.5)):
        shown, found = amplified(torch.tensor([eps, -eps, 0]).view(3, 1, 1))
        assert found == pytest.approx(factor)
        assert shown.flatten().tolist() == pytest.approx(
            [0.5 + factor * eps, 0.5 - factor * eps, 0.5], abs=1e-4
        )
    grey, none = amplified(torch.zeros(3, 2, 2))
    assert none == 0
    assert (grey == 0.5).all()


def test_score_norms_are_those_of_the_score_network() -> None:
    _, done = walked()
    made = score_norms(WANTED, 20, 0, SETUP, quiet)
    ((title, bars),) = made.panels
    assert title == "bpda:steps=2"
    part = done.defense.purifiers[0]
    assert isinstance(part, ADP)
    found = {each.label: each.values for each in bars}
    for label, x in (
        ("natural", done.shard.x),
        ("attacked", done.points),
        ("attacked, purified", done.states[-1]),
    ):
        expected = part.score(x[:20]).flatten(1).norm(dim=1)
        assert np.allclose(found[label], expected.detach().numpy(), rtol=1e-4)
    assert "n = 20 images" in made.caption
    one = score_norms(WANTED, 20, 1, SETUP, quiet).panels[0][1][3].values
    noised = part.score(done.states[0][:20]).flatten(1).norm(dim=1)
    assert np.allclose(one, noised.detach().numpy(), rtol=1e-4)


def test_a_trajectory_has_every_step_and_where_the_classifier_is_right() -> None:
    _, done = walked()
    made = trajectories(WANTED, 8, SETUP, quiet)
    assert len(made.journeys) == 8
    for place, journey in enumerate(made.journeys):
        assert journey.path.shape == (5, 2)
        before = (done.shard.x, done.points, *done.states)
        states = torch.stack([state[place] for state in before])
        called = done.defense.classifier(states).argmax(1) == done.shard.y[place]
        assert list(journey.right) == called.tolist()
    assert "last map of the classifier" in made.caption


def test_regions_are_of_one_image_by_pixels_and_by_features() -> None:
    _, done = walked()
    wanted = replace(WANTED, attacks=("bpda:steps=2", "classifier-pgd:steps=2"))
    made = regions(wanted, 5, SETUP, quiet)
    assert [title for title, _ in made.panels] == ["pixels", "last map of the classifier"]
    assert made.labels == ("bpda:steps=2", "classifier-pgd:steps=2")
    states = torch.stack([state[5] for state in (done.shard.x, done.points, *done.states)])
    called = done.defense.classifier(states).argmax(1) == done.shard.y[5]
    for _, ways in made.panels:
        assert list(ways[0].right) == called.tolist()
        assert [len(way.path) for way in ways] == [5, 5]
        assert np.array_equal(ways[0].clean, ways[1].clean)
    assert "image 5" in made.caption
    assert "11 points" in made.caption


def test_a_caption_names_every_threat() -> None:
    clean, stretched, filtered = scenes(
        replace(WANTED, defenses=("none",), attacks=("clean", "classifier-pgd", "lf:budget=0.1"))
    )
    assert "clean, preset" in conditions(WANTED, clean)
    for some in ((stretched, filtered), (stretched, clean, filtered)):
        assert "attacks within linf:0.125 and ssim:0.1, preset" in conditions(WANTED, *some)


def test_information_is_of_the_first_and_the_last_map_of_the_bare_classifier() -> None:
    wanted = replace(WANTED, defenses=("none",), attacks=("classifier-pgd:steps=2",))
    made = information(wanted, 32, SETUP, quiet)
    ((name, numbers),) = made.groups
    assert name == "none@natural"
    assert [(n.label, n.attacked) for n in numbers] == [
        ("clean", False),
        ("classifier-pgd:steps=2", True),
    ]
    _, done = walked()
    module = done.defense.classifier.module
    assert has_features(module)
    maps = [each.detach().mean((2, 3)) for each in module.features(done.shard.x).values()]
    values = [mine.information(maps[0], maps[-1], seed) for seed in range(3)]
    assert numbers[0].value == pytest.approx(np.mean(values), abs=1e-4)
    assert (numbers[0].low, numbers[0].high) == pytest.approx((min(values), max(values)), abs=1e-4)
    assert "n = 32 images" in made.caption


def test_the_plane_is_the_same_each_time_and_keeps_clusters_apart() -> None:
    values = np.random.default_rng(0).normal(size=(40, 6))
    values[20:] += 50
    plane = embed(values)
    assert np.array_equal(plane, embed(values))
    centres = plane[:20].mean(0), plane[20:].mean(0)
    spread = np.linalg.norm(plane[:20] - centres[0], axis=1).max()
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def test_what_cannot_be_shown_is_refused() -> None:
    for wanted, words in (
        (replace(WANTED, defenses=("adpp",)), "did you mean 'adp'"),
        (replace(WANTED, attacks=("all",)), "not of a group"),
        (replace(WANTED, attacks=("bpd",)), "did you mean 'bpda'"),
        (replace(WANTED, attacks=("certify",)), "a certificate is a proof"),
        (replace(WANTED, seed=-1), "--seed"),
    ):
        with pytest.raises(BenchError, match=words):
            scenes(wanted)
    with pytest.raises(BenchError, match="--index 512: subset '512' of 'digits' has images 0 to"):
        strips(WANTED, 512, 3, SETUP, quiet)
    with pytest.raises(BenchError, match="--frames needs at least 1"):
        strips(WANTED, 0, 0, SETUP, quiet)
    blurred = replace(WANTED, defenses=("median",), attacks=("clean",))
    with pytest.raises(BenchError, match="2 variants of an image; choose"):
        strips(
            replace(blurred, attacks=("corruption:kinds=fog,severities=1+3",)), 0, 1, SETUP, quiet
        )
    with pytest.raises(BenchError, match=r"no part of the defense \(Median\) has a score network"):
        score_norms(replace(blurred, attacks=("classifier-pgd",)), 4, 0, SETUP, quiet)
    bare = replace(WANTED, defenses=("none",), attacks=("classifier-pgd:steps=2",))
    with pytest.raises(BenchError, match="2 points are too few for regions: name more attacks"):
        regions(bare, 0, SETUP, quiet)
    with pytest.raises(BenchError, match="its classifier offers no maps"):
        information(replace(bare, defenses=("none@cnn",)), 16, SETUP, quiet)
    with pytest.raises(BenchError, match="--images 8: an estimate needs at least 16"):
        information(bare, 8, SETUP, quiet)
    with pytest.raises(BenchError, match="regions are of one defense"):
        regions(replace(blurred, defenses=("median", "none")), 0, SETUP, quiet)
    with pytest.raises(BenchError, match="allows 2 to 512"):
        trajectories(WANTED, 1, SETUP, quiet)
    with pytest.raises(BenchError, match=r"--after 99: this defense takes \d steps, added noise"):
        score_norms(WANTED, 4, 99, SETUP, quiet)
    with pytest.raises(BenchError, match="--after -1: steps are counted from 1"):
        score_norms(WANTED, 4, -1, SETUP, quiet)
