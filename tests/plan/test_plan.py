from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attacks.catalog import ALL, GROUPS
from bench.api import find_defense
from bench.cli.options import requests
from bench.errors import BenchError
from bench.plan.cost import Cost
from bench.plan.plan import Draft, controls, draws_of, make
from bench.plan.request import Request, command, find_info
from bench.results.store import Plan

SMALL = Request(defenses=["adp"], dataset="digits", preset="quick", images=64)


def labels(plan: Plan) -> list[str]:
    return list(dict.fromkeys(planned.defense for planned in plan.cells))


def test_a_run_adds_the_static_base_and_the_controls() -> None:
    plan, _ = make(replace(SMALL, defenses=["adp", "none@madry"]))
    rows = labels(plan)
    assert rows[:3] == ["adp@natural", "none@madry", "none@natural"]
    assert {p.defense for p in plan.cells if p.control} == set(rows[3:])
    assert {"wiener@natural", "median@natural", "gaussian@natural", "jpeg@natural"} <= set(rows)


def test_a_bare_classifier_needs_no_control() -> None:
    plan, _ = make(replace(SMALL, defenses=["none@madry"]))
    assert labels(plan) == ["none@madry"]


def test_controls_can_be_chosen_or_left_out() -> None:
    assert labels(make(replace(SMALL, controls=["wiener"]))[0]) == [
        "adp@natural",
        "none@natural",
        "wiener@natural",
    ]
    assert labels(make(replace(SMALL, controls=[]))[0]) == ["adp@natural", "none@natural"]


def test_a_control_that_was_typed_stays_a_control() -> None:
    plan, _ = make(replace(SMALL, defenses=["adp", "jpeg"], attacks=["clean"]))
    controls = {p.defense for p in plan.cells if p.control}
    names = ("wiener", "median", "gaussian", "jpeg", "bits")
    assert controls == {f"{name}@natural" for name in names}


def test_resubmission_is_asked_beside_every_search_and_as_part_of_the_command() -> None:
    (request,) = requests(
        defenses=("adp", "median"),
        attacks=("clean", "bpda-eot:steps=3", "spsa"),
        dataset="digits",
        subset="",
        images=32,
        seeds=1,
        preset="quick",
        controls=("off",),
        resubmit=7,
    )
    plan, _ = make(request)
    again = "bpda-eot:protocol=resubmit,steps=3,tries=7"
    cells = {p.attack: p.cell for p in plan.cells if p.defense == "adp@natural"}
    assert list(cells) == ["clean", "bpda-eot:steps=3", "spsa", again]
    assert cells[again].threat.startswith("resubmit:linf:")
    assert f"--attacks {again}" in plan.command
    reasons = {(s.defense, s.attack): s.reason for s in plan.skips}
    assert "a second try is the first" in reasons["median@natural", again]


def test_copies_vote_only_where_something_is_random() -> None:
    plan, draft = make(replace(SMALL, defenses=["adp:vote=12"], attacks=["clean"], controls=[]))
    cells = {p.defense: p.cell for p in plan.cells}
    assert cells["adp:vote=12@natural"].defense.endswith(",vote=12@natural")
    assert (
        draft.costs[0].forward == 1.2 * make(replace(SMALL, attacks=["clean"]))[1].costs[0].forward
    )
    for text in ("median:vote=12", "adp:sigma=0,vote=12"):
        with pytest.raises(BenchError, match="nothing in it is random"):
            make(replace(SMALL, defenses=[text]))


@pytest.mark.parametrize(
    ("settings", "random"),
    [
        *[("", True), (":steps=1", True)],
        *[(":steps=0", False), (":noise=0", False), (":eps=0", False)],
    ],
)
def test_a_classifier_may_be_random_at_some_settings_only(settings: str, random: bool) -> None:
    """AutoAttack and EOT would take a deterministic one for random: weaker, or dearer."""
    asked = Request(
        [f"none@igebm{settings}", "adp"], ["clean,bpda,bpda-eot"], "digits", controls=[]
    )
    cells = {item.attack: item.cell for item in make(asked)[0].cells if "igebm" in item.defense}
    assert list(cells) == ["clean", "bpda", "bpda-eot"][: 2 + random]
    draws = find_info("digits").draws if random else 1
    assert draws_of("digits", cells["clean"].defense, "none") == draws
    if not random:
        with pytest.raises(BenchError, match="nothing in it is random"):
            make(Request([f"none:vote=5@igebm{settings}"], ["clean"], "digits", controls=[]))


