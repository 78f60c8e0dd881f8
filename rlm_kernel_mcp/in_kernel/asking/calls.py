"""The questions of one call of the session's code, from their sending to their values.

Is: the wait of a thread or of a task, the check of each answer, and the one question more where it has not its schema.
Is not: what a caller may give (`asking.py`), nor the way to the host (`channel.py`). Above: `asking.py`. Below:
`state.py`, `channel.py`, `waiters.py`, `schemas.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.asking import state
from rlm_kernel_mcp.in_kernel.asking.channel import Asks
from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.asking.schemas import Missed, Schema
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting
from rlm_kernel_mcp.questions_wire import ITEM_CHARS_MAX, Opts

FORM: Final = "The data is an answer to this question: {question}\n\nGive the same answer as JSON, and nothing else."


@dataclass(frozen=True, slots=True)
class Call:
    """What the questions of one call have in common."""

    channel: Asks
    opts: Opts
    schema: Schema | None

    @classmethod
    def of(cls, schema: object, model: str | None, fresh: bool, *, by_task: bool = False) -> Call:
        """Raises: SubcallError, where nobody answers or the schema is none; TypeError, of what is no schema."""
        channel = state.channel()
        checked = None if schema is None else Schema(schema)
        opts: Opts = {"batch": channel.batch_of_turn() if by_task else channel.new_batch()}
        if checked is not None:
            opts["schema"] = checked.json
        if model is not None:
            opts["model"] = model
        if fresh:
            opts["fresh"] = True
        return cls(channel, opts, checked)

    def for_children(self, count: int) -> Call:
        """The same call, of so many questions for sessions of their own."""
        opts: Opts = {**self.opts, "kind": "rlm", "of": max(1, count)}
        return replace(self, opts=opts)

    def answers(self, items: Sequence[Item]) -> list[Any]:
        """A value or a SubcallError for each question."""
        got, asked = self._wait(items)
        if self.schema is None:
            return got
        missed = self._check(got, self.schema)
        if missed:
            again, asked = self._wait_again(items, got, missed)
            still = self._check(again, self.schema)
            for place, at in enumerate(missed):
                got[at] = _without_schema(still[place]) if place in still else again[place]
            if still:
                gate = Gate()
                self.channel.missed([asked[place].id for place in still], gate)
                gate.wait()
        return got

    def _wait_again(
        self, items: Sequence[Item], got: Sequence[Any], missed: Mapping[int, str]
    ) -> tuple[list[Any], list[Waiting]]:
        if "kind" not in self.opts:
            return self._wait([replace(items[at], repair=why) for at, why in missed.items()])
        # A child has done its work: a model brings what it found into form.
        opts: Opts = {**self.opts}
        del opts["kind"], opts["of"]
        plain = replace(self, opts=opts)
        return plain._wait([Item(_form(items[at].prompt, got[at]), got[at], why) for at, why in missed.items()])

    def _wait(self, items: Sequence[Item]) -> tuple[list[Any], list[Waiting]]:
        asked: list[Waiting] = []
        gate = Gate(self._wrong)
        try:
            self.channel.ask(items, self.opts, asked, gate)
            gate.wait()
            return [one.given for one in asked], asked
        except BaseException:
            self.channel.cancel(asked)
            raise

    def _wrong(self, answer: str) -> str | None:
        """What is wrong with an answer that is on trial, if anything is."""
        try:
            if self.schema is not None:
                self.schema.value(answer)
        except Missed as why:
            return str(why)
        except SubcallError:
            return None  # it is said of the answer itself
        return None

    async def answer(self, item: Item) -> Any:
        """As `answers`, of one question, for an event loop."""
        got, _ = await self._awaited(item)
        if self.schema is None:
            return got
        values = [got]
        if missed := self._check(values, self.schema):
            got, asked = await self._awaited(replace(item, repair=missed[0]))
            values = [got]
            if still := self._check(values, self.schema):
                await self.channel.missed([asked.id], asyncio.get_running_loop())
                return _without_schema(still[0])
        return values[0]

    async def _awaited(self, item: Item) -> tuple[Any, Waiting]:
        asked: list[Waiting] = []
        try:
            self.channel.ask([item], self.opts, asked, asyncio.get_running_loop())
            return await asked[0], asked[0]
        except BaseException:
            if asked:
                self.channel.cancel_soon(asked[0])
            raise

    @staticmethod
    def _check(got: list[Any], schema: Schema) -> dict[int, str]:
        """Put the values in the place of the answers' texts; which of them have not the schema, and why."""
        missed: dict[int, str] = {}
        for at, text in enumerate(got):
            if isinstance(text, SubcallError):
                continue
            try:
                got[at] = schema.value(text)
            except Missed as why:
                missed[at] = str(why)
            except SubcallError as error:
                got[at] = error
        return missed


def _form(question: str, answer: str) -> str:
    """What asks to bring an answer into form; of a long question its beginning, where both are too much together."""
    room = max(0, ITEM_CHARS_MAX - len(FORM) - len(answer))
    return FORM.format(question=question if len(question) <= room else f"{question[: max(0, room - 1)]}…")


def _without_schema(why: str) -> SubcallError:
    return SubcallError("schema", f"The answer has not the schema, asked twice: {why}")
