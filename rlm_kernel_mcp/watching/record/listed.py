"""The list of sessions on the live page: a row each, and which of them have changed since.

Is: rows by the record, in pages. Is not: how a session stands in words of its own (`session/listing.py`). It waits for
the disk; one thread at a time calls it. Above: `watching/web/streams.py`, `watching/web/app.py`. Below:
`heads.py`, `session/listing.py`, `store/store.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, get_args

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.listing import counters_of, ended_for, facts_of, is_driven
from rlm_kernel_mcp.session.listing import limits_of as recorded_limits
from rlm_kernel_mcp.session.listing import used_of as recorded_use
from rlm_kernel_mcp.session.reports import EndStatus, GuardrailStop
from rlm_kernel_mcp.session.seen.maps import reports_of
from rlm_kernel_mcp.store.store import SessionKey, SessionRecord, Store
from rlm_kernel_mcp.text.wording import waits_words
from rlm_kernel_mcp.watching.messages.answers import PULSE_MAX, ROWS_MAX, Row, Rows, RowsMessage, Running
from rlm_kernel_mcp.watching.messages.events import Used
from rlm_kernel_mcp.watching.record.heads import NAME_CHARS, QUESTION_CHARS, in_words, status_of, waits

LIMITS: Final = frozenset(get_args(GuardrailStop))
NOTABLE: Final = "fkesho"
"""Letters of a pulse, the first of which stands for all of a bin."""
WRONG: Final = frozenset(get_args(EndStatus)) - {"ok"}
"""Ends of a step, also that of which nobody heard."""
PULSES_KEPT: Final = 2_000


class Listed:
    """The sessions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pulses: dict[str, tuple[str, str]] = {}
        """By session, when it was last used, and its pulse then."""

    def page(self, before: str = "", most: int = ROWS_MAX) -> Rows:
        """The last used ones, or those behind a row: its `last`, a comma and its `id`."""
        last, _, session_id = before.partition(",")
        keys = self._store.session_keys()
        wanted = _newest(key for key in keys if not before or _place(key) < (last, session_id))
        rows, damaged = self._rows(wanted[:most])
        return {"sessions": rows, "older": max(len(wanted) - most, 0), "damaged": damaged + keys.damaged}

    def _rows(self, keys: Sequence[SessionKey]) -> tuple[list[Row], int]:
        records = [*self._store.summaries([key.session_id for key in keys])] if keys else []
        return [self.row(record) for record in records], len(keys) - len(records)

    def row(self, record: SessionRecord) -> Row:
        """One of them."""
        status, chars = status_of(self._store, record), facts_of(record)[0]
        first = reports_of(record)[0]
        used, limits = in_words(recorded_use(record)), in_words(recorded_limits(record))
        return {
            "id": record.session_id,
            "title": None if record.question is None else record.question[:QUESTION_CHARS],
            "status": status,
            "client": None if record.client is None else record.client[:NAME_CHARS],
            "parent": record.parent,
            "opened": record.created_at,
            "last": record.last_used_at,
            "used": used,
            "limits": limits,
            "chars": chars,
            "documents": count_of(first.get("document_count")) or 0,
            "held": str(first.get("held") or "")[:NAME_CHARS],
            "pulse": self._pulse(record, runs=status == "running"),
            "running": self._running(record) if status == "running" else None,
            "said": self._said(record, used, limits),
        }

    def _running(self, record: SessionRecord) -> Running:
        step = counters_of(record).step_index
        rows = [head.row for head in self._store.heads(record.session_id, step, step)]
        begun = [row.id or 0 for row in rows if row.action == "run_repl" and row.source == "mcp"]
        age_ns = time.time_ns() - begun[-1] if begun else 0  # a row's id is the moment at which it was made
        return {"step": step, "elapsed_ms": max(age_ns // 1_000_000, 0)}

    def _said(self, record: SessionRecord, used: Used, limits: Used) -> str | None:
        driven = is_driven(self._store, record)
        if (ended := ended_for(record, driven=driven)) is not None:
            return f"ended without an answer{f': {ended[:NAME_CHARS]}' if ended else ''}"
        if answers := waits(self._store, record):
            return waits_words(answers)
        reason = record.stop_reason or record.finish_reason or ""
        if reason in LIMITS:
            which = _limit_words(reason, used, limits)
            return f"stopped: {which} used; {'answered then' if record.status == 'finalized' else 'no answer yet'}"
        return None

    def _pulse(self, record: SessionRecord, *, runs: bool) -> str:
        found = self._pulses.get(record.session_id)
        if found is None or found[0] != record.last_used_at or record.status == "running":
            found = record.last_used_at, pulse_of(self._store.marks(record.session_id), runs=runs)
            if len(self._pulses) >= PULSES_KEPT:
                self._pulses.clear()
            self._pulses[record.session_id] = found
        return found[1]


class Changes:
    """What has become of the list since it was looked at last, for one reader."""

    def __init__(self, store: Store, listed: Listed) -> None:
        self._store, self._listed = store, listed
        self._known: dict[str, Row] = {}
        self._keys: dict[str, SessionKey] = {}

    def look(self) -> RowsMessage | None:
        """Rows that are new or changed, and the ids of those that are gone; None: nothing has changed.

        A session that runs is looked at each time; of the others only those that were used since. Only the newest
        are in the list.
        """
        keys = {key.session_id: key for key in _newest(self._store.session_keys())[:ROWS_MAX]}
        wanted = [one for one, key in keys.items() if self._keys.get(one) != key or self._is_lively(one)]
        found = {record.session_id: self._listed.row(record) for record in self._store.summaries(wanted)}
        changed = [row for one, row in found.items() if self._known.get(one) != row]
        gone = [one for one in self._keys if one not in keys]
        if self._store.unread is not None:
            return None
        self._keys = keys
        self._known = {one: row for one, row in (self._known | found).items() if one in keys}
        return {"type": "sessions", "sessions": changed, "gone": gone} if changed or gone else None

    def _is_lively(self, session_id: str) -> bool:
        """Whether it may be another one without having been used: its server may end, or its step's time goes on."""
        row = self._known.get(session_id)
        return row is None or row["status"] == "running"


def pulse_of(marks: Sequence[tuple[str, ...]], *, runs: bool = False) -> str:
    """The letters of a session's events, several as one where there are many. `runs`: whether its last step does."""
    steps = [place for place, (action, source, _) in enumerate(marks) if (action, source) == ("run_repl", "mcp")]
    running = steps[-1] if runs and steps and marks[steps[-1]][2] == "unknown" else None
    letters = [letter for place, mark in enumerate(marks) if (letter := "o" if place == running else _letter(*mark))]
    size = -(-len(letters) // PULSE_MAX) or 1
    bins = (letters[at : at + size] for at in range(0, len(letters), size))
    return "".join(min(letters, key=NOTABLE.index) for letters in bins)


def _letter(action: str, source: str, status: str) -> str:
    match action:
        case "run_repl":
            return "h" if source == "console" else "e" if status in WRONG else "o"
        case "restore":
            return "k"
        case "subcalls":
            return "s"
        case "finalize":
            return "f"
        case _:
            return ""


def _newest(keys: Iterable[SessionKey]) -> list[SessionKey]:
    return sorted(keys, key=_place, reverse=True)


def _place(key: SessionKey) -> tuple[str, str]:
    """By which the list is in order: no two have the same, though they may have been used at the same moment."""
    return key.last_used_at, key.session_id


def _limit_words(reason: str, used: Used, limits: Used) -> str:
    match reason:
        case "max_steps":
            return f"all {limits['steps']:,} steps"
        case "timeout":
            return f"all {limits['runtime_ms'] // 1_000:,} s of runtime"
        case _:
            return f"all {limits['chars'] or used['chars']:,} characters"
