"""`rlm-kernel-mcp trace`: what was done in a session, live or ended, in full.

Is: the same events that `rlm_get_trace` gives in pages, uncut; or what the final answer cites, for programs. Is not: a
request to a kernel: a console's cells that nobody has fetched yet are added when the agent reads the trace. Above:
`cli.py`. Below: `looking/live.py`, `showing/forms.py`, `showing/questions.py`, `session/trace/reading.py`,
`session/evidence/annotations.py`, `notebook/writing/record.py`. One that goes on is `following/follow.py`'s.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from rlm_kernel_mcp.commands.following.follow import follow
from rlm_kernel_mcp.commands.looking.live import find_session, opened_store
from rlm_kernel_mcp.commands.showing.forms import Form, shown_as
from rlm_kernel_mcp.commands.showing.pager import paged
from rlm_kernel_mcp.commands.showing.questions import print_question
from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.session.evidence.annotations import annotations_of
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.events import EVIDENCE, extra_of
from rlm_kernel_mcp.session.trace.reading import Nested, nested_trace, whole_trace
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.text.wording import damaged_words

NOTEBOOK: Final = ("notebook", "html")
"""Formats that are all of one session, as far as it is: its notebook, and that as a page."""


def traced(settings: Settings, asked: Namespace) -> int:
    """Print what the command line asks for.

    Raises:
        SessionNotFound: there is no such session. InvalidInput: it asks for what does not go together.
    """
    if asked.question is not None:
        return _print_question(settings, asked)
    if asked.format in NOTEBOOK:
        return _print_notebook(settings, asked)
    form: Form = "jsonl" if asked.json else asked.format
    if asked.children and (asked.follow or asked.annotations):
        raise InvalidInput(
            "--children goes neither with --follow nor with --annotations: each of these is of one session.",
            "Leave one of the two out; a child session is followed by its own id.",
        )
    if asked.children:
        with _store_with(settings, asked.session_id) as store:
            events = nested_trace(store, asked.session_id)
            return _print_events(store, asked.session_id, events, form, of_many=True)
    if not asked.follow:
        return print_trace(settings, asked.session_id, form=form, as_annotations=asked.annotations)
    if asked.annotations:
        raise InvalidInput(
            "--annotations does not go with --follow: what an answer cites is there when the session has ended.",
            "Leave one of the two out.",
        )
    if form == "json":
        raise InvalidInput(
            "--format json does not go with --follow: one JSON value ends with the session.",
            "Use --format jsonl, which has a line for each event.",
        )
    with _store_with(settings, asked.session_id) as store:
        return follow(store, settings, asked.session_id, as_json=form == "jsonl")


def print_trace(settings: Settings, session_id: str, *, form: Form = "text", as_annotations: bool = False) -> int:
    """Print every event, in a form; or what the final answer cites, as JSON-LD.

    Raises:
        SessionNotFound: there is no such session.
    """
    with _store_with(settings, session_id) as store:
        if as_annotations:
            return _print_annotations(store, session_id)
        events = (Nested(session_id, 0, event) for event in whole_trace(store, session_id))
        return _print_events(store, session_id, events, form)


@contextmanager
def _store_with(settings: Settings, session_id: str) -> Iterator[Store]:
    """The store, where it has the session, be that damaged or not."""
    with opened_store(settings) as store:
        if not store.knows(session_id):
            find_session(store, session_id)
        yield store


def _print_events(store: Store, session_id: str, events: Iterable[Nested], form: Form, *, of_many: bool = False) -> int:
    damaged = 0
    shown = shown_as(form, of_many=of_many)
    with paged() if form == "text" else nullcontext():
        shown.begin(store, _record(store, session_id))
        for one in events:
            if one.event is None:
                damaged += 1
            else:
                shown.event(one, one.event)
        shown.end()
    if damaged:
        print(f"rlm-kernel-mcp: {damaged_words(damaged, 'event')}", file=sys.stderr)
    return 0


def _record(store: Store, session_id: str) -> SessionRecord | None:
    """The session's record, unless it is damaged."""
    try:
        return store.session(session_id, whole=False)
    except SessionNotFound:
        return None


def _print_question(settings: Settings, asked: Namespace) -> int:
    if asked.follow or asked.children or asked.annotations or asked.format in NOTEBOOK:
        raise InvalidInput(
            "--question goes with none of --follow, --children, --annotations and the formats of a notebook: it shows "
            "what is kept of one question.",
            "Leave the other out; a child session's question is shown by that session's id.",
        )
    with _store_with(settings, asked.session_id) as store:
        return print_question(store, asked.session_id, asked.question, "jsonl" if asked.json else asked.format)


def _print_notebook(settings: Settings, asked: Namespace) -> int:
    if asked.follow or asked.children:
        raise InvalidInput(
            f"--format {asked.format} goes neither with --follow nor with --children: it is of one session, as far as "
            "that is.",
            "Leave one of the two out; a child session has a notebook of its own.",
        )
    from rlm_kernel_mcp.notebook.writing.page import page_of
    from rlm_kernel_mcp.notebook.writing.record import notebook_of, text_of

    with _store_with(settings, asked.session_id) as store:
        notebook, damaged = notebook_of(store, asked.session_id)
    for piece in (page_of(notebook),) if asked.format == "html" else text_of(notebook):
        sys.stdout.write(piece)
    if damaged:
        print(f"rlm-kernel-mcp: {damaged_words(damaged, 'event')}", file=sys.stderr)
    return 0


def _print_annotations(store: Store, session_id: str) -> int:
    for head in store.heads(session_id):
        if evidence := extra_of(head.row).get(EVIDENCE):  # there is one final answer
            checked = Checked.of_record(evidence)
            print(json.dumps(_annotations(store, session_id, head.row.ts, checked), indent=1))
            return 0
    print(f"rlm-kernel-mcp: session {session_id} has no final answer whose citations were checked.", file=sys.stderr)
    return 1


def _annotations(store: Store, session_id: str, finished_at: str, checked: Checked) -> dict[str, Any]:
    try:
        answer = store.final_answer(session_id)
        pages = answer.pages() if isinstance(answer, PagedText) else (answer,)
        return annotations_of(session_id, finished_at, checked, pages)
    except SessionNotFound:  # it is damaged, what it cites is not
        return annotations_of(session_id, finished_at, checked)
