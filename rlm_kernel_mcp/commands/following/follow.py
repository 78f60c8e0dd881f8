"""`rlm-kernel-mcp trace --follow`: the trace so far, and then what happens, until the session has its final answer.

At a terminal the trace so far is its last three events, and below all stand two lines that come and go (`footer.py`).

Is: the record, looked at once a second, and what a host tells sooner: the output of a running step as it comes, limits,
refusals, names that are lost. Is not: a client: it changes nothing, and nothing waits for it or stays for it (decision
0129). Above: `commands/trace.py`. Below: `text_view.py`, `json_view.py`, `footer.py`,
`watching/record/news.py`, `watching/live/host_feed.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rlm_kernel_mcp.commands.following.footer import Footer
from rlm_kernel_mcp.commands.following.json_view import JsonView
from rlm_kernel_mcp.commands.following.text_view import TextView
from rlm_kernel_mcp.commands.showing.terminal import Coloured, below, is_terminal, printer, unpainted
from rlm_kernel_mcp.commands.showing.words import marks
from rlm_kernel_mcp.session.listing import is_driven
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words
from rlm_kernel_mcp.watching.live.host_feed import HostFeed
from rlm_kernel_mcp.watching.record.news import Record

LOOK_S: Final = 1.0
"""Between two looks at the record, where nobody tells that something is new there."""
SILENT_S: Final = 10.0
"""How long a host that has the session may be silent before it tells of the final answer that the record has."""
RECORDED: Final = frozenset({"opened", "context_added", "step", "interrupt", "restore", "final"})
"""Events with a row in the record."""
NEWEST: Final = 3
"""Events so far that a person at a terminal is shown: who follows wants what comes, and a pipe wants all."""
IS_LIVE: Final = "a host has it: what a step prints is shown as it comes"
BY_RECORD: Final = "the record is looked at once a second"


class Following:
    """One session, followed."""

    def __init__(
        self,
        store: Store,
        session_id: str,
        environ: Mapping[str, str],
        *,
        as_json: bool,
        footer: Footer | None = None,
        newest: int | None = None,
    ) -> None:
        """`environ`: by which the host is found, with the state directory. `footer`: through which it is shown.

        `newest`: how many of the events so far are shown; None: all.
        """
        self._footer = footer
        write, paint = (_write, unpainted) if footer is None else (footer.write, footer.paint)
        self._view: TextView | JsonView = JsonView(write) if as_json else TextView(write, paint)
        self._record = Record(store, session_id, self._view, newest=newest)
        self._feed = HostFeed(environ, session_id)
        self._told_of: int | None = None
        self._told_step = 0
        """The row and the number of the step whose output the host tells."""
        self._is_here: bool | None = None
        """Whether the host that tells us has the session; None: it has not said so yet."""
        self._was_over = self._is_told_final = False
        """Whether the record had the final answer before this host told us anything, and whether it has told of it."""
        self._said = ""

    def run(self) -> int:
        """Show it to its end; returns how that was, as an exit status."""
        try:
            while True:
                self._connect()  # first: what happens from here on is told, or found by the look that follows
                self._say_how()
                self._record.look(self._told_of)
                if self._record.is_over:
                    break
                if self._footer is not None:
                    self._footer.draw(self._record)
                self._hear_within(LOOK_S)
            self._hear_the_rest()
        finally:
            if self._footer is not None:
                self._footer.close()
            self._feed.close()
        if self._record.damaged:
            _say(damaged_words(self._record.damaged, "event") or "")
        return self._record.exit_status

    def _connect(self) -> None:
        if not self._feed.is_connected:
            self._was_over = self._record.has_ended()  # before: of its end such a host has nothing to tell
            self._feed.connect()

    def _hear_the_rest(self) -> None:
        """Hear what was told up to the final answer: for a follower that was behind it still waits at the host.

        The host tells of the answer in any case, unless the session has left it: then it is silent.
        """
        while self._feed.is_connected and not (self._was_over or self._is_told_final or self._is_here is False):
            if not self._hear_within(SILENT_S):
                break

    def _hear_within(self, within_s: float) -> bool:
        """Hear what the host tells within so many seconds; whether it told something."""
        events = self._feed.events(within_s)
        for event in events:
            self._hear(event)
        return bool(events)

    def _say_how(self) -> None:
        """Say on stderr, once and where it changes, by what the session is followed."""
        if not self._feed.is_connected:
            self._told_of, self._told_step, self._is_here = None, 0, None
            how = f"{self._feed.refused or 'no host is there'}: {BY_RECORD}"
        elif self._is_here is None:
            return
        else:
            how = IS_LIVE if self._is_here else f"the host that is there does not have it: {BY_RECORD}"
        if how != self._said:
            self._said = how
            if self._footer is not None:
                self._footer.clear()
            _say(f"following; {how}")

    def _begin(self, row_id: int, event: dict[str, Any]) -> None:
        """A step runs; or did, as long as what tells of it was on its way, and the record has shown all of it."""
        is_over = self._record.has_shown(row_id)
        self._told_of, self._told_step = (None, 0) if is_over else (row_id, event["step"])
        if not is_over:
            if self._footer is not None:
                self._footer.begins(row_id, event["elapsed_ms"])
            self._view.begin(row_id, event["step"], event["code"], event["code_chars"])

    def _hear(self, event: dict[str, Any]) -> None:
        """Show what the host tells. Of what is in the record it only says that there is something new."""
        self._is_here = event.get("here", True)  # whoever tells of a session has it
        self._is_told_final |= event["type"] == "final"
        match event["type"]:
            case "begin":
                self._begin(int(event["id"]), event)
            case "output":
                if event["step"] == self._told_step:
                    self._view.output(event["stream"], event["at"], event["text"])
            case "dropped":  # perhaps the begin of a step or its end: the record has both
                self._told_of, self._told_step = None, 0
            case kind if kind in RECORDED or event.get("id"):
                self._record.look(self._told_of)
        for line in _lines_of(event):
            self._view.line(line)


def follow(store: Store, settings: Settings, session_id: str, *, as_json: bool) -> int:
    """Follow a session that the record has, whichever server drives it; returns the exit status."""
    environ = {**os.environ, "RLM_STATE_DIR": str(settings.state_dir)}
    is_read = not as_json and is_terminal(sys.stdout)
    lines = below(sys.stdout) if is_read else None
    coloured = printer() if lines is not None else None
    paint = coloured.styled if isinstance(coloured, Coloured) else unpainted
    footer = None
    if lines is not None:
        footer = Footer(lines, _write, marks(), lambda record: is_driven(store, record), paint=paint)
    newest = NEWEST if is_read else None
    return Following(store, session_id, environ, as_json=as_json, footer=footer, newest=newest).run()


def _lines_of(event: dict[str, Any]) -> Iterator[str]:
    """What the record does not have, in words."""
    match event["type"]:
        case "limit" | "refused" if event.get("id"):  # the record has it
            return
        case "limit":
            yield f"{event['ts']} limit reached: {event['limit']}"
        case "refused":
            yield f"{event['ts']} call not served, {event['code']}: {event['message']}"
        case "kernel_ended":
            yield f"{event['ts']} the kernel has ended: {event['reason']}"
        case "dropped":
            yield f"[{counted(event['events'], 'event')} left out: they came faster than they were read]"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    print(f"rlm-kernel-mcp: {safe_text(text)}", file=sys.stderr, flush=True)
