"""The rows of `rlm_list_sessions`: each from its record and, where this server has it, the live session.

Is: the choice and the rows. Is not: the bound of the whole answer, which depends on its form (`server/responses.py`).
Above: `registry.py`, `commands/`. Below: `store/store.py`'s rows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, TypeGuard, get_args

from rlm_kernel_mcp.context.held import is_hashed_later
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.reports import Connection, Counters, SessionList, SessionStatus, SessionSummary
from rlm_kernel_mcp.session.trace.events import waits_of
from rlm_kernel_mcp.store.pruning import ABANDONED, ENDED
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import ENDED_STATUSES, SessionKey, SessionRecord, Store
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words

if TYPE_CHECKING:  # the commands of the command line list without a session, and without all of Jupyter
    from rlm_kernel_mcp.session.session import Session

State = Literal["live", "all"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions: at most `limit` of a state, from place `offset` on."""

    state: State
    limit: int
    offset: int = 0


async def listed(
    store: Store,
    own: Mapping[str, Session],
    wanted: Wanted,
    connection: Callable[[str], Connection | None] = lambda session_id: None,
) -> SessionList:
    """The sessions: this server's own before the others, the last used first.

    The store is read in a thread: however many sessions there are, only the caller waits. `connection`: of one of
    `own`, the connection whose it is.
    """
    state, limit, offset = wanted.state, wanted.limit, wanted.offset
    used = {session_id: session.last_used_at for session_id, session in own.items()}

    def read() -> tuple[list[tuple[SessionRecord, bool, int]], list[int], int, int]:
        keys = store.session_keys()
        found = chosen(keys, used, state)
        page = {key.session_id: place for place, key in enumerate(found[offset : offset + limit], offset)}
        records = store.summaries(list(page))
        driven = (one.session_id in used or is_driven(store, one) for one in records)
        waits = (0 if one.session_id in used else waiting_answers(store, one) for one in records)
        rows = list(zip(records, driven, waits, strict=True))
        places = [*(page[one.session_id] for one in records), offset + len(page)]
        return rows, places, len(found), keys.damaged + records.damaged

    found, places, count, damaged = await in_reader(read)
    await _look(own[record.session_id] for record, _, _ in found if record.session_id in own)
    rows = [
        replace(
            summary(record, own.get(record.session_id), driven=driven, waits=waits),
            connection=connection(record.session_id) if record.session_id in own else "other" if driven else None,
        )
        for record, driven, waits in found
    ]
    behind = f"Nothing is there: offset is {offset:,}, and there are {counted(count, 'session')} to list."
    notes = (behind if offset > count else None, store.problem, damaged_words(damaged, "session"))
    return SessionList(
        tuple(rows), max(0, count - offset - limit), offset, " ".join(filter(None, notes)) or None, tuple(places)
    )


async def _look(sessions: Iterable[Session]) -> None:
    """Ask whether the files of their contexts have changed; an answer that takes long is for the next listing."""
    looks = [session.contexts.looks for session in sessions]
    for one in looks:
        one.begin()
    await asyncio.gather(*(one.changed() for one in looks))


def chosen(keys: Sequence[SessionKey], used: Mapping[str, str], state: State) -> list[SessionKey]:
    """The sessions of a state in the order in which they are listed. `used`: when this server's own were last used."""
    wanted = [key for key in keys if state == "all" or is_live(key)]
    last_used = {key.session_id: used.get(key.session_id, key.last_used_at) for key in wanted}
    return sorted(wanted, key=lambda key: (key.session_id in used, last_used[key.session_id]), reverse=True)


def is_live(session: SessionKey | SessionRecord) -> bool:
    """Whether something can still be run in it. One that no server drives just now comes back on use."""
    return session.status not in ENDED_STATUSES


def is_driven(store: Store, record: SessionRecord) -> bool:
    """Whether a server drives the session just now: it holds a lock that dies with it."""
    return record.status != "finalized" and store.holder(record.session_id) is not None


