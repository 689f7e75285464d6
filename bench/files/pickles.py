"""Pickles as inert trees: a stack machine that follows the opcodes and calls nothing.

A pickle is a program. Here it builds lists, dictionaries and records of what it wanted to call;
no name in it is ever looked up, so there is nothing in a file that could run. What the records
mean is up to the reader (`bench.models.foreign.containers`, `bench.data.cifar`), which knows a
handful.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

MOST_OPERATIONS = 1_000_000
"""Opcodes of one pickle. Published checkpoints have up to some 50,000, CIFAR-100 some 250,000."""
LARGEST_KEY = 2**31
"""Whole numbers up to here may be keys: larger ones could be chosen to share one hash."""
MOST_PLACES = 2**32
"""Places of the memo, as far as the opcodes with a number of fixed length go."""


class PickleError(Exception):
    """The bytes are no pickle, a damaged one, or one that does what holding tensors never needs."""


class Name(NamedTuple):
    """What a pickle refers to by module and name, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """An object that a pickle makes: what it calls or instantiates, with what, and its state."""

    of: Name
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Reference:
    """An object that the pickle leaves to its container (a persistent id)."""

    key: Any


class _Mark:
    """Where a group of values begins on the stack."""


class _Key:
    """Stands for a key that is no text or number; nothing here reads such entries."""


MARK = _Mark()
Calls = Callable[[Name], bool]
"""Which names a pickle may call with arguments."""


def parse(source: IO[bytes], may_call: Calls, references: list[Reference] | None = None) -> Any:
    """The tree of the pickle at the position of `source`, which moves behind it.

    Lists, dicts, tuples, texts, bytes and numbers are what they are, sets are lists; the rest are
    `Made`, `Name` and `Reference`. Shared objects stay shared. Calls are recorded, never made; one
    of a name that `may_call` denies is an error all the same. Objects without arguments may be of
    any class: their attributes are data. What the pickle leaves to its container is added to
    `references`.

    Raises:
        PickleError: with a reason that fits behind the name of the file.
    """
    machine = _Machine(may_call, [] if references is None else references)
    try:
        for operation, argument, _ in _counted(source):
            machine.step(operation.name, argument)
        return machine.result()
    except PickleError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise PickleError(f"a damaged pickle ({type(error).__name__}: {reason})") from None
    except (MemoryError, RecursionError):
        raise PickleError("a pickle that declares more than it holds") from None


def _counted(source: IO[bytes]) -> Iterator[tuple[Any, Any, int | None]]:
    for count, step in enumerate(pickletools.genops(source)):
        if count >= MOST_OPERATIONS:
            raise PickleError(f"a pickle of more than {MOST_OPERATIONS:,} operations")
        yield step


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, may_call: Calls, references: list[Reference]) -> None:
        self.may_call, self.references = may_call, references
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def result(self) -> Any:
        """What is left when the pickle stops."""
        (value,) = self.stack
        return value

    def step(self, name: str, argument: Any) -> None:
        """Follow one operation."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in PUTS:
            self.memo[len(self.memo) if argument is None else _place(argument)] = self.stack[-1]
        elif name in GETS:
            self.stack.append(self.memo[argument])
        elif name in STEPS:
            STEPS[name](self, argument)
        elif name not in IGNORED:
            raise PickleError(f"a pickle with the operation {name}, which no checkpoint needs")

    def pop(self) -> Any:
        """The last value, which must not be a mark."""
        value = self.stack.pop()
        if value is MARK:
            raise PickleError("a damaged pickle (a group ends where none begins)")
        return value

    def group(self) -> list[Any]:
        """Everything above the last mark."""
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is MARK:
                values = self.stack[start + 1 :]
                del self.stack[start:]
                return values
        raise PickleError("a damaged pickle (a group ends where none begins)")

    def fill(self, items: list[Any]) -> None:
        """Append to the list, or set in the dictionary, that is last on the stack."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, dict):
            if len(items) % 2:
                raise PickleError("a damaged pickle (a key without a value)")
            target.update(zip(map(_key, items[::2]), items[1::2], strict=True))
        else:
            raise PickleError("a pickle that changes something else than its own values")

    def call(self, function: Any, arguments: Any) -> None:
        """Record a call."""
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise PickleError("a pickle that calls something else than a name")
        if function == ORDERED and len(arguments) < 2:
            self.stack.append(self.ordered(*arguments))
        elif function in SETS and len(arguments) == 1 and isinstance(arguments[0], list):
            self.stack.append(arguments[0])
        elif self.may_call(function):
            self.stack.append(Made(function, arguments))
        else:
            raise PickleError(f"a pickle that wants to call {function}, which was not done")

    def ordered(self, items: Any = ()) -> dict[Any, Any]:
        """The pairs of a pickle of Python 2, or nothing yet."""
        if not isinstance(items, list | tuple) or not all(
            isinstance(item, list | tuple) and len(item) == 2 for item in items
        ):
            raise PickleError("a damaged pickle (a dictionary of something else than pairs)")
        self.copied += len(items)  # one list may be named again and again
        if self.copied > MOST_OPERATIONS:
            raise PickleError(f"a pickle of more than {MOST_OPERATIONS:,} operations")
        return {_key(key): value for key, value in items}

    def instance(self, of: Any, arguments: Any) -> None:
        """Record an object of a class; with arguments it is a call."""
        if arguments == () and isinstance(of, Name):
            self.stack.append(Made(of, ()))
        else:
            self.call(of, arguments)

    def build(self) -> None:
        """Give the last object its state; a dictionary has none that anyone reads."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, dict):
            raise PickleError("a pickle that changes something else than its own values")

    def named(self, module: Any, name: Any) -> None:
        """Push a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a pickle whose names are no texts")
        self.stack.append(Name(module[:200], name[:200]))


