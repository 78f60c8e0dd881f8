"""`rlm-kernel-mcp sessions`: the sessions and the hosts of this user's servers, as tables or as JSON for scripts.

Is: one line a session, and one a host; at a terminal in words and bars (`showing/session_rows.py`). Is not:
`rlm_list_sessions`, which puts its own server's sessions first. Above: `cli.py`. Below: `looking/live.py`,
`looking/hosts.py`, `showing/session_rows.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rlm_kernel_mcp.commands.looking.hosts import Host, place_of, running_hosts
from rlm_kernel_mcp.commands.looking.live import may_have_record, opened_store
from rlm_kernel_mcp.commands.showing.heading import one_line
from rlm_kernel_mcp.commands.showing.session_rows import Row, show_sessions
from rlm_kernel_mcp.commands.showing.table import aligned
from rlm_kernel_mcp.commands.showing.terminal import is_terminal, printer
from rlm_kernel_mcp.commands.showing.words import marks
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.session.listing import (
    counters_of,
    ended_for,
    facts_of,
    is_live,
    limits_of,
    recorded_status,
    used_of,
    waiting_answers,
)
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import SessionRecord
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words, state_more

HEAD = ("SESSION", "STATUS", "CONTEXT", "STEPS", "RUNTIME", "CHARS", "LAST USED", "CLIENT", "SERVER")
HOSTS_HEAD = ("HOST", "VERSION", "CLIENTS")


def list_sessions(settings: Settings, environ: Mapping[str, str], *, ended_too: bool, as_json: bool = False) -> int:
    """Print the live sessions, in which something can still be run, or all of them; the last used first. And the hosts.

    `environ`: what the settings were made from.

    Raises:
        SessionNotFound: which sessions there are is not known, or there is neither a record nor a host.
    """
    hosts = _hosts(settings, environ)
    try:
        rows = _rows(settings, ended_too=ended_too)
    except SessionNotFound as error:
        if not hosts or may_have_record(settings.state_dir):
            raise
        _say(error.message)  # clients that have opened none yet
        rows = []
    if as_json:
        told = [{"pid": host.pid, "version": host.version, "clients": host.clients} for host in hosts]
        print(json.dumps({"hosts": told, "sessions": [_fields(*row) for row in rows]}))
        return 0
    if rows and is_terminal(sys.stdout):
        show_sessions(rows, printer(), marks(), datetime.now(UTC))
    elif rows:
        print("\n".join(aligned([HEAD, *(_cells(*row) for row in rows)])))
    else:
        print("no session" if ended_too else "no live session; --all lists ended ones too", file=sys.stderr)
    if hosts:
        print("\n".join(["", *aligned([HOSTS_HEAD, *map(_host_cells, hosts)])]))
    return 0


def _hosts(settings: Settings, environ: Mapping[str, str]) -> list[Host]:
    try:
        hosts = running_hosts(place_of(settings, environ))
    except (NoHost, OSError) as error:
        _say(f"hosts cannot be looked for: {error}")
        return []
    for host in hosts:
        if host.problem:
            _say(f"the host of version {host.version} (pid {host.pid}) cannot be asked: {host.problem}")
    return hosts


def _rows(settings: Settings, *, ended_too: bool) -> list[Row]:
    with opened_store(settings) as store:
        found = store.sessions()
        wanted = [(one, store.holder(one.session_id)) for one in found if ended_too or is_live(one)]
        rows = [(one, pid, 0 if pid is None else waiting_answers(store, one)) for one, pid in wanted]
    if found.damaged:
        _say(damaged_words(found.damaged, "session"))
    return sorted(rows, key=lambda row: row[0].last_used_at, reverse=True)


def _say(text: str) -> None:
    print(f"rlm-kernel-mcp: {safe_text(text)}", file=sys.stderr)


def _fields(record: SessionRecord, holder: int | None, waits: int) -> dict[str, Any]:
    chars, _ = facts_of(record)
    return {
        "session_id": record.session_id,
        "status": recorded_status(record, driven=holder is not None),
        "created_at": record.created_at,
        "last_used_at": record.last_used_at,
        "step_index": counters_of(record).step_index,
        "kind": record.kind,
        "chars": chars,
        "waits_for_answers": waits,
        "ended": ended_for(record, driven=holder is not None),
        "pid": holder,
        "parent": record.parent,
        "depth": record.depth,
        "question": None if record.question is None else safe_text(record.question),
        "client": None if record.client is None else safe_text(record.client),
        "used": used_of(record),
        "limits": limits_of(record),
    }


def _share(one: dict[str, Any], counter: str, unit: int = 1, suffix: str = "") -> str:
    """How much of a limit is used: `22/120 s`."""
    most = one["limits"].get(counter)
    return f"{one['used'][counter] // unit:,}{'' if most is None else f'/{most // unit:,}'}{suffix}"


def _cells(record: SessionRecord, holder: int | None, waits: int) -> tuple[str, ...]:
    one = _fields(record, holder, waits)
    context = one["kind"] if one["chars"] is None else f"{one['kind']}, {counted(one['chars'], 'character')}"
    cells = (
        one["session_id"],
        one["status"] + state_more(waits, None if one["ended"] is None else ""),
        context if record.parent is None else f"{context}; child of {record.parent}",
        _share(one, "step_index"),
        _share(one, "runtime_ms", 1_000, " s"),
        _share(one, "budget_used"),
        one["last_used_at"],
        one["client"] or "not known",
        "none" if holder is None else f"pid {holder}" if holder else "not known",
    )
    return tuple(map(one_line, cells))


def _host_cells(host: Host) -> tuple[str, ...]:
    clients = "?" if host.clients is None else f"{host.clients:,}"
    old = "" if host.condition is None or not host.condition.is_draining else ", takes no more"
    return f"pid {host.pid}", safe_text(host.version), clients + old
