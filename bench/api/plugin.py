"""What a plug-in is: its factory, its settings, and all that planning knows without weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from bench.errors import BenchError, plain, told
from bench.facts import LONGEST, About
from bench.spec import COPIES, VOTE, Later, Part, Settings, Value, coerce, resolve, show

if TYPE_CHECKING:
    from bench.api.context import Context
    from bench.api.images import DatasetInfo
    from bench.api.purifier import Traits

PRESETS = ("quick", "standard", "paper")
Calls = Mapping[str, int | tuple[int, int]]
"""Network -> forwards, or (forwards, backwards) where a run follows gradients itself."""
GradientCalls = Mapping[str, tuple[int, int]]


def both_ways(calls: Calls) -> GradientCalls:
    """Declared calls as (forwards, backwards)."""
    return {name: (n, 0) if isinstance(n, int) else n for name, n in calls.items()}


def _asked(whose: str, function: Callable[..., Any], *args: Any) -> Any:
    """What a plug-in's function says; an error that it did not mean to raise names it."""
    try:
        return function(*args)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"{whose} fails: {told(error)}") from error


@dataclass(frozen=True)
class Plugin:
    """A registered factory. Its keyword defaults are its configuration.

    settings: per data set (or preset, or `preset@data set`), what differs from those defaults.
    weights(settings): the files it needs, `{classifier}` in a name for those that belong to one.
    pattern: how it is written, where a name alone says too little; it is then no name of its own.
    fits(settings, data set): raises BenchError where they do not fit together.
    idle(settings): settings that change nothing beside the others, each with the reason; where
    another value than the usual one is typed, a plan refuses it.
    source: where its defaults come from. paper: who described it and when ("Yoon et al. 2021"),
    link: where that can be read; boards show both.
    """

    kind: ClassVar[str]
    name: str
    factory: Callable[..., Any]
    _: KW_ONLY
    version: int = 1
    source: str = ""
    settings: Mapping[str, Settings] = field(default_factory=dict)
    weights: Callable[[Settings], tuple[str, ...]] = lambda settings: ()
    pattern: str = ""
    fits: Callable[[Settings, str], None] = lambda settings, dataset: None
    idle: Callable[[Settings], Mapping[str, str]] = lambda settings: {}
    paper: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        """Refuse a value where a function belongs (traits=Traits()), a text where several do."""
        try:
            About("", self.paper, self.link)
        except BenchError as error:
            raise BenchError(f"{self.kind} '{self.name}': {error}") from None
        for declared in fields(self):
            given = getattr(self, declared.name)
            if isinstance(declared.default, tuple) and isinstance(given, str):
                raise BenchError(f"{self.kind} '{self.name}': {declared.name}= takes ('{given}',)")
            if callable(declared.default) and not callable(given):
                raise BenchError(
                    f"{self.kind} '{self.name}': {declared.name}= takes a function, such as "
                    f"{declared.name}=lambda settings: ..."
                )
            if callable(declared.default) and given is not declared.default:
                told_of = partial(_asked, f"{self.kind} '{self.name}': {declared.name}=", given)
                object.__setattr__(self, declared.name, told_of)

    @property
    def about(self) -> About:
        """What boards say of it."""
        return About(plain(self.summary, LONGEST - 4), self.paper, self.link)

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Declared type of every setting, in the order of the signature."""
        hints = get_type_hints(self.factory, include_extras=True)
        return {key: hints.get(key, str) for key in self.defaults}

    @cached_property
    def defaults(self) -> dict[str, Value]:
        """The factory's keyword-only defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def resolve(self, part: Part, dataset: str, preset: str = "") -> Part:
        """Every setting of this plug-in: keyword < data set < preset < typed (docs/semantics.md).

        Raises:
            BenchError: an unknown key, a value of the wrong type or range, or what does not fit
                the data set.
        """
        settings = self.chosen(part, dataset, preset)
        self.fits(settings, dataset)
        return Part(self.name, tuple(settings.items()), self._unwritten(settings, dataset))

    def require_busy(self, part: Part, dataset: str, preset: str = "") -> None:
        """Refuse what was typed and changes nothing: numbers over such a setting would be luck's.

        Raises:
            BenchError: the first such setting, and why.
        """
        settings = self.chosen(part, dataset, preset)
        idle = dict(self.idle(settings))
        if VOTE in settings and "runs" in settings:
            idle["runs"] = f"{VOTE}={settings[VOTE]} takes its place"
        if not idle:
            return
        usual = self.chosen(Part(self.name), dataset, preset)
        for key, why in idle.items():
            if settings[key] != usual[key]:
                raise BenchError(f"{self.name}: {key}={show(settings[key])} changes nothing: {why}")

    def unfit(self, dataset: str, preset: str = "") -> str:
        """Why it is, as it stands, not for a data set; nothing where it is."""
        settings = self.chosen(Part(self.name), dataset, preset)
        try:
            self.fits(settings, dataset)
        except BenchError as error:
            return str(error)
        return ""

    def chosen(self, part: Part, dataset: str = "", preset: str = "") -> dict[str, Value]:
        """Every setting as `resolve` has it, whether or not they fit together."""
        tables = [self.settings.get(key, {}) for key in (dataset, preset, f"{preset}@{dataset}")]
        return resolve(self.name, self.hints, (self.defaults, *tables), dict(part.settings))

    def _unwritten(self, settings: Settings, dataset: str) -> tuple[str, ...]:
        """Settings that came later, at a default that no preset changes on this data set."""
        applying = (dataset, *PRESETS, *(f"{preset}@{dataset}" for preset in PRESETS))
        changed = {key for name in applying for key in self.settings.get(name, {})}
        return tuple(
            key
            for key, hint in self.hints.items()
            if Later() in getattr(hint, "__metadata__", ())
            and key not in changed
            and settings[key] == self.defaults[key]
        )


