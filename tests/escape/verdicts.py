"""When a case passes: by what it did, by where it ended, and by its expectation.

A case that is stopped by a mistake of its own reaches nothing behind any wall, and would pass for ever. So each says at
what it ends: `HELD`, with the error that held it; `FIRED` where all of it was done, and is judged from outside;
`BYPASS` where it got round the courtesies and wanted no more; `MISSED` where it was not what it wanted to be.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.escape.attack_server import HONEST_MS, OUTPUT_CHARS, STEP_MS, AttackServer, Seen
from tests.escape.cases import ASKING, Case

GROWTH_BYTES_MAX: Final = 50 << 20
ASKING_GROWTH_BYTES_MAX: Final = 100 << 20
"""The same of cases about questions: those that are open may hold 64 MiB of texts."""
ENDED: Final = {"ok", "error", "timeout", "interrupted", "kernel_died"}
STOPPED: Final = {"timeout", "interrupted", "kernel_died"}
ACTS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls but tab and newline, bidi controls, zero width, tags, lone surrogates."""
SAYS: Final = re.compile(r"(HELD|FIRED|BYPASS|ESCAPED|MISSED|OK)\b(?: (\S+))?")
NUMBER: Final = re.compile(r"\[Errno (\d+)\]")
OWN: Final = {
    *("AssertionError", "AttributeError", "ImportError", "IndentationError", "IndexError", "KeyError", "LookupError"),
    *("MISSED", "ModuleNotFoundError", "NameError", "StopIteration", "SyntaxError", "TypeError", "UnboundLocalError"),
    *("error", "HELD", "UnicodeDecodeError", "UnicodeError"),
}
"""Mistakes, where no courtesy has taken away what is missed; and an end without a word of what held."""
SPEAK_OTHERWISE: Final = {"allow", ASKING}
"""Categories whose expectations say what has to have been done."""
SAY_NOTHING: Final = {"output", "resource", "ipython-magics"}
"""Categories whose steps may end well without a word: what was printed, or how they ended, is what is judged."""
SPECIAL_ALLOWED: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "ok-error-text": lambda last: (
        last["error"]["ename"] == "ZeroDivisionError" and "line 1" in last["error"]["traceback"]
    ),
    "ok-last-expr": lambda last: last["result"] == "45",
}
"""Honest cases that show something else than `OK`."""
GIVEN: Final = {
    "imp-io": "`io` is on the allowlist, as a facade whose `open` keeps to the scratch directory",
    "imp-inspect": "`inspect` is on the allowlist, as a facade that hands out no frame",
    "imp-sys": "`sys` is on the allowlist, as a facade without modules, frames, traces, import machinery or hooks",
    "in-match-args-metaclass": "a known way round the courtesies, which are not a wall",
    "in-str-format-leak": "`str.format` is not looked at by the courtesies; the environment that it shows is scrubbed",
}
"""Cases that print BYPASS and may: what they get is given, or known (docs/limitations.md)."""


def tried(attack_server: AttackServer, case: Case) -> tuple[Seen, list[str]]:
    """Play a case: what it did, and what speaks against it. Afterwards the session is one for the next case."""
    courtesies = attack_server.import_policy == "allowlist"
    seen = attack_server.play(case)
    found = problems(case, seen, courtesies=courtesies)
    must_be_healthy = courtesies and case.expect == "refuse"
    healthy = attack_server.answers_plainly(HONEST_MS if must_be_healthy else STEP_MS)
    if not healthy:
        attack_server.renew()
    if must_be_healthy and not healthy:
        found.append("the kernel was not well afterwards")
    return seen, found


