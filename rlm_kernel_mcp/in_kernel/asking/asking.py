"""The functions with which a session's code asks a model, and what they say where nobody answers.

Is: one call of the session as questions of the channel, its answers as values. Is not: who answers, nor what it costs
(the host's `session/answering/`); and no wall: this process has no network, and no key is in it.
Above: `in_kernel/namespace/offered.py`, `in_kernel/ipython/app.py`, `in_kernel/launch.py`. Below: `channel.py`,
`schemas.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.in_kernel.asking.channel import Channel, Item, Waiting
from rlm_kernel_mcp.in_kernel.asking.errors import OFF, OFF_TO_A_PERSON, SubcallError
from rlm_kernel_mcp.in_kernel.asking.schemas import Missed, Schema
from rlm_kernel_mcp.in_kernel.explore.spans import Span
from rlm_kernel_mcp.questions_wire import BATCH_MAX, ITEM_CHARS_MAX, Opts, digest_of


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


class _State:
    """How this kernel asks; set by the host's request, in the control thread."""

    channel: Channel | None = None
    off = OFF
    step_of: Callable[[], Mapping[str, Any]] = dict
    """The parent header of the request for which the calling thread works."""


def use_steps(step_of: Callable[[], Mapping[str, Any]]) -> None:
    """Once, when the kernel is made."""
    _State.step_of = staticmethod(step_of)


def speak_to_a_person() -> None:
    """Another Jupyter client started this kernel: nobody will bring a channel, and its reader is no agent's user."""
    _State.off = OFF_TO_A_PERSON


def open_channel(content: Mapping[str, Any], passed: Callable[[], int]) -> Mapping[str, Any]:
    """Answer the host's request that brings the channel, or the reason why there is none. In the control thread."""
    if "off" in content:
        _State.channel, _State.off = None, str(content["off"])
    else:
        _State.channel = Channel(passed(), _step)
    return {}


def is_open() -> bool:
    """Whether somebody answers."""
    return _State.channel is not None


def _step() -> str:
    return str(_State.step_of().get("msg_id", ""))


def _channel() -> Channel:
    if _State.channel is None:
        raise SubcallError("off", _State.off)
    return _State.channel


@dataclass(frozen=True, slots=True)
class _Call:
    """What the questions of one call have in common."""

    channel: Channel
    opts: Opts
    schema: Schema | None

    @classmethod
    def of(cls, schema: object, model: str | None, fresh: bool) -> _Call:
        channel = _channel()
        checked = None if schema is None else Schema(schema)
        opts: Opts = {"batch": channel.new_batch()}
        if checked is not None:
            opts["schema"] = checked.json
        if model is not None:
            opts["model"] = _text("model", model)
        if fresh:
            opts["fresh"] = True
        return cls(channel, opts, checked)

    def answers(self, items: Sequence[Item]) -> list[Any]:
        """A value or a SubcallError for each question."""
        got, asked = self._wait(items)
        if self.schema is None:
            return got
        missed = self._check(got, self.schema)
        if missed:
            again, asked = self._wait([replace(items[at], repair=why) for at, why in missed.items()])
            still = self._check(again, self.schema)
            for place, at in enumerate(missed):
                got[at] = _without_schema(still[place]) if place in still else again[place]
            self._tell(asked[place] for place in still)
        return got

    def _wait(self, items: Sequence[Item]) -> tuple[list[Any], list[Waiting]]:
        asked: list[Waiting] = []
        try:
            self.channel.ask(items, self.opts, asked)
            return [one.future.result() for one in asked], asked
        except BaseException:
            self.channel.cancel(asked)
            raise

    async def answer(self, item: Item) -> Any:
        """As `answers`, of one question, for an event loop."""
        got, _ = await self._awaited(item)
        if self.schema is None:
            return got
        values = [got]
        if missed := self._check(values, self.schema):
            got, asked = await self._awaited(replace(item, repair=missed[0]))
            values = [got]
            if still := self._check(values, self.schema):
                self._tell([asked])
                return _without_schema(still[0])
        return values[0]

    async def _awaited(self, item: Item) -> tuple[Any, Waiting]:
        asked: list[Waiting] = []
        try:
            self.channel.ask([item], self.opts, asked)
            return await asyncio.wrap_future(asked[0].future), asked[0]
        except BaseException:
            if asked:
                self.channel.cancel_soon(asked[0])
            raise

    @staticmethod
    def _check(got: list[Any], schema: Schema) -> dict[int, str]:
        """Put the values in the place of the answers' texts; which of them have not the schema, and why."""
        missed: dict[int, str] = {}
        for at, text in enumerate(got):
            if isinstance(text, SubcallError):
                continue
            try:
                got[at] = schema.value(text)
            except Missed as why:
                missed[at] = str(why)
            except SubcallError as error:
                got[at] = error
        return missed

    def _tell(self, asked: Iterable[Waiting]) -> None:
        if ids := [one.id for one in asked]:
            self.channel.missed(ids)