@dataclass(frozen=True, kw_only=True)
class ClassifierPlugin(Plugin):
    """A classifier: `factory(context, *, key=default, ...) -> nn.Module`, [0,1] images to logits.

    taps(data set): the maps that add-ons may read, from input to output. random (also as a function
    of the settings): two answers may differ, so that it is judged and attacked by draws.
    code(settings): digests, by name, of code that the settings name and that no plug-in is.
    """

    kind = "classifier"
    taps: Callable[[str], tuple[str, ...]] = lambda dataset: ()
    code: Callable[[Settings], Mapping[str, str]] = lambda settings: {}
    random: bool | Callable[[Settings], bool] = False

    def is_random(self, settings: Settings) -> bool:
        """Whether two answers may differ at these settings."""
        return self.random(settings) if callable(self.random) else self.random


@dataclass(frozen=True, kw_only=True)
class DefensePlugin(Plugin):
    """A purifier: `factory(context, *, key=default, ...) -> Purifier`.

    What planning knows of it are functions of the resolved settings. traits: what the purifier is.
    calls: network -> forwards of one run. gradient_calls: network -> (forwards computed again,
    backwards) of one exact gradient; without it, plain autograd. direction_calls: network ->
    forwards of one `direction`. surrogate_calls: of one `surrogate` with its gradient, as for a
    run. All per image, and at most, where a run may end early.
    misfit(settings, classifier, data set): why it cannot stand on such a classifier, or nothing;
    asked before any weight is read. control: a cheap filter, which a run measures beside purifiers
    on every data set that it fits, unless others are asked for. groups: names for several defenses
    at once, each with the labels that this one adds to it (`{"competitors": ("soap@soap",)}`).
    """

    kind = "defense"
    traits: Callable[[Settings], Traits] = lambda settings: plain_traits()
    calls: Callable[[Settings], Calls] = lambda settings: {}
    gradient_calls: Callable[[Settings], GradientCalls] | None = None
    direction_calls: Callable[[Settings], Calls] = lambda settings: {}
    surrogate_calls: Callable[[Settings], Calls] = lambda settings: {}
    misfit: Callable[[Settings, ClassifierPlugin, DatasetInfo], str | None] = (
        lambda settings, classifier, info: None
    )
    control: bool = False
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Add the deployment rule `vote=K`, which every plug-in takes, to what it declares.

        Raises:
            BenchError: the factory has a setting of that name, or a group is one text.
        """
        super().__post_init__()
        if VOTE in inspect.signature(self.factory).parameters:
            raise BenchError(f"defense '{self.name}': '{VOTE}' is a setting of every defense")
        given: Mapping[str, object] = self.groups
        for group, members in given.items():
            if isinstance(members, str):
                raise BenchError(
                    f"defense '{self.name}': groups= takes {{'{group}': ('{members}',)}}"
                )
        if not isinstance(self.traits, partial) or self.traits.func is not _deployed:
            object.__setattr__(self, "traits", partial(_deployed, self.traits))

    def chosen(self, part: Part, dataset: str = "", preset: str = "") -> dict[str, Value]:
        """As of any plug-in; after its own settings K of `vote=K`, where it was typed."""
        typed = dict(part.settings)
        vote = typed.pop(VOTE, None)
        found = super().chosen(Part(part.name, tuple(typed.items())), dataset, preset)
        return found if vote is None else {**found, VOTE: coerce(self.name, VOTE, vote, COPIES)}

    def made(self, context: Context, settings: Settings) -> Any:
        """What the factory makes of resolved settings; the vote is the harness's."""
        return self.factory(context, **{k: v for k, v in settings.items() if k != VOTE})

    def unvotable(self, settings: Settings, on_random: bool) -> str:
        """Why no copies of it can vote; nothing where they can, or where none were asked for.

        on_random: whether the classifier behind it is random.
        """
        if VOTE not in settings or self.traits(settings).random or on_random:
            return ""
        return f"{VOTE}={settings[VOTE]}: nothing in it is random, all copies would be the same"

    def gradient(self, settings: Settings) -> GradientCalls:
        """Network calls of one exact gradient, on top of those of the run."""
        if self.gradient_calls is None:
            return {name: (0, n) for name, (n, _) in both_ways(self.calls(settings)).items()}
        return self.gradient_calls(settings)


@dataclass(frozen=True, kw_only=True)
class DatasetPlugin(Plugin):
    """A data set, `factory() -> Dataset`, with its torch-free facts."""

    kind = "dataset"
    info: DatasetInfo | None = None


def _deployed(traits: Callable[[Settings], Traits], settings: Settings) -> Traits:
    """What a purifier is under the deployment rule in its settings, if there is one."""
    return traits(settings).voting(int(settings.get(VOTE, 0)))


def plain_traits() -> Traits:
    """Those of a deterministic purifier with a gradient."""
    from bench.api.purifier import Traits

    return Traits()