def problems(case: Case, seen: Seen, *, courtesies: bool) -> list[str]:
    """What speaks against the case; empty when it passes."""
    found = [*seen.hits]
    found += [f"it says: {line}" for line in seen.printed if line.startswith("ESCAPED")]
    if courtesies and case.name not in GIVEN:
        found += [f"it got round the courtesies: {line}" for line in seen.printed if line.startswith("BYPASS")]
    found += [f"a step is {answer['status']}" for answer in seen.answers if answer["status"] not in ENDED]
    found += [f"{name} has a character that acts" for name, text in _texts(seen.answers) if ACTS.search(text)]
    if seen.growth_bytes > (ASKING_GROWTH_BYTES_MAX if case.category == ASKING else GROWTH_BYTES_MAX):
        found.append(f"the server grew by {seen.growth_bytes >> 20} MB")
    found += [
        f"{name} has {len(text)} characters" for name, text in _texts(seen.answers) if len(text) > 2 * OUTPUT_CHARS
    ]
    found += _by_expectation(case, seen.last, courtesies=courtesies)
    found += mistaken(case, seen, courtesies=courtesies)
    return found + list(_by_what_it_shows(case, seen.answers, courtesies=courtesies))


def status_of(answer: dict[str, Any]) -> str:
    """How a step ended, with its error, which a kernel may have made up."""
    name = (answer["error"] or {}).get("ename", "")
    return " ".join(filter(None, (answer["status"], name if name.isidentifier() else name and "(made up)")))


def end_of(seen: Seen) -> str:
    """What the last step came to: how it ended and its error, or the last that it says of itself, with what held it."""
    if seen.last["status"] != "ok":
        return status_of(seen.last)
    said = [match for line in seen.printed if (match := SAYS.match(line))]
    if not said:
        return "ok"
    word, kind = said[-1].groups()
    if word != "HELD":
        return word
    number = NUMBER.search(said[-1].string)
    return " ".join(filter(None, (word, kind, errno.errorcode.get(int(number[1])) if number else None)))


def mistaken(case: Case, seen: Seen, *, courtesies: bool) -> list[str]:
    """What speaks against a case that has met no wall, and has not done what it wanted either.

    With the courtesies on it may miss what they have taken away; so only where every module can be imported.
    """
    if courtesies or case.category in SPEAK_OTHERWISE:
        return []
    end = end_of(seen)
    if end == "ok" and case.category not in SAY_NOTHING:
        return [f"it does not say where it ended: {seen.last}"]
    return [f"it was stopped by a mistake of its own: {end}: {seen.last}"] if end.split()[-1] in OWN else []


def _by_what_it_shows(case: Case, answers: list[dict[str, Any]], *, courtesies: bool) -> Iterator[str]:
    """Of cases that are to have happened: an attack that never fires tests nothing. The courtesies may refuse it."""
    first, last = answers[0], answers[-1]
    if case.expect == "break" and not _is_refused(first, courtesies=courtesies):
        reason = (first["lost"] or {}).get("reason", "")
        if first["status"] != "kernel_died" or "on the channel of its questions" not in reason:
            yield f"it did not end its kernel: {first}"
    must_hold = case.expect == "break" or (case.expect == "hold" and not _is_refused(last, courtesies=courtesies))
    if must_hold and (last["status"] != "ok" or "HELD" not in last["stdout"]):
        yield f"it was not held: {last}"


def _is_refused(answer: dict[str, Any], *, courtesies: bool) -> bool:
    return courtesies and answer["status"] == "error" and "policy" in str(answer["error"])


def _by_expectation(case: Case, last: dict[str, Any], *, courtesies: bool) -> Iterator[str]:
    if case.expect == "allow":
        special = SPECIAL_ALLOWED.get(case.name)
        if special is not None:
            if not special(last):
                yield f"it did not end as it should: {last}"
        elif last["status"] != "ok" or "OK" not in last["stdout"]:
            yield f"it is honest, and did not work: {last}"
    refused = _is_refused(last, courtesies=courtesies)
    if case.expect == "interrupt" and last["status"] not in STOPPED and not refused:
        yield f"it was not stopped at its deadline: {last['status']}"


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every string in an answer, with where it stands."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(key, f"{name} key")
            yield from _texts(part, f"{name}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, name)
