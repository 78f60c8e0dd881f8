"""Makes a report of an outcome: safe, cut to size, within the budget, and charged.

Is: the one place where a kernel's output becomes what a client gets. Is not: JSON or markdown (`server/responses.py`).
Above: `session/session.py`. Below: `raw_texts.py`, `text/safe_text.py`,
`session/account.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.parked.reports import QuestionPage
from rlm_kernel_mcp.session.reports import Left, LossReport, StepError, StepReport, Truncated, Variable
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.raw_texts import raw_cuts
from rlm_kernel_mcp.text.safe_text import Cut, cut_text, safe_prefix, safe_text, share
from rlm_kernel_mcp.text.wording import NOTHING_INTERRUPTED, NOTHING_LEFT_TO_INTERRUPT, counted

NAMES_MAX: Final = 40
NAMES_CHARS_MAX: Final = 2_500
NAMES_CHARS_MIN: Final = 1_000
"""Characters that `updated_vars_summary` takes: its names and types are the code's choice as well."""
LOST_CHARS_MAX: Final = 3_000
LOST_CHARS_MIN: Final = 300
"""Characters of the account of what a killed kernel took with it: the names in it are the code's choice too. However
little output a client asks for, it hears why the kernel is gone, how many names are lost, and the first of them."""
REASON_CHARS_MAX: Final = 500
RESTORED_SHARE: Final = 0.25
"""Share of the room for names that those which came back may take: it is worth more to know what is gone."""
ROW_CHARS: Final = 36
"""About what a row of names costs beside its texts."""
LIKEWISE: Final = "likewise"
"""Stands for the same reason as in the row before, where more than a few names share it."""
A_FEW: Final = 12
DEFINITIONS: Final = frozenset({"builtin_function_or_method", "function", "module", "type"})
"""Types of names that come by the dozen (`from math import *`); listed after the others where not all fit."""
EVALUE_CHARS_MAX: Final = 1_000
KERNEL_CUT_CHARS: Final = 80
"""From the end of an exception's message, in which the kernel says that it has cut it."""
NAME_CHARS_MAX: Final = 200

_KERNEL_CUT: Final = re.compile(r"… \[cut: (?P<kept>[\d,]{1,20}) of (?P<whole>[\d,]{1,20}) characters\]\Z", re.ASCII)


def deliver(outcome: Outcome, *, step_index: int, account: Account, max_output_chars: int | None) -> StepReport:
    """The report of one reply; charges what it delivers. A limit reached by that is reported if the step has ended.

    `max_output_chars`: None for a program, which gets the texts raw, and whole as far as the budget goes.
    """
    final = outcome.status not in ("running", "needs_answers")
    limit = account.left.chars_left if max_output_chars is None else min(max_output_chars, account.left.chars_left)
    rest = f'rlm_get_trace(from_step={step_index}, to_step={step_index}, detail="full") gets the rest'
    if not final:
        rest = "rlm_await_step or, when the step has ended, rlm_get_trace gets the rest"
    room = limit if outcome.page is None else limit // 2  # what is asked is to be seen, whatever was printed before
    ename, shown = raw_cuts(outcome, room) if max_output_chars is None else _cuts(outcome, room, rest)
    chars = len(ename) + sum(len(cut.text) for cut in shown.values())
    page = None if outcome.page is None else outcome.page(limit - chars)
    account.charge_chars(chars + (0 if page is None else page.chars))
    if final and limit != max_output_chars and any(cut.cut_chars for cut in shown.values()):
        account.exceed_budget()
    if final:
        account.check()
    rows_chars = LOST_CHARS_MAX if max_output_chars is None else max_output_chars
    names, unlisted = _names(outcome.updated, rows_chars)
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
        lost=_shown_loss(outcome.lost, rows_chars),
        note=_notes(
            outcome, unlisted, [outcome.news, _cuts_unsaid(shown, rest), _budget_cuts(page, limit, max_output_chars)]
        ),
        images=tuple(one for one in outcome.displays if one.mime_type.startswith("image/")),
        contexts_changed=outcome.contexts_changed,
        subcalls=outcome.subcalls,
        questions=page,
    )


