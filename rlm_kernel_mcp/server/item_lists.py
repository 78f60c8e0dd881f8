"""What a right list of objects looks like: quotes of an answer, answers to questions, and functions on offer.

Is: as `arguments.py`, whose kinds these are. Is not: which tool takes what (`requests.py`). Above: `argument_types.py`.
Below: `arguments.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import DESCRIPTION_CHARS_MAX, FUNCTION_NAME_CHARS_MAX
from rlm_kernel_mcp.server.arguments import Argument, IntegerArg, NameArg, TextArg, describe_value

PASSAGE: Final = TextArg(low=1, high=20_000, nul=True)
DOCUMENT: Final = TextArg(low=1, high=4096, nullable=True)
NUMBER: Final = IntegerArg(low=1, high=10**15)
ANSWER: Final = TextArg(high=200_000, nul=True)
NAME: Final = NameArg(low=1, high=FUNCTION_NAME_CHARS_MAX)
DESCRIPTION: Final = TextArg(high=DESCRIPTION_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotesArg(Argument):
    """A list of passages: each a text, or an object of a text and the name of the document that has it."""

    high: int = 0
    chars_max: int = 0
    """Characters of all texts together."""
    text: TextArg = PASSAGE
    doc: TextArg = DOCUMENT

    def expected(self) -> str:
        return f"a list of at most {self.high:,} quotes, each a text or {{text, doc}}"

    def error(self, value: object) -> str | None:
        if not isinstance(value, list) or len(value) > self.high:
            return f"must be {self.expected()}; given: {describe_value(value)}"
        errors = (f"[{place}] {error}" for place, item in enumerate(value) if (error := self._error_of_one(item)))
        if (first := next(errors, None)) is not None:
            return first
        chars = sum(len(item if isinstance(item, str) else item["text"]) for item in value)
        return None if chars <= self.chars_max else f"has {chars:,} characters; at most {self.chars_max:,} are checked"

    def _error_of_one(self, item: object) -> str | None:
        if not isinstance(item, dict):
            return self.text.error(item)
        if "text" not in item or not item.keys() <= {"text", "doc"}:
            return "must be a text, or an object of text and, if it is to be in that document alone, doc"
        if (error := self.text.error(item["text"])) is not None:
            return f"text {error}"
        error = None if item.get("doc") is None else self.doc.error(item["doc"])
        return None if error is None else f"doc {error}"

    def value_schema(self) -> dict[str, Any]:
        text = self.text.value_schema()
        named = {
            "type": "object",
            "properties": {"text": text, "doc": self.doc.value_schema()},
            "required": ["text"],
            "additionalProperties": False,
        }
        return {"type": "array", "items": {"anyOf": [text, named]}, "maxItems": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersArg(Argument):
    """A list of answers: each an object of a question's id and either the answer or why there is none."""

    high: int = 0
    id: IntegerArg = NUMBER
    text: TextArg = ANSWER

    def expected(self) -> str:
        return f"a list of at most {self.high:,} answers, each {{id, text}} or {{id, error}}"

    def normalized(self, value: object) -> object:
        return _each_normalized(value, "id", self.id)

    def error(self, value: object) -> str | None:
        if not isinstance(value, list) or len(value) > self.high:
            return f"must be {self.expected()}; given: {describe_value(value)}"
        errors = (f"[{place}] {error}" for place, item in enumerate(value) if (error := self._error_of_one(item)))
        return next(errors, None)

    def _error_of_one(self, item: object) -> str | None:
        if not isinstance(item, dict) or item.keys() not in ({"id", "text"}, {"id", "error"}):
            return "must be an object of id and text, or of id and error where there is no answer"
        if (error := self.id.error(item["id"])) is not None:
            return f"id {error}"
        (name,) = item.keys() - {"id"}
        error = self.text.error(item[name])
        return None if error is None else f"{name} {error}"

    def value_schema(self) -> dict[str, Any]:
        number, text = self.id.value_schema(), self.text.value_schema()
        given = {"type": "object", "properties": {"id": number, "text": text, "error": text}, "required": ["id"]}
        return {"type": "array", "items": given | {"additionalProperties": False}, "maxItems": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionsArg(Argument):
    """A list of functions: each an object of a name, which no other has, and what it does."""

    high: int = 0
    name: NameArg = NAME
    description: TextArg = DESCRIPTION

    def expected(self) -> str:
        return f"a list of at most {self.high:,} functions, each {{name, description}}"

    def normalized(self, value: object) -> object:
        return _each_normalized(value, "name", self.name)

    def error(self, value: object) -> str | None:
        if not isinstance(value, list) or len(value) > self.high:
            return f"must be {self.expected()}; given: {describe_value(value)}"
        errors = (f"[{place}] {error}" for place, item in enumerate(value) if (error := self._error_of_one(item)))
        return next(errors, None) or _second_of([item["name"] for item in value])

    def _error_of_one(self, item: object) -> str | None:
        if not isinstance(item, dict) or "name" not in item or not item.keys() <= {"name", "description"}:
            return "must be an object of name and description"
        if (error := self.name.error(item["name"])) is not None:
            return f"name {error}"
        error = self.description.error(item.get("description", ""))
        return None if error is None else f"description {error}"

    def value_schema(self) -> dict[str, Any]:
        parts = {"name": self.name.value_schema(), "description": self.description.value_schema()}
        one = {"type": "object", "properties": parts, "required": ["name"], "additionalProperties": False}
        return {"type": "array", "items": one, "maxItems": self.high}


def _each_normalized(rows: object, key: str, kind: Argument) -> object:
    """A list of objects, where one part of each stands for another value."""
    if not isinstance(rows, list):
        return rows
    return [row | {key: kind.normalized(row[key])} if isinstance(row, dict) and key in row else row for row in rows]


def _second_of(names: Sequence[str]) -> str | None:
    """What is wrong with names of which one comes twice."""
    return next((f"[{at}] name {name!r} is there twice" for at, name in enumerate(names) if name in names[:at]), None)
