"""What a field may hold: one small class per kind, which checks a value, writes it to JSON and reads it back.

The kinds stand in the type of a field (`steps: Annotated[int, Whole(1, 1_000_000)]`). A `Record` looks them up and
checks itself when it is built, so that a wrong one cannot exist. Nothing is converted that could change a value: a bool
is no number, 3.0 is not whole, and NaN is refused.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from .errors import Described, LocalProtocolError, shortened

if TYPE_CHECKING:
    from .arrays import Array, Png

    def cache(function: Function) -> Function:  # to mypy a class with __eq__ alone is no key
        return function
else:
    from functools import cache

Axes = dict[str, int]
"""The lengths of the named axes of one record, such as {"vertices": 8}: all its arrays must agree on them."""
AnyRecord = TypeVar("AnyRecord")
Function = TypeVar("Function")


class ArraySink(Protocol):
    """Where `to_json` puts the arrays that go into frames of their own."""

    def put(self, array: np.ndarray) -> dict[str, int]: ...  # what stands in the JSON for it


class ArraySource(Protocol):
    """Where `from_json` finds the arrays that came in frames of their own."""

    def take(self, reference: Any, path: str, kind: Array | Png) -> Any: ...


class Kind:
    """What one field may hold."""

    most_arrays: int = 0
    """How many array frames a value can need."""

    def describe(self) -> str:
        """What is right, as it stands in errors and in docs/wire_protocol.md."""
        raise NotImplementedError

    def checked(self, value: Any, path: str, axes: Axes) -> Any:
        """The value as it is kept.

        Raises:
            LocalProtocolError: It is not allowed.
        """
        raise NotImplementedError

    def to_json(self, value: Any, arrays: ArraySink) -> Any:
        return value

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        """What `checked` is to be asked about: shapes the JSON, and checks only what it needs for that."""
        return value


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    def describe(self) -> str:
        return "true or false"

    def checked(self, value: Any, path: str, axes: Axes) -> bool:
        if not isinstance(value, bool):
            raise LocalProtocolError.at(path, value, self.describe())
        return value


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number."""

    low: int
    high: int

    def describe(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def checked(self, value: Any, path: str, axes: Axes) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise LocalProtocolError.at(path, value, self.describe())
        return int(value)


@dataclass(frozen=True)
class Number(Kind):
    """A finite number."""

    low: float
    high: float

    def describe(self) -> str:
        return f"a number from {plain(self.low)} to {plain(self.high)}"

    def checked(self, value: Any, path: str, axes: Axes) -> float:
        # NaN compares as false with everything.
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise LocalProtocolError.at(path, value, self.describe())
        return float(value)


_UNSAFE_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_BREAKS = re.compile("[\t\n]")


@dataclass(frozen=True)
class Text(Kind):
    """Unicode text, counted in code points. No control characters; line feeds and tabs where `lines` says so."""

    least: int
    most: int
    pattern: str = ""
    """If given, the whole text must match this regular expression."""
    lines: bool = False

    def describe(self) -> str:
        if self.pattern:
            return f"text of {self.least} to {self.most} characters that matches `{self.pattern}`"
        return f"{'text' if self.lines else 'one line'} of {self.least} to {self.most} characters"

    def checked(self, value: Any, path: str, axes: Axes) -> str:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most or not self._is_allowed(value):
            raise LocalProtocolError.at(path, value, self.describe())
        return value

    def _is_allowed(self, value: str) -> bool:
        if self.pattern:
            return re.fullmatch(self.pattern, value) is not None
        if not self.lines and _LINE_BREAKS.search(value):
            return False
        return _UNSAFE_CHARACTERS.search(value) is None and (self.least == 0 or not value.isspace())


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def describe(self) -> str:
        return "one of " + ", ".join(self.words)

    def checked(self, value: Any, path: str, axes: Axes) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise LocalProtocolError.at(path, value, self.describe())
        return value


@dataclass(frozen=True)
class Maybe(Kind):
    """Nothing, or what another kind allows."""

    kind: Kind

    @property
    def most_arrays(self) -> int:  # type: ignore[override]
        return self.kind.most_arrays

    def describe(self) -> str:
        return f"{self.kind.describe()}, or null"

    def checked(self, value: Any, path: str, axes: Axes) -> Any:
        return None if value is None else self.kind.checked(value, path, axes)

    def to_json(self, value: Any, arrays: ArraySink) -> Any:
        return None if value is None else self.kind.to_json(value, arrays)

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        return None if value is None else self.kind.from_json(value, path, arrays)


@dataclass(frozen=True)
class Many(Kind):
    """A list. In the type of a field it says how long: the kind of the items comes from `tuple[item, ...]`."""

    least: int
    most: int
    kind: Kind = Flag()

    @property
    def most_arrays(self) -> int:  # type: ignore[override]
        return self.most * self.kind.most_arrays

    def describe(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {count}, each {self.kind.describe()}"

    def checked(self, value: Any, path: str, axes: Axes) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or not self.least <= len(value) <= self.most:
            raise LocalProtocolError.at(path, value, self.describe())
        # Records inside have checked their own axes.
        return tuple(self.kind.checked(each, f"{path}[{index}]", {}) for index, each in enumerate(value))

    def to_json(self, value: Any, arrays: ArraySink) -> list[Any]:
        return [self.kind.to_json(each, arrays) for each in value]

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > self.most:
            return self.checked(value, path, {})  # says what is wrong
        return tuple(self.kind.from_json(each, f"{path}[{index}]", arrays) for index, each in enumerate(value))


@dataclass(frozen=True)
class Table(Kind):
    """Names with a value each, such as {"smoothness": 0.2}."""

    most: int
    name: Text
    kind: Kind

    def describe(self) -> str:
        return f"at most {self.most} names ({self.name.describe()}), each with {self.kind.describe()}"

    def checked(self, value: Any, path: str, axes: Axes) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > self.most:
            raise LocalProtocolError.at(path, value, self.describe())
        return {
            self.name.checked(name, f"{path} (a name)", {}): self.kind.checked(each, f"{path}.{name}", {})
            for name, each in value.items()
        }


@dataclass(frozen=True)
class Nested(Kind):
    """A record inside another."""

    record: type[Record]

    @property
    def most_arrays(self) -> int:  # type: ignore[override]
        return most_arrays_of(self.record)

    def describe(self) -> str:
        return self.record.__name__

    def checked(self, value: Any, path: str, axes: Axes) -> Any:
        if not isinstance(value, self.record):
            raise LocalProtocolError.at(path, value, self.describe())
        return value

    def to_json(self, value: Any, arrays: ArraySink) -> dict[str, Any]:
        return record_to_json(value, arrays)

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        return record_from_json(self.record, value, path, arrays)


@dataclass(frozen=True)
class OneOf(Kind):
    """One of several records. Its JSON says which in the key "kind", by `Record.kind`."""

    records: tuple[type[Record], ...]

    @property
    def most_arrays(self) -> int:  # type: ignore[override]
        return max(most_arrays_of(each) for each in self.records)

    def describe(self) -> str:
        return " or ".join(each.__name__ for each in self.records)

    def checked(self, value: Any, path: str, axes: Axes) -> Any:
        if not isinstance(value, self.records):
            raise LocalProtocolError.at(path, value, self.describe())
        return value

    def to_json(self, value: Any, arrays: ArraySink) -> dict[str, Any]:
        return {"kind": value.kind} | record_to_json(value, arrays)

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        if not isinstance(value, dict):
            raise LocalProtocolError.at(path, value, f"an object: {self.describe()}")
        by_kind = {each.kind: each for each in self.records}
        name = Choice(tuple(by_kind)).checked(value.get("kind"), f"{path}.kind", {})
        rest = {key: each for key, each in value.items() if key != "kind"}
        return record_from_json(by_kind[name], rest, path, arrays)


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def record(cls: type[AnyRecord]) -> type[AnyRecord]:
    """Makes a `Record` of a class: a frozen dataclass, built with keywords, compared and shown by `Record`."""
    return dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)


@record
class Record:
    """Something with fields that checks itself when it is built.

    Arrays are kept as read-only views: building one copies no array that is contiguous, and whoever gave it must leave
    it alone from then on.
    """

    kind: ClassVar[str] = ""
    """Its name where several records are possible."""

    def __post_init__(self) -> None:
        axes: Axes = {}
        values, defaults = self.__dict__, defaults_of(type(self))
        for name, kind in kinds_of(type(self)).items():
            value = values[name]
            if name not in defaults or value is not defaults[name]:
                values[name] = kind.checked(value, name, axes)  # frozen is for all others
        self._check()

    def _check(self) -> None:
        """What no field can say alone. Raises LocalProtocolError."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_are_equal(getattr(self, name), getattr(other, name)) for name in kinds_of(type(self)))

    def __repr__(self) -> str:
        changed = (
            f"{each.name}={shortened(getattr(self, each.name))}"
            for each in dataclasses.fields(self)
            if not is_default(self, each.name)
        )
        return f"{type(self).__name__}({', '.join(changed)})"


@cache
def kinds_of(record_class: type) -> dict[str, Kind]:
    """The kind of each field, in the order of the fields."""
    hints = get_type_hints(record_class, include_extras=True)
    return {each.name: _kind_of_type(hints[each.name]) for each in dataclasses.fields(record_class)}


@cache
def defaults_of(record_class: type) -> dict[str, Any]:
    """The defaults of the fields that have one."""
    defaults = {}
    for each in dataclasses.fields(record_class):
        if each.default is not dataclasses.MISSING:
            defaults[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            defaults[each.name] = each.default_factory()
    return defaults


@cache
def most_arrays_of(record_class: type) -> int:
    """How many array frames such a record can need."""
    return sum(kind.most_arrays for kind in kinds_of(record_class).values())


def is_default(record: Record, name: str) -> bool:
    """Whether a field has its default; it is then left out of the JSON."""
    defaults, value = defaults_of(type(record)), getattr(record, name)
    return name in defaults and (value is defaults[name] or _are_equal(value, defaults[name]))


def record_to_json(record: Record, arrays: ArraySink) -> dict[str, Any]:
    """The fields that do not have their default."""
    return {
        name: kind.to_json(getattr(record, name), arrays)
        for name, kind in kinds_of(type(record)).items()
        if not is_default(record, name)
    }


def record_from_json(record_class: type[Record], value: Any, path: str, arrays: ArraySource) -> Record:
    """Builds, and thereby checks, a record.

    Args:
        path: Where the record is in its message; empty for the message itself.

    Raises:
        LocalProtocolError: An unknown or missing field, or a value that is not allowed; with the whole path.
    """
    if not isinstance(value, dict):
        raise LocalProtocolError.at(path or "fields", value, f"an object: {record_class.__name__}")
    kinds, prefix = kinds_of(record_class), f"{path}." if path else ""
    _refuse_unknown(value, kinds, prefix, record_class)
    given = {name: kind.from_json(value[name], prefix + name, arrays) for name, kind in kinds.items() if name in value}
    for name in kinds:
        if name not in given and name not in defaults_of(record_class):
            raise LocalProtocolError.at(prefix + name, Described("missing"), kinds[name].describe())
    try:
        return record_class(**given)
    except LocalProtocolError as error:
        raise (error.below(path) if path else error) from None


def walk(record: Record) -> Iterator[tuple[str, Kind, Any]]:
    """The name, kind and value of each field."""
    for name, kind in kinds_of(type(record)).items():
        yield name, kind, getattr(record, name)


def plain(number: float) -> str:
    """A number as people write it: 1000000, not 1e+06."""
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:g}"


def _kind_of_type(hint: Any) -> Kind:
    """What the type of a field says."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind = arguments[1]
        return Many(kind.least, kind.most, _kind_of_type(get_args(arguments[0])[0])) if isinstance(kind, Many) else kind
    if origin in (Union, types.UnionType):
        return _kind_of_union(arguments)
    if origin is Literal:
        return Choice(arguments)
    if hint is bool:
        return Flag()
    if isinstance(hint, type) and issubclass(hint, Record):
        return Nested(hint)
    raise TypeError(f"{hint} says not what it may hold; use Annotated")


def _kind_of_union(options: tuple[Any, ...]) -> Kind:
    rest = tuple(each for each in options if each is not type(None))
    kind = _kind_of_type(rest[0]) if len(rest) == 1 else OneOf(rest)
    return Maybe(kind) if len(rest) < len(options) else kind


def _refuse_unknown(value: dict[str, Any], kinds: dict[str, Kind], prefix: str, record_class: type[Record]) -> None:
    if not value.keys() <= kinds.keys():
        unknown = sorted(value.keys() - kinds.keys())
        known = ", ".join(kinds) or "no fields at all"
        shown = unknown[0] if re.fullmatch("[A-Za-z0-9_]{1,40}", unknown[0]) else "?"
        right = f"left out, since {record_class.__name__} has {known}"
        raise LocalProtocolError.at(prefix + shown, value[unknown[0]], right)


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return False
    return bool(one == other)
