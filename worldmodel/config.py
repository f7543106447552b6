"""Configurations: frozen dataclasses whose ranges stand at their fields and hold for everyone.

A field is annotated with what it may be (:data:`Count`, ``Annotated[float, Gt(0)]``, a ``Literal``, a :class:`Name`)::

    @config
    class SearchConfig:
        num_samples: Count = 32
        '''Candidate plans of an iteration.'''

The command line shows the range in ``--help``. Made from Python, from arguments
(:func:`parse`) or from JSON (:func:`from_json`), a wrong one raises a :class:`ConfigError`, which names the field, the
rule and the value.
"""

import contextlib
import contextvars
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

import pydantic
from annotated_types import Ge, Gt, Le, Lt, MinLen
from tyro.constructors import PrimitiveConstructorSpec

from worldmodel.storage.files import absolute, parse_json

T = TypeVar("T")


class ConfigError(ValueError):
    """A field of a configuration has a value that makes no sense.

    Attributes:
        field: Dotted path of the field.
        rule: What it must be.
    """

    def __init__(self, field: str, rule: str, value: Any) -> None:
        super().__init__(f"{field} must be {rule}, got {_shown(value)}")
        self.field = field
        self.rule = rule
        self.value = value


def number(kind: type, words: str) -> PrimitiveConstructorSpec[Any]:
    """How the command line reads a number and shows its range; the range itself is checked by :func:`check`."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{kind.__name__.upper()} {words}",
        instance_from_str=lambda arguments: kind(arguments[0]),
        is_instance=lambda value: isinstance(value, kind) or (kind is float and isinstance(value, int)),
        str_from_instance=lambda value: [str(value)],
    )


class Name(PrimitiveConstructorSpec[str]):
    """A name in one of some registries, which are asked when a value is checked: names may be added at any time.

    ``Annotated[str, Name(ENCODERS)]``, with ``ENCODERS = {"strided": strided_encoder}``.
    """

    def __init__(self, *registries: Iterable[str]) -> None:
        object.__setattr__(self, "registries", registries)

    __eq__, __hash__ = object.__eq__, object.__hash__
    nargs = 1
    choices = property(lambda self: tuple(name for names in self.registries for name in names))
    metavar = property(lambda self: f"{{{','.join(self.choices)}}}")
    is_instance = property(lambda self: lambda value: isinstance(value, str) and value in self.choices)
    instance_from_str = staticmethod(lambda arguments: arguments[0])
    str_from_instance = staticmethod(lambda value: [value])

    def _check(self, value: Any) -> str:
        if not self.is_instance(value):
            raise ValueError(f"one of {', '.join(map(repr, self.choices))}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return pydantic.PlainValidator(self._check).__get_pydantic_core_schema__(source, handler)


def construct(component: Callable[..., T], *arguments: Any, options: Any, prefix: str = "") -> T:
    """Constructs a component whose keywords are fields of a configuration.

    A keyword ``width`` gets the value of the field ``width`` or ``{prefix}width``. Without such a field it keeps its
    default.

    Args:
        component: The class.
        *arguments: Its first arguments.
        options: The configuration.
        prefix: A beginning that the names of its fields may have.
    """
    names = list(inspect.signature(component).parameters)[len(arguments) :]
    known = {field.name for field in fields(options)}
    found = {name: field for name in names for field in (name, f"{prefix}{name}") if field in known}
    return component(*arguments, **{name: getattr(options, field) for name, field in found.items()})


Count = Annotated[int, Ge(1), Le(10**12), number(int, "≥ 1")]
"""A number of things, at least one."""
CountFromZero = Annotated[int, Ge(0), Le(10**12), number(int, "≥ 0")]
"""A number of things, or none."""
CountFromTwo = Annotated[int, Ge(2), Le(10**12), number(int, "≥ 2")]
"""A number of things, at least two, such as rows whose variance is taken."""
Width = Annotated[int, Ge(1), Le(2**24), number(int, "≥ 1")]
"""Features of a layer."""
Widths = Annotated[tuple[Width, ...], MinLen(1)]
"""Widths of layers, at least one."""
Side = Annotated[int, Ge(1), Le(2**14), number(int, "≥ 1")]
"""Pixels along a side of an image or of a patch."""
Depth = Annotated[int, Ge(0), Le(256), number(int, "in 0…256")]
"""Layers in a row."""
Seed = Annotated[int, Ge(0), Lt(2**32), number(int, "in 0…2³²−1")]
"""A seed, as NumPy, torch and Gymnasium all take it."""
Positive = Annotated[float, Gt(0), number(float, "> 0")]
"""A number above zero."""
NonNegative = Annotated[float, Ge(0), number(float, "≥ 0")]
"""Zero or a number above it."""
Fraction = Annotated[float, Ge(0), Le(1), number(float, "in [0, 1]")]
"""A part of a whole."""
ProperFraction = Annotated[float, Ge(0), Lt(1), number(float, "in [0, 1)")]
"""A part of a whole, less than all of it."""


def _from_text(arguments: list[str]) -> Any:
    """Reads JSON of the command line; what is none stays text, which the check of the field refuses."""
    try:
        return json.loads(arguments[0])
    except (ValueError, RecursionError):
        return arguments[0]


def _require_object(value: Any) -> Any:
    """Refuses what is no JSON object."""
    try:
        if isinstance(value, dict):
            parse_json(json.dumps(value, allow_nan=False).encode(), Path("JSON"))
            return value
    except (ValueError, TypeError, RecursionError):
        pass
    raise ValueError("a JSON object such as '{\"layout\": [25, 40]}'")


JsonDict = Annotated[
    dict[str, Any],
    pydantic.BeforeValidator(_require_object),
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=_from_text,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    ),
]
"""An object of JSON, such as keywords of an environment."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(kind: type[T]) -> type[T]:
    """Makes a class a configuration: a frozen dataclass of keywords that checks its fields when it is made.

    Paths become absolute. A class may check in a method ``rules`` that its fields fit together, and raise a
    :class:`ConfigError`.
    """

    def __post_init__(self: Any) -> None:  # noqa: N807 - dataclasses look for this name
        if not _parsing.get():
            check(self)
            _settle(self)

    kind.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(kind)


