"""What a right argument looks like: a small class for each kind, with its check and its schema.

Is: the words that a model reads when it gets an argument wrong. Is not: which tool takes what (`requests.py`). Pydantic
calls `check`; no text of pydantic's own reaches a client. Above: `requests.py`. Below: `text/safe_text.py`.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import CoreSchema, core_schema

from rlm_kernel_mcp.text.safe_text import safe_text

SHOWN_CHARS: Final = 40
"""Characters of a wrong text that a message shows."""
QUESTION: Final = re.compile(r"question:\d{1,18}", re.ASCII)


def describe_value(value: object) -> str:
    """A JSON value in a few words, for a message: never long, whatever the value is."""
    match value:
        case int() if not isinstance(value, bool):
            text = str(value) if value.bit_length() < 64 else "a number beyond 64 bits"
        case float():
            text = repr(value) if math.isfinite(value) else "a number that is not finite"
        case str() if len(value) <= SHOWN_CHARS:
            text = f'the text "{safe_text(value)}"'
        case str():
            text = f'a text of {len(value):,} characters that begins "{safe_text(value[:SHOWN_CHARS])}"'
        case list():
            text = f"a list of {len(value):,}"
        case dict():
            text = "an object"
        case _:
            text = {"None": "null", "True": "true", "False": "false"}.get(str(value), type(value).__name__)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """Base of the kinds. `nullable` arguments take null as "not given"; `publish_null` says so in the schema."""

    nullable: bool = False
    publish_null: bool = False

    def expected(self) -> str:
        """What a right value is, with bounds and unit."""
        raise NotImplementedError

    def normalized(self, value: object) -> object:
        """What a value stands for, before it is judged."""
        return value

    def error(self, value: object) -> str | None:
        """What is wrong with `value`, as the end of a sentence that begins with the argument's name; None if right."""
        raise NotImplementedError

    def value_schema(self) -> dict[str, Any]:
        """JSON schema of a right value that is not null."""
        raise NotImplementedError

    def check(self, value: object) -> object:
        """Return what a right value stands for.

        Raises:
            ValueError: the value is wrong; the text is ours.
        """
        if value is None and self.nullable:
            return None
        normalized = self.normalized(value)
        error = self.error(normalized)
        if error is not None:
            raise ValueError(error)
        return tuple(normalized) if isinstance(normalized, list) else normalized

    def json_schema(self) -> dict[str, Any]:
        """JSON schema as `tools/list` shows it."""
        return {"anyOf": [self.value_schema(), {"type": "null"}]} if self.publish_null else self.value_schema()

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerArg(Argument):
    """A whole number within bounds. A boolean is not one; 5.0 is 5, as in JSON; -0.0 is refused as a slip."""

    low: int = 0
    high: int = 0
    unit: str = ""

    def expected(self) -> str:
        unit = f" of {self.unit}" if self.unit else ""
        return f"a whole number{unit} from {self.low:,} to {self.high:,}"

    def normalized(self, value: object) -> object:
        is_whole = isinstance(value, float) and value.is_integer() and repr(value) != "-0.0"
        return int(value) if is_whole else value  # type: ignore[call-overload]  # then it is a float

    def error(self, value: object) -> str | None:
        if type(value) is int and self.low <= value <= self.high:
            return None
        return f"must be {self.expected()}; given: {describe_value(value)}"

    def value_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextArg(Argument):
    """A text within length bounds that can be written as UTF-8; with `nul` it may hold NUL characters."""

    low: int = 0
    high: int | None = None
    nul: bool = False

    def expected(self) -> str:
        if self.high is None:
            return "a text" if self.low == 0 else "a text that is not empty"
        return f"a text of {self.low:,} to {self.high:,} characters"

    def error(self, value: object) -> str | None:
        if not isinstance(value, str):
            return f"must be {self.expected()}; given: {describe_value(value)}"
        if len(value) < self.low or (self.high is not None and len(value) > self.high):
            given = f"{len(value):,} characters" if value else "an empty text"
            return f"must be {self.expected()}; given: {given}"
        return self.character_error(value)

    def character_error(self, value: str) -> str | None:
        """What is wrong with a character of the text."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            where = f"character {error.start:,} (U+{ord(value[error.start]):04X})"
            return f"must be valid Unicode; {where} is half of a surrogate pair, or a byte that was not UTF-8"
        if not self.nul and (at := value.find("\0")) >= 0:
            return f"must not hold a NUL character; there is one at character {at:,}"
        return None

    def value_schema(self) -> dict[str, Any]:
        bounds = {"minLength": self.low or None, "maxLength": self.high}
        return {"type": "string"} | {name: bound for name, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameArg(TextArg):
    """A Python identifier in the form that Python itself gives it (NFKC): a letter with its accent is one character."""

    def expected(self) -> str:
        return "one Python identifier (no dots, calls or indexes)"

    def normalized(self, value: object) -> object:
        if not isinstance(value, str) or (self.high is not None and len(value) > self.high):
            return value
        return unicodedata.normalize("NFKC", value) if value.isidentifier() else value

    def character_error(self, value: str) -> str | None:
        # str.isidentifier is false for every text with a surrogate or a NUL in it.
        if keyword.iskeyword(value):
            return f"must be a name that a value can have; given: {describe_value(value)}, a keyword of Python"
        if value.isidentifier():
            return None
        return f"must be {self.expected()}; given: {describe_value(value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableArg(NameArg):
    """A Python identifier, or `question:` and the id of a question that code asks."""

    def character_error(self, value: str) -> str | None:
        return None if QUESTION.fullmatch(value) else NameArg.character_error(self, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsArg(Argument):
    """A list of paths or globs."""

    low: int = 1
    high: int = 0
    noun: str = "paths"
    path: TextArg = TextArg(low=1, high=4096)

    def expected(self) -> str:
        return f"a list of {self.low:,} to {self.high:,} {self.noun}"

    def error(self, value: object) -> str | None:
        if not isinstance(value, list) or not self.low <= len(value) <= self.high:
            return f"must be {self.expected()}; given: {describe_value(value)}"
        errors = (f"[{place}] {error}" for place, item in enumerate(value) if (error := self.path.error(item)))
        return next(errors, None)

    def value_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.path.value_schema(), "minItems": self.low, "maxItems": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceArg(Argument):
    """One of a few words."""

    words: tuple[str, ...] = ()

    def expected(self) -> str:
        return " or ".join(f'"{word}"' for word in self.words)

    def error(self, value: object) -> str | None:
        if isinstance(value, str) and value in self.words:
            return None
        return f"must be {self.expected()}; given: {describe_value(value)}"

    def value_schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}
