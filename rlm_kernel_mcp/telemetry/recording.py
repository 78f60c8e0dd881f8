"""Spans as OpenTelemetry has them: their names, attributes, parents and ends.

Is: the one module that makes a span; `docs/telemetry.md` has every name. Unless texts are asked for, nothing that code,
a context, a question or an answer says is in any of them. Is not: where spans go (`sdk.py`). Above: `spans.py`. Below:
`parts.py`, the API of OpenTelemetry.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.telemetry.parts import Asked, Asker, Ended
from rlm_kernel_mcp.text.safe_text import cut_text, safe_text

SCOPE: Final = "rlm_kernel_mcp"
TEXT_CHARS: Final = 8_000
"""Of one text in a span; the trace has all of it."""
NAME_CHARS: Final = 200
WHERE_IS_THE_REST: Final = "the session's trace has all of it"
PROVIDERS: Final = {"openai": "openai", "claude": "anthropic"}
"""Our backends by the names that the conventions have for them."""
NS_PER_MS: Final = 1_000_000

Value = str | int | float | bool
_propagator: Final = TraceContextTextMapPropagator()


class Provider(Protocol):
    """`TracerProvider` of the SDK, as far as it is known here."""

    def get_tracer(self, name: str, version: str, /) -> Tracer:
        """What makes spans."""

    def shutdown(self) -> None:
        """Send what is left, and end."""


class Recording:
    """One registry's."""

    def __init__(self, provider: Provider, *, has_texts: bool) -> None:
        self.tracer = provider.get_tracer(SCOPE, __version__)
        self.has_texts = has_texts
        self._provider = provider

    def of_session(self, session_id: str, parent: Callable[[], SessionSpans | None]) -> SessionSpans:
        """Those of a session. `parent`: of the session for whose question it was opened, if that is here."""
        return SessionSpans(self, session_id, parent)

    @contextmanager
    def called(self, tool: str, meta: Mapping[str, Any] | None, number: str, version: str) -> Iterator[None]:
        """A call of a tool: part of the span that its client names, if it names one."""
        attributes: dict[str, Value] = {
            "mcp.method.name": "tools/call",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "network.transport": "pipe",
        }
        attributes |= {"jsonrpc.request.id": safe_text(number[:NAME_CHARS])} if number else {}
        attributes |= {"mcp.protocol.version": version} if version else {}
        above = _context_in(meta)
        span = self.tracer.start_span(f"tools/call {tool}", above, SpanKind.SERVER, attributes)
        token = contexts.attach(trace.set_span_in_context(span, above))
        try:
            yield
        except BaseException as error:
            _failed(span, "tool_error" if isinstance(error, Exception) else "cancelled")
            if isinstance(error, RlmError):
                span.set_attribute("rlm.error.code", error.code)
            raise
        finally:
            contexts.detach(token)
            span.end()

    def end(self) -> None:
        """Send what is left, and end. It waits for the collector."""
        self._provider.shutdown()