def test_draws_can_be_raised_where_something_is_random() -> None:
    request = replace(SMALL, attacks=["clean", "corruption"], controls=["median", "gaussian"])
    usual, raised = (make(replace(request, draws=draws)) for draws in (0, 20))
    digests = [[p.cell.digest for p in plan.cells] for plan, _ in (usual, raised)]
    assert digests[0] == digests[1]
    more = {
        (planned.defense, planned.attack): after.forward / before.forward
        for planned, before, after in zip(
            raised[0].cells, usual[1].costs, raised[1].costs, strict=True
        )
    }
    assert {pair for pair, factor in more.items() if factor != 1} == {
        ("adp@natural", "clean"),
        ("gaussian@natural", "clean"),
    }
    assert more["gaussian@natural", "clean"] == 5
    assert raised[0].command.endswith("--draws 20")
    assert "--draws" not in usual[0].command
    with pytest.raises(BenchError, match="allowed: 4 and more"):
        make(replace(request, draws=3))


def test_one_attack_under_two_names_is_one_column() -> None:
    plan, _ = make(replace(SMALL, attacks=["blind", "transfer", "bpda", "bpda:step=1/4"]))
    assert list(dict.fromkeys(p.attack for p in plan.cells)) == [
        *("clean", "classifier-pgd", "transfer:source=same", "transfer:source=other", "bpda")
    ]
    assert len({p.cell.digest for p in plan.cells}) == len(plan.cells)


def test_every_pair_is_a_cell_or_a_skip_with_a_reason() -> None:
    plan, draft = make(replace(SMALL, defenses=["adp", "none@madry"]))
    pairs = {(p.defense, p.attack) for p in plan.cells}
    skipped = {(s.defense, s.attack) for s in plan.skips}
    assert not pairs & skipped
    assert pairs | skipped == {(row, attack) for row in labels(plan) for attack in ALL}
    assert all(skip.reason for skip in plan.skips)
    assert len(draft.costs) == len(plan.cells)


def test_threats_clean_and_corruptions_are_no_balls() -> None:
    plan, _ = make(replace(SMALL, attacks=["clean", "bpda", "corruption"], threat="l2:0.5"))
    threats = {p.attack: p.cell.threat for p in plan.cells}
    assert threats == {"clean": "none", "bpda": "l2:0.5", "corruption": "corruption"}


def test_known_randomness_is_a_threat_of_its_own_and_judged_once() -> None:
    asked = replace(SMALL, defenses=["adp:steps=1,runs=2,stop=none"], controls=[])
    plan, draft = make(replace(asked, attacks=["known-randomness", "apgd"]))
    threats = {p.attack: p.cell.threat for p in plan.cells if p.defense.startswith("adp")}
    assert threats == {"known-randomness": "known:linf:0.125", "apgd": "linf:0.125"}
    assert list(draft.costs[0].networks["classifier"]) == [11 * 2 + 2, 11 * 2]
    with pytest.raises(BenchError, match="no randomness to know"):
        make(replace(asked, defenses=["adp:sigma=0"], attacks=["known-randomness"]))


def test_without_noise_eot_is_a_skipped_duplicate_and_the_judge_draws_once() -> None:
    plan, draft = make(replace(SMALL, defenses=["adp:sigma=0"], attacks=["all"], controls=[]))
    reasons = {s.attack: s.reason for s in plan.skips if s.defense.startswith("adp")}
    assert "duplicate of bpda" in reasons["bpda-eot"]
    costs = dict(zip(((p.defense, p.attack) for p in plan.cells), draft.costs, strict=True))
    random, noisy = make(replace(SMALL, attacks=["clean"], controls=[]))
    assert costs["adp:sigma=0@natural", "clean"].forward * 4 * 10 == noisy.costs[0].forward
    assert random.cells[0].attack == "clean"


def test_network_calls_of_a_known_plan() -> None:
    """Fixed steps: 10 score calls and 1 classifier call a run; the judge asks 4 x 10 runs."""
    spec = "adp:rule=fixed,steps=10,runs=10,sigma=0.1"
    attack = "bpda-eot:steps=3,eot=2"
    _, draft = make(replace(SMALL, defenses=[spec], attacks=[attack], controls=[]))
    runs = 3 * 2 + 4 * 10
    assert draft.costs[0] == Cost({"classifier": (runs, 3 * 2), "score": (10 * runs, 0)})