def recorded_status(record: SessionRecord, *, driven: bool) -> SessionStatus:
    """The status by the record alone. A step that ran when its server was killed runs no more: the session is idle.

    `driven`: whether a living server drives the session.
    """
    if _is_abandoned(record, driven=driven):
        return "finalized"
    if not _is_status(record.status) or (record.status == "running" and not driven):
        return "idle"
    return record.status


def waiting_answers(store: Store, record: SessionRecord) -> int:
    """For how many answers the step waits that runs in it, by the record. Reads the store: call it in a thread."""
    if record.status != "running":
        return 0
    index = counters_of(record).step_index
    rows = [head.row for head in store.heads(record.session_id, index, index) if head.row.action == "run_repl"]
    return max((waits_of(row) for row in rows if row.source == "mcp"), default=0)


def _is_status(status: str) -> TypeGuard[SessionStatus]:
    """False for a status that another version wrote and this one does not know."""
    return status in get_args(SessionStatus)


def summary(record: SessionRecord, session: Session | None, *, driven: bool, waits: int = 0) -> SessionSummary:
    """One row; a session that no server drives comes back on use. `waits`: for so many answers, by the record."""
    desk = None if session is None else session.told.desk
    counters = session.counters if session is not None else counters_of(record)
    chars, digest = facts_of(record)
    first = None if session is None else session.contexts.report(session.contexts.contexts.first)
    return SessionSummary(
        session_id=record.session_id,
        status=session.status if session is not None else recorded_status(record, driven=driven),
        created_at=record.created_at,
        last_used_at=session.last_used_at if session is not None else record.last_used_at,
        step_index=counters.step_index,
        kind=record.kind,
        chars=chars,
        sha256=digest,
        counters=counters,
        loading=first if isinstance(first, LoadingReport) else None,
        changed=isinstance(first, ContextReport) and first.changed,
        parent=record.parent,
        depth=record.depth,
        waits_for_answers=desk.count if desk is not None else waits if driven else 0,
        ended=ended_for(record, driven=driven),
        question=None if record.question is None else safe_text(record.question),
        client=None if record.client is None else safe_text(record.client),
    )


def ended_for(record: SessionRecord, *, driven: bool) -> str | None:
    """Why a child has ended without a final answer, though its status is that of a session which has one."""
    if _is_abandoned(record, driven=driven):
        return ABANDONED
    return str(json.loads(record.extra or "{}").get(ENDED, "")) if record.finish_reason == ENDED else None


def _is_abandoned(record: SessionRecord, *, driven: bool) -> bool:
    """Whether it is a child whose server has ended, and with it whoever waits for its answer."""
    return record.parent is not None and not driven and is_live(record)


def counters_of(record: SessionRecord) -> Counters:
    """A recorded session's counters, whichever version wrote them."""
    found = json.loads(record.counters or "{}")
    return Counters(**{field.name: found.get(field.name, 0) for field in fields(Counters)})


def used_of(record: SessionRecord) -> dict[str, int]:
    """Of each counter what counts for its limit: the steps of child sessions too."""
    used: dict[str, int] = asdict(counters_of(record))
    used["step_index"] += used.pop("child_steps")
    return used


def limits_of(record: SessionRecord) -> dict[str, int]:
    """Of each counter the most that it may reach, as far as the record says it."""
    found = json.loads(record.limits or "{}")
    named = {"step_index": "max_steps", "runtime_ms": "max_runtime_ms", "budget_used": "budget_limit"}
    return {counter: found[limit] for counter, limit in named.items() if type(found.get(limit)) is int}


def facts_of(record: SessionRecord) -> tuple[int | None, str | None]:
    """Of a recorded session's first context the length, None while that is not loaded, and the hash.

    The hash is None while it is, and of one so small that the answer which opened the session had it.
    """
    found = json.loads(record.context or "{}")
    if found.get("state", "ready") != "ready":
        return None, None
    chars, digest, byte_count = found.get("chars", 0), found.get("sha256"), found.get("bytes")
    is_told = isinstance(digest, str) and type(byte_count) is int and is_hashed_later(byte_count)
    return chars if type(chars) is int else 0, digest if is_told else None
