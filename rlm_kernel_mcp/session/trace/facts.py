"""What an event of the trace says beside its texts, for people: costs, causes, and names that are gone.

Is: small JSON objects in a row's `extra`, made here and read back safe to show, each with its bound: they lie beside
the row's small columns, which every reading of a trace takes. Is not: the row (`journal.py`), nor an event
(`events.py`). Above: those two, `pages.py`. Below: `session/reports.py`, `store/store.py`'s rows.

Fields, each only where it is known: `printed` {stream: characters that the record has of a step}, `delivered`
(characters of its output and questions that its client was given), `cost` (of the budget, its code included);
`displayed` {type: displays that are kept}, `not_displayed` {reason: those that are not};
`rung` and `cause` of an interrupt; `lost`, `restored`, `more_lost`, `more_restored` of a restore; `limit` of a stop and
of a call that this refused; `error_code`, `message`, `code_chars`, `citations`, `more_citations` of a refused call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.errors import CitationMismatch, RlmError
from rlm_kernel_mcp.session.reports import GuardrailStop, LossReport, StepReport
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.displayed import display_facts
from rlm_kernel_mcp.session.watching.events import SAID_CHARS, loss_fields
from rlm_kernel_mcp.store.store import EventRow
from rlm_kernel_mcp.text.safe_text import safe_text

FACTS: Final = "facts"
"""Their key in `extra`."""
SEEN: Final = "seen"
"""Among them, only where the whole trace is read for a person or a file: by context, the `delivered` ranges of its
characters, which the host has found, and how many its functions have `searched`, by the kernel's word."""
NAMES_MAX: Final = 200
"""Of those that are lost, and of those that are back: the record has more of them than a watcher is told at once."""
CITATIONS_CHARS: Final = 8_000
"""Of the failed citations of a refused answer, as JSON."""
LISTS: Final = {"lost": "more_lost", "restored": "more_restored", "citations": "more_citations"}
"""The facts that are lists, and what counts the rows of them that are not there."""
ROOM_MIN: Final = 1_000
"""Characters of facts that even the smallest page shows."""


@dataclass(slots=True)
class StepCosts:
    """What the newest step has cost its session by now, and what its row has of that."""

    _cost: int = 0
    _delivered: int = 0
    _printed: dict[str, int] | None = None
    """None: it runs."""
    _shown: dict[str, Any] = field(default_factory=dict)
    _extra: str = ""

    def begin(self, code_chars: int) -> None:
        """Another step: its code is charged."""
        self._cost, self._delivered, self._printed = code_chars, 0, None

    def add(self, delivered: int, charged: int) -> None:
        """A reply has given some of its output, and was charged for it."""
        self._delivered, self._cost = self._delivered + delivered, self._cost + charged

    def end(self, outcome: Outcome, extra: str) -> str:
        """It has ended: `extra` with its costs."""
        self._printed, self._shown, self._extra = _printed_of(outcome), display_facts(outcome), extra
        return self.extra or extra

    @property
    def extra(self) -> str | None:
        """What its row has beside its texts, with its costs by now; None while it runs."""
        if self._printed is None:
            return None
        costs = {"printed": self._printed, "delivered": self._delivered, "cost": self._cost}
        return with_facts(self._extra, costs | self._shown)


def given_chars(report: StepReport) -> int:
    """Characters of a step's output, and of its questions, that a reply gives its client."""
    return sum(map(len, report.texts)) + (len(report.error.ename) if report.error is not None else 0)


def _printed_of(outcome: Outcome) -> dict[str, int]:
    """How much of each stream, and of its result, the record has; nothing where there is nothing."""
    texts = {"stdout": outcome.stdout, "stderr": outcome.stderr, "result": outcome.result or ""}
    return {name: len(text) for name, text in texts.items() if text}


def with_facts(extra: str | None, facts: Mapping[str, Any]) -> str:
    """An `extra` that has them too. It may be long, and is not read for that."""
    own = f"{json.dumps(FACTS)}: {json.dumps(facts)}"
    return f"{{{own}}}" if extra in (None, "{}") else f"{str(extra)[:-1]}, {own}}}"


def given(row: EventRow, facts: Mapping[str, Any]) -> EventRow:
    """A row with its facts, which it has none beside."""
    row.extra = with_facts(None, facts) if facts else None
    return row


def loss_facts(loss: LossReport) -> dict[str, Any]:
    """Of a restore: which names are gone or older, and why; and which are back."""
    return {name: value for name, value in loss_fields(loss, NAMES_MAX).items() if value}


def stop_facts(limit: GuardrailStop | None) -> dict[str, Any]:
    """Of a stop."""
    return {"limit": limit}


def refusal_facts(error: RlmError) -> dict[str, Any]:
    """Of a call that was answered with an error: what was said, and which citations failed."""
    told: dict[str, Any] = {"error_code": error.code, "message": error.message[:SAID_CHARS]}
    if isinstance(error, CitationMismatch):
        told["citations"] = [dict(one) for one in error.citations]
        return _fitting(told, CITATIONS_CHARS)
    return told


def facts_of(extra: Mapping[str, Any], room: int | None = None) -> dict[str, Any]:
    """Those of a row, safe to show. `room`: about how many characters there are for them; None: any number."""
    found = extra.get(FACTS)
    if not isinstance(found, dict):
        return {}
    safe: dict[str, Any] = _safe(found)
    return safe if room is None else _fitting(safe, max(room, ROOM_MIN))


def _fitting(facts: dict[str, Any], room: int) -> dict[str, Any]:
    """The same, with shorter lists where it would be too long; what is left out is counted."""
    found = dict(facts)
    while len(json.dumps(found, ensure_ascii=False)) > room:
        lists = {name: found[name] for name in LISTS if found.get(name)}
        if not lists:
            break
        name = max(lists, key=lambda one: len(json.dumps(lists[one])))
        kept = lists[name][: len(lists[name]) // 2]
        found[name], more = kept, LISTS[name]
        found[more] = found.get(more, 0) + len(lists[name]) - len(kept)
    return found


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, dict):
        return {safe_text(str(name)): _safe(one) for name, one in value.items()}
    return [_safe(one) for one in value] if isinstance(value, list) else value