@contextlib.contextmanager
def _within_path(prefix: str) -> Iterator[None]:
    """Puts the path of a configuration, such as ``"data."``, before the field that a :class:`ConfigError` names."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error.field}", error.rule, error.value) from None


def check(values: Any) -> None:
    """Checks a configuration and those within it.

    Raises:
        ConfigError: If a field has a value that makes no sense.
    """
    kind: Any = type(values)
    for name, annotation in _annotations(kind).items():
        value = getattr(values, name)
        if is_dataclass(annotation):
            if not isinstance(value, annotation):  # type: ignore[arg-type]
                raise ConfigError(name, f"a {annotation.__name__}", value)  # type: ignore[union-attr]
            with _within_path(f"{name}."):
                check(value)
            continue
        try:
            _adapter(kind, name).validate_python(value)
        except pydantic.ValidationError as error:
            first = _first(error.errors(include_url=False), value)
            place, found = _within(value, first["loc"])
            raise ConfigError(f"{name}{place}", _rule(first), found) from None
    if hasattr(values, "rules"):
        values.rules()


def parse(kind: type[T], arguments: Sequence[str], *, prog: str, description: str, default: T | None = None) -> T:
    """Reads a configuration from arguments of the command line.

    Raises:
        ConfigError: If a field has a value that makes no sense.
        SystemExit: After ``--help``, or if arguments are not understood.
    """
    import tyro

    token = _parsing.set(True)  # checked at the end, so that messages hold the whole path of a field
    try:
        keywords: dict[str, Any] = {} if default is None else {"default": default}
        values: T = tyro.cli(kind, args=arguments, prog=prog, description=description, **keywords)
    finally:
        _parsing.reset(token)
    check(values)
    _settle(values)
    return values


def command(kind: type[T], run: Callable[[T], object], name: str) -> Callable[[Sequence[str]], None]:
    """A command's ``main``: reads the configuration from the arguments, and runs it.

    ::

        main = command(EvaluateConfig, run, "evaluate")

    Args:
        kind: The configuration; its docstring describes the command.
        run: What the command does.
        name: The word after ``worldmodel``.
    """

    def main(argv: Sequence[str]) -> None:
        run(parse(kind, argv, prog=f"worldmodel {name}", description=inspect.getdoc(kind) or ""))

    return main


def to_json(values: Any) -> dict[str, Any]:
    """A configuration as JSON types."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(values).items()}


