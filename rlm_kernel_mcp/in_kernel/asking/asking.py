"""The functions with which a session's code asks a model, and what they say where nobody answers.

Is: what a call may be given, and what it gives. Is not: who answers, nor what it costs (the host's
`session/answering/`); and no wall: this process has no network, and no key is in it.
Above: `in_kernel/namespace/offered.py`. Below: `calls.py`, `state.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.in_kernel.asking import state
from rlm_kernel_mcp.in_kernel.asking.calls import Call
from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.explore.spans import Span
from rlm_kernel_mcp.questions_wire import BATCH_MAX, CHILDREN_MAX, ITEM_CHARS_MAX, digest_of


class Budget(NamedTuple):
    """What is left of a session's limits. None: not known, or no limit."""

    steps: int
    runtime_ms: int
    chars: int
    subcalls: int
    subcall_tokens: int
    subcall_usd: float | None
    parallel: int
    depth: int
    backend: str


class Forecast(NamedTuple):
    """What a batch would take: calls (after cache and duplicates), tokens, seconds, USD. None: not known."""

    calls: int
    tokens_expected: int
    tokens_most: int
    seconds: float | None
    usd: float | None
    fits: bool


def llm_query(
    prompt: str, text: str | None = None, *, schema: Any = None, model: str | None = None, fresh: bool = False
) -> Any:
    """Ask a model one question; returns its answer (str, or the value that `schema` asks for).

    prompt: the instruction. text: the data it is about, kept apart and marked as data (at most 400,000 characters in all).
    schema: a JSON Schema (dict), or str, int, float, bool, list[...], or a list of allowed strings.
    fresh: ask anew, and keep that answer in place of an earlier one.
    model: another one of those that the user allows (RLM_SUBCALL_MODELS), if any; a refusal of one names those.
    Raises SubcallError (.code, .message). For many questions use llm_query_batched: one call in a loop waits each time.
    """  # noqa: E501
    (got,) = _call(schema, model, fresh).answers([_item(prompt, text)])
    if isinstance(got, SubcallError):
        raise got
    return got


def llm_query_batched(
    prompts: str | Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    schema: Any = None,
    model: str | None = None,
    fresh: bool = False,
) -> list[Any]:
    """Ask many questions in parallel; answers in order. One prompt for many texts, or a prompt each.

    A question that failed is a SubcallError in its place: falsy, so `[a for a in got if a]` has the good ones. Equal
    questions are asked once, with fresh=True too: for several answers to one, ask several times. If the whole batch
    cannot fit what is left of the limits it is refused before anything is spent: SubcallError "budget", with the
    forecast. Put several items into one text (about 10,000 to 100,000 characters) rather than one item each.
    """
    call = _call(schema, model, fresh)
    items = _items(prompts, texts)
    if len(items) > 1:
        _, refused = _forecast(call, items)
        if refused is not None:
            raise refused
    return call.answers(items)


def rlm_query(question: str, context: str, *, schema: Any = None) -> Any:
    """Give a question about a text of its own to a child session: its own kernel, steps, budget and trace.

    Whoever works there has the text as `context`, and what it finds is the answer (as `schema` asks for, as in
    llm_query). It has a share of what is left of this session's limits. `budget().depth` is 1 where no session may
    have a child: then this is llm_query(question, context), with its 400,000 characters in all. question: at most so
    many; context: at most 64,000,000.
    Raises SubcallError (.code, .message).
    """
    (got,) = _child_answers([question], [context], schema)
    if isinstance(got, SubcallError):
        raise got
    return got


def rlm_query_batched(questions: str | Sequence[str], contexts: Sequence[str], *, schema: Any = None) -> list[Any]:
    """rlm_query for many contexts, in parallel; answers in order. One question for all, or a question each.

    At most 100 at a time, each with its part of at most half of what is left of the limits, steps among them: with 40
    steps left, 20 children have a step each, and 4 have 5. One that failed is a SubcallError in its place, which is
    falsy; SubcallError "budget" is raised where not one of them was asked.
    """
    return _child_answers(questions, contexts, schema)


async def llm_query_async(
    prompt: str, text: str | None = None, *, schema: Any = None, model: str | None = None, fresh: bool = False
) -> Any:
    """llm_query for `await` and asyncio.gather."""
    got = await _call(schema, model, fresh, by_task=True).answer(_item(prompt, text))
    if isinstance(got, SubcallError):
        raise got
    return got


def budget() -> Budget:
    """What is left: steps, runtime_ms, chars, subcalls, subcall_tokens, subcall_usd (None: not known), parallel, depth, backend."""  # noqa: E501
    return Budget(**state.channel().question("budget", lambda number: number))


