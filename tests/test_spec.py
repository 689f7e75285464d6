from __future__ import annotations

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.spec import (
    Part,
    Range,
    Value,
    coerce,
    number,
    parse_defense,
    parse_part,
    resolve,
    show,
    split_list,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False)
)
HINTS = {
    "sigma": Annotated[float, Range(0, 1)],
    "steps": int,
    "clip": bool,
    "rule": Literal["adaptive", "fixed"],
}


def test_defense_grammar() -> None:
    spec = parse_defense("adp:sigma=0.1,runs=5+aid@trades")
    assert [part.name for part in spec.parts] == ["adp", "aid"]
    assert dict(spec.parts[0].settings) == {"sigma": "0.1", "runs": "5"}
    assert str(spec) == "adp:sigma=0.1,runs=5+aid@trades"
    assert str(parse_defense("adp")) == "adp@natural"
    assert str(parse_defense("adp:lam=1e+3")) == "adp:lam=1e+3@natural"


def test_file_takes_the_rest_of_the_text() -> None:
    text = "aid@file:/data/a,b=c:d.pt"
    assert split_list([f"adp,{text}"]) == ["adp", text]
    assert str(parse_defense(text)) == text


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("clean,bpda-eot:steps=100,eot=5,spsa", ["clean", "bpda-eot:steps=100,eot=5", "spsa"]),
        ("a:x=1,b:y=2", ["a:x=1", "b:y=2"]),
        ("a, b", ["a", "b"]),
    ],
)
def test_comma_lists(text: str, specs: list[str]) -> None:
    assert split_list([text]) == specs


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_part_reads_back_what_it_shows(name: str, settings: dict[str, Value]) -> None:
    text = str(Part(name, tuple(settings.items())))
    if name == "file":
        return
    back = parse_part(text)
    assert back.name == name
    assert dict(back.settings) == {key: show(value) for key, value in settings.items()}


@given(VALUES)
def test_a_value_reads_back_as_itself(value: Value) -> None:
    assert coerce("x", "key", show(value), type(value)) == value


@pytest.mark.parametrize("text", ["", ":a=1", "adp:sigma", "adp:=1", "adp:a=1,a=2", "a d p"])
def test_malformed_parts_are_refused(text: str) -> None:
    with pytest.raises(BenchError):
        parse_part(text)


def test_settings_resolve_in_order_and_keep_the_order_of_the_signature() -> None:
    defaults: dict[str, Value] = {"sigma": 0.25, "steps": 10, "clip": True, "rule": "adaptive"}
    table: dict[str, Value] = {"sigma": 0.5, "steps": 5}
    result = resolve("adp", HINTS, (defaults, table), {"steps": "7", "clip": "no"})
    assert result == {"sigma": 0.5, "steps": 7, "clip": False, "rule": "adaptive"}
    assert list(result) == list(HINTS)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sigm", "1", "did you mean 'sigma'"),
        ("sigma", "2", "out of range (0 to 1)"),
        ("sigma", "big", "is not a number"),
        ("sigma", "nan", "is not a number"),
        ("steps", "1.5", "is not a whole number"),
        ("steps", "inf", "is not a whole number"),
        ("clip", "maybe", "is not true or false"),
        ("rule", "adaptiv", "did you mean 'adaptive'"),
    ],
)
def test_a_bad_setting_says_what_is_allowed(key: str, value: str, says: str) -> None:
    with pytest.raises(BenchError) as caught:
        resolve("adp", HINTS, (), {key: value})
    assert says in str(caught.value)


def test_fractions() -> None:
    assert number("8/255") == 8 / 255


def test_a_protocol_is_part_of_the_name() -> None:
    part = parse_part("bpda-eot:steps=3,protocol=hill,eot=2")
    assert part == Part("bpda-eot:protocol=hill", (("steps", "3"), ("eot", "2")))
    assert str(part) == "bpda-eot:protocol=hill,steps=3,eot=2"
    assert parse_part(str(part)) == part
    assert str(parse_part("bpda-eot:protocol=hill")) == "bpda-eot:protocol=hill"