def from_json(kind: type[T], values: Any, what: str = "") -> T:
    """A configuration from JSON types.

    Args:
        kind: Its class.
        values: An object; fields that it lacks get their defaults.
        what: Path of it, for messages, such as ``"model."``.

    Raises:
        ConfigError: If a field is unknown or missing, or its value makes no sense.
    """
    section = what.rstrip(".") or kind.__name__
    if not isinstance(values, Mapping):
        raise ConfigError(section, f"an object with the fields of {kind.__name__}", values)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(section, f"an object with fields among {', '.join(known)}", unknown[0])
    needed = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ConfigError(section, f"an object with the field {missing[0]!r}", sorted(values))
    annotations = _annotations(kind)  # type: ignore[arg-type]
    keywords: dict[str, Any] = {}
    for key, value in values.items():
        nested = annotations[key]
        if is_dataclass(nested):
            keywords[key] = from_json(nested, value, f"{what}{key}.")  # type: ignore[arg-type]
        else:
            keywords[key] = tuple(value) if isinstance(value, list) else value
    with _within_path(what):
        return kind(**keywords)


def changed(values: T, changes: Mapping[str, Any]) -> T:
    """A configuration with some fields changed, by dotted path.

    Raises:
        ConfigError: If there is no such field, or its value makes no sense.
    """
    known = [f.name for f in fields(values)] if is_dataclass(values) else []
    new: dict[str, Any] = {}
    within: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        if first not in known:
            raise ConfigError("field", f"one of {', '.join(known)}", first)
        if rest:
            within.setdefault(first, {})[rest] = value
        else:
            new[first] = value
    for first, rest_of in within.items():
        with _within_path(f"{first}."):
            new[first] = changed(new.get(first, getattr(values, first)), rest_of)
    return replace(values, **new)  # type: ignore[type-var]


def differences(before: Any, now: Any, prefix: str = "") -> Iterator[str]:
    """Differences between two configurations in JSON types, in words: ``model.latent_dim (was 32, now 64)``."""
    for key in before.keys() | now.keys():
        a, b = before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} (was {_shortened(str(a))}, now {_shortened(str(b))})"


_parsing = contextvars.ContextVar("parsing", default=False)
"""Whether the command line is being read: then the whole is checked at the end."""


@functools.cache
def _annotations(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    found = {field.name: hints[field.name] for field in fields(kind)}
    # How the command line shows a part of a configuration makes it no other.
    parts = {name: getattr(hint, "__origin__", None) for name, hint in found.items()}
    return found | {name: part for name, part in parts.items() if is_dataclass(part)}


@functools.cache
def _adapter(kind: Any, name: str) -> Any:
    settings = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return pydantic.TypeAdapter(_annotations(kind)[name], config=settings)


def _settle(values: Any) -> None:
    """Makes paths absolute, so that they mean the same wherever and whenever they are used."""
    kind: Any = type(values)
    for name in _annotations(kind):
        value = getattr(values, name)
        if isinstance(value, Path):
            object.__setattr__(values, name, absolute(value))
        elif isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
            object.__setattr__(values, name, tuple(absolute(i) if isinstance(i, Path) else i for i in value))
        elif is_dataclass(value) and not isinstance(value, type):
            _settle(value)


def _first(errors: Sequence[Any], value: Any) -> Any:
    """What is wrong with the first item that something is wrong with, or with the whole."""
    # Items that are wrong are not counted, so that a list may also seem too short.
    found = [error for error in errors if error["type"] != "too_short"] or errors
    if isinstance(value, tuple | list | Mapping):
        found = [error for error in found if error["loc"][:1] == found[0]["loc"][:1]]
    return found[-1]


def _rule(error: Any) -> str:
    """What a field must be, from what pydantic found wrong."""
    limits = {key: f"{x:g}" if isinstance(x, float) else x for key, x in error.get("ctx", {}).items()}
    words = {
        "greater_than_equal": f"at least {limits.get('ge')}",
        "less_than_equal": f"at most {limits.get('le')}",
        "int_type": "an integer",
        "int_parsing_size": "an integer of ordinary size",
        "float_type": "a number",
        "bool_type": "True or False",
        "string_type": "a text",
        "tuple_type": "a list of values",
        "dict_type": "names with values",
        "literal_error": f"one of {str(limits.get('expected')).replace(' or ', ', ')}",
        "too_short": "at least one value" if limits.get("min_length") == 1 else f"{limits.get('min_length')} values",
        "is_instance_of": f"a {limits.get('class')}",
    }
    return words.get(error["type"]) or error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _within(value: Any, parts: Sequence[Any]) -> tuple[str, Any]:
    """The place within a field that an error is about, and its value."""
    place = ""
    for part in parts:
        known = range(len(value)) if isinstance(value, tuple | list) else value if isinstance(value, Mapping) else ()
        if part in known:
            place, value = f"{place}[{part!r}]", value[part]
    return place, value


def _shown(value: Any) -> str:
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