def test_a_stack_with_an_exact_part_is_attacked_through_it() -> None:
    plan, _ = make(replace(SMALL, defenses=["jpeg+adp"], attacks=["pgd-exact"], controls=[]))
    assert "jpeg+adp@natural" in labels(plan)
    plan, _ = make(replace(SMALL, defenses=["jpeg"], attacks=["adaptive"], controls=[]))
    assert "pgd-exact" not in [planned.attack for planned in plan.cells]


def test_settings_resolve_into_the_identity_and_labels_stay_as_typed() -> None:
    plan, _ = make(replace(SMALL, attacks=["bpda-eot:eot=7"], controls=[]))
    assert plan.cells[0].attack == "bpda-eot:eot=7"
    assert "steps=10" in plan.cells[0].cell.attack
    assert "eot=7" in plan.cells[0].cell.attack
    assert "sigma=" in plan.cells[0].cell.defense


def test_the_same_cell_whatever_preset_images_or_order() -> None:
    def digests(request: Request) -> dict[tuple[str, str], str]:
        return {(p.defense, p.attack): p.cell.digest for p in make(request)[0].cells}

    some = replace(SMALL, attacks=["clean", "transfer"])
    other = digests(replace(some, preset="paper", images=32, attacks=["transfer", "clean"]))
    assert digests(some) == other


def test_seeds_are_cells_of_their_own() -> None:
    plan, _ = make(replace(SMALL, attacks=["joint-score"], seeds=3, controls=[]))
    assert [p.cell.seed for p in plan.cells] == [0, 1, 2]
    assert len({p.cell.digest for p in plan.cells}) == 3


def test_images_round_up_to_whole_shards_and_say_so() -> None:
    plan, draft = make(replace(SMALL, images=33))
    assert plan.images == 64
    assert "rounded up to 64" in draft.notes[0]
    plan, draft = make(replace(SMALL, images=0))
    assert plan.images == 512
    assert not draft.notes


def test_a_whole_subset_may_end_in_a_short_shard() -> None:
    """Only the whole: the last shard of `first-1000` holds 8 images, whoever asks for it."""
    asked = replace(SMALL, dataset="cifar10", subset="first-1000", attacks=["clean"])
    for images, planned, shards in ((0, 1000, 32), (1000, 1000, 32), (999, 1000, 32), (33, 64, 2)):
        plan, draft = make(replace(asked, images=images))
        assert (plan.images, plan.shards) == (planned, shards)
        assert bool(draft.notes) == (images not in (0, 1000))
    with pytest.raises(BenchError, match="holds 1000 images, 1001"):
        make(replace(asked, images=1001))


def test_strict_takes_128_embedded_images_unless_told_otherwise() -> None:
    strict = replace(SMALL, attacks=["strict"], preset="standard", images=0, controls=[])
    plan, draft = make(strict)
    assert plan.images == 128
    assert draft.notes == ["strict, preset standard: 128 of 512 images; --images 512 takes all"]
    assert make(replace(strict, images=512))[0].images == 512
    assert make(replace(strict, preset="paper"))[0].images == 512
    assert make(replace(strict, attacks=["all"]))[0].images == 512
    fetched = replace(strict, dataset="cifar10", defenses=["none"])
    assert make(fetched)[0].images == 512


def test_who_asks_for_one_strict_search_asks_for_a_board_without_it() -> None:
    def group(*attacks: str) -> str:
        return make(replace(SMALL, attacks=attacks, controls=[]))[0].group

    assert group("strict") == "strict"
    assert group("square", "strict") == "strict"
    assert group("all") == ""
    searches = [name for name in GROUPS["strict"] if name.endswith("protocol=strict")]
    assert group("clean", ",".join(searches)) == "strict"
    assert group("clean", searches[1]) == "strict"
    assert group("clean", "noise") == ""


def test_a_plan_holds_what_its_attacks_say_of_themselves() -> None:
    attacks = ["clean", "apgd:gradient=blind,apgd:gradient=exact", "noise", "pgd-exact"]
    plan, _ = make(replace(SMALL, defenses=["jpeg"], attacks=["all"], controls=[]))
    assert set(plan.attacks) == {p.cell.attack for p in plan.cells}
    plan, _ = make(replace(SMALL, attacks=attacks, controls=[]))
    said = {p.attack: plan.attacks[p.cell.attack] for p in plan.cells}
    assert (said["apgd:gradient=blind"].knows, said["apgd:gradient=blind"].follows) == ("blind", "")
    assert (said["apgd:gradient=exact"].knows, said["apgd:gradient=exact"].follows) == (
        *("all", "exact"),
    )
    assert [name for name, facts in said.items() if facts.noise] == ["noise"]


