"""A session stays with who has answered it; who comes later with other settings pays for none of its questions."""

from __future__ import annotations

from dataclasses import replace

from rlm_kernel_mcp.session.answering.switchboard import Switchboard
from tests.unit.session.answering.scripted import (
    FACTS,
    Givens,
    ScriptedBackend,
    ScriptedBooks,
    account,
    played,
    question,
)


def test_a_session_that_another_has_answered_is_answered_off() -> None:
    """One that has asked nothing yet is answered."""

    async def play() -> None:
        books = ScriptedBooks(who={FACTS.identity})
        mine, other = ScriptedBackend(), ScriptedBackend(facts=replace(FACTS, where="elsewhere"))
        givens = Givens()
        for number, (backend, used) in enumerate(((mine, 5), (other, 5), (other, 0)), 1):
            broker = Switchboard(backend, books=books).broker("s", account(used=used))
            broker.ask(question(number, f"q{number}"), givens.taker(number))
        await givens.all()
        assert [givens[number] for number in (1, 2, 3)] == ["echo of q1", "off", "echo of q3"]
        assert "scripted there m answered this session before, and now scripted elsewhere m would" in givens.message(2)

    played(play)