class SessionSpans:
    """Those of one session. Belongs to the event loop of its registry."""

    def __init__(self, of: Recording, session_id: str, parent: Callable[[], SessionSpans | None]) -> None:
        self._of, self._session_id, self._parent = of, session_id, parent
        self._session: Span | None = None
        self._step: Span | None = None
        self._step_index = 0
        self._used: dict[str, Value] = {}

    @property
    def _common(self) -> dict[str, Value]:
        return {"gen_ai.conversation.id": self._session_id}

    def begin(self, *, is_new: bool = False) -> Span:
        """The session's own span, from its first use in this process on. `is_new`: it has just been opened."""
        if self._session is None:
            attributes = self._common | {"rlm.session.reopened": not is_new}
            parent, above = self._parent(), None
            if parent is not None:
                attributes["rlm.session.parent"] = parent._session_id
                above = trace.set_span_in_context(parent._current)
            self._session = self._of.tracer.start_span("rlm.session", above, attributes=attributes)
        return self._session

    @property
    def _current(self) -> Span:
        """What is part of a step while one runs, else of the session."""
        return self._step or self.begin()

    def step_begins(self, index: int, code: str) -> None:
        self._end_step("unknown")
        call = trace.get_current_span().get_span_context()
        attributes = self._common | {"rlm.step.index": index, "rlm.step.code_chars": len(code)}
        attributes |= self._texts({"rlm.step.code": code})
        self._step_index = index
        self._step = self._of.tracer.start_span(
            "rlm.step",
            trace.set_span_in_context(self.begin()),
            attributes=attributes,
            links=[Link(call)] if call.is_valid else (),
        )

    def step_ended(self, index: int, ended: Ended, used: Mapping[str, object]) -> None:
        """`used`: what the session has used of its limits by then."""
        self._used |= {f"rlm.session.{name}": count for name, count in used.items() if isinstance(count, int)}
        if self._step is None or index != self._step_index:
            return
        texts = {"stdout": ended.stdout, "stderr": ended.stderr, "result": ended.result or ""}
        self._step.set_attributes({f"rlm.step.{name}_chars": len(text) for name, text in texts.items()})
        self._step.set_attributes(self._texts({f"rlm.step.{name}": text for name, text in texts.items() if text}))
        self._step.set_attribute("rlm.step.executing_ms", ended.duration_ms)
        self._end_step(ended.status)

    def _end_step(self, status: str) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.set_attribute("rlm.step.status", status)
            if status != "ok":
                _failed(step, status)
            step.end()

    @contextmanager
    def restoring(self) -> Iterator[Callable[[int, int], None]]:
        """A fresh kernel takes the place of one that is gone."""
        above = trace.set_span_in_context(self._current)
        span = self._of.tracer.start_span("rlm.restore", above, attributes=self._common)

        def told(lost: int, restored: int) -> None:
            span.set_attributes({"rlm.restore.lost": lost, "rlm.restore.restored": restored})

        try:
            yield told
        except BaseException as error:
            _failed(span, error.code if isinstance(error, RlmError) else "cancelled")
            raise
        finally:
            span.end()

    def asked(self, entry: Asked, facts: Asker) -> None:
        """A question is over. Its span begins when it was first sent: what waited, or was never sent, took no time."""
        question, spent, now_ns = entry.question, entry.spent, time.time_ns()
        is_part = question.source == "mcp" and question.step_index == self._step_index
        above = trace.set_span_in_context(self._current if is_part else self.begin())
        attributes = self._common | {"rlm.subcall.kind": question.kind, "rlm.subcall.fate": entry.fate}
        attributes |= {"rlm.subcall.attempts": spent.attempts, "rlm.subcall.queued_ms": spent.queued_ms}
        if question.kind == "function":
            name, kind, more = self._function(entry)
        else:
            name, kind, more = self._model(entry, facts)
        begun_ns = now_ns - spent.duration_ms * NS_PER_MS
        span = self._of.tracer.start_span(name, above, kind, attributes | more, start_time=begun_ns)
        if entry.error_code is not None:
            _failed(span, entry.error_code)
        span.end(now_ns)

    def _function(self, entry: Asked) -> tuple[str, SpanKind, dict[str, Value]]:
        """One of the driver's. A name that is not offered is the code's word, and such a call is not made."""
        question, operation = entry.question, "execute_tool"
        tool = question.prompt[:NAME_CHARS] if entry.spent.attempts else ""
        attributes: dict[str, Value] = {"gen_ai.operation.name": operation, "gen_ai.tool.type": "function"}
        attributes |= {"gen_ai.tool.name": tool} if tool else {}
        texts = {"gen_ai.tool.call.arguments": question.text, "gen_ai.tool.call.result": entry.answer}
        return f"{operation} {tool}".rstrip(), SpanKind.INTERNAL, attributes | self._texts(texts)

    def _model(self, entry: Asked, facts: Asker) -> tuple[str, SpanKind, dict[str, Value]]:
        """A question that a model answers, or a session of its own."""
        spent, child = entry.spent, entry.said.child
        texts = self._messages(entry)
        if child is not None:
            return "rlm.query", SpanKind.INTERNAL, {"rlm.subcall.child": child, **texts}
        asked = safe_text(entry.model[:NAME_CHARS]) if spent.attempts else ""
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(facts.name, facts.name),
        }
        attributes |= {"gen_ai.request.model": asked} if asked else {}
        attributes |= {"gen_ai.response.model": safe_text(said[:NAME_CHARS])} if (said := entry.said.model) else {}
        if facts.name in PROVIDERS:
            attributes |= _address(facts.where)
        if spent.tokens_in or spent.tokens_out:
            attributes |= {
                "gen_ai.usage.input_tokens": spent.tokens_in,
                "gen_ai.usage.output_tokens": spent.tokens_out,
            }
        attributes |= {} if spent.usd is None else {"rlm.subcall.usd": spent.usd}
        kind = SpanKind.CLIENT if facts.name in PROVIDERS else SpanKind.INTERNAL
        return f"chat {asked}".rstrip(), kind, attributes | texts

    def _messages(self, entry: Asked) -> dict[str, Value]:
        """Question and answer in the form that the conventions have, where texts are wanted."""
        if not self._of.has_texts:
            return {}
        question = entry.question
        parts = [{"type": "text", "content": _cut(text)} for text in (question.prompt, question.text) if text]
        found = {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": parts}])}
        if entry.answer is not None:
            said = {"role": "assistant", "parts": [{"type": "text", "content": _cut(entry.answer)}]}
            found["gen_ai.output.messages"] = json.dumps([{**said, "finish_reason": "stop"}])
        return dict(found)

    def _texts(self, texts: Mapping[str, str | None]) -> dict[str, Value]:
        """They, where texts are wanted."""
        return {name: _cut(text) for name, text in texts.items() if text} if self._of.has_texts else {}

    def finalized(self, reason: str) -> None:
        """It has its final answer. `reason`: `completed`, or which limit had stopped it."""
        self.begin().set_attribute("rlm.session.finish_reason", reason)

    def end(self) -> None:
        """It has left this process's memory. A step that is still open has no end that anybody knows of."""
        self._end_step("unknown")
        session, self._session = self._session, None
        if session is not None:
            session.set_attributes(self._used)
            session.end()


def _address(where: str) -> dict[str, Value]:
    """Of an endpoint, from its host name with a port, if it has one of its own."""
    host, colon, port = where.rpartition(":")
    return {"server.address": host, "server.port": int(port)} if colon and port.isdigit() else {"server.address": where}


def _failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _cut(text: str) -> str:
    return cut_text(text, TEXT_CHARS, WHERE_IS_THE_REST).text


def _context_in(meta: Mapping[str, Any] | None) -> contexts.Context:
    """The span that a client says its call is part of; whatever else it says is nothing."""
    names = ("traceparent", "tracestate")
    carrier = {name: value for name in names if isinstance(value := (meta or {}).get(name), str)}
    return _propagator.extract(carrier, contexts.Context())
