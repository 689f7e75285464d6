"""What attacks say of themselves: the words that are allowed, and that each of ours says some."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.catalog import GROUPS
from bench import api
from bench.api import DefensePlugin, attack, register
from bench.api.attacked import Attack
from bench.errors import BenchError
from bench.facts import LONGEST, About, Facts, Follows, Knows
from bench.literature.sheets import no_ball
from bench.plan.request import defense_groups
from bench.spec import NO_ATTACK, NO_PURIFIER, parse_defense, parse_part
from bench.threat import CERTIFIED, MARKERS
from tests.factories import facts_of

GROUPED = {parse_part(text).name for members in GROUPS.values() for text in members}
HOUSE = sorted({*GROUPED, "submitted"})
SAID = st.builds(
    Facts,
    knows=st.sampled_from(get_args(Knows)),
    follows=st.sampled_from(get_args(Follows)),
    budget=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    noise=st.booleans(),
    given=st.booleans(),
    aside=st.text(max_size=9),
)


@given(SAID)
def test_what_was_said_reads_back_as_itself(said: Facts) -> None:
    told = {name: list(v) if isinstance(v, tuple) else v for name, v in said.told().items()}
    assert Facts.read({**told, "came later": 1}) == said
    assert Facts().told() == {}


@pytest.mark.parametrize(
    "told", [{"knows": 1}, {"knows": ["all"]}, {"noise": "yes"}, {"budget": "steps"}]
)
def test_what_is_of_another_type_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises((ValueError, BenchError)):
        Facts.read(told)


@pytest.mark.parametrize("name", HOUSE)
def test_every_attack_of_ours_says_what_it_knows(name: str) -> None:
    assert facts_of(name).knows


@pytest.mark.parametrize(
    ("name", "knows", "follows"),
    [
        ("classifier-pgd", "blind", ""),
        ("bpda-eot:protocol=hill", "all", "bpda"),
        ("pgd-exact", "all", "exact"),
        ("apgd:gradient=blind", "blind", ""),
        ("mim:gradient=exact", "all", "exact"),
        ("jitter", "all", "bpda"),
        ("square:protocol=strict", "little", ""),
        ("autoattack", "mixed", ""),
        ("submitted:file=mine.npz", "mixed", ""),
    ],
)
def test_an_attack_says_what_it_looks_at(name: str, knows: Knows, follows: Follows) -> None:
    assert (facts_of(name).knows, facts_of(name).follows) == (knows, follows)


def test_each_role_is_one_attacks() -> None:
    for role, names in (("noise", ["noise"]), ("given", ["submitted"])):
        assert [name for name in HOUSE if getattr(facts_of(name), role)] == names


def test_a_budget_is_among_the_settings() -> None:
    assert "random_steps" in facts_of("autoattack").budget
    for name in HOUSE:
        plugin = api.find_attack(name)
        own = set(plugin.budget) - set(Facts().budget)
        assert own <= set(plugin.defaults), name


def test_what_stands_beside_the_worst_case_says_what_it_is() -> None:
    for name in HOUSE:
        plugin = api.find_attack(name)
        within = plugin.within(dict(plugin.defaults), "linf:0.1")
        own = within not in ("linf:0.1", *MARKERS) or within == CERTIFIED
        assert bool(plugin.aside) == own, name


def test_attacks_of_printed_tables_have_the_threats_of_their_plug_ins() -> None:
    """Those whose threat is the same on a board of any ball."""
    own = {}
    for name in HOUSE:
        plugin = api.find_attack(name)
        first, second = (plugin.within(plugin.defaults, ball) for ball in ("linf:0.1", "l2:0.5"))
        if first == second:
            own[name] = first
    assert dict(no_ball()).items() <= own.items()


def test_a_wrong_word_is_an_error_that_names_the_attack() -> None:
    word: Any = "al"

    @attack("wrong-word-of-the-test", knows=lambda settings: word)
    def wrong() -> Attack:
        """Nothing."""
        raise NotImplementedError

    try:
        plugin = api.find_attack("wrong-word-of-the-test")
        with pytest.raises(BenchError, match=r"attack 'wrong-word-of-the-test': knows='al' is not"):
            plugin.facts({})
    finally:
        register.PLUGINS["attack"].pop("wrong-word-of-the-test")


def test_the_words_of_the_harness_are_plug_ins() -> None:
    assert api.find_defense(NO_PURIFIER).traits({}).identity
    assert api.find_attack(NO_ATTACK).norms == ("none",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"paper": "Yoon\net al."}, "paper= takes one line"),
        ({"link": "https://arxiv.org/abs/1"}, "link= needs paper="),
        ({"paper": "Yoon et al. 2021", "link": "arxiv.org"}, "link= takes an address"),
        ({"paper": "Yoon et al. 2021", "link": "javascript:alert(1)"}, "link= takes an address"),
        ({"paper": "x" * 999}, "paper= takes one line"),
    ],
)
def test_a_paper_is_one_line_and_an_address_of_the_web(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=f"^defense 'mine': {words}"):
        DefensePlugin("mine", lambda context: None, **fields)


def test_a_plug_in_in_words_is_its_first_line_and_its_paper() -> None:
    def factory(context: object) -> None:
        """Does something.

        More of it.
        """

    paper, link = "Yoon et al. 2021", "https://arxiv.org/abs/2106.06041"
    made = DefensePlugin("mine", factory, paper=paper, link=link)
    assert made.about == About("Does something.", paper, link)
    factory.__doc__ = "Does\x1b[2J " + "much " * 999
    assert len(made.about.what) <= LONGEST
    assert made.about.what.isprintable()


def test_the_papers_purifiers_name_their_papers_and_controls_have_none() -> None:
    for label in defense_groups()["all"]:
        assert all(api.find_defense(part.name).link for part in parse_defense(label).parts), label
    assert not any(plugin.link for plugin in api.controls())
