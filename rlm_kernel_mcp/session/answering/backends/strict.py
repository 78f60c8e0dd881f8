"""A schema as strict endpoints take it.

Is: a JSON Schema narrowed, so that whatever has the narrow one has the wide one too, and put into an object, which such
an endpoint asks for. Is not: a check of an answer: that is the kernel's, where the schema comes from. Nothing of it is
ever run here, and its depth is bounded. Sans-I/O. Above: `requests.py`. Below: the standard library.
"""

from __future__ import annotations

import json
from typing import Any, Final

DEPTH: Final = 8
ANSWER: Final = "answer"
"""The one key of the object."""
KEYS: Final = frozenset(
    {
        "type",
        "enum",
        "const",
        "title",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "anyOf",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    }
)
"""What strict endpoints know. A schema with more goes into the text of the question."""


def strict_form(schema: str) -> dict[str, Any] | None:
    """The object's schema; None where a strict endpoint would not take it."""
    try:
        narrow = _narrow(json.loads(schema), DEPTH)
    except (_TooWide, ValueError, RecursionError):
        return None
    return {"type": "object", "properties": {ANSWER: narrow}, "required": [ANSWER], "additionalProperties": False}


def unwrapped(text: str) -> str:
    """The JSON of the answer in such an object's; where it is none, the text as it is: the kernel will not take it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(found, dict) or ANSWER not in found:
        return text
    try:
        return json.dumps(found[ANSWER], ensure_ascii=False)
    except RecursionError:
        return text


class _TooWide(Exception):
    """A strict endpoint would not take it."""


def _narrow(node: Any, depth: int) -> dict[str, Any]:
    if not isinstance(node, dict) or not depth or not node or not node.keys() <= KEYS:
        raise _TooWide
    narrow = dict(node)
    if node.get("type") == "object" or "properties" in node:
        narrow |= _of_object(node, depth)
    if "items" in node:
        narrow["items"] = _narrow(node["items"], depth - 1)
    elif node.get("type") == "array":
        raise _TooWide
    if "anyOf" in node:
        if not isinstance(node["anyOf"], list) or not node["anyOf"]:
            raise _TooWide
        narrow["anyOf"] = [_narrow(one, depth - 1) for one in node["anyOf"]]
    return narrow


def _of_object(node: dict[str, Any], depth: int) -> dict[str, Any]:
    """An object has all of the properties that are named, and no others: so they want it."""
    properties, required = node.get("properties"), node.get("required", [])
    if not isinstance(properties, dict) or not properties or node.get("type", "object") != "object":
        raise _TooWide
    if not isinstance(required, list) or not all(isinstance(name, str) and name in properties for name in required):
        raise _TooWide
    below = {name: _narrow(inner, depth - 1) for name, inner in properties.items()}
    return {"type": "object", "properties": below, "required": list(properties), "additionalProperties": False}
