"""What each tool may be asked: one frozen model per tool, and the words for what is wrong with a request.

Is: names, kinds, bounds and defaults of the arguments, and the schemas that `tools/list` publishes. Is not: what the
tools do (`tools.py`). An unknown argument, a wrong type or a bad value is `InvalidInput`, always in our own words.
Above: `tools.py`. Below: `arguments.py`, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server.argument_types import (
    DAY_MS,
    MAX_OUTPUT_CHARS,
    Exclude,
    Format,
    LoadWaitMs,
    Offset,
    OutputChars,
    SessionId,
    StepBound,
    StepIndex,
    WaitMs,
    exactly_one,
    only_with,
)
from rlm_kernel_mcp.server.arguments import (
    SHOWN_CHARS,
    Argument,
    ChoiceArg,
    IntegerArg,
    NameArg,
    PathsArg,
    TextArg,
    describe_value,
)

FAULTS_SHOWN: Final = 5
"""How many faults of one request are reported at once."""

NO_OBJECT: Final = "(no object)"
"""Key that holds a call's `arguments` where they are not an object."""


class Request(BaseModel):
    """Base of all: what every tool takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    response_format: Format = "json"


class InitContext(Request):
    """Arguments of `rlm_init_context`."""

    context_text: Annotated[
        str | None,
        TextArg(low=1, nul=True, nullable=True),
        Field(description="The context itself, kept exactly as given. Exactly one of context_text and context_paths."),
    ] = None
    context_paths: Annotated[
        tuple[str, ...] | None,
        PathsArg(high=10_000, nullable=True),
        Field(description="Files, directories or globs to load; relative ones against the server's working directory."),
    ] = None
    context_name: Annotated[
        str, NameArg(low=1, high=64), Field(description="Name of the variable that holds the text in the kernel.")
    ] = "context"
    exclude: Exclude = ()
    wait_ms: LoadWaitMs = 20_000
    max_steps: Annotated[
        int,
        IntegerArg(low=1, high=1_000_000, unit="steps"),
        Field(description="Steps that may be run, failed ones too."),
    ] = 64
    max_runtime_ms: Annotated[
        int,
        IntegerArg(low=1, high=DAY_MS, unit="milliseconds"),
        Field(description="Milliseconds in which steps of this session may be executing, in total."),
    ] = 120_000
    budget_limit: Annotated[
        int,
        IntegerArg(low=1, high=1_000_000_000, unit="characters"),
        Field(description="Characters of code in and of output delivered out, in total."),
    ] = 100_000
    step_timeout_ms: Annotated[
        int,
        IntegerArg(low=1, high=DAY_MS, unit="milliseconds"),
        Field(description="Milliseconds after which one step is interrupted, unless rlm_run_repl says otherwise."),
    ] = 60_000

    @model_validator(mode="after")
    def _one_source(self) -> InitContext:
        exactly_one(self, "context_text", "context_paths")
        only_with(self.exclude, self.context_paths, "exclude goes with context_paths; a context_text is kept whole")
        return self


class RunRepl(Request):
    """Arguments of `rlm_run_repl`."""

    session_id: SessionId
    code: Annotated[
        str,
        TextArg(low=1, high=200_000),
        Field(description="Python to run in the session's kernel; the last expression's value is shown."),
    ]
    timeout_ms: Annotated[
        int | None,
        IntegerArg(low=1, high=DAY_MS, unit="milliseconds", nullable=True, publish_null=True),
        Field(description="Milliseconds after which the step is interrupted; null: the session's step_timeout_ms."),
    ] = None
    wait_ms: WaitMs = 45_000
    max_output_chars: OutputChars = 8_000


class AwaitStep(Request):
    """Arguments of `rlm_await_step`."""

    session_id: SessionId
    step_index: StepIndex
    wait_ms: WaitMs = 45_000
    max_output_chars: OutputChars = 8_000


class Interrupt(Request):
    """Arguments of `rlm_interrupt`."""

    session_id: SessionId


class GetVar(Request):
    """Arguments of `rlm_get_var`."""

    session_id: SessionId
    var_name: Annotated[
        str, NameArg(low=1, high=1_000), Field(description="Name of a variable: one Python identifier.")
    ]
    offset: Annotated[Offset, Field(description="Character of the value's text to begin at.")] = 0
    limit: Annotated[
        int,
        IntegerArg(low=1, high=MAX_OUTPUT_CHARS, unit="characters"),
        Field(description="Most characters to return."),
    ] = 4_000


class Finalize(Request):
    """Arguments of `rlm_finalize`."""

    session_id: SessionId
    final_text: Annotated[
        str | None,
        TextArg(high=4_000_000, nullable=True, nul=True),
        Field(description="The final answer itself. Exactly one of final_text and final_var_name."),
    ] = None
    final_var_name: Annotated[
        str | None,
        NameArg(low=1, high=1_000, nullable=True),
        Field(description="Name of the variable that holds the final answer."),
    ] = None
    max_output_chars: OutputChars = 40_000

    @model_validator(mode="after")
    def _one_answer(self) -> Finalize:
        exactly_one(self, "final_text", "final_var_name")
        return self


class GetTrace(Request):
    """Arguments of `rlm_get_trace`."""

    session_id: SessionId
    from_step: Annotated[StepBound, Field(description="First step wanted; null: from the start.")] = None
    to_step: Annotated[StepBound, Field(description="Last step wanted, inclusive; null: to the end.")] = None
    detail: Annotated[
        Literal["summary", "full"],
        ChoiceArg(words=("summary", "full")),
        Field(description="`full` adds code, stdout, stderr, result and error of each step."),
    ] = "summary"
    max_output_chars: OutputChars = 8_000
    offset: Annotated[Offset, Field(description="Place to go on at: the next_offset of the page before.")] = 0


class AddContext(Request):
    """Arguments of `rlm_add_context`."""

    session_id: SessionId
    name: Annotated[str, NameArg(low=1, high=64), Field(description="Name of the new variable: one Python identifier.")]
    text: Annotated[
        str | None,
        TextArg(low=1, nul=True, nullable=True),
        Field(description="The text itself, kept exactly as given. Exactly one of text, paths and json_text."),
    ] = None
    paths: Annotated[
        tuple[str, ...] | None,
        PathsArg(high=10_000, nullable=True),
        Field(description="Files, directories or globs to load; relative ones against the server's working directory."),
    ] = None
    json_text: Annotated[
        str | None,
        TextArg(low=1, nul=True, nullable=True),
        Field(description="JSON; the parsed value is bound."),
    ] = None
    exclude: Exclude = ()
    wait_ms: LoadWaitMs = 20_000

    @model_validator(mode="after")
    def _one_source(self) -> AddContext:
        exactly_one(self, "text", "paths", "json_text")
        only_with(self.exclude, self.paths, "exclude goes with paths; text and json_text are kept whole")
        return self


class ListSessions(Request):
    """Arguments of `rlm_list_sessions`."""

    state: Annotated[
        Literal["live", "all"],
        ChoiceArg(words=("live", "all")),
        Field(description="`live`: sessions in which something can still be run; `all`: ended ones too."),
    ] = "live"
    limit: Annotated[
        int,
        IntegerArg(low=1, high=200, unit="sessions"),
        Field(description="Most sessions to list, the last used first."),
    ] = 20
    offset: Annotated[
        int, IntegerArg(low=0, high=10**15, unit="sessions"), Field(description="Sessions to pass over, to go on.")
    ] = 0


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
    told = faults[:FAULTS_SHOWN]
    more = f" And {len(faults) - len(told)} more." if len(faults) > len(told) else ""
    raise InvalidInput(" ".join(told) + more)


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