def test_controls_are_the_filters_that_fit_a_data_set() -> None:
    names = ["wiener", "median", "gaussian", "jpeg", "bits"]
    assert controls(find_info("patches")) == names
    # The covariance of such images is too large.
    assert controls(find_info("imagenet")) == names[1:]


def test_a_sweep_over_a_setting_is_a_list_of_columns() -> None:
    attacks = ["bpda-eot:eot=1,bpda-eot:eot=5", "bpda-eot:steps=20", "noise:draws=2"]
    plan, _ = make(replace(SMALL, attacks=attacks, controls=[], defenses=["adp"]))
    mine = [p.attack for p in plan.cells if p.defense == "adp@natural"]
    assert mine == ["bpda-eot:eot=1", "bpda-eot:eot=5", "bpda-eot:steps=20", "noise:draws=2"]


def test_a_sweep_over_balls_is_a_plan_each() -> None:
    asked: dict[str, Any] = {
        **{"defenses": ("adp",), "attacks": ("clean", "noise"), "dataset": "digits"},
        **{"subset": "", "images": 32, "seeds": 1, "preset": "quick", "controls": ("off",)},
    }
    each = requests(threats=("linf:0,linf:2/255", "l2:0.5", "linf:1"), **asked)
    plans = [make(request)[0] for request in each]
    assert [p.threat for p in plans] == ["linf:0", "linf:2/255", "l2:0.5", "linf:255/255"]
    clean = [p.cell.digest for plan in plans for p in plan.cells if p.attack == "clean"]
    assert len(clean) == 8
    assert len(set(clean)) == 2
    assert [make(request)[0].command for request in each][1].endswith(
        "--threat linf:2/255 --images 32"
    )
    assert [r.threat for r in requests(**asked)] == [""]
    with pytest.raises(BenchError, match="the ball linf:8/255 twice"):
        requests(threats=("linf:8/255,linf:0.03137254901960784",), **asked)
    with pytest.raises(BenchError, match="unknown threat"):
        requests(threats=("linf:8/255,lnf:1",), **asked)
    for nothing in ("", ",", " , "):
        with pytest.raises(BenchError, match="names no ball"):
            requests(threats=(nothing,), **asked)


def test_the_command_of_a_plan_plans_the_same_cells() -> None:
    asked = replace(SMALL, attacks=["bpda", "clean"], controls=["wiener"], seeds=2)
    assert command(asked) == (
        "bench run --defense adp --attacks bpda --attacks clean --dataset digits --preset quick "
        "--control wiener --images 64 --seeds 2"
    )
    own = replace(SMALL, plugins=["mine.py"], weights=["score=my.safetensors"])
    assert "--plugin mine.py --weights score=my.safetensors" in command(own)


def test_the_command_names_a_subset_that_is_not_the_default() -> None:
    asked = replace(SMALL, subset="validation")
    assert "--subset validation" in command(asked)
    assert make(asked)[0].subset == "validation"
    assert "--subset" not in command(replace(SMALL, subset="512"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"defenses": ["adpp"]}, "did you mean 'adp'"),
        ({"defenses": ["adp@madri"]}, "did you mean 'madry'"),
        ({"defenses": ["adp:sgima=1"]}, "did you mean 'sigma'"),
        ({"defenses": []}, "name at least one defense"),
        ({"attacks": ["bpda-eott"]}, "did you mean 'bpda-eot'"),
        ({"attacks": ["adaptiv"]}, "did you mean 'adaptive'"),
        ({"attacks": ["bpda:steps=0"]}, "out of range"),
        ({"attacks": ["joint-score"], "defenses": ["none"]}, "joint-score against none@natural"),
        ({"dataset": "digit"}, "did you mean 'digits'"),
        ({"threat": "linf"}, "an eps from 0 on"),
        ({"threat": "none"}, "not a ball"),
        ({"threat": "known:linf:8/255"}, "not a ball"),
        ({"preset": "quik"}, "did you mean 'quick'"),
        ({"images": 10_000}, "512 images"),
        ({"seeds": 0}, "--seeds"),
        ({"seeds": 99_999_999_999}, "--seeds"),
        ({"subset": "511"}, "did you mean '512'"),
    ],
)
def test_bad_requests_say_what_is_allowed(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError) as caught:
        make(replace(SMALL, **change))
    assert says in str(caught.value)


