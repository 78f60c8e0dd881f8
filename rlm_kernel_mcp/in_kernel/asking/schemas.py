"""What an answer is to be, and whether it is that: a JSON Schema, run where the code that wrote it runs.

Is: the short forms of a schema, the JSON that a backend is given, and the check of an answer. Is not: done in the host,
ever: a schema can run for minutes, and here the step's own deadline ends it. No reference outside the schema is
followed. Above: `calls.py`. Below: `errors.py`, jsonschema.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.questions_wire import REPAIR_CHARS_MAX, SCHEMA_CHARS_MAX

TYPES: Final[Mapping[object, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
FORMS: Final = "a JSON Schema (a dict), or str, int, float, bool, list[...], or a list of allowed strings"
_FENCED: Final = re.compile(r"\s*```\w*\n(.*?)\n?```\s*", re.DOTALL)


class Missed(Exception):
    """An answer that has not the schema; it says in which way, for who is asked once more."""


class Schema:
    """A schema that answers are to have."""

    def __init__(self, wanted: object) -> None:
        """Raises: TypeError, of what is no schema in any of the forms; SubcallError, of a dict that is none."""
        import jsonschema
        import referencing

        self._raw = _spelled(wanted)
        try:
            self.json = json.dumps(self._raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self.json.encode()  # a lone surrogate cannot be sent
            jsonschema.Draft202012Validator.check_schema(self._raw)
        except (jsonschema.SchemaError, TypeError, ValueError, RecursionError) as error:
            raise SubcallError("schema", f"This is no JSON Schema: {_first_words(error)}") from None
        if len(self.json) > SCHEMA_CHARS_MAX:
            raise SubcallError("schema", f"It has {len(self.json):,} characters, of which it may have 64,000.")
        # Of its own, and empty: the library's fetches what a reference names.
        self._validator = jsonschema.Draft202012Validator(self._raw, registry=referencing.Registry())

    def value(self, answer: str) -> Any:
        """The value that an answer has. Raises: Missed; SubcallError, where the schema itself cannot be applied."""
        found = [] if (plain := _parsed(answer)) is _NO_JSON else [plain]
        why = None
        for value in (*found, answer.strip()):  # a text that is wanted is often given without its quotes
            error = self._error(value)
            if error is None:
                return value
            why = why or error
        raise Missed(_shortened(str(why)))

    def _error(self, value: object) -> str | None:
        import referencing.exceptions

        try:
            error = next(self._validator.iter_errors(value), None)
        except (referencing.exceptions.Unresolvable, RecursionError, re.error) as problem:
            raise SubcallError("schema", f"This schema cannot be applied: {_first_words(problem)}") from None
        return None if error is None else f"{error.json_path}: {error.message}"


class _NoJson:
    pass


_NO_JSON: Final = _NoJson()


def _parsed(answer: str) -> Any:
    fenced = _FENCED.fullmatch(answer)
    try:
        return json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return _NO_JSON


def _spelled(wanted: object) -> Any:
    """A short form as JSON Schema."""
    if isinstance(wanted, dict):
        return wanted
    if isinstance(wanted, type) and wanted in TYPES:
        return {"type": TYPES[wanted]}
    if wanted is list:
        return {"type": "array"}
    if get_origin(wanted) is list and isinstance(wanted, types.GenericAlias):
        return {"type": "array", "items": _spelled(get_args(wanted)[0])}
    if isinstance(wanted, list) and wanted and all(isinstance(one, str) for one in wanted):
        return {"enum": wanted}
    raise TypeError(f"schema must be {FORMS}; given: {str(wanted)[:100]}")


def _shortened(why: str) -> str:
    """Head and tail: it begins with the value, and ends with what is wrong with it."""
    return why if len(why) <= REPAIR_CHARS_MAX else f"{why[: REPAIR_CHARS_MAX - 301]}…{why[-300:]}"


def _first_words(error: BaseException) -> str:
    return str(getattr(error, "message", error)).partition("\n")[0][:300] or type(error).__name__
