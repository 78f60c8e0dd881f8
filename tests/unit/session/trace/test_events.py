"""An event in full is what its pages are, put together: each form of the trace tells the same. A page has its size."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.session.trace.events import whole_event
from rlm_kernel_mcp.session.trace.facts import ROOM_MIN, with_facts
from rlm_kernel_mcp.session.trace.pages import TEXTS, page
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.store.store import EventHead, EventRow

CHARACTERS: Final = st.sampled_from("ab é€😀\x1b\u202e\n\ud800")
"""None that a page of one character parts from its neighbour."""
SOME_TEXT: Final = st.none() | st.text(CHARACTERS, max_size=40)


@st.composite
def events(draw: st.DrawFn) -> tuple[EventHead, dict[str, bytes | None]]:
    """A row of the store, and its texts as the store has them."""
    error = draw(
        st.none() | st.fixed_dictionaries(dict.fromkeys(("ename", "evalue", "traceback"), st.text(CHARACTERS)))
    )
    texts = {name: draw(SOME_TEXT) for name in ("code", "stdout", "stderr", "result")}
    texts["error"] = None if error is None else json.dumps(error)
    stored = {name: None if text is None else text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
    size = sum(len(text or b"") for text in stored.values())
    return EventHead(EventRow("s_1", "2026-11-28T00:00:00.000Z", 1, "run_repl", summary="x"), size), stored


def parts_of(event: TraceEvent) -> dict[str, str]:
    """What an event has of each text."""
    error = event.error
    own = (event.code, event.stdout, event.stderr, event.result, error and error.evalue, error and error.traceback)
    return dict(zip(TEXTS, (text or "" for text in own), strict=True))


@given(events(), st.integers(1, 400))
def test_the_pages_of_an_event_put_together_are_the_event_in_full(
    drawn: tuple[EventHead, dict[str, bytes | None]], max_output_chars: int
) -> None:
    head, texts = drawn
    whole = whole_event(head, texts)
    offset: int | None = 0
    put_together = dict.fromkeys(TEXTS, "")
    while offset is not None:
        part, damaged = page([head], lambda _: texts, detail="full", max_output_chars=max_output_chars, offset=offset)
        assert not damaged
        assert part.next_offset is None or part.next_offset > offset
        for event in part.events:
            put_together = {name: text + parts_of(event)[name] for name, text in put_together.items()}
            assert (event.error is None, event.result is None) == (whole.error is None, whole.result is None)
        offset = part.next_offset
    assert put_together == parts_of(whole)


def a_row(number: int, extra: str | None = None) -> EventRow:
    """Of a session that may ask, as large as a step's usually is."""
    counts = ("step_index", "max_steps", "runtime_ms", "max_runtime_ms", "budget_used", "budget_limit")
    asked = ("subcalls", "max_subcalls", "subcall_tokens", "subcall_tokens_limit")
    snapshot = json.dumps({**dict.fromkeys(counts, 12_345), **dict.fromkeys(asked, 1_000)})
    ts, summary = "2026-11-28T00:00:00.000Z", "x" * 120
    return EventRow("s_1", ts, number, "run_repl", summary=summary, guardrail_snapshot=snapshot, extra=extra)


def test_a_summary_takes_no_room_for_what_it_has_not() -> None:
    """Facts and displays are of full events and of the whole trace: a dozen steps fit the first page without them."""
    heads = [EventHead(a_row(number), 0) for number in range(12)]
    part, _ = page(heads, lambda _: {}, detail="summary", max_output_chars=8_000, offset=0)
    assert (len(part.events), part.next_offset) == (12, None)


def test_the_facts_of_events_take_of_the_room_of_their_page() -> None:
    """Ten restores with a thousand names each are no page of ten times its size."""
    extra = with_facts(None, {"restored": [f"name_{number}" for number in range(1_000)]})
    heads = [EventHead(a_row(number, extra), 4) for number in range(10)]
    offset: int | None = 0
    shown = list[TraceEvent]()
    while offset is not None:
        part, _ = page(heads, lambda _: {"code": b"code"}, detail="full", max_output_chars=8_000, offset=offset)
        assert sum(len(json.dumps(asdict(event))) for event in part.events) <= 8_000 + ROOM_MIN
        assert part.next_offset is None or part.next_offset > offset
        shown, offset = [*shown, *part.events], part.next_offset
    assert [event.step_index for event in shown if event.facts] == list(range(10))
    assert "".join(event.code or "" for event in shown) == "code" * 10