def _key(value: Any) -> Any:
    small = isinstance(value, int) and -LARGEST_KEY < value < LARGEST_KEY
    return value if small or isinstance(value, str | bytes | None) else _Key()


def _place(number: int) -> int:
    if not 0 <= number < MOST_PLACES:
        raise PickleError("a damaged pickle (a memo of places that there cannot be)")
    return number


def _global(machine: _Machine, argument: str) -> None:
    machine.named(*argument.split(" ", 1))


def _stack_global(machine: _Machine, argument: None) -> None:
    name, module = machine.pop(), machine.pop()
    machine.named(module, name)


def _reference(machine: _Machine, argument: None) -> None:
    """A storage of the container; old containers wrap classes too, with their source as text."""
    key = machine.pop()
    wrapped = isinstance(key, tuple) and key[:1] == ("module",) and isinstance(key[1], Name)
    machine.stack.append(key[1] if wrapped else Reference(key))
    if not wrapped:
        machine.references.append(machine.stack[-1])


def _tuple(size: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, argument: Any) -> None:
        values = [machine.pop() for _ in range(size)]
        machine.stack.append(tuple(values[::-1]))

    return step


def _dict(machine: _Machine, argument: None) -> None:
    items = machine.group()
    machine.stack.append({})
    machine.fill(items)


def _call(machine: _Machine, argument: None) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _instance(machine: _Machine, argument: None) -> None:
    arguments, of = machine.pop(), machine.pop()
    machine.instance(of, arguments)


def _keywords(machine: _Machine, argument: None) -> None:
    if machine.pop() != {}:
        raise PickleError("a pickle that makes an object with keywords")
    _instance(machine, None)


def _inst(machine: _Machine, argument: str) -> None:
    values = tuple(machine.group())
    machine.named(*argument.split(" ", 1))
    machine.instance(machine.pop(), values)


def _obj(machine: _Machine, argument: None) -> None:
    of, *values = machine.group()
    machine.instance(of, tuple(values))


def _pop(machine: _Machine, argument: None) -> None:
    machine.stack.pop()


def _pop_mark(machine: _Machine, argument: None) -> None:
    machine.group()


def _item(machine: _Machine, argument: None) -> None:
    value, key = machine.pop(), machine.pop()
    if not isinstance(machine.stack[-1], dict):
        raise PickleError("a pickle that changes something else than its own values")
    machine.fill([key, value])


ORDERED = Name("collections", "OrderedDict")
SETS = {
    Name(module, kind) for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")
}
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
    **{"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list},
    "MARK": lambda: MARK,
}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
IGNORED = {"PROTO", "FRAME", "STOP"}
STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **{"GLOBAL": _global, "STACK_GLOBAL": _stack_global},
    **{"REDUCE": _call, "NEWOBJ": _instance, "NEWOBJ_EX": _keywords, "INST": _inst, "OBJ": _obj},
    **{"TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3)},
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.group())),
    "LIST": lambda machine, _: machine.stack.append(machine.group()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.group()),
    "DICT": _dict,
    **{"APPEND": lambda machine, _: machine.fill([machine.pop()]), "SETITEM": _item},
    "APPENDS": lambda machine, _: machine.fill(machine.group()),
    "ADDITEMS": lambda machine, _: machine.fill(machine.group()),
    "SETITEMS": lambda machine, _: machine.fill(machine.group()),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": _reference,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
}
