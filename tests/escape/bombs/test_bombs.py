"""A session that takes all it can get, or holds on for ever, is ended by its own limits, and nobody else notices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from tests.escape.bombs.kinds import ENDING, ENDLESS, Ending, Endless
from tests.escape.bombs.machine import GROWTH_BYTES_MAX, Machine

SHORT_MS = 300
LIKE_ANOTHER = {
    *("small objects taken again and again", "threads that work", "a flood of long lines on both streams"),
    *("a flood of displayed values", "backtracking of a regular expression", "a large power"),
    *("a sum in C that looks at no signal", "an endless iterator in C", "signals ignored"),
    *("a flood of the descriptors 1 and 2", "C code behind blocked signals that keeps the interpreter lock"),
}
"""What another bomb does too in what stops it; the fast part has one of each kind."""
Bomb = TypeVar("Bomb", Endless, Ending)


def in_places(bombs: Mapping[str, Bomb]) -> list[Any]:
    """Each bomb in either tier, as a test's parameters. What stops it is the same in both: the second tier is slow.

    What obeys is waited for: a busy machine would not get the kernel of a flood to rest within the shipped second.
    """
    found = []
    for name, bomb in bombs.items():
        place = "ns-any" if bomb.needs_any else "ns-allowlist"
        patience = "-patient" if getattr(bomb, "obeys", False) else ""
        found += [
            pytest.param(
                place + patience, bomb, id=f"{place}-{name}", marks=[pytest.mark.slow] * (name in LIKE_ANOTHER)
            ),
            pytest.param("lock-any" + patience, bomb, id=f"lock-any-{name}", marks=pytest.mark.slow),
        ]
    return found


@pytest.mark.parametrize(("machine", "bomb"), in_places(ENDLESS), indirect=["machine"])
def test_a_neighbour_is_answered_while_a_bomb_goes_off_and_the_bomb_is_stopped(
    machine: Machine, session: str, bomb: Endless
) -> None:
    """By `rlm_interrupt`, and when it is run again by its own time limit; its value is there afterwards."""
    before = machine.host_bytes(session)
    request = machine.begin(session, bomb.code)
    machine.neighbour_answers_before(request)
    report = machine.interrupt(session, request)
    assert (report["status"], report["lost"] is None) == ("interrupted", bomb.obeys), report
    machine.still_has_its_value(session)
    if bomb.obeys or machine.tier == "ns":  # where it must be killed it takes the grace time, and is the same in both
        report = machine.client.run(session, bomb.code, timeout_ms=SHORT_MS, max_output_chars=1000)
        assert (report["status"], report["lost"] is None) == ("timeout", bomb.obeys), report
        machine.still_has_its_value(session)
    assert machine.host_bytes(session) - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize(("machine", "bomb"), in_places(ENDING), indirect=["machine"])
def test_a_bomb_that_meets_a_limit_is_an_error_of_its_step(machine: Machine, session: str, bomb: Ending) -> None:
    """In the words of Python or of the operating system; the kernel lives on."""
    before = machine.host_bytes(session)
    report = machine.client.run(session, bomb.code, max_output_chars=1000)
    assert (report["status"], report["lost"]) == ("error", None), report
    text = f"{report['error']['ename']}: {report['error']['evalue']}"
    assert text.startswith(bomb.errors), text
    machine.still_has_its_value(session)
    assert machine.host_bytes(session) - before < GROWTH_BYTES_MAX


def test_the_bombs_that_are_like_another_are_there() -> None:
    """A name that no bomb has would set off nothing."""
    assert ENDLESS.keys() > LIKE_ANOTHER
