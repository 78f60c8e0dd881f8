"""Reads a call's arguments into its tool's model, and publishes the same bounds as a schema.

Is: the words for what is wrong with a request, and the schemas of `tools/list`. Is not: the bounds (`requests.py`). An
unknown argument, a wrong type or a bad value is `InvalidInput`, always in our own words.
Above: `tools.py`, `mcp_server.py`. Below: `requests.py`, `arguments.py`, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server.arguments import SHOWN_CHARS, Argument, describe_value
from rlm_kernel_mcp.server.requests import Request

FAULTS_SHOWN: Final = 5
"""How many faults of one request are reported at once."""

NO_OBJECT: Final = "(no object)"
"""Key that holds a call's `arguments` where they are not an object."""

R = TypeVar("R", bound=Request)


def parse(tool_name: str, model: type[R], arguments: Mapping[str, Any]) -> R:
    """The validated request.

    Raises:
        InvalidInput: names each wrong argument (the first few), what was given, the bounds and the unit.
    """
    if NO_OBJECT in arguments:
        raise InvalidInput(
            f"The arguments of {tool_name} must be an object (null or absent: an empty one); given: "
            f"{describe_value(arguments[NO_OBJECT])}.",
            f"Call it again with an object of these: {', '.join(input_schema(model)['properties'])}.",
        )
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        # Pydantic's own text quotes the input; it must not travel with ours, not even as a cause.
        faults = list(_faults(tool_name, model, error.errors(include_url=False, include_input=False)))
    shown = faults[:FAULTS_SHOWN]
    more = f" And {len(faults) - len(shown)} more." if len(faults) > len(shown) else ""
    raise InvalidInput(" ".join(shown) + more)


def input_schema(model: type[Request]) -> dict[str, Any]:
    """JSON schema of a tool's arguments: flat, closed, a description on every property."""
    names = [name for name in model.model_fields if name != "response_format"]
    return {
        "type": "object",
        "properties": {name: _property(model, name) for name in [*names, "response_format"]},
        "required": [name for name in names if model.model_fields[name].is_required()],
        "additionalProperties": False,
    }


def _property(model: type[Request], name: str) -> dict[str, Any]:
    field = model.model_fields[name]
    default = {} if field.is_required() or field.default is None else {"default": field.default}
    return {**_kind(model, name).json_schema(), "description": field.description, **default}


def _kind(model: type[Request], name: str) -> Argument:
    return next(part for part in model.model_fields[name].metadata if isinstance(part, Argument))


def _faults(tool_name: str, model: type[Request], details: list[ErrorDetails]) -> Iterator[str]:
    unknown: list[str] = []
    for detail in details:
        name = str(detail["loc"][0]) if detail["loc"] else ""
        match detail["type"]:
            case "missing":
                yield f"{name} is missing; it must be {_kind(model, name).expected()}."
            case "value_error":
                text = str(detail["ctx"]["error"])
                yield f"{name}{'' if text.startswith('[') else ' '}{text}." if name else f"{text}."
            case "extra_forbidden":
                unknown.append(name)
            case _:
                unknown.append("(a name that is not valid Unicode)")
    if unknown:
        names = ", ".join(name[:SHOWN_CHARS] for name in unknown[:FAULTS_SHOWN])
        known = ", ".join(input_schema(model)["properties"])
        yield f"{tool_name} has no argument {names}; it takes: {known}."
