"""What the host and the kernel agree on about the questions that a session's code asks a model.

Is: constants, types, and the digest that both sides make. Is not: a check: `kernel/untrusted/question_frames.py` makes
one of what a kernel sends. Above: `in_kernel/asking/`, `kernel/untrusted/question_frames.py`, `session/asking/`.
Below: the standard library.

The host passes one end of a socket pair and asks `SUBCALLS` on control; nothing of this where nobody answers. Either
way goes a stream of frames: four bytes of length, the highest first, then so many bytes of JSON in UTF-8. A call of a
function is a question of kind `function`: its prompt is the function's name, its text the JSON object of its arguments,
and its answer the JSON of what the function gave.
The kernel sends

    {ask: {step, opts: Opts, items: [[id, prompt, text | null], ...]}}   a fourth field of an item: what the validator
                                           said of the answer before, which did not have the schema; a fifth, of
                                           the kind `rlm` without text and repair: the characters of a text that is
                                           too long for a frame and comes when the host asks for it; `more: true`
                                           beside `items`: another frame of the same call comes
    {cancel: [id, ...]}                    of questions: their answers are not wanted any more
    {missed: {id, of: [id, ...]}}          of answered questions: what came did not have the schema, for good
    {looked: [id, why | null]}             of a child's question: what is wrong with the answer that is on trial
    {budget: id}
    {forecast: {id, step, opts: Opts, items: [[digest, bytes], ...]}}

and the host `{got: [[id, true, value] | [id, false, {code, message}] | [id, null, text], ...]}`: the value is a text
for a question, a `BudgetRow` or a `ForecastRow` else, and null for `missed`: the step's account has it then. A text
with null is no answer yet: whoever works in a child has given it, and hears of it if it has not the schema that is
wanted (`looked`). Ids begin at 1, and each that is asked with is larger than all before. `step` is the `msg_id` of the
request whose code asks. A text that comes later is asked for on control, by `SEND_CONTEXT`.
"""

# No `from __future__ import annotations`: each key's type would be compiled again, in every start of a kernel.

import hashlib
from typing import Final, Literal, NotRequired, TypedDict, get_args

SUBCALLS: Final = "rlm_subcalls_request"
SEND_CONTEXT: Final = "rlm_send_context_request"

ASKING: Final = (
    "llm_query",
    "llm_query_batched",
    "llm_query_async",
    "rlm_query",
    "rlm_query_batched",
    "budget",
    "forecast",
    "SubcallError",
)
"""The names with which code asks. Every kernel has them; where nobody answers they say so, and no client is told."""

Kind = Literal["llm", "rlm", "function"]
"""What is asked: a model, a session of its own, or a function of whoever drives the session."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

CALLING: Final = ("host_call", "host_call_async", "HostCallError")
"""The names with which code calls functions of whoever drives its session. As `ASKING`, where none are offered."""
FUNCTIONS_MAX: Final = 64
"""Of one session."""
FUNCTION_NAME_CHARS_MAX: Final = 64
DESCRIPTION_CHARS_MAX: Final = 2_048
"""Of one function."""
JSON_DEPTH_MAX: Final = 64
"""Levels of nesting of what a function is called with, or gives."""
JSON_VALUES_MAX: Final = 20_000
"""Brackets and commas of the same: a value of more takes other sessions' time."""
GIVEN_CHARS_MAX: Final = 200_000
"""Of what a function gives, as JSON."""
GIVEN_TOO_MUCH: Final = "{name} gave {chars:,} characters of JSON, and a call is answered by at most 200,000."
WORDS_CHARS_MAX: Final = 2_000
"""Of a function's own words on why it gives nothing."""

Code = Literal[
    "off",
    "budget",
    "too_large",
    "too_many",
    "timeout",
    "declined",
    "refused",
    "rate_limited",
    "backend",
    "schema",
    "stopped",
    "gone",
]
"""Why a question has no answer."""

CHANNEL_THREADS: Final = 2
"""Of a kernel that asks: one reads, one writes. They are its own, as those of its other channels are."""
LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 2 << 20
"""Of a frame from the kernel."""
FRAME_ITEMS_MAX: Final = 64
"""Questions of one frame."""
FRAME_BYTES: Final = 512 << 10
"""The kernel begins another frame before one grows beyond this, unless a single question does."""
ITEM_CHARS_MAX: Final = 400_000
"""Characters of a question: its prompt and its text."""
CONTEXT_CHARS_MAX: Final = 64_000_000
"""Of a text for a child session that does not come in a frame; as many as a long final answer may have."""
BATCH_MAX: Final = 10_000
"""Questions of one batch, and of one session that may be open; of more than these none is read."""
CHILDREN_MAX: Final = 100
"""Child sessions of one batch, and those that one session may have asked for at a time."""
OPEN_BYTES_MAX: Final = 64 << 20
"""What their texts take in the host; beyond this none is read either."""
SCHEMA_CHARS_MAX: Final = 64_000
MODEL_CHARS_MAX: Final = 200
REPAIR_CHARS_MAX: Final = 1_000
STEP_CHARS_MAX: Final = 200
ID_MAX: Final = 1 << 53
DIGEST_CHARS: Final = 64


class Opts(TypedDict):
    """What the questions of one frame have in common. What is left out is not wanted."""

    batch: int
    """A number that the questions of one call share."""
    schema: NotRequired[str]
    """JSON of a JSON Schema. The host does not look into it."""
    model: NotRequired[str]
    fresh: NotRequired[bool]
    kind: NotRequired[Kind]
    """`llm` where it is left out."""
    of: NotRequired[int]
    """How many questions of the kind `rlm` the call has: they share what is left of the limits."""


class BudgetRow(TypedDict):
    """What `budget()` shows. None: no limit, or not known."""

    steps: int
    runtime_ms: int
    chars: int
    subcalls: int
    subcall_tokens: int
    subcall_usd: float | None
    parallel: int
    depth: int
    backend: str


class ForecastRow(TypedDict):
    """What `forecast()` shows; `refusal`: why such a batch would not be asked, None where it fits."""

    calls: int
    tokens_expected: int
    tokens_most: int
    seconds: float | None
    usd: float | None
    refusal: tuple[str, str] | None


class SubcallsRequest(TypedDict):
    """`SUBCALLS`; the descriptor is passed for it on control, unless `off` says why nobody answers this session."""

    off: NotRequired[str]
    functions: NotRequired[dict[str, str]]
    """By name the descriptions of those that may be called."""
    calls_alone: NotRequired[bool]
    """Whether no model is asked: the channel is for functions."""


class SendContextRequest(TypedDict):
    """`SEND_CONTEXT`, with the write end of a pipe on the descriptor socket, into which a question's long text goes.

    It is answered at once: the thread that waits for the question's answer writes the text, as UTF-8 with lone
    surrogates (`"surrogatepass"`), and closes the pipe.
    """

    id: int


def digest_of(prompt: str, text: str | None) -> str:
    """A name for a question's texts, the same on both sides. They can be encoded as UTF-8."""
    first, second = prompt.encode(), b"" if text is None else text.encode()
    head = f"{len(first)},{-1 if text is None else len(second)};".encode()
    return hashlib.sha256(head + first + second).hexdigest()
