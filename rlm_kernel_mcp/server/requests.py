"""What each tool may be asked: one frozen model per tool.

Is: names, kinds, bounds and defaults of the arguments. Is not: reading them out of a call (`validation.py`), nor what
the tools do (`tools.py`). Above: `tools.py`, `validation.py`. Below: `argument_types.py`, `arguments.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlm_kernel_mcp.server.argument_types import (
    DAY_MS,
    MAX_OUTPUT_CHARS,
    AnswerName,
    Answers,
    Exclude,
    Format,
    HostFunctions,
    LoadWaitMs,
    Offset,
    OutputChars,
    Quotes,
    SessionId,
    StepBound,
    StepIndex,
    VariableName,
    WaitMs,
    exactly_one,
    only_with,
)
from rlm_kernel_mcp.server.arguments import (
    ChoiceArg,
    IntegerArg,
    NameArg,
    PathsArg,
    TextArg,
)
from rlm_kernel_mcp.session.contexts.given import QUESTION_CHARS_MAX
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.parked.reports import AnswerGiven, Handed


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
    max_subcalls: Annotated[
        int,
        IntegerArg(low=0, high=100_000, unit="sub-calls"),
        Field(description="Questions that the code may ask a model, where the server has one."),
    ] = 1_000
    subcall_tokens_limit: Annotated[
        int,
        IntegerArg(low=0, high=1_000_000_000, unit="tokens"),
        Field(description="Tokens of those questions and their answers, in total."),
    ] = 2_000_000
    host_functions: HostFunctions = ()
    question: Annotated[
        str | None,
        TextArg(low=1, high=QUESTION_CHARS_MAX, nullable=True),
        Field(description="What the run is for, in a sentence: shown to the user who looks at it, and to no code."),
    ] = None

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
    var_name: VariableName
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
    final_var_name: AnswerName = None
    quotes: Quotes = ()
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


class Answer(Request):
    """Arguments of `rlm_answer`."""

    session_id: SessionId
    answers: Answers = ()
    take: Annotated[
        int,
        IntegerArg(low=0, high=100, unit="questions"),
        Field(description="Questions to take for yourself alone for a while; 0: the next page, or the step's end."),
    ] = 0
    wait_ms: WaitMs = 45_000
    max_output_chars: OutputChars = 8_000


def offered_in(asked: InitContext) -> tuple[HostFunction, ...]:
    """The functions that it offers, as sessions take them."""
    return tuple(HostFunction(one["name"], one.get("description", "")) for one in asked.host_functions)


def handed_in(asked: Answer) -> Handed:
    """What it brings and wants, as sessions take it."""
    answers = tuple(AnswerGiven(one["id"], one.get("text"), one.get("error")) for one in asked.answers)
    return Handed(answers, asked.take, asked.wait_ms, asked.max_output_chars)


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
