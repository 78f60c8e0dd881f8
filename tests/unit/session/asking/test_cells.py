"""Whose a console's question is, by what is heard of the cell that asks it."""

from __future__ import annotations

from typing import Any, cast

from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.cells import Cells
from tests.unit.session.answering.scripted import passes, played


class Client:
    """A kernel's, which has heard of some cells."""

    def __init__(self) -> None:
        self.running: set[str] = set()

    def has_sent(self, msg_id: str) -> bool:
        del msg_id
        return False

    def runs_cell(self, msg_id: str) -> bool:
        return msg_id in self.running


def test_a_question_waits_for_late_word_of_its_cell_and_not_for_ever() -> None:
    """The word comes by another socket, on a busy machine seconds later; of a cell that was made up it never does."""

    async def play() -> None:
        client, found = Client(), list[Any]()
        ended: list[Any] = []
        cells = Cells(client, lambda msg_id: cast(Asking, msg_id), ended.append)
        cells.find("late", found.append)
        cells.find("made up", found.append)
        await passes(5)
        assert found == []
        client.running.add("late")
        await passes(1)
        assert found == ["late"]
        await passes(10)
        assert found == ["late", None]
        client.running.clear()
        await passes(1)
        assert ended == ["late"]
        cells.close()

    played(play)