def _without_schema(why: str) -> SubcallError:
    return SubcallError("schema", f"the answer has not the schema, asked twice: {why}")


def llm_query(
    prompt: str, text: str | None = None, *, schema: Any = None, model: str | None = None, fresh: bool = False
) -> Any:
    """Ask a model one question; returns its answer (str, or the value that `schema` asks for).

    prompt: the instruction. text: the data it is about, kept apart and marked as data (at most 400,000 characters in all).
    schema: a JSON Schema (dict), or str, int, float, bool, list[...], or a list of allowed strings. fresh: no cached answer.
    Raises SubcallError (.code, .message). For many questions use llm_query_batched: one call in a loop waits each time.
    """  # noqa: E501
    (got,) = _Call.of(schema, model, fresh).answers([_item(prompt, text)])
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
    questions are asked once. If the whole batch cannot fit what is left of the limits it is refused before anything is
    spent: SubcallError "budget", with the forecast. Put several items into one text (about 10,000 to 100,000
    characters) rather than one item each.
    """
    call = _Call.of(schema, model, fresh)
    items = _items(prompts, texts)
    if len(items) > 1:
        _, refused = _forecast(call, items)
        if refused is not None:
            raise refused
    return call.answers(items)


async def llm_query_async(
    prompt: str, text: str | None = None, *, schema: Any = None, model: str | None = None, fresh: bool = False
) -> Any:
    """llm_query for `await` and asyncio.gather."""
    got = await _Call.of(schema, model, fresh).answer(_item(prompt, text))
    if isinstance(got, SubcallError):
        raise got
    return got


def budget() -> Budget:
    """What is left: steps, runtime_ms, chars, subcalls, subcall_tokens, subcall_usd (None: not known), parallel, depth, backend."""  # noqa: E501
    return Budget(**_channel().question("budget", lambda number: number))


def forecast(prompts: str | Sequence[str], texts: Sequence[str] | None = None) -> Forecast:
    """What a batch would take: calls (after cache and duplicates), tokens expected and at most, seconds, usd; fits: bool."""  # noqa: E501
    found, _ = _forecast(_Call.of(None, None, fresh=False), _items(prompts, texts))
    return found


def _forecast(call: _Call, items: Sequence[Item]) -> tuple[Forecast, SubcallError | None]:
    # One that is too large is not asked at all, and fails by itself.
    fitting = (item for item in items if len(item.prompt) + len(item.text or "") <= ITEM_CHARS_MAX)
    sketches = [
        [digest_of(item.prompt, item.text), len(f"{item.prompt}{item.text or ''}".encode())] for item in fitting
    ]
    said = {"step": _step(), "opts": call.opts, "items": sketches}
    row = call.channel.question("forecast", lambda number: {"id": number, **said})
    refusal = row.pop("refusal")
    return Forecast(**row, fits=refusal is None), None if refusal is None else SubcallError(*refusal)


def _items(prompts: Any, texts: Any) -> list[Item]:
    if texts is not None:
        texts = list(texts)
    if isinstance(prompts, str):
        prompts = [prompts] * (1 if texts is None else len(texts))
    prompts = list(prompts)
    if texts is not None and len(texts) != len(prompts):
        raise ValueError(f"{len(prompts):,} prompts for {len(texts):,} texts: give one prompt for all, or one for each")
    if len(prompts) > BATCH_MAX:
        raise SubcallError(
            "too_many", f"a batch may have {BATCH_MAX:,} questions and not {len(prompts):,}; put several items into one"
        )
    return list(map(_item, prompts, texts if texts is not None else [None] * len(prompts)))


def _item(prompt: Any, text: Any) -> Item:
    return Item(_text("prompt", prompt), None if text is None else _text("text", text))


def _text(what: str, value: Any) -> str:
    if isinstance(value, Span):
        value = value.text
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str (or a Span), not {type(value).__name__}")
    if value.isascii() or len(value) > ITEM_CHARS_MAX:
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        # A byte that did not decode is a lone surrogate in the context, and no character that can be sent.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


FUNCTIONS: Final[Mapping[str, tuple[Callable[..., object], str]]] = {
    "llm_query": (llm_query, "llm_query('question', text, schema=...) -> a model's answer"),
    "llm_query_batched": (
        llm_query_batched,
        "llm_query_batched('question' or one each, texts) -> answers in order, in parallel; failed ones are falsy",
    ),
    "llm_query_async": (llm_query_async, "the same for await and asyncio.gather"),
    "budget": (budget, "budget() -> what is left of all limits"),
    "forecast": (forecast, "forecast(prompts, texts) -> what a batch would take"),
    "SubcallError": (SubcallError, "why a question has no answer: .code, .message"),
}
"""The names, with their lines."""
