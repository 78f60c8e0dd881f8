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
    """Whatever its record says: a server that was killed has not recorded what it asked. A new one is answered."""

    async def play() -> None:
        books = ScriptedBooks(who={FACTS.identity})
        mine, other = ScriptedBackend(), ScriptedBackend(facts=replace(FACTS, where="elsewhere"))
        givens = Givens()
        for number, (backend, used) in enumerate(((mine, 5), (other, 5), (other, 0), (other, 0)), 1):
            broker = Switchboard(backend, books=books).broker("s", account(used=used), is_new=number == 4)
            broker.ask(question(number, f"q{number}"), givens.taker(number))
        await givens.all()
        assert [givens[number] for number in range(1, 5)] == ["echo of q1", "off", "off", "echo of q4"]
        assert "scripted there m answered this session before, and now scripted elsewhere m would" in givens.message(2)

    played(play)
