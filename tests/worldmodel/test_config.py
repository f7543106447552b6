"""Configurations: ranges stand at the fields, hold for everyone, show in the help."""

import dataclasses
import math
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from tyro.constructors import PrimitiveConstructorSpec

from worldmodel import config as module
from worldmodel.config import ConfigError, Count, Fraction, Positive, Seed, changed, config, from_json, parse, to_json


@config
class Inner:
    """A part."""

    width: Count = 3
    """Its width."""
    kind: Literal["a", "b"] = "a"
    """Its kind."""


@config
class Outer:
    """A whole."""

    inner: Inner = field(default_factory=Inner)
    """A part of it."""
    rate: Positive = 1.0
    """A rate."""
    part: Fraction | None = None
    """A part, or none."""
    widths: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2)
    """Some widths."""
    options: dict[str, int | float] = field(default_factory=dict)
    """Some options."""
    seed: Seed = 0
    """A seed."""
    output: Path = Path("out")
    """Where to write."""

    def rules(self) -> None:
        if self.inner.width > 10 * self.rate:
            raise ConfigError("inner.width", f"at most ten times rate ({self.rate:g})", self.inner.width)


WRONG = [
    ({"rate": 0.0}, "rate must be greater than 0, got 0.0"),
    ({"rate": math.nan}, "rate must be a finite number, got nan"),
    ({"rate": math.inf}, "rate must be a finite number, got inf"),
    ({"rate": "fast"}, "rate must be a number, got 'fast'"),
    ({"part": 1.5}, "part must be at most 1, got 1.5"),
    ({"part": -0.1}, "part must be at least 0, got -0.1"),
    ({"widths": (1, 0)}, r"widths\[1\] must be at least 1, got 0"),
    ({"widths": ()}, r"widths must be at least one value, got \(\)"),
    ({"widths": 3}, "widths must be a list of values, got 3"),
    ({"options": {"a": "b"}}, r"options\['a'\] must be a number, got 'b'"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"seed": 2**32}, "seed must be less than 4294967296, got 4294967296"),
    ({"seed": True}, "seed must be an integer, got True"),
    ({"seed": 2**70}, "seed must be less than 4294967296, got 1180591620717411303424"),
    ({"output": "text"}, "output must be a Path, got 'text'"),
    ({"inner": 3}, "inner must be a Inner, got 3"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_value_that_makes_no_sense_is_named_from_python(without_type_checks, changes, message):
    with pytest.raises(ConfigError, match=message):
        Outer(**changes)
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(Outer(), **changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "-1"], "rate must be greater than 0, got -1.0"),
        (["--rate", "nan"], "rate must be a finite number, got nan"),
        (["--inner.width", "0"], "inner.width must be at least 1, got 0"),
        (["--widths", "3", "0"], r"widths\[1\] must be at least 1, got 0"),
        (["--inner.width", "50"], r"inner.width must be at most ten times rate \(1\), got 50"),
        (["--seed", "18446744073709551616"], "seed must be less than 4294967296"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_with_its_whole_path_from_the_command_line(arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        parse(Outer, arguments, prog="test", description="Tests.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": {"width": -1}}, "data.inner.width must be at least 1, got -1"),
        ({"inner": {"kind": "c"}}, "data.inner.kind must be one of 'a', 'b', got 'c'"),
        ({"inner": [1]}, r"data.inner must be an object with the fields of Inner, got \[1\]"),
        ({"inner": {"x": 1}}, "data.inner must be an object with fields among width, kind, got 'x'"),
        ({"x": 1}, "data must be an object with fields among inner, rate, .*, got 'x'"),
        ({"widths": [1, "2"]}, r"data.widths\[1\] must be an integer, got '2'"),
        ([], r"data must be an object with the fields of Outer, got \[\]"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_from_json(without_type_checks, values, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        from_json(Outer, values, "data.")


def test_a_field_that_must_be_there_is_named():
    @config
    class Needed:
        """It has no defaults."""

        number: Count

    with pytest.raises(ConfigError, match=r"^Needed must be an object with the field 'number', got \[\]"):
        from_json(Needed, {})


def test_json_and_back():
    values = Outer(inner=Inner(width=7), widths=(4, 5), part=0.5)
    content: dict[str, Any] = to_json(values)
    assert content["widths"] == [4, 5]
    content["output"] = values.output
    assert from_json(Outer, content) == values


def test_paths_are_absolute_from_the_moment_a_configuration_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, read = Outer(output=Path("here")), parse(Outer, ["--output", "there"], prog="test", description="Tests.")
    monkeypatch.chdir("/")
    assert (made.output, read.output) == (tmp_path / "here", tmp_path / "there")


def test_fields_are_changed_together():
    """Each alone would break a rule."""
    assert changed(Outer(), {"inner.width": 50, "rate": 5.0}).inner.width == 50
    with pytest.raises(ConfigError, match=r"inner\.width must be at least 1, got 0"):
        changed(Outer(), {"inner.width": 0})
    with pytest.raises(ConfigError, match=r"field must be one of inner, rate, .*, got 'speed'"):
        changed(Outer(), {"speed": 1})


def test_the_help_shows_the_ranges(capsys):
    with pytest.raises(SystemExit):
        parse(Outer, ["--help"], prog="test", description="Tests.")
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("--rate FLOAT > 0", "--inner.width INT ≥ 1", "{FLOAT in [0, 1]}", "--seed INT in 0…2³²−1", "A rate."):
        assert text in shown, text


def test_the_help_says_what_is_checked():
    """Of every named range: a number is refused that its words rule out, and taken that they do not."""
    for name, (good, bad) in {
        "Count": ((1, 10**6), (0, -1)),
        "CountFromZero": ((0, 5), (-1,)),
        "CountFromTwo": ((2, 5), (1,)),
        "Width": ((1,), (0, 2**30)),
        "Depth": ((0, 256), (-1, 257)),
        "Seed": ((0, 2**32 - 1), (-1, 2**32)),
        "Positive": ((1e-9,), (0.0, -1.0)),
        "NonNegative": ((0.0,), (-1e-9,)),
        "Fraction": ((0.0, 1.0), (-0.1, 1.1)),
        "ProperFraction": ((0.0, 0.99), (1.0,)),
    }.items():
        kind = getattr(module, name)
        rules = [item for item in kind.__metadata__ if isinstance(item, Ge | Gt | Le | Lt)]
        (spec,) = (item for item in kind.__metadata__ if isinstance(item, PrimitiveConstructorSpec))
        assert rules
        assert spec.metavar.startswith(kind.__origin__.__name__.upper())
        one = config(type("One", (), {"__annotations__": {"x": kind}, "__module__": __name__}))
        for value in good:
            assert one(x=value).x == value
        for value in bad:
            with pytest.raises(ConfigError, match="x must be"):
                one(x=value)
