"""What plug-ins say of themselves, so that nothing else keeps a list of their names.

The decorators declare it, a plan stores it, and boards read it there: no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from bench.errors import BenchError, nearest

Knows = Literal["", "little", "blind", "mixed", "all"]
"""What an attack may look at: nothing of this defense's gradients (queries, transferred points,
noise), those of the classifier alone, several of these in one, those of the whole defense; empty:
it does not say, and counts as knowing little."""
Follows = Literal["", "bpda", "exact"]
"""Which gradient through the purifiers it climbs; empty: another one, none, or what the record
says."""
BUDGET = ("steps", "eot", "restarts", "queries", "samples", "searches", "targets")
"""Settings of which more is at least as strong, unless an attack names its own."""

_ADDRESS = re.compile(r"https?://[A-Za-z0-9][-A-Za-z0-9.]*(/[-A-Za-z0-9._~/%?=&+]*)?")
LONGEST = 300
"""Characters of each text that a plug-in says of itself."""


@dataclass(frozen=True)
class About:
    """A plug-in in words. what: what it does. paper: who described it and when, or empty; link:
    where that can be read, or empty.

    Raises:
        BenchError: a text of several lines or of too many characters; an address that is none of
            the web.
    """

    what: str
    paper: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        for name, example in (("what", "in a sentence"), ("paper", 'such as "Yoon et al. 2021"')):
            text = getattr(self, name)
            if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
                raise BenchError(f"{name}= takes one line, {example}")
        if not isinstance(self.link, str) or (self.link and not _ADDRESS.fullmatch(self.link)):
            raise BenchError("link= takes an address, such as https://arxiv.org/abs/2106.06041")
        if self.link and not self.paper:
            raise BenchError("link= needs paper=, who and when")


@dataclass(frozen=True)
class Facts:
    """What an attack says of itself; what it leaves out silences no alarm.

    budget: its settings of which more is at least as strong. noise: it draws points at random, the
    control that every attack has to beat. given: its points were made beforehand for one row, and
    no other row lacks them. aside: what it is, in half a sentence, where its threat is one of its
    own and its column stands beside the worst case.

    Raises:
        BenchError: `knows` or `follows` is none of the words above.
    """

    knows: Knows = ""
    follows: Follows = ""
    budget: tuple[str, ...] = BUDGET
    noise: bool = False
    given: bool = False
    aside: str = ""

    def __post_init__(self) -> None:
        for name, words in (("knows", get_args(Knows)), ("follows", get_args(Follows))):
            if (value := getattr(self, name)) not in words:
                allowed = ", ".join(filter(None, words))
                raise BenchError(
                    f"{name}={value!r} is not allowed{nearest(str(value), words)} "
                    f"(one of: {allowed}, or nothing)"
                )

    def told(self) -> dict[str, Any]:
        """What differs from saying nothing, ready for JSON."""
        usual = asdict(Facts())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Facts:
        """The facts that `told` gave; what a later version added is passed over.

        Raises:
            BenchError: a word that is not allowed.
            ValueError: a value of another type.
        """
        found: dict[str, Any] = {}
        for each in fields(cls):
            if each.name not in told:
                continue
            value = told[each.name]
            value = tuple(value) if isinstance(value, list) else value
            if type(value) is not type(each.default):
                raise ValueError(each.name)
            found[each.name] = value
        return cls(**found)