def _cuts(outcome: Outcome, limit: int, rest: str) -> tuple[str, dict[str, Cut]]:
    """The exception's name and every text of a reply, within `limit` characters in all."""
    error = outcome.error or StepError("", "", "")
    ename = safe_prefix(error.ename, min(NAME_CHARS_MAX, limit))[0]
    # Half of the room at most: a message that fills a reply would leave none for the output before it.
    evalue = _message(error.evalue, min(EVALUE_CHARS_MAX, (limit - len(ename)) // 2), rest)
    left = limit - len(ename) - len(evalue.text)
    texts = {
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": outcome.result or "",
        "traceback": error.traceback,
    }
    # Safe text can be longer than its source and is never shorter; the shares are shares of what is shown.
    wholes = {name: safe_prefix(text, left) for name, text in texts.items() if len(text) <= left}
    rooms = share([len(wholes[name][0]) if name in wholes else left for name in texts], left)
    cuts: dict[str, Cut] = {}
    for (name, text), room in zip(texts.items(), rooms, strict=True):
        safe, covered = wholes.get(name, ("", -1))
        fits = covered == len(text) and len(safe) <= room
        cuts[name] = Cut(safe, 0, says_where=True) if fits else cut_text(text, room, rest)
    return ename, {**cuts, "evalue": evalue}


def _message(text: str, limit: int, rest: str) -> Cut:
    """An exception's message within `limit`. One that the kernel has cut gets one mark, of its whole length."""
    cut = _KERNEL_CUT.search(text, max(0, len(text) - KERNEL_CUT_CHARS))
    if len(text) <= limit or cut is None:
        return cut_text(text, limit, rest)
    kept, whole = cut["kept"], cut["whole"]
    said = f"… [cut here, of {whole} characters; {rest.replace('the rest', f'the first {kept}')}]"
    if len(said) > limit // 2:
        said = "…"
    safe, covered = safe_prefix(text[: cut.start()], max(0, limit - len(said)))
    return Cut(safe + said, cut.start() - covered, says_where=len(said) > 1)


def _cuts_unsaid(shown: dict[str, Cut], rest: str) -> str:
    """The note on a cut, where the cut itself had no room for it."""
    cut = [f"{cut.cut_chars:,} characters of {name}" for name, cut in shown.items() if not cut.says_where]
    return f"Cut: {', '.join(cut)}; {rest}." if cut else ""


def _budget_cuts(page: QuestionPage | None, limit: int, wanted: int | None) -> str:
    """The note on questions that the budget has cut, and no size that was asked for."""
    if page is None or wanted is None or limit >= wanted or not any(item.cut for item in page.items):
        return ""
    return (
        "The session's budget for output cuts what is shown of questions; rlm_get_var reads one whole, and those that "
        "rlm_answer takes are not charged."
    )


def _left_while_running(left: Left, elapsed_ms: int) -> Left:
    """What is left while a step runs: it is charged at its end, but what it has used by now is gone all the same."""
    return replace(left, runtime_left_ms=max(0, left.runtime_left_ms - elapsed_ms))


def nothing_interrupted(account: Account, *, is_final: bool) -> StepReport:
    """The answer to an interrupt where no step runs."""
    return StepReport(
        status="ok",
        step_index=account.counters.step_index,
        duration_ms=0,
        budget=account.left,
        guardrail_stop=account.stop,
        note=NOTHING_LEFT_TO_INTERRUPT if is_final else NOTHING_INTERRUPTED,
    )


def stopped_report(account: Account, code_chars: int, lost: LossReport | None = None) -> StepReport:
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
    if bad := outcome.left_out.get("no_picture"):
        notes.append(f"{counted(bad, 'displayed picture')} {'is' if bad == 1 else 'are'} damaged, and not shown.")
    if outcome.late_chars:
        notes.append(f"The first {outcome.late_chars:,} characters of output were printed before this step began.")
    if outcome.subcalls is not None:
        notes.append(outcome.subcalls.note)
    if unlisted:
        notes.append(f"{counted(unlisted, 'more name')} {'was' if unlisted == 1 else 'were'} bound.")
    notes += [
        f"The kernel kept the head and tail of {name}: {count:,} characters were dropped for good."
        for name, count in outcome.dropped.items()
        if count
    ]
    return " ".join(filter(None, notes)) or None


def _names(updated: tuple[Variable, ...], max_chars: int) -> tuple[tuple[Variable, ...], int]:
    """The names that fit, and how many do not."""
    if len(updated) > NAMES_MAX:
        # sorted() is stable: within each half the order of binding stays.
        updated = tuple(sorted(updated, key=lambda variable: variable.type in DEFINITIONS))
    shown: list[Variable] = []
    left = max(NAMES_CHARS_MIN, min(NAMES_CHARS_MAX, max_chars))
    for variable in updated[:NAMES_MAX]:
        safe = Variable(safe_text(variable.name), safe_text(variable.type), variable.size)
        left -= len(safe.name) + len(safe.type) + ROW_CHARS
        if left < 0:
            break
        shown.append(safe)
    return tuple(shown), len(updated) - len(shown)


def _shown_loss(loss: LossReport | None, max_chars: int = LOST_CHARS_MAX) -> LossReport | None:
    """The account with safe names, as many of them as fit; the rest is counted."""
    if loss is None:
        return None
    limit = max(LOST_CHARS_MIN, min(LOST_CHARS_MAX, max_chars))
    reason = cut_text(loss.reason, min(REASON_CHARS_MAX, limit // 2), "rlm_get_trace has it").text
    left = limit - len(reason)
    back, back_chars = fitting(loss.restored, int(left * RESTORED_SHARE))
    gone = _fitting_rows(loss.names, left - back_chars)
    more_gone, more_back = len(loss.names) - len(gone), len(loss.restored) - len(back)
    return LossReport(reason, gone, back, loss.more_lost + more_gone, loss.more_restored + more_back)


def fitting(names: tuple[str, ...], room: int) -> tuple[tuple[str, ...], int]:
    """The first of some names that fit, safe, and the characters that they take."""
    shown: list[str] = []
    used = 0
    for name in names:
        safe = safe_text(name)
        if used + len(safe) + 3 > room:
            break
        used += len(safe) + 3
        shown.append(safe)
    return tuple(shown), used


def _fitting_rows(lost: tuple[tuple[str, str], ...], room: int) -> tuple[tuple[str, str], ...]:
    """The rows that fit, safe. Rows with the same reason stand together, and only the first of them gives it."""
    by_reason: dict[str, list[str]] = {}
    for name, why in lost:
        by_reason.setdefault(why, []).append(name)
    shown: list[tuple[str, str]] = []
    for why, names in by_reason.items():
        said = safe_text(why)
        for name in names:
            safe = safe_text(name)
            left = room - len(safe) - len(said) - ROW_CHARS
            if left < 0:
                return tuple(shown) or (_cut_row(safe, said, room - ROW_CHARS),)
            room = left
            shown.append((safe, said))
            said = LIKEWISE if len(names) > A_FEW else said
    return tuple(shown)


def _cut_row(name: str, why: str, room: int) -> tuple[str, str]:
    """A row, each text of it cut to the room that there is."""
    shares = share((len(name), len(why)), max(room, 2))
    return cut_text(name, shares[0], "").text, cut_text(why, shares[1], "").text