def test_a_duplicate_is_skipped_only_where_the_other_one_was_asked_for() -> None:
    asked = Request(["jpeg"], ["clean", "bpda-eot"], "digits", controls=[])
    plan, draft = make(asked)
    cells = [item.attack for item in plan.cells if item.defense == "jpeg@natural"]
    assert cells == ["clean", "bpda-eot"]
    runs = {(p.defense, p.attack): c for p, c in zip(plan.cells, draft.costs, strict=True)}
    assert runs["jpeg@natural", "bpda-eot"].backward == 40  # one draw a step
    more = replace(asked, defenses=["jpeg", "denoise"], attacks=["clean", "bpda", "bpda-eot"])
    both, _ = make(more)
    assert ("jpeg@natural", "bpda-eot") in {(skip.defense, skip.attack) for skip in both.skips}
    # Fewer steps are not the same.
    fewer, _ = make(replace(more, attacks=["clean", "bpda:steps=5", "bpda-eot"]))
    assert ("jpeg@natural", "bpda-eot") in {(item.defense, item.attack) for item in fewer.cells}


@pytest.mark.parametrize(
    ("attacks", "preset", "left"),
    [
        ("classifier-pgd,bpda,bpda-eot,pgd-exact", "standard", "classifier-pgd"),
        ("bpda,bpda-eot,pgd-exact", "standard", "bpda"),
        ("classifier-pgd:steps=5,bpda-eot:steps=200", "quick", "classifier-pgd bpda-eot"),
        ("classifier-pgd,bpda,pgd-exact", "paper", "classifier-pgd pgd-exact"),  # 40 steps, and 200
        ("classifier-pgd,bpda:keep=best", "quick", "classifier-pgd bpda"),
        ("classifier-pgd,bpda:loss=margin", "quick", "classifier-pgd bpda"),
        ("bpda:keep=best,pgd-exact:keep=best", "quick", "bpda"),
    ],
)
def test_a_bare_classifier_is_spared_the_same_search_only(
    attacks: str, preset: str, left: str
) -> None:
    """Its worst case would otherwise be over a weaker search than that of the other rows."""
    asked = Request(["adp", "none"], [attacks], "digits", preset=preset, controls=[])
    plan, draft = make(asked)
    costs = {
        item.attack: spent.backward
        for item, spent in zip(plan.cells, draft.costs, strict=True)
        if item.defense == "none@natural"
    }
    assert [name.partition(":")[0] for name in costs] == left.split()
    assert costs.get("bpda-eot:steps=200", 200) == 200  # one draw a step


def test_a_pair_that_a_group_reached_is_a_skip_and_not_an_error() -> None:
    _, draft = make(replace(SMALL, defenses=["none"], attacks=["adaptive"]))
    assert isinstance(draft, Draft)
    assert draft.skips


def test_a_list_is_skipped_where_one_defense_cannot_have_it_and_refused_where_none_can() -> None:
    asked = Request(["adp", "none"], ["clean", "joint-full", "joint-score"], "digits", controls=[])
    plan, _ = make(asked)
    reason = "no purifier: duplicate of classifier-pgd"
    assert [(s.defense, s.attack, s.reason) for s in plan.skips] == [
        ("none@natural", "joint-full", reason), ("none@natural", "joint-score", reason),
    ]  # fmt: skip
    assert len(plan.cells) == 4
    with pytest.raises(BenchError, match=f"^joint-full against none@natural: {reason}$"):
        make(replace(asked, defenses=["none"]))
    with pytest.raises(BenchError, match=rf"none@natural: {reason}; against none@madry: {reason}$"):
        make(replace(asked, defenses=["none", "none@madry"]))


def test_a_plan_says_in_words_what_its_plug_ins_are() -> None:
    asked = replace(SMALL, defenses=["jpeg+adp@madry"], attacks=["clean", "bpda"], controls=[])
    plan, _ = make(asked)
    kinds = {kind: set(known) for kind, known in plan.about.items()}
    assert kinds == {
        "defense": {"jpeg", "adp", "none"},
        "classifier": {"madry"},
        "attack": {"clean", "bpda"},
    }
    adp, jpeg, none = (plan.about["defense"][name] for name in ("adp", "jpeg", "none"))
    assert (adp.paper, adp.link) == ("Yoon et al. 2021", "https://arxiv.org/abs/2106.06041")
    assert adp.what == find_defense("adp").summary
    assert {jpeg.paper, none.paper} == {""}
