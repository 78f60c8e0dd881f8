"""The arguments that several tools take, each with its kind, its bounds and what the schema says of it.

Is: annotated types, and the check that one of several was given. Is not: the kinds (`arguments.py`), nor the tools'
requests (`requests.py`). Above: `requests.py`. Below: `arguments.py`, `item_lists.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from rlm_kernel_mcp.questions_wire import FUNCTIONS_MAX
from rlm_kernel_mcp.server.arguments import (
    ChoiceArg,
    IntegerArg,
    NameArg,
    PathsArg,
    TextArg,
    VariableArg,
)
from rlm_kernel_mcp.server.item_lists import AnswersArg, FunctionsArg, QuotesArg

ResponseFormat = Literal["json", "markdown"]

MAX_OUTPUT_CHARS: Final = 200_000
DAY_MS: Final = 86_400_000
SESSION_ID_CHARS_MAX: Final = 64
"""Of what is looked up as a handle, by whatever way it comes."""

SessionId = Annotated[
    str, TextArg(low=1, high=SESSION_ID_CHARS_MAX), Field(description="Handle that rlm_init_context returned.")
]
WaitMs = Annotated[
    int,
    IntegerArg(low=0, high=600_000, unit="milliseconds"),
    Field(description="Milliseconds to wait for the step; one that runs longer is answered as `running` and goes on."),
]
OutputChars = Annotated[
    int,
    IntegerArg(low=1, high=MAX_OUTPUT_CHARS, unit="characters"),
    Field(description="Most characters of text in the answer; more is cut in the middle, and the cut is said."),
]
Offset = Annotated[int, IntegerArg(low=0, high=10**15, unit="characters")]
StepIndex = Annotated[
    int, IntegerArg(low=0, high=1_000_000), Field(description="The step to wait for, as rlm_run_repl numbered it.")
]
StepBound = Annotated[int | None, IntegerArg(low=0, high=1_000_000, nullable=True, publish_null=True)]
Format = Annotated[
    ResponseFormat,
    ChoiceArg(words=("json", "markdown")),
    Field(description="`json`: one compact JSON object. `markdown`: text made for reading."),
]
LoadWaitMs = Annotated[
    int,
    IntegerArg(low=0, high=600_000, unit="milliseconds"),
    Field(description="Milliseconds to wait for the text; a call that would take longer answers `loading`."),
]
Exclude = Annotated[
    tuple[str, ...],
    PathsArg(low=0, high=1_000, noun="patterns"),
    Field(description="Patterns, as in .gitignore, of what the directories and globs among the paths leave out."),
]

AnswerName = Annotated[
    str | None,
    NameArg(low=1, high=1_000, nullable=True),
    Field(description="Name of the variable that holds the final answer."),
]
Quotes = Annotated[
    tuple[str | dict[str, Any], ...],
    QuotesArg(high=1_000, chars_max=1_000_000),
    Field(description="Passages that the answer quotes, word for word; each is checked against the sources' bytes."),
]


Answers = Annotated[
    tuple[dict[str, Any], ...],
    AnswersArg(high=1_000),
    Field(description="Answers to questions by their ids: {id, text}, or {id, error} where there is none."),
]
HostFunctions = Annotated[
    tuple[dict[str, Any], ...],
    FunctionsArg(high=FUNCTIONS_MAX),
    Field(
        description="Functions of yours that the code may call (host_call). A step that calls one has status "
        "needs_answers: run it yourself, and give what it returns to rlm_answer, as JSON."
    ),
]
VariableName = Annotated[
    str,
    VariableArg(low=1, high=1_000),
    Field(description="Name of a variable: one Python identifier; or question:<id>, a question of the code in full."),
]


def only_with(given: object, other: object, words: str) -> None:
    """Raise ValueError of these words where the first was given without the other."""
    if given and other is None:
        raise ValueError(words)


def exactly_one(request: object, *names: str) -> None:
    """Raise ValueError unless exactly one of these arguments was given."""
    given = [name for name in names if getattr(request, name) is not None]
    if len(given) != 1:
        which = "none of them" if not given else "both" if len(names) == 2 else " and ".join(given)
        raise ValueError(f"Give exactly one of {', '.join(names[:-1])} and {names[-1]}; given: {which}")