def forecast(prompts: str | Sequence[str], texts: Sequence[str] | None = None) -> Forecast:
    """What a batch would take: calls (after cache and duplicates), tokens expected and at most, seconds, usd; fits: bool."""  # noqa: E501
    found, _ = _forecast(_call(None, None, fresh=False), _items(prompts, texts), batch=0)
    return found


def _child_answers(questions: Any, contexts: Any, schema: object) -> list[Any]:
    call = _call(schema, None, fresh=False)
    items = _items(questions, contexts, "questions", "contexts")
    call = call.for_children(len(items))
    if call.channel.depth() <= 1:  # it is llm_query
        _, refused = _forecast(call, items) if len(items) > 1 else (None, None)
        if refused is not None:
            raise refused
    elif len(items) > CHILDREN_MAX:
        raise SubcallError(
            "too_many",
            f"A batch may have {CHILDREN_MAX:,} child sessions and not {len(items):,}; ask one about more of the text.",
        )
    else:
        items = list(map(_for_a_child, items))
    got = call.answers(items)
    if len(got) > 1 and all(isinstance(one, SubcallError) and one.code == "budget" for one in got):
        raise got[0]
    return got


def _for_a_child(item: Item) -> Item:
    """A question whose text comes by itself, where that is long."""
    text = item.text
    comes = text is not None and str.__len__(text) > ITEM_CHARS_MAX >= len(item.prompt)
    return replace(item, comes=True) if comes else item


def _forecast(call: Call, items: Sequence[Item], **opts: int) -> tuple[Forecast, SubcallError | None]:
    """`opts`: other ones than the call has; a batch of 0 is none, and is not counted as one where it is refused."""
    # One that is too large is not asked at all, and fails by itself.
    fitting = (item for item in items if len(item.prompt) + len(item.text or "") <= ITEM_CHARS_MAX)
    sketches = [
        [digest_of(item.prompt, item.text), len(f"{item.prompt}{item.text or ''}".encode())] for item in fitting
    ]
    said = {"step": state.step(), "opts": {**call.opts, **opts}, "items": sketches}
    row = call.channel.question("forecast", lambda number: {"id": number, **said})
    refusal = row.pop("refusal")
    return Forecast(**row, fits=refusal is None), None if refusal is None else SubcallError(*refusal)


def _call(schema: object, model: str | None, fresh: bool, *, by_task: bool = False) -> Call:
    return Call.of(schema, None if model is None else _text("model", model), fresh, by_task=by_task)


def _items(prompts: Any, texts: Any, asked: str = "prompts", about: str = "texts") -> list[Item]:
    if isinstance(texts, str | Span):  # else its characters would be asked about
        one = "llm_query" if about == "texts" else "rlm_query"
        raise TypeError(f"{about} must be a sequence of str; for one text use {one}")
    if texts is not None:
        texts = list(texts)
    if isinstance(prompts, str):
        prompts = [prompts] * (1 if texts is None else len(texts))
    prompts = list(prompts)
    if texts is not None and len(texts) != len(prompts):
        counts = f"{asked}: {len(prompts):,}, {about}: {len(texts):,}"
        raise ValueError(f"{counts}; give one of {asked} for all, or one for each")
    if len(prompts) > BATCH_MAX:
        raise SubcallError(
            "too_many",
            f"A batch may have {BATCH_MAX:,} questions and not {len(prompts):,}; put several items into one.",
        )
    return list(map(_item, prompts, texts if texts is not None else [None] * len(prompts)))


def _item(prompt: Any, text: Any) -> Item:
    return Item(_text("prompt", prompt), None if text is None else _text("text", text))


def _text(what: str, value: Any) -> str:
    if isinstance(value, Span):
        value = value.text
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str (or a Span), not {type(value).__name__}")
    return value if len(value) > ITEM_CHARS_MAX else sendable(value)


FUNCTIONS: Final[Mapping[str, tuple[Callable[..., object], str]]] = {
    "llm_query": (llm_query, "llm_query('question', text, schema=...) -> a model's answer"),
    "llm_query_batched": (
        llm_query_batched,
        "llm_query_batched('question' or one each, texts) -> answers in order, in parallel; failed ones are falsy",
    ),
    "llm_query_async": (llm_query_async, "the same for await and asyncio.gather"),
    "rlm_query": (
        rlm_query,
        "rlm_query('question', text, schema=...) -> what a child session finds in a text of its own",
    ),
    "rlm_query_batched": (rlm_query_batched, "rlm_query_batched('question' or one each, texts) -> the same for many"),
    "budget": (budget, "budget() -> what is left of all limits"),
    "forecast": (forecast, "forecast(prompts, texts) -> what a batch would take"),
    "SubcallError": (SubcallError, "why a question has no answer: .code, .message"),
}
"""The names, with their lines."""
