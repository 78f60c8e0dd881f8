"""Makes a report of an outcome: safe, cut to size, within the budget, and charged.

Is: the one place where a kernel's output becomes what a client gets. Is not: JSON or markdown (`server/responses.py`).
Above: `session/session.py`. Below: `text/safe_text.py`, `session/account.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Image, Left, Lost, StepError, StepReport, Truncated, Variable
from rlm_kernel_mcp.session.steps.run import Outcome
from rlm_kernel_mcp.text.safe_text import Cut, cut_text, safe_prefix, safe_text, share

NAMES_CHARS_MAX: Final = 2_000
"""Characters of names and types in `updated_vars_summary`: they are the code's choice as well."""
LOST_CHARS_MAX: Final = 4_000
"""Characters of the account of what a killed kernel took with it: the names in it are the code's choice too."""
EVALUE_CHARS_MAX: Final = 1_000
NAME_CHARS_MAX: Final = 200


def deliver(outcome: Outcome, *, step_index: int, account: Account, max_output_chars: int) -> StepReport:
    """The report of one reply; charges what it delivers. A limit reached now is told where the step has ended."""
    final = outcome.status != "running"
    limit = min(max_output_chars, account.left.chars_left)
    rest = f'rlm_get_trace(from_step={step_index}, to_step={step_index}, detail="full") gets the rest'
    if not final:
        rest = "rlm_await_step or, when the step has ended, rlm_get_trace gets the rest"
    ename, shown = _cuts(outcome, limit, rest)
    account.charge_chars(len(ename) + sum(len(cut.text) for cut in shown.values()))
    if final and limit < max_output_chars and any(cut.cut_chars for cut in shown.values()):
        account.exceed_budget()
    if final:
        account.check()
    names, unlisted = _names(outcome.updated)
    return StepReport(
        status=outcome.status,
        step_index=step_index,
        duration_ms=outcome.duration_ms,
        budget=account.left if final else _left_while_running(account.left, outcome.duration_ms),
        stdout=shown["stdout"].text,
        stderr=shown["stderr"].text,
        result=None if outcome.result is None else shown["result"].text,
        error=StepError(ename, shown["evalue"].text, shown["traceback"].text) if outcome.error else None,
        updated_vars_summary=names,
        guardrail_stop=account.stop if final else None,
        truncated=Truncated(**{name: shown[name].cut_chars for name in ("stdout", "stderr", "result")}),
        lost=_shown_loss(outcome.lost),
        note=_notes(outcome, unlisted, [_untold(shown, rest)]),
        images=tuple(_image(mime_type, data) for mime_type, data in outcome.pictures),
    )


def _cuts(outcome: Outcome, limit: int, rest: str) -> tuple[str, dict[str, Cut]]:
    """The exception's name and every text of a reply, within `limit` characters in all."""
    error = outcome.error or StepError("", "", "")
    ename = safe_prefix(error.ename, min(NAME_CHARS_MAX, limit))[0]
    evalue = cut_text(error.evalue, min(EVALUE_CHARS_MAX, (limit - len(ename)) // 2), rest)
    left = limit - len(ename) - len(evalue.text)
    texts = {
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": outcome.result or "",
        "traceback": error.traceback,
    }
    # Safe text can be longer than its source, and never shorter; the shares are of what is shown.
    wholes = {name: safe_prefix(text, left) for name, text in texts.items() if len(text) <= left}
    rooms = share([len(wholes[name][0]) if name in wholes else left for name in texts], left)
    cuts: dict[str, Cut] = {}
    for (name, text), room in zip(texts.items(), rooms, strict=True):
        safe, covered = wholes.get(name, ("", -1))
        fits = covered == len(text) and len(safe) <= room
        cuts[name] = Cut(safe, 0, is_told=True) if fits else cut_text(text, room, rest)
    return ename, {**cuts, "evalue": evalue}


def _untold(shown: dict[str, Cut], rest: str) -> str:
    """What there was no room to say where it was cut."""
    cut = [f"{cut.cut_chars:,} characters of {name}" for name, cut in shown.items() if not cut.is_told]
    return f"Cut: {', '.join(cut)}; {rest}." if cut else ""


def _left_while_running(left: Left, elapsed_ms: int) -> Left:
    """The account is charged when the step ends; what it has used by now is gone all the same."""
    return replace(left, runtime_left_ms=max(0, left.runtime_left_ms - elapsed_ms))


def stopped_report(account: Account, code_chars: int, lost: Lost | None = None) -> StepReport:
    """The answer to a step that may not run any more; `code_chars` is its length."""
    why = f"The session has reached its limit ({account.stop})"
    if account.stop == "budget_exceeded" and code_chars > account.left.chars_left > 0:
        why = f"The code's {code_chars:,} characters are more than the {account.left.chars_left:,} that are left"
    return StepReport(
        status="stopped",
        step_index=account.counters.step_index,
        duration_ms=0,
        budget=account.left,
        guardrail_stop=account.stop,
        lost=_shown_loss(lost),
        note=f"{why}; nothing was run. rlm_get_var, rlm_get_trace and rlm_finalize still work.",
    )


def _notes(outcome: Outcome, unlisted: int, notes: list[str]) -> str | None:
    if outcome.late_chars:
        notes.append(f"The first {outcome.late_chars:,} characters of output were printed before this step began.")
    if unlisted:
        notes.append(f"{unlisted:,} more names were bound.")
    notes += [
        f"The kernel kept the head and tail of {name}: {count:,} characters were dropped for good."
        for name, count in outcome.dropped.items()
        if count
    ]
    return " ".join(filter(None, notes)) or None


def _names(updated: tuple[Variable, ...]) -> tuple[tuple[Variable, ...], int]:
    shown: list[Variable] = []
    chars = 0
    for variable in updated:
        safe = Variable(safe_text(variable.name), safe_text(variable.type), variable.size)
        chars += len(safe.name) + len(safe.type)
        if chars > NAMES_CHARS_MAX:
            break
        shown.append(safe)
    return tuple(shown), len(updated) - len(shown)


def _shown_loss(loss: Lost | None) -> Lost | None:
    """The account with safe names, as many of them as fit; the rest is counted."""
    if loss is None:
        return None
    gone: list[tuple[str, str]] = []
    back: list[str] = []
    left = LOST_CHARS_MAX
    for name, why in loss.lost:
        left -= len(name) + len(why)
        if left >= 0:
            gone.append((safe_text(name), safe_text(why)))
    for name in loss.restored:
        left -= len(name)
        if left >= 0:
            back.append(safe_text(name))
    unlisted = len(loss.lost) - len(gone) + len(loss.restored) - len(back)
    more = f"; {unlisted:,} more names are not listed here" if unlisted else ""
    return Lost(safe_text(loss.reason) + more, tuple(gone), tuple(back))


def _image(mime_type: str, data: str) -> Image:
    return Image("image/png" if mime_type == "image/png" else "image/jpeg", data)
